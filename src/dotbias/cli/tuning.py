"""The command that looks for better settings: tune."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dotbias.cli import completion, hints, planning, show
from dotbias.cli import options as o
from dotbias.cli.fitting import Parts
from dotbias.cli.groups import add
from dotbias.cli.reading import WithScale, summary
from dotbias.cli.solving import SOLVERS
from dotbias.cli.writing import PictureOption, Writes, WritesPictures, save_picture

if TYPE_CHECKING:
    from dotbias.cli.writing import Files

_STUDY = "Trials"
# What a fit takes too, and means something else by.
_OWN = ("-o", "--output", "--budget", "--solver")


def _settings(_: dict[str, Any], paths: list[Path]) -> "Files":
    from dotbias.fitting.settings_file import SETTINGS

    return [(path, SETTINGS) for path in paths]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    add(app, tune)


def tune(
    context: typer.Context,
    ratings: o.RatingsArgument = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Write the settings to this file, .json, for `fit --settings`."
        ),
        Writes(_settings),
    ] = None,
    solver: Annotated[
        str,
        typer.Option(
            help="sgd, als or gibbs: its settings alone; auto: those of all three.",
            metavar="NAME",
            autocompletion=completion.among("auto", *SOLVERS),
        ),
    ] = "auto",
    metric: Annotated[
        str,
        typer.Option(
            help="rmse (the error in stars), or a figure of lists: ndcg, recall, precision, map, mrr or "
            "hit_rate with a length, as in ndcg@10, for which ImplicitALS is tuned.",
            metavar="NAME",
            autocompletion=completion.among("rmse", "ndcg@10", "recall@10"),
        ),
    ] = "rmse",
    budget: Annotated[
        str | None,
        typer.Option(
            help="Time for all of it: seconds, 30s, 2m or 1h.",
            metavar="TIME",
            show_default="2m",
            rich_help_panel=_STUDY,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="So many trials instead of a --budget: the same result each time.",
            show_default=False,
            rich_help_panel=_STUDY,
        ),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(
            help="Keep the trials in this file; where it is there, go on from it, also beside another "
            "process.",
            metavar="FILE",
            rich_help_panel=_STUDY,
        ),
    ] = None,
    test_size: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=0.9,
            help="Share of ratings that `fit` will hold out, which tuning does not look at.",
            show_default="0.2",
        ),
    ] = None,
    seed: o.SeedOption = 0,
    split_seed: o.SplitSeedOption = None,
    *,
    picture: PictureOption = None,
    importances: Annotated[
        list[Path] | None,
        typer.Option(
            "--importances",
            help="Draw what mattered in this file, .png or .html (repeatable).",
            metavar="FILE",
            rich_help_panel="Pictures",
        ),
        WritesPictures,
    ] = None,
    reading: WithScale,
    as_json: o.JsonOption = False,
    as_csv: o.CsvOption = False,
) -> None:
    """Look for settings that suit these ratings better than the default, and say if there are any.

    The default and what Optuna suggests are fitted and measured on validation parts of the training
    ratings. The best five are fitted again on fresh parts, and one of them takes the place of the
    default only where its gain exceeds two standard errors. The ratings that `fit` holds out with the
    same seed are left alone, so that `fit --settings` measures what was found on what it has not seen.

    Examples: [bold]dotbias tune ratings.csv --budget 2m -o settings.json[/bold],
    [bold]dotbias tune ratings.csv --metric ndcg@10 --study lists.journal -o lists.json[/bold],
    [bold]dotbias fit ratings.csv --settings settings.json -o movies.dotbias[/bold]
    """
    show.one_format(as_json, as_csv)
    from dotbias.errors import SettingError
    from dotbias.settings import named
    from dotbias.tuning.objective import figure_and_length
    from dotbias.tuning.space import check_in_memory
    from dotbias.tuning.tune import tune as run

    if budget is not None and trials is not None:
        raise SettingError(f"--budget {budget} and --trials {trials}: name one of them")
    seconds = None if budget is None else planning.seconds(budget)
    # What is mistyped is refused before the ratings are read.
    solver = named(f"--solver {solver}", solver, {name: name for name in ("auto", *SOLVERS)})
    name, _ = figure_and_length(metric, f"--metric {metric}")
    if name != "rmse" and solver != "auto":
        raise SettingError(
            f"--solver {solver} predicts stars, and --metric {metric} is of lists: leave --solver out"
        )
    table = reading.read(ratings)
    check_in_memory(table)
    show.say(summary(table))
    if name == "rmse" and solver in ("auto", "gibbs"):
        planning.say_features(table)
    train = Parts.of(table, test_size, seed if split_seed is None else split_seed, 0).train
    show.say(
        f"Tuning on {len(train):,} of {len(table):,} {table.kind}: `fit` holds the others out."
    )
    found = run(
        train,
        solver,
        metric=metric,
        budget=seconds,
        n_trials=trials,
        seed=seed,
        study=study,
        progress=not show.quiet(),
    )
    # Before anything is printed: whoever reads it may go before the end.
    if output is not None:
        found.save(output)
    for paths, draw in ((picture, found.picture), (importances, found.importance_picture)):
        for path in paths or []:
            try:
                save_picture(draw(), path)
            except SettingError as error:  # nothing to draw, but there are settings
                show.say(f"Not drawn {path}: {error}.")
    if as_json:
        show.data(found.to_dict())
    elif as_csv:
        show.frame(found.frame(), "", as_csv=True)
    else:
        if found.refits:
            show.frame(found.refit_frame(), "The best again, on fresh validation parts")
        show.text(str(found))
    if output is not None:
        next_one = hints.same_with(context, "fit", "--settings", output, without=_OWN)
        show.say(f"Wrote {output}. Next: {next_one}")
    if found.interrupted:
        raise KeyboardInterrupt  # what there is is written and shown
