"""Arguments and options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

_READING = "Reading the ratings"
_OUTPUT = "Output"


class OnBad(StrEnum):
    """What happens to a row that cannot be used."""

    ERROR = "error"
    SKIP = "skip"


class Duplicates(StrEnum):
    """What happens to repeated (user, item) pairs."""

    LAST = "last"
    MEAN = "mean"
    ERROR = "error"


RatingsArgument = Annotated[
    str,
    typer.Argument(
        metavar="RATINGS",
        help="CSV, TSV, .dat, u.data, Parquet, Arrow or JSON lines (also gzip, zstd), a zip, a folder, "
        "or a named set such as ml-100k.",
    ),
]
ModelArgument = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A file that `dotbias fit` saved.")
]
ForRatings = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Ratings of someone whom the model does not know: a file of items (ids or titles) and "
        "ratings.",
    ),
]
UserColumn = Annotated[
    str | None, typer.Option(help="Name of the user column.", rich_help_panel=_READING)
]
ItemColumn = Annotated[
    str | None, typer.Option(help="Name of the item column.", rich_help_panel=_READING)
]
RatingColumn = Annotated[
    str | None, typer.Option(help="Name of the rating column.", rich_help_panel=_READING)
]
TimeColumn = Annotated[
    str | None, typer.Option(help="Name of the time column.", rich_help_panel=_READING)
]
ScaleOption = Annotated[
    tuple[float, float] | None,
    typer.Option(
        help="Lowest and highest possible rating; by default the range of the training ratings.",
        metavar="LOW HIGH",
        rich_help_panel=_READING,
    ),
]
OnBadOption = Annotated[
    OnBad, typer.Option(help="Stop at a bad row, or skip and count it.", rich_help_panel=_READING)
]
DuplicatesOption = Annotated[
    Duplicates,
    typer.Option(help="What to keep of repeated (user, item) pairs.", rich_help_panel=_READING),
]
TitlesOption = Annotated[
    Path | None,
    typer.Option(help="File of item ids and titles, such as movies.csv.", rich_help_panel=_READING),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")]
KOption = Annotated[int, typer.Option("-k", min=1, help="How many to list.")]
MinRatings = Annotated[
    int, typer.Option(min=0, help="Items with fewer training ratings come last.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON for programs.", rich_help_panel=_OUTPUT)
]
CsvOption = Annotated[
    bool, typer.Option("--csv", help="Print CSV for programs.", rich_help_panel=_OUTPUT)
]


def reading(
    user_column: str | None,
    item_column: str | None,
    rating_column: str | None,
    time_column: str | None,
    scale: tuple[float, float] | None,
    on_bad: OnBad,
    duplicates: Duplicates,
    titles: Path | None,
) -> dict[str, Any]:
    """The reading options as keyword arguments of ``read_ratings``."""
    return {
        "user": user_column,
        "item": item_column,
        "rating": rating_column,
        "time": time_column,
        "scale": scale,
        "on_bad": on_bad.value,
        "duplicates": duplicates.value,
        "titles": titles,
    }
