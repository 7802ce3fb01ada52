"""Commands that look into a fitted model: curvature, components, map, explain."""

import shlex
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dotbias.cli import laboratory as lab
from dotbias.cli import options as o
from dotbias.cli import planning, show, using
from dotbias.cli.groups import add
from dotbias.cli.reading import RatedColumns, WithoutTitles
from dotbias.cli.solving import Solving
from dotbias.cli.writing import (
    Files,
    PictureOption,
    Writes,
    WritesMap,
    WritesPictures,
    save_picture,
)

if TYPE_CHECKING:
    import polars as pl

    from dotbias.models.base import Scores

_LOOKING = "Looking"
_BAR = 7  # letters to each side
# Of the fit whose curvature is looked at, unless told otherwise: less than a minute's work.
_ROWS, _FACTORS = 20_000, 8

SliceOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--slice",
        help="Draw the loss on the plane of the two steepest directions in this file: .png or .html "
        "(repeatable).",
        metavar="FILE",
        rich_help_panel="Pictures",
    ),
    WritesPictures,
]


class Export(StrEnum):
    """The tools that a map can be written for; Typer repeats no option of a ``Literal``."""

    PROJECTOR = "projector"
    PARQUET = "parquet"


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    add(app, curvature, components)
    add(app, embedding_map, name="map")
    add(app, explain)


def curvature(
    ratings: o.RatingsArgument = None,
    saved: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="A model that `dotbias fit` saved and that knows all these users and items, instead of "
            "a fit.",
            metavar="MODEL",
        ),
    ] = None,
    *,
    solving: Annotated[Solving, lab.descent_options("rule", "lr", "batch")],
    eigenvalues: Annotated[
        int, typer.Option(min=2, help="How many at each end.", rich_help_panel=_LOOKING)
    ] = 3,
    steps: Annotated[
        int,
        typer.Option(min=1, help="Lanczos steps of the spectrum.", rich_help_panel=_LOOKING),
    ] = 40,
    rates: Annotated[
        bool,
        typer.Option(
            "--rates/--no-rates",
            help="Ask the finder, and find out where full-batch descent diverges.",
            rich_help_panel=_LOOKING,
        ),
    ] = True,
    rows: Annotated[
        int | None,
        typer.Option(
            min=100,
            help="Look at so many ratings at most, drawn at random.",
            show_default="20,000; all with --from",
            rich_help_panel=_LOOKING,
        ),
    ] = None,
    seed: o.SeedOption = 0,
    picture: PictureOption = None,
    slices: SliceOption = None,
    reading: WithoutTitles,
    as_json: o.JsonOption = False,
    as_csv: o.CsvOption = False,
) -> None:
    """Show the curvature of the loss where a fit ends: eigenvalues of its Hessian, and stable rates.

    Fits first, to a sample of the ratings and with 8 factors unless told otherwise: that takes less than
    a minute, and with --factors 64 --rows 1000000 a quarter of an hour and more. Needs the extra torch.

    Example: [bold]dotbias curvature ratings.csv --factors 16 --picture spectrum.png[/bold]
    """
    show.one_format(as_json, as_csv)
    import numpy as np

    from dotbias.errors import SettingError
    from dotbias.fitting.fit import fit
    from dotbias.insight.curvature import curvature as measure
    from dotbias.models.torch_extra import require_torch
    from dotbias.recommender.recommender import Recommender

    require_torch()
    if saved is None:
        rows = rows or _ROWS
        solving = replace(solving, factors=solving.factors or _FACTORS)
    rec = None
    if saved is not None:
        for option in solving.given():
            if option.name not in ("weight_decay", "threads"):
                raise SettingError(
                    f"{option.typed} says how to fit, but --from {saved} is fitted already"
                )
        rec = Recommender.load(saved)
    model = planning.make_model(solving) if rec is None else rec.model
    # A saved model says itself how it was shrunk, unless told otherwise.
    known = rec is not None and not solving.weight_decay
    solver = None if known else planning.descent(model, solving)
    whole = reading.read(ratings)
    table = whole
    if rows is not None and rows < len(whole):
        drawn = np.random.default_rng(seed).choice(len(whole), rows, replace=False)
        table = whole.take(np.sort(drawn))
    if rec is None:
        assert solver is not None
        solver = planning.find_rate(solving, model, solver, table, seed)
        rec = fit(table, model, solver, seed=seed, progress=not show.quiet())
        if rec.interrupted:
            raise KeyboardInterrupt  # the curvature is that of where a fit ends
    found = measure(
        rec,
        table,
        solver,
        n_eigenvalues=eigenvalues,
        n_steps=steps,
        find_rates=rates,
        seed=seed,
        progress=not show.quiet(),
    )
    for path in picture or []:
        save_picture(found.picture(), path)
    for path in slices or []:
        save_picture(found.surface(), path)
    sample = f"a sample of {len(table):,} of {len(whole):,}" if table is not whole else "all"
    if as_json:
        show.data(found.to_dict())
    else:
        title = (
            f"Curvature of {found.model}, {found.n_parameters:,} parameters, on {sample} ratings"
        )
        show.frame(found.frame(), title, as_csv=as_csv)
    if table is not whole:
        show.say(f"On {sample} ratings: --rows takes more, and --factors makes a larger model.")
    if not found.is_minimum:
        show.say(found.verdict)


