"""Commands that fit and judge models: fit, evaluate, cross-validate."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dotbias.cli import hints, planning, show
from dotbias.cli import options as o
from dotbias.cli.checkpoints import Checkpointing
from dotbias.cli.features import FeatureFiles
from dotbias.cli.groups import add
from dotbias.cli.ranking import Ranking
from dotbias.cli.reading import Reading, WithoutTitles, WithScale, summary, without_panics
from dotbias.cli.solving import Solving
from dotbias.cli.writing import WritesModel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dotbias.data.prepared.prepared import PreparedRatings
    from dotbias.data.ratings import Ratings
    from dotbias.evaluation.evaluate import Evaluation
    from dotbias.fitting.fit import Purpose
    from dotbias.models.base import Model
    from dotbias.recommender.recommender import Recommender
    from dotbias.solvers.base import Solver
    from dotbias.solvers.gibbs.convergence import Convergence

ShowGroups = Annotated[
    bool,
    typer.Option(
        "--groups", help="Print the table of parameter groups first.", rich_help_panel="Output"
    ),
]


ConvergenceFlag = Annotated[
    bool,
    typer.Option(
        "--convergence",
        help="gibbs: also run two chains, and print R-hat and effective sample sizes.",
        rich_help_panel="Output",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    add(app, fit, evaluate, cross_validate)


def fit(
    context: typer.Context,
    ratings: o.RatingsArgument = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Save the model in this file."),
        WritesModel,
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Save factors in half precision: half of their bytes.")
    ] = False,
    test_size: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=0.9,
            help="Share of ratings held out to measure the error on; of prepared ratings it is settled.",
            show_default="0.2",
        ),
    ] = None,
    new_users: o.NewUsers = 0,
    refit: Annotated[
        bool,
        typer.Option(help="After measuring, fit the saved model on all ratings."),
    ] = True,
    seed: o.SeedOption = 0,
    split_seed: o.SplitSeedOption = None,
    memory: o.MemoryOption = None,
    *,
    solving: Solving,
    ranking: Ranking,
    features: FeatureFiles,
    show_groups: ShowGroups = False,
    chains: ConvergenceFlag = False,
    checkpointing: Checkpointing,
    reading: Reading,
    as_json: o.JsonOption = False,
) -> None:
    """Read ratings, fit a model, report its held-out error, and save it.

    A share of the ratings is held out, the model fitted on the rest and measured on what it has not
    seen. Then the saved model is fitted on all ratings, with the same settings (unless --no-refit).

    Unless told otherwise, two models are fitted into one file: one that says how many stars, by the most
    accurate solver that is expected to end in time (--budget), and one that says what people choose, by
    which `recommend` ranks. Of data without ratings it is the second alone. What is chosen follows from
    the data, the budget and the seed alone.

    A long fit that may be killed leaves checkpoints (--checkpoint); the same command with --resume goes
    on from them, and ends in the same model as one without a break.

    Examples: [bold]dotbias fit ml-latest-small.zip -o movies.dotbias[/bold],
    [bold]dotbias fit ratings.csv --solver gibbs --samples 400 -o movies.dotbias[/bold],
    [bold]dotbias fit ratings.csv --item-features movies.csv -o movies.dotbias[/bold],
    [bold]dotbias fit ratings.csv -o movies.dotbias --checkpoint movies.run --resume[/bold],
    [bold]dotbias fit s3://bucket/ratings.blocks -o movies.dotbias --cluster auto --workers 16[/bold],
    [bold]dotbias fit --database shop.db --table orders -o shop.dotbias[/bold]
    """
    from dotbias.compiled import is_new_here
    from dotbias.evaluation.evaluate import HeldOut
    from dotbias.evaluation.evaluate import evaluate as measure
    from dotbias.fitting.fit import fit as fit_model
    from dotbias.fitting.preference import choose_preference
    from dotbias.plain import to_plain
    from dotbias.recommender.file import in_half
    from dotbias.solvers.descent.gradient import GradientDescent

    started = time.perf_counter()
    if test_size == 0 and output is None:
        raise typer.BadParameter("nothing to do: give --output, or a --test-size above 0")
    if half and output is None:
        raise typer.BadParameter("--half is of the file of a model: give --output")
    if test_size == 0 and new_users:
        raise typer.BadParameter("--new-users needs a --test-size above 0")
    also = features.typed
    if show_groups:
        also["--groups"] = ("sgd",)
    if chains:
        also["--convergence"] = ("gibbs",)
    plan = planning.plan(solving, also)
    kept = checkpointing.checkpoints()
    table = _prepared_first(
        reading, ratings, output, memory, solving.n_workers, test_size, seed, split_seed
    )
    if table is None:
        table = reading.read(ratings, memory=memory)
    table = features.of(table)
    parts = Parts.of(table, test_size, seed if split_seed is None else split_seed, new_users)
    table, train, test = parts.whole, parts.train, parts.test
    show.say(summary(table))
    purpose = ranking.purpose_for(table, plan)
    report, rec, interrupted = None, None, False
    plan = _planned(plan, solving, table, purpose, also=also)
    plan.say(table)
    if plan.choice is not None and is_new_here():
        show.say("The first fit on a machine compiles before it begins: about a minute, once.")
    model, solver = plan.model, plan.solver
    if solver is not None and model is not None:
        if isinstance(solver, GradientDescent):
            solver = planning.find_rate(solving, model, solver, train, seed)
        # Settled once, so that what is saved has the settings that were measured.
        solver = solver.settled(model, train)
    unprinted: list[OSError] = []
    if show_groups and model is not None:
        with show.before_saving(unprinted):
            _show_groups(model, solver, train)
    how: dict[str, Any] = {"purpose": purpose, "seed": seed, "progress": not show.quiet()}
    # Before anything is fitted or printed: it refuses chains that are too short.
    told = _convergence(solver, train, seed) if chains else None
    how["preference"] = ranking.solver()
    measured, saved = (None if kept is None else kept.within(n) for n in ("measured", "saved"))
    if purpose != "predict" and not plan.ranks and ranking.list_decay is None:
        # Once, so that what is saved has the settings that were measured.
        how["preference"] = choose_preference(
            train,
            how["preference"],
            budget=planning.budget(solving),
            seed=seed,
            n_threads=solving.threads,
            progress=not show.quiet(),
            checkpoints=kept,
        )
    if test is not None:
        rec = fit_model(train, model, solver, checkpoint=measured, **how)
        if half:  # what is measured is what its file will say
            rec = in_half(rec)
        try:
            report = measure(rec, test, new_users="fold" if new_users else "cold")
        except KeyboardInterrupt:
            show.say("Interrupted: the error is not measured.")
            interrupted = True
        if report is not None and not as_json:
            with show.before_saving(unprinted):
                show.console().print(
                    f"Held out: {parts.n_held:,} of {len(table):,} {table.kind}, seed {parts.seed}."
                )
                show.text(str(report))
        if report is not None and isinstance(solver, GradientDescent):
            _say_if_above_biases(context, rec, report)
    if told is not None and not as_json:
        with show.before_saving(unprinted):
            show.text(str(told))
    if output is not None:
        if rec is None:
            rec = fit_model(table, model, solver, checkpoint=saved, **how)
        elif refit and not (interrupted or rec.interrupted):
            again = None
            show.say(f"Fitting what is saved, on all {len(table):,} {table.kind}.")
            with suppress(KeyboardInterrupt):
                again = fit_model(table, model, solver, checkpoint=saved, **how)
            if again is None or again.interrupted:  # whose error nobody has measured
                what = f"fitted on {len(train):,} {table.kind}"
                show.say(f"Dropped: saved is what was measured, {what}.")
                interrupted = True
            else:
                rec = again
        choice = None if plan.choice is None else plan.choice.record
        held_out = None
        if report is not None:
            held_out = to_plain(
                HeldOut(
                    **vars(report),
                    test_size=parts.size,
                    split_seed=parts.seed,
                    refit_on_all=rec.rated.nnz == len(table),
                    new_users_size=new_users,
                )
            )
        rec = replace(rec, facts=replace(rec.facts, choice=choice, held_out=held_out))
        rec.save(output, half=half)
        show.say(
            f"Saved {output} ({output.stat().st_size / 1e6:.1f} MB), fitted on "
            f"{rec.rated.nnz:,} {table.kind} in {rec.facts.history.seconds:.2f} s, "
            f"{time.perf_counter() - started:.1f} s in all. Next: "
            + hints.command("recommend", output, "--user", rec.user_vocabulary.raw(0))
        )
        show.say("Or a page to rate on: " + hints.command("serve", output))
        features.say_what_waits(output, rec)
    else:
        show.say("Not saved: give -o FILE to keep the model.")
    if as_json and rec is not None:
        history = rec.facts.history
        show.data(
            {
                "held_out": None if report is None else report.to_dict(),
                "output": None if output is None else str(output),
                "choice": None if plan.choice is None else plan.choice.summary(),
                "convergence": None if told is None else told.to_dict(),
                "seconds": history.seconds,
                "epochs": len(history.epochs),
                "stopped": history.stopped,
            }
        )
    interrupted = interrupted or (rec is not None and rec.interrupted)
    if kept is not None and not interrupted:
        kept.remove()
    for error in unprinted:
        raise error
    if interrupted:
        if kept is not None:
            more = [] if checkpointing.resume else ["--resume"]
            show.say("To go on: " + hints.same_with(context, "fit", *more))
        raise KeyboardInterrupt  # what there is is saved and told


# What ratings take in memory while they are read and fitted, for each byte of a file of text, or of one
# whose columns are packed: some hundred bytes a rating.
_TEXT, _PACKED = 4, 12
_TEXTS = (".csv", ".tsv", ".dat", ".data", ".txt", ".json", ".jsonl", ".ndjson")


def _prepared_first(
    reading: Reading,
    ratings: str | None,
    output: Path | None,
    memory: str | None,
    n_workers: int,
    test_size: float | None,
    seed: int,
    split_seed: int | None,
) -> "Ratings | None":
    """Ratings that would take more memory than they may, prepared beside the output, for as many workers
    as are to share the fit; None of others.

    Raises:
        BadParameter: where there is no output.
    """
    from dotbias.data.prepared.manifest import is_prepared
    from dotbias.data.split import TEST_SIZE
    from dotbias.memory import allowed, in_units

    if reading.database is not None or reading.table is not None:  # which are no files of rows
        return None
    # Of a name that is none, the reader says so.
    if ratings is None or not os.path.exists(ratings) or is_prepared(ratings):  # noqa: PTH110
        return None
    source = Path(ratings)
    files = [path for path in source.rglob("*") if path.is_file()] if source.is_dir() else [source]
    needed = sum(
        path.stat().st_size * (_TEXT if path.suffix.lower() in _TEXTS else _PACKED)
        for path in files
    )
    most = allowed(memory)
    if needed <= most:
        return None
    said = f"{ratings} may take {in_units(needed)} of memory, of which there are {in_units(most)}"
    if output is None:
        command = hints.command("prepare", ratings, "-o", f"{source.stem}.blocks")
        raise typer.BadParameter(f"{said}: give --output, or first {command}")
    from dotbias.data.prepared.prepare import prepare

    folder = output.with_suffix(".blocks")
    show.say(f"{said}: prepared in {folder}, from where they are read block by block.")
    with without_panics():
        prepared = prepare(
            ratings,
            folder,
            memory=memory,
            n_workers=n_workers,
            test_size=TEST_SIZE if test_size is None else test_size,
            seed=seed if split_seed is None else split_seed,
            progress=not show.quiet(),
            **reading.options(),
        )
    return prepared.whole


@dataclass(frozen=True)
class Parts:
    """What a model is fitted to, and what it is measured on.

    Args:
        whole, train, test: all ratings, those for training, and what holds those that are held out.
        size: which share of them was asked for.
        seed: which share.
    """

    whole: "Ratings"
    train: "Ratings"
    test: "Ratings | PreparedRatings | None"
    size: float
    seed: int

    @property
    def n_held(self) -> int:
        """How many ratings are held out."""
        return len(self.whole) - len(self.train)

    @classmethod
    def of(cls, table: "Ratings", size: float | None, seed: int, new_users: float | int) -> "Parts":
        """A table in two parts; of one on disk those that it was prepared in.

        Raises:
            BadParameter: for another share of a table on disk.
        """
        from dotbias.data.prepared.prepared import PreparedPart
        from dotbias.data.split import TEST_SIZE

        if isinstance(table, PreparedPart):
            prepared, settled = table.of, table.of.manifest
            if new_users or size not in (None, 0, settled.test_size):
                option = "--new-users" if new_users else f"--test-size {size:g}"
                raise typer.BadParameter(
                    f"{option}: what is held out was settled when these ratings were prepared, "
                    f"{settled.test_size:g} of the rows; prepare them anew for another share"
                )
            whole, train = prepared.whole, prepared.training
            if size == 0 or len(whole) == len(train):
                return cls(whole, whole, None, 0, settled.seed)
            return cls(whole, train, prepared, settled.test_size, settled.seed)
        size = TEST_SIZE if size is None else size
        if size > 0 and round(size * len(table)) in (0, len(table)):
            show.say(
                f"Too few {table.kind} to hold out a share of {size:g}: the error is not measured."
            )
            size = 0
        if size == 0:
            return cls(table, table, None, 0, seed)
        return cls(table, *table.split(size, seed=seed, new_users=new_users), size, seed)


def evaluate(
    model: o.ModelArgument,
    ratings: Annotated[
        str | None,
        typer.Argument(
            metavar="RATINGS",
            help="Held-out ratings; those used in fitting are left out. Without, the figures that "
            "`fit` measured and stored.",
        ),
    ] = None,
    k: o.ListLengths = None,
    relevant_from: o.RelevantFrom = None,
    new_users: Annotated[
        bool,
        typer.Option(
            "--new-users",
            help="Fold users whom the model does not know in from a part of their rows, and measure "
            "them on the others.",
        ),
    ] = False,
    fold_share: o.FoldShare = 0.8,
    *,
    reading: WithoutTitles,
    as_json: o.JsonOption = False,
) -> None:
    """Measure a model on ratings that it has not seen.

    Lists are measured beside those of the most rated items, with every held-out item as relevant, and
    with those that the user liked.

    Examples: [bold]dotbias evaluate movies.dotbias held-out.csv -k 5 -k 20[/bold],
    [bold]dotbias evaluate movies.dotbias held-out.csv --new-users[/bold]
    """
    from dotbias.errors import DataError
    from dotbias.evaluation.evaluate import Evaluation, HeldOut
    from dotbias.evaluation.evaluate import evaluate as measure
    from dotbias.recommender.recommender import Recommender

    rec = Recommender.load(model)
    if not reading.are_named(ratings):
        stored = HeldOut.of(rec)
        if stored is None:
            raise DataError(f"{model} was fitted without held-out ratings: name some to measure on")
        besides = f" and {stored.new_users_size:g} of the users" if stored.new_users_size else ""
        show.say(
            f"Measured by `dotbias fit` on the share {stored.test_size:g}{besides} held out with seed "
            f"{stored.split_seed}."
        )
        report: Evaluation = stored
    else:
        report = measure(
            rec,
            reading.read(ratings, rec),
            k=k or 10,
            relevant_from=relevant_from,
            new_users="fold" if new_users else "cold",
            fold_share=fold_share,
        )
    if as_json:
        show.data(report.to_dict())
    else:
        show.text(str(report))


def cross_validate(
    ratings: o.RatingsArgument = None,
    folds: Annotated[
        str,
        typer.Option(
            help="Number of folds; or folds that are given, as pairs of files of RATINGS (a folder, an "
            "archive or a set).",
            metavar="NUMBER|TRAIN:TEST,...",
        ),
    ] = "5",
    seed: o.SeedOption = 0,
    split_seed: o.SplitSeedOption = None,
    lists: Annotated[
        bool, typer.Option("--lists/--no-lists", help="Measure recommendations too.")
    ] = True,
    k: o.ListLengths = None,
    relevant_from: o.RelevantFrom = None,
    new_users: o.NewUsers = 0,
    fold_share: o.FoldShare = 0.8,
    *,
    solving: Solving,
    ranking: Ranking,
    features: FeatureFiles,
    reading: WithScale,
    as_json: o.JsonOption = False,
    as_csv: o.CsvOption = False,
) -> None:
    """Fit and measure on each of several folds; report mean and spread.

    Examples: [bold]dotbias cross-validate ratings.csv --folds 5[/bold],
    [bold]dotbias cross-validate ml-100k --folds u1.base:u1.test,u2.base:u2.test[/bold]
    """
    from dotbias.errors import SettingError
    from dotbias.evaluation.cross_validation import cross_validate as run

    if solving.finds_rate:
        raise SettingError("--lr auto: cross-validate needs a rate; `dotbias lr-find` suggests one")
    show.one_format(as_json, as_csv)
    plan = planning.plan(solving, features.typed)
    number, given = _folds(folds, ratings, reading)
    given = [(features.of(train), test) for train, test in given]
    table = given[0][0] if given else features.of(reading.read(ratings))
    show.say(summary(table))
    purpose = ranking.purpose_for(table, plan)
    plan = _planned(plan, solving, table, purpose, also=features.typed)
    plan.say(table)
    result = run(
        given or table,
        plan.model,
        plan.solver,
        purpose=purpose,
        preference=ranking.solver(),
        n_folds=number,
        seed=seed,
        split_seed=split_seed,
        k=k or 10,
        relevant_from=relevant_from,
        ranking=lists,
        new_users=new_users,
        fold_share=fold_share,
        progress=not show.quiet(),
    )
    if as_json:
        show.data(result.to_dict())
    elif as_csv:
        show.frame(result.frame(), "", as_csv=True)
    else:
        show.text(str(result))


def _folds(
    text: str, source: str | None, reading: Reading
) -> "tuple[int, list[tuple[Ratings, Ratings]]]":
    """The number of folds, or the folds that are given as pairs of files of a source."""
    from dotbias.errors import SettingError

    if text.isdecimal():
        if int(text) < 2:
            raise SettingError(f"--folds {text}: there must be at least 2")
        return int(text), []
    pairs = [tuple(part.strip() for part in pair.split(":")) for pair in text.split(",")]
    if len(pairs) < 2 or not all(len(pair) == 2 and all(pair) for pair in pairs):
        raise SettingError(
            f"--folds {text}: write a number, or two pairs of files or more, such as "
            "u1.base:u1.test,u2.base:u2.test"
        )
    if source is None:
        raise SettingError(
            f"--folds {text}: name the folder, the archive or the set that holds them"
        )
    parts = []
    for of_train, of_test in pairs:
        train = reading.read(f"{source}/{of_train}")
        # A few ratings that are all the same would be taken for events.
        alike = reading if reading.kind is not None else replace(reading, kind=train.kind)
        parts.append((train, alike.read(f"{source}/{of_test}")))
    return len(pairs), parts


def _planned(
    plan: planning.Plan | None,
    solving: Solving,
    table: "Ratings",
    purpose: "Purpose",
    *,
    also: "Iterable[str]" = (),
) -> planning.Plan:
    """What is to be fitted, now that the data are there; ``also`` are further options for ratings."""
    from dotbias.errors import SettingError

    if purpose != "recommend" or (plan is not None and plan.ranks):
        return plan or planning.choose(solving, table)
    for option in (*solving.named(), *(given.typed for given in solving.given()), *also):
        why = "--for recommend fits none" if table.kind == "ratings" else f"these are {table.kind}"
        raise SettingError(f"{option} is for a model of ratings, and {why}: leave it out")
    return planning.Plan(None, None)


def _say_if_above_biases(context: typer.Context, rec: "Recommender", report: "Evaluation") -> None:
    """What to try where gradient descent is worse than biases alone on what was held out; where it is so
    on its own rows, the fit has said it.
    """
    rmse, biases = report.rmse, report.baseline_rmse
    if rmse is None or biases is None or rmse <= biases or rec.history.above_biases:
        return
    show.say(
        f"Worse than biases alone on what was held out ({rmse:.4f} against {biases:.4f}), though not on "
        "its training rows: it has learned them by heart. Try a lower rate (`"
        f"{hints.same_with(context, 'lr-find')}` looks for one), --early-stopping 0.1, or more "
        "--weight-decay."
    )


def _convergence(solver: "Solver | None", train: "Ratings", seed: int) -> "Convergence":
    from dotbias.solvers.gibbs.convergence import convergence
    from dotbias.solvers.gibbs.gibbs import Gibbs

    assert isinstance(solver, Gibbs)  # the option is meant for it alone
    return convergence(solver, train, seed=seed, progress=not show.quiet())


def _show_groups(model: "Model", solver: "Solver | None", train: "Ratings") -> None:
    from dotbias.solvers.descent.gradient import GradientDescent

    if isinstance(solver, GradientDescent):
        show.frame(solver.groups(model, train), "Parameter groups")
