"""Commands that look into a fitted model: curvature."""

from pathlib import Path
from typing import Annotated

import typer

from dotbias.cli import fitting as f
from dotbias.cli import laboratory as lab
from dotbias.cli import options as o
from dotbias.cli import show
from dotbias.cli import solving as s

_LOOKING = "Looking"

SliceOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--slice",
        help="Draw the loss on the plane of the two steepest directions in this file: .png or .html "
        "(repeatable).",
        metavar="FILE",
        rich_help_panel="Pictures",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(curvature)


def curvature(
    ratings: o.RatingsArgument,
    saved: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="A model that `dotbias fit` saved and that knows all these users and items, instead of "
            "a fit.",
            metavar="MODEL",
        ),
    ] = None,
    model_name: lab.Descended = "dot-bias",
    rule: s.RuleName = None,
    lr: s.Lr = None,
    batch: s.Batch = None,
    factors: s.Factors = None,
    form: s.OutputForm = None,
    epochs: s.Epochs = None,
    schedule: s.ScheduleName = None,
    weight_decay: s.WeightDecay = None,
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
    seed: o.SeedOption = 0,
    threads: s.Threads = None,
    picture: lab.PictureOption = None,
    slices: SliceOption = None,
    user_column: o.UserColumn = None,
    item_column: o.ItemColumn = None,
    rating_column: o.RatingColumn = None,
    time_column: o.TimeColumn = None,
    scale: o.ScaleOption = None,
    on_bad: o.OnBadOption = o.OnBad.ERROR,
    duplicates: o.DuplicatesOption = o.Duplicates.LAST,
    as_json: o.JsonOption = False,
    as_csv: o.CsvOption = False,
) -> None:
    """Show the curvature of the loss where a fit ends: eigenvalues of its Hessian, and stable rates.

    Fits to all ratings first. Needs the extra torch. Large sets take long: a quarter of an hour and
    more for ml-1m.

    Example: [bold]dotbias curvature ratings.csv --factors 16 --picture spectrum.png[/bold]
    """
    show.one_format(as_json, as_csv)
    from dotbias.errors import SettingError
    from dotbias.fitting import fit
    from dotbias.insight.curvature import curvature as measure
    from dotbias.models.torch_extra import require_torch
    from dotbias.recommender import Recommender
    from dotbias.solvers.gradient import GradientDescent

    lab.check_files([*(picture or []), *(slices or [])])
    require_torch()
    fitting = {
        "factors": factors,
        "form": form,
        "rule": rule,
        "lr": lr,
        "batch": batch,
        "epochs": epochs,
        "schedule": schedule,
    }
    rec = None
    if saved is not None:
        for name, value in fitting.items():
            if value is not None:
                raise SettingError(
                    f"--{name} says how to fit, but --from {saved} is fitted already"
                )
        rec = Recommender.load(saved)
    model = lab.descended(model_name, factors, form) if rec is None else rec.model
    solver = s.make_solver(
        model,
        rule,
        lr,
        {"n_epochs": epochs, "batch_size": batch, "schedule": schedule, "n_threads": threads},
        {"amount": weight_decay},
    )
    table = f.read(
        ratings,
        o.reading(
            user_column, item_column, rating_column, time_column, scale, on_bad, duplicates, None
        ),
    )
    if rec is None:
        solver = s.find_rate(lr, model, solver, table, seed)
        rec = fit(table, model, solver, seed=seed, progress=not show.quiet())
    descent = solver if isinstance(solver, GradientDescent) else None
    found = measure(
        rec,
        table,
        # A saved model says itself how it was shrunk, unless told otherwise.
        descent if saved is None or weight_decay else None,
        n_eigenvalues=eigenvalues,
        n_steps=steps,
        find_rates=rates,
        seed=seed,
        progress=not show.quiet(),
    )
    if as_json:
        show.data(found.to_dict())
    else:
        show.frame(found.frame(), f"Curvature of {found.model}", as_csv=as_csv)
    if not found.is_minimum:
        show.say(found.verdict)
    for path in picture or []:
        lab.save_picture(found.picture(), path)
    for path in slices or []:
        lab.save_picture(found.surface(), path)
