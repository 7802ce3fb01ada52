"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

_OUTPUT = "Output"


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
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")]
CompareBy = Annotated[
    Literal["rating", "preference"] | None,
    typer.Option(
        "--by",
        help="Whose embeddings: preference (chosen by the same people), or rating (rated alike).",
        show_default="preference where the model knows it",
    ),
]
KOption = Annotated[int, typer.Option("-k", min=1, help="How many to list.")]
MinRatings = Annotated[
    int, typer.Option(min=0, help="Items with fewer training ratings come last.")
]
Threads = Annotated[int | None, typer.Option(help="Threads; the result is the same.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON for programs.", rich_help_panel=_OUTPUT)
]
CsvOption = Annotated[
    bool, typer.Option("--csv", help="Print CSV for programs.", rich_help_panel=_OUTPUT)
]
