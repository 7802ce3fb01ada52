"""Commands that use a saved model: predict, recommend, similar, biases, info, update."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dotbias.cli import completion, hints, show
from dotbias.cli import options as o
from dotbias.cli.features import FeatureFiles
from dotbias.cli.groups import add
from dotbias.cli.listing import Listing
from dotbias.cli.reading import (
    PairColumns,
    RatedColumns,
    Reading,
    WithoutScale,
    summary,
    without_panics,
)
from dotbias.cli.writing import TableOption, Writes, WritesModel, in_parts, lists, write_table
from dotbias.data.reading import NONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from dotbias.errors import ModelFileError
    from dotbias.insight.neighbours import NeighbourStability
    from dotbias.recommender.facts import Chosen, Facts
    from dotbias.recommender.fold_in import FoldedUser
    from dotbias.recommender.recommender import Recommender


# The lists of so many users are one file of a folder of them.
_AT_A_TIME = 100_000


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    add(app, predict, recommend, similar, biases, info, update)


def predict(
    model: o.ModelArgument,
    pairs: Annotated[
        str | None,
        typer.Argument(metavar="[PAIRS]", help="File with a user and an item column, for many."),
    ] = None,
    user: Annotated[str | None, typer.Option(help="Id of one user.")] = None,
    item: Annotated[str | None, typer.Option(help="Id or title of one item.")] = None,
    with_std: Annotated[
        bool,
        typer.Option(
            "--with-std",
            help="Also the standard deviation of the rating, and an interval that holds nine of ten "
            "ratings; needs a model fitted with --keep-samples.",
        ),
    ] = False,
    strict: o.StrictOption = False,
    output: TableOption = None,
    *,
    reading: PairColumns,
    as_json: o.JsonOption = False,
    as_csv: o.CsvOption = False,
) -> None:
    """Predict ratings: of one user and item, or of a file of pairs.

    Users and items never seen get a prediction too; the column "basis" says what it rests on. The other
    columns of a file of pairs are kept.

    Examples: [bold]dotbias predict movies.dotbias --user 42 --item "Toy Story"[/bold],
    [bold]dotbias predict movies.dotbias pairs.csv -o predictions.csv[/bold]
    """
    from dotbias.data.read import read_pairs
    from dotbias.recommender.recommender import Recommender

    if (pairs is None) == (user is None or item is None):
        raise typer.BadParameter("give either a file of pairs, or both --user and --item")
    show.one_format(as_json, as_csv)
    rec = Recommender.load(model)
    if pairs is not None:
        with without_panics():
            asked = read_pairs(
                pairs, keep=True, max_unpacked=reading.max_unpacked, **reading.how(rec)
            )
        table = rec.predict_table(asked, with_std=with_std, strict=strict)
    else:
        assert user is not None
        assert item is not None
        table = rec.predict_pair(user, item, with_std=with_std, strict=strict)
    if not rec.has("rating"):
        show.say(
            f"The model was fitted to {rec.facts.kind}: there are no stars to predict. Given is the "
            "preference, about 1 for what is chosen and 0 for what is not."
        )
    if output is None:
        title = "Predicted ratings" if rec.has("rating") else "Preferences"
        show.frame(table, title, as_json=as_json, as_csv=as_csv)
    else:
        write_table(table, output)


def recommend(
    model: o.ModelArgument,
    user: Annotated[
        list[str] | None, typer.Option("--user", help="Id of a user (repeatable).")
    ] = None,
    all_users: Annotated[
        bool, typer.Option("--all-users", help="Every user of the model.")
    ] = False,
    for_ratings: o.ForRatings = None,
    not_interested: o.NotInterested = None,
    k: o.KOption = 10,
    strict: o.StrictOption = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Write a .csv or .parquet file instead of printing; of --all-users, without an ending, "
            "a folder of Parquet files, 100,000 users at a time.",
        ),
        Writes(lists),
    ] = None,
    *,
    listing: Listing,
    reading: RatedColumns,
    as_json: o.JsonOption = False,
    as_csv: o.CsvOption = False,
) -> None:
    """List what suits a user, of all that they have not rated yet.

    Examples: [bold]dotbias recommend movies.dotbias --user 42 -k 10[/bold],
    [bold]dotbias recommend movies.dotbias --for-ratings my.csv[/bold],
    [bold]dotbias recommend movies.dotbias --all-users -o lists/[/bold],
    [bold]dotbias recommend movies.dotbias --user 42 --genre Comedy --well-known -0.5[/bold]
    """
    from dotbias.recommender.recommender import Recommender

    if [user is not None, all_users, for_ratings is not None].count(True) != 1:
        raise typer.BadParameter(
            "give one of --user (as often as you like), --all-users and --for-ratings"
        )
    check_not_interested(not_interested, for_ratings)
    show.one_format(as_json, as_csv)
    rec = Recommender.load(model)
    how = listing.keywords()
    if output is not None and in_parts(output, all_users):
        _write_all(rec, output, k, strict=strict, **how)
        return
    if for_ratings is not None:
        whom = f"the ratings in {for_ratings}"
        folded = folded_user(rec, for_ratings, reading, not_interested, strict=strict)
        table = folded.recommend(k, strict=strict, **how)
    else:
        asked = rec.user_vocabulary.ids if all_users else user or []
        whom = f"user {asked[0]}" if len(asked) == 1 else ""
        table = rec.recommend(asked[0] if whom else asked, k, strict=strict, **how)
    if output is not None:
        write_table(table, output)
    elif as_json or as_csv or not whom:
        shown = table if as_json or as_csv else _for_people(table)
        show.frame(shown, "Recommendations", as_json=as_json, as_csv=as_csv)
    else:
        shown = _for_people(table).drop("user", strict=False)
        show.frame(shown, f"Recommendations for {whom}")


def _write_all(rec: "Recommender", folder: Path, k: int, **how: Any) -> None:
    """Write the lists of all users, some at a time."""
    from dotbias.data.write import write_parts
    from dotbias.progress import progress_bar

    n_users = len(rec.user_vocabulary)
    with progress_bar("recommending", n_users, enabled=not show.quiet()) as advance:

        def told() -> "Iterator[pl.DataFrame]":
            tables = rec.recommend_all(k, n_users=_AT_A_TIME, **how)
            for table, begin in zip(tables, range(0, n_users, _AT_A_TIME), strict=True):
                end = min(begin + _AT_A_TIME, n_users)
                advance(end - begin, f"{end:,} of {n_users:,} users")
                yield table

        n_rows = write_parts(told(), folder)
    show.say(f"Wrote {n_rows:,} rows to {folder}.")


def _for_people(table: "pl.DataFrame") -> "pl.DataFrame":
    """A list without the column that would say of each row that nothing is amiss."""
    known = "basis" in table.columns and table["basis"].is_in(["both", "user"]).all()
    return table.drop("basis") if known else table


def check_not_interested(names: list[str] | None, for_ratings: str | None) -> None:
    """Whoever the model knows is solved already."""
    if names and for_ratings is None:
        raise typer.BadParameter(
            "--not-interested goes with --for-ratings; --exclude leaves items off anyone's list"
        )


def folded_user(
    rec: "Recommender",
    source: str,
    reading: Reading,
    not_interested: list[str] | None,
    *,
    strict: bool,
) -> "FoldedUser":
    """The user of a file of items and ratings."""
    from dotbias.data.read import read_rated

    with without_panics():
        rated = read_rated(
            source,
            of_model=rec.facts.kind,
            scale=rec.scale,
            max_unpacked=reading.max_unpacked,
            **reading.how(rec),
        )
    return rec.fold_in_user(rated, not_interested=not_interested or (), strict=strict)


def similar(
    model: o.ModelArgument,
    item: Annotated[str, typer.Argument(help="Id, title, or a part of one title.")],
    k: o.KOption = 10,
    by: o.CompareBy = None,
    min_ratings: o.MinRatings = 5,
    strict: o.StrictOption = False,
    stability: Annotated[
        bool,
        typer.Option(
            "--stability",
            help="Fit the same model again with other seeds, and say which items are listed again.",
        ),
    ] = False,
    fits: Annotated[
        int | None, typer.Option(min=1, help="How many fits --stability makes; 5 by default.")
    ] = None,
    as_json: o.JsonOption = False,
    as_csv: o.CsvOption = False,
) -> None:
    """List the items whose embeddings are most alike, by cosine.

    Examples: [bold]dotbias similar movies.dotbias "Toy Story (1995)"[/bold],
    [bold]dotbias similar movies.dotbias "Toy Story (1995)" --stability[/bold]
    """
    from dotbias.recommender.recommender import Recommender

    show.one_format(as_json, as_csv)
    if fits is not None and not stability:
        raise typer.BadParameter("--fits says how many fits --stability makes: give both")
    rec = Recommender.load(model)
    if not stability:
        table = rec.similar(item, k, by=by, min_ratings=min_ratings, strict=strict)
        if as_json or as_csv:
            show.frame(table, "", as_json=as_json, as_csv=as_csv)
        elif "neither" in table["basis"]:
            show.frame(table, "Most rated items")
        else:
            show.frame(table.drop("basis"), f"Similar to {_label(rec, item)}")
        return
    title = f"Similar to {_label(rec, item)}"
    found = _stability(rec.compared_by(by), item, k, fits or 5, min_ratings)
    if as_json:
        show.data(found.to_dict())
    elif as_csv:
        show.frame(found.frame(), title, as_csv=True)
    else:
        import polars as pl

        counted = pl.Series("in_fits", found.in_words, pl.String)
        show.frame(found.frame().with_columns(counted), title)
        show.text(found.verdict)


def _label(rec: "Recommender", item: str) -> str:
    return rec.item_vocabulary.label(rec.item_vocabulary.find(item))


def _stability(
    rec: "Recommender", item: str, k: int, n_fits: int, min_ratings: int
) -> "NeighbourStability":
    """Which neighbours are there again, after a note about how long it takes to find out."""
    from dotbias.insight.neighbours import neighbour_stability

    seconds = n_fits * rec.facts.history.seconds
    if seconds > 1:
        times = "once" if n_fits == 1 else f"{n_fits:,} times"
        show.say(f"Fitting the model {times} more, about {seconds:.2g} s in all.")
    return neighbour_stability(
        rec, item, k, n_fits=n_fits, min_ratings=min_ratings, progress=not show.quiet()
    )


def biases(
    model: o.ModelArgument,
    k: o.KOption = 10,
    lowest: Annotated[bool, typer.Option("--lowest", help="The other end of the list.")] = False,
    min_ratings: o.MinRatings = 5,
    as_json: o.JsonOption = False,
    as_csv: o.CsvOption = False,
) -> None:
    """Rank items by bias: liked (or disliked) beyond what their raters' tastes explain.

    Example: [bold]dotbias biases movies.dotbias --lowest[/bold]
    """
    from dotbias.recommender.recommender import Recommender

    rec = Recommender.load(model)
    table = rec.item_bias_ranking(k, lowest=lowest, min_ratings=min_ratings)
    end = "lowest" if lowest else "highest"
    show.frame(table, f"Items with the {end} bias", as_json=as_json, as_csv=as_csv)


def info(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            autocompletion=completion.files,
            help="A file that `dotbias fit` saved; or a folder of prepared ratings, or its URL.",
        ),
    ],
    as_json: o.JsonOption = False,
) -> None:
    """Show what a model is, how it was fitted, and how good it was on held-out ratings; or what is in a
    folder of prepared ratings.

    Example: [bold]dotbias info movies.dotbias[/bold]
    """
    from dotbias.data.prepared.manifest import is_prepared
    from dotbias.data.sources.remote import is_url
    from dotbias.errors import ModelFileError
    from dotbias.evaluation.evaluate import HeldOut
    from dotbias.recommender.recommender import Recommender

    if is_url(model) or is_prepared(model):
        _prepared(model, as_json=as_json)
        return
    try:
        rec = Recommender.load(model)
    except ModelFileError as error:
        raise _instead_of_a_model(Path(model), error) from error
    told, facts = rec.info(), rec.facts
    if as_json:
        show.data(told)
        return
    low, high = told["scale"]
    mean = "" if told["mean_rating"] is None else f", mean {told['mean_rating']:.3f}"
    lines = [
        (facts.kind, f"{told['n_ratings']:,}"),
        *([] if facts.reading is None else [("read as", str(facts.reading))]),
        ("users", f"{told['n_users']:,}"),
        ("items", f"{told['n_items']:,} ({_titles_known(told)})"),
        ("scale", f"{low:g} to {high:g}{mean}"),
    ]
    if rec.has("rating"):
        lines += _of_fit(rec.by("rating"), "ratings by")
    if rec.has("preference"):
        lines += _of_fit(rec.by("preference"), "lists by")
    if facts.half_precision:
        lines.append(("factors", "saved in half precision"))
    if facts.partial_fits:
        ratings, users, items = (
            sum(getattr(joined, name) for joined in facts.partial_fits)
            for name in ("n_ratings", "n_new_users", "n_new_items")
        )
        told_of = f"{ratings:,} {facts.kind}, {users:,} new users, {items:,} new items"
        lines.append(("joined later", f"{told_of}, the last on {facts.partial_fits[-1].at}"))
    held = HeldOut.of(rec)
    if held is not None:
        again = "fitted again on all" if held.refit_on_all else "not refitted"
        share = f"share {held.test_size:g}, seed {held.split_seed}"
        lines.append(("held out", f"{held.n_rows:,} {facts.kind} ({share}); {again}"))
        if held.rmse is not None:
            lines.append(("held-out RMSE", f"{held.rmse:.4f}"))
        if no_better := list(held.no_better_lines(held.n_rows)):
            lines.append(("", "; ".join(no_better)))
        if held.ranking is not None and held.ranking.gain is not None:
            lines.append(("held-out lists", f"{held.ranking.gain} in nDCG@{held.ranking.k}"))
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        show.text(f"{name:<{width}}  {text}", heading=width)


def _prepared(folder: str, *, as_json: bool) -> None:
    """What is in a folder of prepared ratings."""
    from dotbias.data.prepared.prepared import PreparedRatings
    from dotbias.plain import to_plain

    prepared = PreparedRatings.open(folder)
    manifest, whole = prepared.manifest, prepared.whole
    if as_json:
        left_out = ("checksums", "stripes")
        show.data({k: v for k, v in to_plain(manifest).items() if k not in left_out})
        return
    low, high = whole.scale
    n_held = len(whole) - len(prepared.training)
    lines = [
        (f"prepared {manifest.kind}", f"{len(whole):,}"),
        *([] if manifest.reading is None else [("read as", str(manifest.reading))]),
        ("users", f"{whole.n_users:,}"),
        ("items", f"{whole.n_items:,} ({whole.item_vocabulary.n_titles:,} titles known)"),
        ("scale", f"{low:g} to {high:g}, mean {whole.global_mean:.3f}"),
        ("held out", f"{n_held:,} (share {manifest.test_size:g}, seed {manifest.seed})"),
        ("blocks", f"{manifest.n_blocks:,} of users, {manifest.n_blocks:,} of items"),
    ]
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        show.text(f"{name:<{width}}  {text}", heading=width)


def _instead_of_a_model(path: Path, error: "ModelFileError") -> "ModelFileError":
    """Where ratings can be read instead, what they are and what to do with them; else the error."""
    from dotbias.data.read import read_ratings
    from dotbias.errors import DotbiasError
    from dotbias.model_file import MODEL

    if not path.exists() or MODEL.is_ours(path):
        return error
    try:
        with without_panics():
            ratings = read_ratings(path)
    except DotbiasError:
        return error
    fit = hints.command("fit", path, "-o", f"{path.stem or 'model'}.dotbias")
    return type(error)(f"{path} is no model yet: it holds {summary(ratings)} Fit one with `{fit}`")


def _of_fit(rec: "Recommender", name: str) -> list[tuple[str, str]]:
    """What one model is and how it was fitted, line by line."""
    facts = rec.facts
    history = facts.history
    settings = (f"{setting} {value}" for setting, value in rec.model.summary().items())
    chosen = "by the user"
    if facts.choice is not None:
        chosen = _chosen(facts.choice)
    elif facts.preference_choice is not None:
        chosen = facts.preference_choice.reason
    lines = [
        (name, ", ".join([type(rec.model).__name__, *settings])),
        ("  solver", _solver(facts)),
        ("  chosen", chosen),
        ("  seed", "-" if facts.seed is None else str(facts.seed)),
        (
            "  fitted",
            f"{facts.fitted_at or '-'}, {history.passes} in {history.seconds:.2f} s "
            f"({history.stopped})",
        ),
    ]
    last = history.epochs[-1] if history.epochs else None
    if last is not None and last.train_loss is not None:
        lines.append(("  training loss", f"{last.train_loss:.4f}"))
    elif last is not None and rec.model.scores == "rating":
        lines.append(("  training RMSE", f"{last.train_rmse:.4f}"))
    return lines


def _solver(facts: "Facts") -> str:
    """The settings that are not at their defaults; all of them where no solver can be made of them."""
    from dotbias.errors import SettingError
    from dotbias.solvers.registry import solver_from_plain

    try:
        return solver_from_plain(facts.solver).brief()
    except SettingError:
        return facts.solver_text or "-"


def _chosen(choice: "Chosen") -> str:
    return (
        f"as the best within {choice.budget:g} s on the reference machine, {choice.seconds:.1f} s "
        f"expected. {choice.reason}"
    )


def update(
    model: o.ModelArgument,
    ratings: o.RatingsArgument = None,
    *,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Where to save the model that knows them."),
        WritesModel,
    ],
    features: FeatureFiles,
    reading: WithoutScale,
    as_json: o.JsonOption = False,
) -> None:
    """Add new ratings to a model, with their users and items, without fitting it again.

    A pair that was rated before takes its new rating; one that was counted before adds up. To a model
    that was fitted to features, users and items without ratings join by what theirs say.

    Examples: [bold]dotbias update movies.dotbias new.csv -o grown.dotbias[/bold],
    [bold]dotbias update movies.dotbias --item-features movies.csv -o grown.dotbias[/bold]
    """
    from dotbias.data.prepared.manifest import is_prepared
    from dotbias.plain import to_plain
    from dotbias.recommender.recommender import Recommender

    if features.item_features == NONE:
        raise typer.BadParameter(
            "--item-features none: to join without what titles say, --titles none"
        )
    rec = Recommender.load(model)
    if ratings is None or not is_prepared(ratings):  # of which the scale is known
        reading = replace(reading, scale=rec.scale)
    new = None
    if reading.are_named(ratings) or not features.typed:
        new = reading.read(ratings, rec, joining=True)
    grown = rec.partial_fit(new, **features.read(all_columns=True))
    grown.save(output)
    joined = grown.facts.partial_fits[-1]
    if as_json:
        show.data({"model": str(output), **to_plain(joined)})
        return
    again = "added to earlier ones" if rec.facts.kind == "counts" else "in place of earlier ones"
    show.say(
        f"Saved {output}: {joined.n_ratings:,} {rec.facts.kind} joined ({joined.n_replaced:,} {again}), "
        f"{joined.n_new_users:,} new users, {joined.n_new_items:,} new items."
    )


def _titles_known(told: dict[str, Any]) -> str:
    if not told["titles"]:
        return "without titles"
    return (
        "with titles"
        if told["n_titles"] == told["n_items"]
        else f"{told['n_titles']:,} with titles"
    )
