"""Commands about ratings themselves: sets, download, simulate, split, prepare."""

import time
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from dotbias.cli import hints, show
from dotbias.cli import options as o
from dotbias.cli.groups import add
from dotbias.cli.reading import AsTheyAre, Reading, without_panics
from dotbias.cli.writing import WritesPrepared, WritesTable, write_table


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    add(app, sets, download, simulate, split, prepare)


def sets(as_json: o.JsonOption = False, as_csv: o.CsvOption = False) -> None:
    """List the rating sets that can be named instead of a file.

    Example: [bold]dotbias sets[/bold]
    """
    import polars as pl

    from dotbias.data.catalog import NAMED_SETS

    rows = [
        {"name": name, "what": entry.description, "licence": entry.licence}
        for name, entry in NAMED_SETS.items()
    ]
    table = pl.DataFrame(rows)
    if as_json or as_csv:
        show.frame(table, "", as_json=as_json, as_csv=as_csv)
        return
    show.frame(table.drop("licence"), "Named sets")
    for (licence,), group in table.group_by("licence", maintain_order=True):
        show.text(f"{', '.join(group['name'])}: {licence}")


def download(name: Annotated[str, typer.Argument(help="A named set, see `dotbias sets`.")]) -> None:
    """Fetch a named set into the cache folder; later commands then need no network.

    Example: [bold]dotbias download ml-latest-small[/bold]
    """
    from dotbias.data.catalog import fetch

    typer.echo(fetch(name, progress=not show.quiet()))


def simulate(
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="A .csv or .parquet file for the ratings."),
        WritesTable,
    ],
    users: Annotated[int, typer.Option(min=1, help="Number of users.")] = 1000,
    items: Annotated[int, typer.Option(min=1, help="Number of items.")] = 500,
    n_ratings: Annotated[
        int, typer.Option("--ratings", min=1, help="Number of ratings.")
    ] = 100_000,
    factors: Annotated[int, typer.Option(min=1, help="Length of the planted embeddings.")] = 8,
    noise: Annotated[float, typer.Option(min=0, help="Standard deviation of the noise.")] = 0.5,
    kind: Annotated[
        Literal["ratings", "counts", "events"],
        typer.Option(help="Ratings, or counts or events of people who rate nothing."),
    ] = "ratings",
    by_taste: Annotated[
        bool,
        typer.Option(
            "--by-taste",
            help="People rate what they expect to like, and not only what is popular; counts and events "
            "are such anyway.",
        ),
    ] = False,
    titles: Annotated[
        Path | None,
        typer.Option(help="Write invented titles and genres of the items into this file as well."),
        WritesTable,
    ] = None,
    seed: o.SeedOption = 0,
) -> None:
    """Invent ratings with planted factors, popularity and noise, to try things on.

    Example: [bold]dotbias simulate -o invented.csv --ratings 100000[/bold]
    """
    from dotbias.data.invented_titles import invented_titles
    from dotbias.data.simulate import simulate as draw

    ratings, truth = draw(
        users,
        items,
        n_ratings,
        n_factors=factors,
        noise=noise,
        kind=kind,
        by_taste=by_taste,
        seed=seed,
    )
    write_table(ratings.to_frame(), output)
    if titles is not None:
        write_table(invented_titles(truth), titles)
    if kind == "ratings":
        floor = truth.noise_floor(ratings)
        show.say(f"No predictor can have a lower RMSE than {floor:.4f} on such ratings.")


def split(
    ratings: o.RatingsArgument = None,
    *,
    train: Annotated[
        Path, typer.Option(help="A .csv or .parquet file for the training part."), WritesTable
    ],
    test: Annotated[
        Path, typer.Option(help="A .csv or .parquet file for the held-out part."), WritesTable
    ],
    test_size: Annotated[float, typer.Option(help="Share to hold out.")] = 0.2,
    by: Annotated[
        str,
        typer.Option(
            help="rows, user (rows of each user), users (whole users), time (the latest), last (one "
            "a user)."
        ),
    ] = "rows",
    seed: o.SeedOption = 0,
    reading: AsTheyAre,
) -> None:
    """Split ratings into a training and a held-out file.

    Example: [bold]dotbias split ratings.csv --train train.csv --test test.csv --seed 42[/bold]
    """
    from dotbias.data.split import SplitBy
    from dotbias.errors import SettingError

    if by not in get_args(SplitBy):
        *known, last = get_args(SplitBy)
        raise SettingError(f"--by {by}: it must be {', '.join(known)} or {last}")
    for part, path in zip(
        reading.read(ratings).split(test_size, seed=seed, by=by),  # type: ignore[arg-type]
        (train, test),
        strict=True,
    ):
        write_table(part.to_frame(), path)


def prepare(
    context: typer.Context,
    ratings: o.RatingsArgument = None,
    *,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The folder to write, such as ratings.blocks."),
        WritesPrepared,
    ],
    test_size: Annotated[float, typer.Option(help="Share of the ratings to hold out.")] = 0.2,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="What this, and fitting later, may take of the memory, such as 3GiB.",
            show_default="half of what there is",
        ),
    ] = None,
    blocks: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Blocks on a side: as many workers can share a fit, at most.",
            show_default="8, from a million ratings on 16, or more where memory is small",
        ),
    ] = None,
    seed: o.SeedOption = 0,
    reading: Reading,
) -> None:
    """Lay ratings out in a folder, so that those that do not fit into memory can be fitted.

    Text of one row a line, Parquet and Arrow are read a part at a time. Where neither files nor options
    have changed since, the folder stays as it is; --force prepares them again.

    Examples: [bold]dotbias prepare ratings.csv -o ratings.blocks --memory 3GiB[/bold],
    [bold]dotbias prepare ratings.parquet -o ratings.blocks --blocks 64[/bold] for 64 workers
    """
    from dotbias.data.prepared.prepare import prepare as lay_out
    from dotbias.memory import in_units

    source, options = ratings, reading.options()
    if reading.database is not None or source is None:
        source, options = reading.read(source), {}  # type: ignore[assignment]
    started = time.monotonic()
    with without_panics():
        prepared = lay_out(
            source,
            output,
            memory=memory,
            n_blocks=blocks,
            test_size=test_size,
            seed=seed,
            force=context.params["force"],
            progress=not show.quiet(),
            **options,
        )
    size = sum(path.stat().st_size for path in output.iterdir())
    whole, training = prepared.whole, prepared.training
    show.say(
        f"{output}: {len(whole):,} {whole.noun} by {whole.n_users:,} users of {whole.n_items:,} items, "
        f"{len(whole) - len(training):,} of them held out, in {prepared.n_blocks:,} x "
        f"{prepared.n_blocks:,} blocks; {in_units(size)} in "
        f"{time.monotonic() - started:.1f} s"
    )
    model = f"{output.stem or 'model'}.dotbias"
    show.say(f"Next: {hints.command('fit', output, '-o', model)}")
