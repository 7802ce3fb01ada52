"""Commands that show how training works: lr-find, race, schedule."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from dotbias.cli import completion, hints, planning, show, specs
from dotbias.cli import options as o
from dotbias.cli.groups import Only, add
from dotbias.cli.reading import WithoutTitles
from dotbias.cli.solving import Solving
from dotbias.cli.writing import PictureOption, WritesTable, save_picture, write_table
from dotbias.solvers.descent.rules import RULES
from dotbias.solvers.descent.schedules import SCHEDULES

_PICTURES = "Pictures"
# The table of a race on a screen of 80 columns.
_SHORT = {
    "best_rmse": "best",
    "best_loss": "best",
    "final_rmse": "final",
    "final_loss": "final",
    "seconds": "s",
    "M_per_s": "M/s",
}

Descended = Annotated[
    str, typer.Option("--model", help="dot-bias, or net (needs the extra torch).")
]


def descent_options(*more: str) -> Only:
    """Of ``Solving`` what commands have that show how gradient descent works, and more fields of it."""
    shared = (
        "factors",
        "form",
        "loss",
        "negatives",
        "epochs",
        "schedule",
        "weight_decay",
        "threads",
    )
    return Only(*more, *shared, model_name=Descended)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    add(app, lr_find, race, schedule)


def lr_find(
    context: typer.Context,
    ratings: o.RatingsArgument = None,
    *,
    solving: Annotated[Solving, descent_options("rule", "batch")],
    lowest: Annotated[float, typer.Option(help="Where the sweep begins.")] = 1e-6,
    highest: Annotated[float, typer.Option(help="Where it ends at the latest.")] = 1e4,
    linear: Annotated[
        bool, typer.Option("--linear", help="Rates rise by an amount, not by a factor.")
    ] = False,
    trials: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Sweep through rates, and make so many complete runs near its answer; 0 reads the "
            "curve alone. By default short runs decide, which is work of two epochs.",
        ),
    ] = None,
    seed: o.SeedOption = 0,
    picture: PictureOption = None,
    reading: WithoutTitles,
    as_json: o.JsonOption = False,
    as_csv: o.CsvOption = False,
) -> None:
    """Find a learning rate: by short runs, or sweep through rates and try a few in full (--trials).

    A tenth of the ratings, 20,000 at most, is held out to measure the loss on.

    Example: [bold]dotbias lr-find ratings.csv --rule adam --picture curve.png[/bold]
    """
    show.one_format(as_json, as_csv)
    from dotbias.tuning.lr_finder import lr_find as find

    model = planning.make_model(solving)
    solver = planning.descent(model, solving)
    table = reading.read(ratings)
    curve = find(
        model,
        solver,
        table,
        seed=seed,
        lowest=lowest,
        highest=highest,
        sweep="linear" if linear else "exponential",
        n_trials=trials,
        progress=not show.quiet(),
    )
    for path in picture or []:
        save_picture(curve.picture(), path)
    if as_csv:
        show.frame(curve.frame(), "", as_csv=True)
    elif as_json:
        show.data(
            {
                "suggestion": curve.suggestion,
                "suggestions": {
                    name: {"lr": s.lr, "why": s.why} for name, s in curve.suggestions.items()
                },
                "trials": [
                    {"lr": lr, solver.loss_class.short: figure} for lr, figure in curve.trials
                ],
                "spent": curve.spent,
                "curve": [
                    {name: x if math.isfinite(x) else None for name, x in point.items()}
                    for point in curve.frame().to_dicts()
                ],
            }
        )
    else:
        show.text(str(curve))
    if curve.suggestion is not None:
        show.say(f"Next: {hints.same_with(context, 'fit', '--lr', f'{curve.suggestion:.3g}')}")


def race(
    ratings: Annotated[
        str | None,
        typer.Argument(
            metavar="RATINGS",
            help="What to race on; not needed with --surface.",
            autocompletion=completion.ratings,
        ),
    ] = None,
    rules: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.several_among(RULES),
            help=f"Rules, separated by spaces or commas; all by default: {', '.join(RULES)}. As in "
            "`fit --rule`, with settings only between spaces.",
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            help="Batch sizes, separated by commas: numbers, or full.",
            metavar="SIZES",
            show_default="1, for net 512",
        ),
    ] = None,
    lr: Annotated[
        list[str] | None,
        typer.Option(
            help="RULE=NUMBER: a rate instead of the finder's (repeatable).", metavar="RATE"
        ),
    ] = None,
    surface: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.among("beale", "rosenbrock", "saddle", "valley"),
            help="Race on a surface of two dimensions instead: beale, rosenbrock, saddle or valley.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps on the surface.")] = 300,
    *,
    solving: Annotated[Solving, descent_options()],
    trials: Annotated[int, typer.Option(min=0, help="Complete runs of each finder.")] = 3,
    test_size: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of ratings that is held out.")
    ] = 0.2,
    seed: o.SeedOption = 0,
    picture: PictureOption = None,
    numbers: Annotated[
        Path | None,
        typer.Option(
            help="Write all numbers in this file, .csv or .parquet.", rich_help_panel=_PICTURES
        ),
        WritesTable,
    ] = None,
    reading: WithoutTitles,
    as_json: o.JsonOption = False,
    as_csv: o.CsvOption = False,
) -> None:
    """Race update rules and batch sizes: the same start, order and held-out ratings for all.

    Each rule gets the rate that the finder suggests on the training part.

    Example: [bold]dotbias race ratings.csv --rules sgd,adam --picture race.html[/bold]

    Example: [bold]dotbias race --surface beale --picture beale.html[/bold]
    """
    show.one_format(as_json, as_csv)
    from dotbias.errors import SettingError

    racers = None
    if rules is not None:
        texts = rules.split() if " " in rules.strip() or ":" in rules else rules.split(",")
        racers = [specs.rule(text.strip(",")) for text in texts if text.strip(",")]
    if surface is not None:
        from dotbias.tuning.surfaces import surface_race

        if reading.are_named(ratings):
            raise SettingError("give ratings or --surface, not both")
        descent = surface_race(surface, racers, n_steps=steps)
        if numbers is not None:
            write_table(descent.frame(), numbers)
        for path in picture or []:
            save_picture(descent.picture(), path)
        show.frame(
            descent.frame(), f"Race on the surface {surface}", as_json=as_json, as_csv=as_csv
        )
        return
    if not reading.are_named(ratings):
        raise typer.BadParameter("name the ratings to race on, or a --surface")
    from dotbias.tuning.race import race as run

    model = planning.make_model(solving)
    solver = planning.descent(model, solving)
    table = reading.read(ratings)
    outcome = run(
        table,
        racers,
        model,
        solver,
        batch_sizes=None if batch is None else [specs.batch(b.strip()) for b in batch.split(",")],
        rates=specs.numbers_by_name("--lr", lr or []),
        test_size=test_size,
        seed=seed,
        n_trials=trials,
        progress=not show.quiet(),
    )
    # Before anything is printed: whoever reads it may go before the end.
    if numbers is not None:
        write_table(outcome.curves(), numbers)
    for path in picture or []:
        save_picture(outcome.picture(), path)
    people = not (as_json or as_csv)
    result = outcome.frame().rename(_SHORT if people else {}, strict=False)
    title = f"Race of update rules, held-out {outcome.loss.label}"
    show.frame(result, title, as_json=as_json, as_csv=as_csv)
    show.say(outcome.protocol)
    if outcome.interrupted:
        raise KeyboardInterrupt  # what there is is written and shown


def schedule(
    name: Annotated[
        str,
        typer.Argument(
            metavar="SCHEDULE",
            autocompletion=completion.among(*SCHEDULES),
            help=f"NAME or NAME:SETTING=NUMBER,... Names: {', '.join(SCHEDULES)}.",
        ),
    ],
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the run.")] = 40,
    points: Annotated[int, typer.Option(min=1, help="Points per epoch.")] = 50,
    picture: PictureOption = None,
    as_json: o.JsonOption = False,
    as_csv: o.CsvOption = False,
) -> None:
    """Show a schedule: the factor on the learning rate, and the momentum where it has one.

    Example: [bold]dotbias schedule warm-restarts:cycle_mult=2 --epochs 31 --picture rate.png[/bold]
    """
    show.one_format(as_json, as_csv)
    import numpy as np
    import polars as pl

    from dotbias.memory import check_memory

    check_memory(4 * epochs * points, f"--epochs {epochs} --points {points}", size=8)
    chosen = specs.schedule(name)
    moments = np.arange(epochs * points) / points
    momentum = chosen.momentum(moments, epochs)
    columns: dict[str, Any] = {"epoch": moments, "factor": chosen.lr(moments, epochs)}
    if momentum is not None:
        columns["momentum"] = momentum
    table = pl.DataFrame(columns)
    if picture:
        from dotbias.pictures import Line, LinePicture, Panel

        panels = tuple(
            Panel(
                title=title,
                x_label="epochs",
                y_label=title,
                lines=(Line(name=name, x=moments, y=columns[column]),),
            )
            for title, column in (
                ("factor on the learning rate", "factor"),
                ("momentum", "momentum"),
            )
            if column in columns
        )
        for path in picture:
            save_picture(LinePicture(title=f"Schedule {name}", panels=panels), path)
    if not (as_csv or as_json):
        table = table.gather_every(points).with_columns(pl.col("epoch").cast(pl.Int64))
    show.frame(
        table, f"Schedule {name}, at the start of each epoch", as_json=as_json, as_csv=as_csv
    )