def components(
    model: o.ModelArgument,
    n: Annotated[int, typer.Option("-n", min=1, help="How many components.")] = 3,
    k: Annotated[int, typer.Option("-k", min=1, help="How many items at each end.")] = 5,
    by: o.CompareBy = None,
    most_rated: Annotated[
        int, typer.Option(min=2, help="Look at so many items, the most rated first.")
    ] = 1000,
    as_json: o.JsonOption = False,
    as_csv: o.CsvOption = False,
) -> None:
    """Show along which directions the items' embeddings differ most: principal components.

    At the two ends of each stand the items that are most unlike in it.

    Example: [bold]dotbias components movies.dotbias -n 2[/bold]
    """
    show.one_format(as_json, as_csv)
    from dotbias.insight.components import principal_components
    from dotbias.recommender.recommender import Recommender

    rec = Recommender.load(model)
    found = principal_components(rec, n, k=k, by=by, most_rated=most_rated)
    if as_json or as_csv:
        show.frame(found.frame(), "", as_json=as_json, as_csv=as_csv)
        return
    for heading, ends in found.side_by_side():
        show.frame(ends, heading)


def _exported(model: Path, output: list[Path] | None) -> tuple[Path, Path]:
    """Where the exports of a map belong: a folder, and a Parquet file."""
    base = output[0].with_suffix("") if output else Path(f"{model.stem}-map")
    return base.with_name(f"{base.name}-projector"), base.with_name(f"{base.name}.parquet")


def _exported_files(given: dict[str, Any], _: list[Path]) -> Files:
    from dotbias.insight.exports import MAP_TABLE, projector_files

    folder, parquet = _exported(given["model"], given["output"])
    wanted = given["export"] or []
    return [
        *(projector_files(folder) if Export.PROJECTOR in wanted else []),
        *([(parquet, MAP_TABLE)] if Export.PARQUET in wanted else []),
    ]


def embedding_map(
    model: o.ModelArgument,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "-o",
            "--output",
            help="Draw the map in this file: .html for one page to look around in, which works offline, "
            "or .png (repeatable).",
            metavar="FILE",
        ),
        WritesMap,
    ] = None,
    of: Annotated[Literal["items", "users"], typer.Option(help="What to place.")] = "items",
    by: o.CompareBy = None,
    method: Annotated[
        Literal["t-sne", "pca", "umap"],
        typer.Option(help="How to place it; umap needs the extra of its name."),
    ] = "t-sne",
    perplexity: Annotated[
        float | None,
        typer.Option(
            help="How many neighbours a point looks at.",
            show_default="30; 1 % of the points where that is more, up to 100",
        ),
    ] = None,
    min_ratings: Annotated[
        int,
        typer.Option(min=0, help="Leave out items or users with fewer training ratings."),
    ] = 5,
    max_points: Annotated[
        int, typer.Option(min=5, help="Of more, place those with the most ratings.")
    ] = 30_000,
    seed: o.SeedOption = 0,
    threads: o.Threads = None,
    dark: Annotated[
        bool,
        typer.Option("--dark", help="A .png on a dark ground; the page follows its reader."),
    ] = False,
    export: Annotated[
        list[Export] | None,
        typer.Option(
            help="Also write it for another tool: a folder for TensorBoard's projector, or a Parquet "
            "file for embedding-atlas (repeatable).",
        ),
        Writes(_exported_files),
    ] = None,
    as_json: o.JsonOption = False,
) -> None:
    """Draw the map of the embedding: what is near what. Needs the extra map.

    Example: [bold]dotbias map movies.dotbias -o map.html[/bold]

    Example: [bold]dotbias map movies.dotbias -o map.png --of users --method pca[/bold]
    """
    from dotbias.insight.maps import embedding_map as draw
    from dotbias.recommender.recommender import Recommender

    if not (output or export):
        raise typer.BadParameter("name a file with -o map.html, or an --export")
    folder, parquet = _exported(model, output)
    placed = draw(
        Recommender.load(model),
        of,
        by=by,
        method=method,
        perplexity=perplexity,
        min_ratings=min_ratings,
        max_points=max_points,
        seed=seed,
        n_threads=threads,
        progress=not show.quiet(),
    )
    files = list(output or [])
    if output:
        picture = placed.picture(theme="dark" if dark else "light")
        for path in output:
            save_picture(picture, path)
    if Export.PROJECTOR in (export or []):
        files.append(placed.export_projector(folder))
        written = shlex.quote(str(files[-1]))
        show.say(f"Wrote {files[-1]}: open it with tensorboard --logdir {written}")
    if Export.PARQUET in (export or []):
        files.append(placed.export_parquet(parquet))
        written = shlex.quote(str(files[-1]))
        show.say(
            f"Wrote {files[-1]}: open it with embedding-atlas {written} --x projection_x "
            f"--y projection_y --neighbors neighbors{' --text title' if of == 'items' else ''}"
        )
    if as_json:
        show.data(
            {
                "files": [str(path) for path in files],
                "n_points": placed.table.height,
                "method": placed.method,
                "settings": placed.settings,
                "trustworthiness": placed.quality.trustworthiness,
                "preservation": placed.quality.preservation,
                "k": placed.quality.k,
                "warning": placed.warning,
            }
        )
        return
    show.text(str(placed))


