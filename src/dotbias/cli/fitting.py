"""Commands that fit and judge models: fit, evaluate, cross-validate."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dotbias.cli import options as o
from dotbias.cli import show

if TYPE_CHECKING:
    from dotbias.data.ratings import Ratings
    from dotbias.models.base import Model
    from dotbias.recommender import Recommender
    from dotbias.solvers.base import Solver

_MODEL = "Model and solver"

ModelName = Annotated[
    str,
    typer.Option("--model", help="dot-bias, or baseline (biases only).", rich_help_panel=_MODEL),
]
Factors = Annotated[
    int | None,
    typer.Option("--factors", min=1, help="Length of each embedding.", rich_help_panel=_MODEL),
]
OutputForm = Annotated[
    str | None,
    typer.Option("--form", help="linear, or sigmoid (stretched).", rich_help_panel=_MODEL),
]
RuleName = Annotated[
    str, typer.Option("--rule", help="Update rule: sgd or momentum.", rich_help_panel=_MODEL)
]
Lr = Annotated[float | None, typer.Option("--lr", help="Learning rate.", rich_help_panel=_MODEL)]
Epochs = Annotated[
    int | None, typer.Option("--epochs", help="Passes over the ratings.", rich_help_panel=_MODEL)
]
WeightDecay = Annotated[
    list[str] | None,
    typer.Option(
        "--weight-decay",
        help="A number for all groups, or GROUP=NUMBER (repeatable; groups: user_factors, "
        "item_factors, user_bias, item_bias).",
        metavar="DECAY",
        rich_help_panel=_MODEL,
    ),
]
ScheduleName = Annotated[
    str | None,
    typer.Option(
        "--schedule", help="Learning rate: linear (to zero) or constant.", rich_help_panel=_MODEL
    ),
]
EarlyStopping = Annotated[
    float | None,
    typer.Option(
        "--early-stopping",
        help="Share of the training rows to watch: stop when it no longer improves.",
        metavar="SHARE",
        rich_help_panel=_MODEL,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", help="Threads; the result is the same.", rich_help_panel=_MODEL),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(fit)
    app.command()(evaluate)
    app.command("cross-validate")(cross_validate)


def fit(
    ratings: o.RatingsArgument,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Save the model in this file.")
    ] = None,
    test_size: Annotated[
        float,
        typer.Option(min=0, max=0.9, help="Share of ratings held out to measure the error on."),
    ] = 0.2,
    refit: Annotated[
        bool,
        typer.Option(help="After measuring, fit the saved model on all ratings."),
    ] = True,
    seed: o.SeedOption = 0,
    model_name: ModelName = "dot-bias",
    factors: Factors = None,
    form: OutputForm = None,
    rule: RuleName = "sgd",
    lr: Lr = None,
    epochs: Epochs = None,
    weight_decay: WeightDecay = None,
    schedule: ScheduleName = None,
    early_stopping: EarlyStopping = None,
    threads: Threads = None,
    user_column: o.UserColumn = None,
    item_column: o.ItemColumn = None,
    rating_column: o.RatingColumn = None,
    time_column: o.TimeColumn = None,
    scale: o.ScaleOption = None,
    on_bad: o.OnBadOption = o.OnBad.ERROR,
    duplicates: o.DuplicatesOption = o.Duplicates.LAST,
    titles: o.TitlesOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """Read ratings, fit a model, report its held-out error, and save it.

    A share of the ratings is held out, the model fitted on the rest and measured on what it has not
    seen. Then the saved model is fitted on all ratings (unless --no-refit).

    Example: [bold]dotbias fit ml-latest-small.zip -o movies.dotbias[/bold]
    """
    from dotbias.errors import DataError
    from dotbias.evaluation.evaluate import evaluate as measure
    from dotbias.fitting import fit as fit_model

    if output is not None and not output.parent.is_dir():
        raise DataError(f"there is no folder {output.parent} to write {output.name} in")
    if test_size == 0 and output is None:
        raise typer.BadParameter("nothing to do: give --output, or a --test-size above 0")
    model = make_model(model_name, factors, form)
    solver = make_solver(model, rule, lr, epochs, weight_decay, schedule, early_stopping, threads)
    table = read(
        ratings,
        o.reading(
            user_column, item_column, rating_column, time_column, scale, on_bad, duplicates, titles
        ),
    )
    show.say(_summary(table))
    report, rec = None, None
    if test_size > 0 and round(test_size * len(table)) in (0, len(table)):
        show.say(
            f"Too few ratings to hold out a share of {test_size:g}: the error is not measured."
        )
        test_size = 0
    if test_size > 0:
        train, test = table.split(test_size, seed=seed)
        rec = fit_model(train, model, solver, seed=seed, progress=not show.quiet())
        report = measure(rec, test)
        if not as_json:
            show.console().print(f"Held out: {len(test):,} of {len(table):,} ratings, seed {seed}.")
            show.console().print(str(report), markup=False)
    if output is not None:
        if rec is None or (refit and not _interrupted(rec)):
            rec = fit_model(table, model, solver, seed=seed, progress=not show.quiet())
        if report is not None:
            rec.facts["held_out"] = {
                "test_size": test_size,
                "split_seed": seed,
                "refit_on_all": rec.rated.nnz == len(table),
                **report.to_dict(),
            }
        rec.save(output)
        show.say(
            f"Saved {output} ({output.stat().st_size / 1e6:.1f} MB), fitted on "
            f"{rec.rated.nnz:,} ratings in {rec.facts['history']['seconds']:.2f} s. Next: "
            f"dotbias recommend {output} --user {rec.user_vocabulary.raw(0)}"
        )
    else:
        show.say("Not saved: give -o FILE to keep the model.")
    if as_json and rec is not None:
        history = rec.facts["history"]
        show.data(
            {
                "held_out": None if report is None else report.to_dict(),
                "output": None if output is None else str(output),
                "seconds": history["seconds"],
                "epochs": len(history["epochs"]),
                "stopped": history["stopped"],
            }
        )


def evaluate(
    model: o.ModelArgument,
    ratings: Annotated[
        str | None,
        typer.Argument(
            metavar="[RATINGS]",
            help="Held-out ratings; those used in fitting are left out. Without, the figures that "
            "`fit` measured and stored.",
        ),
    ] = None,
    k: o.KOption = 10,
    relevant_from: Annotated[
        float | None,
        typer.Option(help="Rating from which an item counts as relevant in the ranking figures."),
    ] = None,
    user_column: o.UserColumn = None,
    item_column: o.ItemColumn = None,
    rating_column: o.RatingColumn = None,
    time_column: o.TimeColumn = None,
    scale: o.ScaleOption = None,
    on_bad: o.OnBadOption = o.OnBad.ERROR,
    duplicates: o.DuplicatesOption = o.Duplicates.LAST,
    as_json: o.JsonOption = False,
) -> None:
    """Measure a model on ratings that it has not seen.

    Example: [bold]dotbias evaluate movies.dotbias held-out.csv[/bold]
    """
    from dotbias.errors import DataError
    from dotbias.evaluation.evaluate import Evaluation
    from dotbias.evaluation.evaluate import evaluate as measure
    from dotbias.recommender import Recommender

    rec = Recommender.load(model)
    if ratings is None:
        stored = rec.facts.get("held_out")
        if stored is None:
            raise DataError(f"{model} was fitted without held-out ratings: name some to measure on")
        report = Evaluation.from_dict(stored)
        show.say(
            f"Measured by `dotbias fit` on the share {stored['test_size']:g} held out with seed "
            f"{stored['split_seed']}."
        )
    else:
        reading = o.reading(
            user_column, item_column, rating_column, time_column, scale, on_bad, duplicates, None
        )
        report = measure(rec, read(ratings, reading), k=k, relevant_from=relevant_from)
    if as_json:
        show.data(report.to_dict())
    else:
        show.console().print(str(report), markup=False)


def cross_validate(
    ratings: o.RatingsArgument,
    folds: Annotated[int, typer.Option(min=2, help="Number of folds.")] = 5,
    seed: o.SeedOption = 0,
    model_name: ModelName = "dot-bias",
    factors: Factors = None,
    form: OutputForm = None,
    rule: RuleName = "sgd",
    lr: Lr = None,
    epochs: Epochs = None,
    weight_decay: WeightDecay = None,
    schedule: ScheduleName = None,
    early_stopping: EarlyStopping = None,
    threads: Threads = None,
    user_column: o.UserColumn = None,
    item_column: o.ItemColumn = None,
    rating_column: o.RatingColumn = None,
    time_column: o.TimeColumn = None,
    scale: o.ScaleOption = None,
    on_bad: o.OnBadOption = o.OnBad.ERROR,
    duplicates: o.DuplicatesOption = o.Duplicates.LAST,
    as_json: o.JsonOption = False,
) -> None:
    """Fit and measure on each of several folds; report mean and spread.

    Example: [bold]dotbias cross-validate ratings.csv --folds 5[/bold]
    """
    from dotbias.evaluation.cross_validation import cross_validate as run

    model = make_model(model_name, factors, form)
    solver = make_solver(model, rule, lr, epochs, weight_decay, schedule, early_stopping, threads)
    table = read(
        ratings,
        o.reading(
            user_column, item_column, rating_column, time_column, scale, on_bad, duplicates, None
        ),
    )
    show.say(_summary(table))
    result = run(table, model, solver, n_folds=folds, seed=seed, progress=not show.quiet())
    if as_json:
        show.data(result.to_dict())
    else:
        show.console().print(str(result), markup=False)


def read(source: str, options: Mapping[str, Any]) -> "Ratings":
    """Ratings from a file, folder or named set, with a sign of life while it reads."""
    from dotbias.data.catalog import NAMED_SETS, fetch
    from dotbias.data.read import read_ratings
    from dotbias.progress import progress_bar

    if source in NAMED_SETS and not Path(source).exists():
        source = str(fetch(source, progress=not show.quiet()))
    with progress_bar(f"reading {source}", None, enabled=not show.quiet()):
        return read_ratings(source, **options)


def make_model(name: str, factors: int | None, form: str | None) -> "Model":
    """The model that the options name."""
    from dotbias.errors import SettingError
    from dotbias.models import Baseline, DotBias

    if name == "baseline":
        return Baseline()
    if name != "dot-bias":
        raise SettingError(f"--model {name}: it must be dot-bias or baseline")
    given: dict[str, Any] = {"n_factors": factors, "output": form}
    return DotBias(**{key: value for key, value in given.items() if value is not None})


def make_solver(
    model: "Model",
    rule: str,
    lr: float | None,
    epochs: int | None,
    weight_decay: list[str] | None,
    schedule: str | None,
    early_stopping: float | None,
    threads: int | None,
) -> "Solver":
    """The solver that the options describe."""
    from dotbias.errors import SettingError
    from dotbias.models import Baseline
    from dotbias.solvers.closed_form import ClosedForm
    from dotbias.solvers.gradient import GradientDescent
    from dotbias.solvers.rules import RULES

    if isinstance(model, Baseline):
        return ClosedForm()
    if rule not in RULES:
        raise SettingError(f"--rule {rule}: it must be one of {', '.join(RULES)}")
    given: dict[str, Any] = {
        "n_epochs": epochs,
        "weight_decay": _decay(weight_decay),
        "schedule": schedule,
        "validation_size": early_stopping,
        "n_threads": threads,
    }
    return GradientDescent(
        RULES[rule]() if lr is None else RULES[rule](lr=lr),
        **{key: value for key, value in given.items() if value is not None},
    )


def _decay(texts: list[str] | None) -> float | dict[str, float] | None:
    from dotbias.errors import SettingError

    table: dict[str, float] = {}
    for text in texts or []:
        group, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            raise SettingError(
                f"--weight-decay {text}: write a number, or GROUP=NUMBER such as user_factors=0.05"
            ) from None
        if not group and len(texts or []) == 1:
            return value
        table[group] = value
    return table or None


def _summary(table: "Ratings") -> str:
    low, high = table.scale
    return (
        f"{len(table):,} ratings from {low:g} to {high:g} by {table.n_users:,} users "
        f"of {table.n_items:,} items."
    )


def _interrupted(rec: "Recommender") -> bool:
    return rec.facts["history"]["stopped"] == "interrupted"  # type: ignore[no-any-return]
