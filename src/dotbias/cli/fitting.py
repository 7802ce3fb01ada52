"""Commands that fit and judge models: fit, evaluate, cross-validate."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dotbias.cli import options as o
from dotbias.cli import show, specs
from dotbias.solvers.rules import RULES
from dotbias.solvers.schedules import SCHEDULES

if TYPE_CHECKING:
    from dotbias.data.ratings import Ratings
    from dotbias.models.base import Model
    from dotbias.recommender import Recommender
    from dotbias.solvers.base import Solver

_MODEL = "Model"
_TRAINING = "Training"
_FINE = "Training, in detail"

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
    str,
    typer.Option(
        "--rule",
        help=f"Update rule, NAME or NAME:SETTING=NUMBER,... Names: {', '.join(RULES)}; "
        "FILE.py/CLASS for one of your own.",
        metavar="RULE",
        rich_help_panel=_TRAINING,
    ),
]
Lr = Annotated[
    list[str] | None,
    typer.Option(
        "--lr",
        help="Learning rate: a number, auto (the finder's), LOW:HIGH (spread over the groups), or "
        "GROUP=NUMBER (repeatable).",
        metavar="RATE",
        rich_help_panel=_TRAINING,
    ),
]
Epochs = Annotated[
    int | None, typer.Option("--epochs", help="Passes over the ratings.", rich_help_panel=_TRAINING)
]
Batch = Annotated[
    str,
    typer.Option(
        "--batch",
        help="Ratings per step: 1, a number, or full.",
        metavar="SIZE",
        rich_help_panel=_TRAINING,
    ),
]
WeightDecay = Annotated[
    list[str] | None,
    typer.Option(
        "--weight-decay",
        help="A number for all groups, or GROUP=NUMBER (repeatable; groups: user_factors, "
        "item_factors, user_bias, item_bias).",
        metavar="DECAY",
        rich_help_panel=_TRAINING,
    ),
]
ScheduleName = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        help="Learning rate over the epochs, NAME or NAME:SETTING=NUMBER,... Names: "
        f"{', '.join(SCHEDULES)}.",
        metavar="SCHEDULE",
        rich_help_panel=_TRAINING,
    ),
]
EarlyStopping = Annotated[
    float | None,
    typer.Option(
        "--early-stopping",
        help="Share of the training rows to watch: stop when it no longer improves.",
        metavar="SHARE",
        rich_help_panel=_TRAINING,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", help="Threads; the result is the same.", rich_help_panel=_TRAINING),
]

Decoupled = Annotated[
    bool | None,
    typer.Option(
        "--decoupled/--coupled",
        help="Weight decay beside the gradient (as AdamW), or in it (L2).",
        show_default=False,
        rich_help_panel=_FINE,
    ),
]
DecayPer = Annotated[
    str,
    typer.Option(
        "--decay-per", help="Weight decay counts per rating, or per row.", rich_help_panel=_FINE
    ),
]
Freeze = Annotated[
    list[str] | None,
    typer.Option(
        "--freeze",
        help="Group that keeps its starting values (repeatable).",
        metavar="GROUP",
        rich_help_panel=_FINE,
    ),
]
Semantics = Annotated[
    str,
    typer.Option(
        "--semantics",
        help="Rows that a batch does not touch: lazy leaves them, dense moves them too.",
        rich_help_panel=_FINE,
    ),
]
OrderName = Annotated[
    str, typer.Option("--order", help="Ratings shuffled, or as stored.", rich_help_panel=_FINE)
]
Clip = Annotated[
    float | None,
    typer.Option("--clip", help="Largest norm of a step's gradient.", rich_help_panel=_FINE),
]
Noise = Annotated[
    float,
    typer.Option(
        "--gradient-noise", help="Variance of the noise on each gradient.", rich_help_panel=_FINE
    ),
]
Average = Annotated[
    int,
    typer.Option(
        "--average",
        help="Average the parameters of so many last epochs (or cycles).",
        rich_help_panel=_FINE,
    ),
]
Parallel = Annotated[
    str,
    typer.Option(
        "--parallel",
        help="grid, or hogwild (no locks, other bits each time).",
        rich_help_panel=_FINE,
    ),
]
ShowGroups = Annotated[
    bool,
    typer.Option(
        "--groups", help="Print the table of parameter groups first.", rich_help_panel=_FINE
    ),
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
    batch: Batch = "1",
    weight_decay: WeightDecay = None,
    schedule: ScheduleName = None,
    early_stopping: EarlyStopping = None,
    threads: Threads = None,
    decoupled: Decoupled = None,
    decay_per: DecayPer = "rating",
    freeze: Freeze = None,
    semantics: Semantics = "lazy",
    order: OrderName = "shuffled",
    clip: Clip = None,
    gradient_noise: Noise = 0.0,
    average: Average = 1,
    parallel: Parallel = "grid",
    show_groups: ShowGroups = False,
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
    solver = make_solver(
        model,
        rule,
        lr,
        {
            "n_epochs": epochs,
            "batch_size": batch,
            "schedule": schedule,
            "validation_size": early_stopping,
            "n_threads": threads,
            "frozen": freeze,
            "semantics": semantics,
            "order": order,
            "clip": clip,
            "gradient_noise": gradient_noise,
            "average": average,
            "parallel": parallel,
        },
        {"amount": weight_decay, "per": decay_per, "decoupled": decoupled},
    )
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
        solver = find_rate(lr, model, solver, train, seed)
        if show_groups:
            _show_groups(model, solver, train)
        rec = fit_model(train, model, solver, seed=seed, progress=not show.quiet())
        report = measure(rec, test)
        if not as_json:
            show.console().print(f"Held out: {len(test):,} of {len(table):,} ratings, seed {seed}.")
            show.console().print(str(report), markup=False)
    else:
        solver = find_rate(lr, model, solver, table, seed)
        if show_groups:
            _show_groups(model, solver, table)
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
    batch: Batch = "1",
    weight_decay: WeightDecay = None,
    schedule: ScheduleName = None,
    early_stopping: EarlyStopping = None,
    threads: Threads = None,
    decoupled: Decoupled = None,
    decay_per: DecayPer = "rating",
    freeze: Freeze = None,
    semantics: Semantics = "lazy",
    order: OrderName = "shuffled",
    clip: Clip = None,
    gradient_noise: Noise = 0.0,
    average: Average = 1,
    parallel: Parallel = "grid",
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
    from dotbias.errors import SettingError
    from dotbias.evaluation.cross_validation import cross_validate as run

    model = make_model(model_name, factors, form)
    solver = make_solver(
        model,
        rule,
        lr,
        {
            "n_epochs": epochs,
            "batch_size": batch,
            "schedule": schedule,
            "validation_size": early_stopping,
            "n_threads": threads,
            "frozen": freeze,
            "semantics": semantics,
            "order": order,
            "clip": clip,
            "gradient_noise": gradient_noise,
            "average": average,
            "parallel": parallel,
        },
        {"amount": weight_decay, "per": decay_per, "decoupled": decoupled},
    )
    table = read(
        ratings,
        o.reading(
            user_column, item_column, rating_column, time_column, scale, on_bad, duplicates, None
        ),
    )
    show.say(_summary(table))
    if lr == ["auto"]:
        raise SettingError("--lr auto: cross-validate needs a rate; `dotbias lr-find` suggests one")
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
    lr: list[str] | None,
    settings: Mapping[str, Any],
    decay: Mapping[str, Any],
) -> "Solver":
    """The solver that the options describe; ``--lr auto`` is left to ``find_rate``.

    Args:
        model: what it is to estimate.
        rule, lr: texts as in ``dotbias.cli.specs``.
        settings: of ``GradientDescent``; those that are None keep their defaults.
        decay: of ``WeightDecay``.
    """
    from dotbias.errors import SettingError
    from dotbias.models import Baseline
    from dotbias.solvers.closed_form import ClosedForm
    from dotbias.solvers.decay import WeightDecay
    from dotbias.solvers.gradient import GradientDescent

    if isinstance(model, Baseline):
        return ClosedForm()
    given = {key: value for key, value in settings.items() if value is not None}
    given["batch_size"] = specs.batch(given["batch_size"])
    if given["order"] not in ("shuffled", "stored"):
        raise SettingError(f"--order {given['order']}: it must be shuffled or stored")
    if "schedule" in given:
        given["schedule"] = specs.schedule(given["schedule"])
    given["frozen"] = tuple(given.get("frozen", ()))
    amount = specs.decay(decay["amount"])
    given["weight_decay"] = WeightDecay(**{**decay, "amount": amount})
    return specs.with_rates(GradientDescent(specs.rule(rule), **given), specs.rates(lr))


def find_rate(
    lr: list[str] | None, model: "Model", solver: "Solver", train: "Ratings", seed: int
) -> "Solver":
    """The solver with the finder's rate on the training ratings, where the user asked for it."""
    from dotbias.models import DotBias
    from dotbias.solvers.gradient import GradientDescent
    from dotbias.tuning.lr_finder import lr_find

    if lr != ["auto"] or not (isinstance(model, DotBias) and isinstance(solver, GradientDescent)):
        return solver
    curve = lr_find(model, solver, train, seed=seed, progress=not show.quiet())
    tuned = curve.tuned()
    show.say(f"Learning rate {tuned.rule.top_rate:.3g}: the finder's, on the training ratings.")
    return tuned


def _show_groups(model: "Model", solver: "Solver", train: "Ratings") -> None:
    from dotbias.models import DotBias
    from dotbias.solvers.gradient import GradientDescent

    if isinstance(model, DotBias) and isinstance(solver, GradientDescent):
        show.frame(solver.groups(model, train), "Parameter groups")


def _summary(table: "Ratings") -> str:
    low, high = table.scale
    return (
        f"{len(table):,} ratings from {low:g} to {high:g} by {table.n_users:,} users "
        f"of {table.n_items:,} items."
    )


def _interrupted(rec: "Recommender") -> bool:
    return rec.facts["history"]["stopped"] == "interrupted"  # type: ignore[no-any-return]