def explain(
    model: o.ModelArgument,
    item: Annotated[str, typer.Option(help="Id or title of the item.")],
    user: Annotated[str | None, typer.Option(help="Id of the user.")] = None,
    for_ratings: o.ForRatings = None,
    not_interested: o.NotInterested = None,
    of: Annotated[
        Literal["preference", "rating"] | None,
        typer.Option(
            help="preference (why it is where it is on the list), or rating (why so many stars).",
            show_default="both, as far as the model knows them",
        ),
    ] = None,
    k: Annotated[
        int, typer.Option("-k", min=1, help="How many of the user's ratings to list.")
    ] = 10,
    strict: o.StrictOption = False,
    picture: PictureOption = None,
    *,
    reading: RatedColumns,
    as_json: o.JsonOption = False,
    as_csv: o.CsvOption = False,
) -> None:
    """Explain a prediction and a place on the list: how much each rating of the user adds or takes.

    The parts add up to the prediction, or to the preference. --json and --csv list all of them; a
    picture shows the preference where there is one.

    Examples: [bold]dotbias explain movies.dotbias --user 42 --item "Toy Story (1995)"[/bold],
    [bold]dotbias explain movies.dotbias --for-ratings my.csv --item 1 --picture why.png[/bold]
    """
    import polars as pl

    from dotbias.recommender.recommender import Recommender

    if (user is None) == (for_ratings is None):
        raise typer.BadParameter("give one of --user and --for-ratings")
    using.check_not_interested(not_interested, for_ratings)
    show.one_format(as_json, as_csv)
    rec = Recommender.load(model)
    known: list[Scores] = [s for s in ("preference", "rating") if rec.has(s)]
    if for_ratings is not None:
        folded = using.folded_user(rec, for_ratings, reading, not_interested, strict=strict)
        answers = partial(folded.explain, item)
    else:
        assert user is not None
        answers = partial(rec.explain, user, item)
    found = [answers(of=scores, strict=strict) for scores in ([of] if of else known)]
    for path in picture or []:
        save_picture(found[0].picture(k), path)
    if as_json:
        *others, last = (one.to_dict() for one in found)
        show.data(last | {other["of"]: other for other in others})
    elif as_csv:
        frames = [one.frame() for one in found]
        if len(found) > 1:
            named = zip(frames, found, strict=True)
            frames = [frame.with_columns(of=pl.lit(one.of)) for frame, one in named]
        show.frame(pl.concat(frames), "", as_csv=True)
    else:
        for one in found:
            show.frame(with_bars(one.shown(k), from_first=one.of == "rating"), one.heading)
            show.text(one.sentence)


def with_bars(parts: "pl.DataFrame", *, from_first: bool = True) -> "pl.DataFrame":
    """Contributions with their signs, and on a terminal bars to both sides of a line.

    The global mean, from which the others set out, has no bar: it is the first row, if there is one.
    """
    import polars as pl

    values = parts["contribution"].to_list()
    table = parts.with_columns(
        *(
            pl.Series(name, [None if n is None else f"{n:g}" for n in parts[name]], pl.String)
            for name in parts.columns[1:-1]
        ),
        contribution=pl.Series([f"{value:+.3f}" for value in values]),
    )
    if not show.console().is_terminal:
        return table
    without = [None] * from_first
    values = values[from_first:]
    longest = max(map(abs, values), default=0) or 1
    bars = []
    for value in values:
        whole, half = divmod(round(2 * _BAR * abs(value) / longest), 2)
        left, right = ("", "█" * whole + "▌" * half)
        if value < 0:
            left, right = ("▐" * half + "█" * whole, "")
        bars.append(f"{left:>{_BAR}}│{right}")
    return table.with_columns(pl.Series(" ", [*without, *bars], dtype=pl.String))
