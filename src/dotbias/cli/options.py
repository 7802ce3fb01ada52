"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from dotbias.cli import completion

_OUTPUT = "Output"


RatingsArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RATINGS",
        autocompletion=completion.ratings,
        help="CSV, TSV, .dat, u.data, Parquet, Arrow, JSON, Excel, MatrixMarket, SQLite (also packed "
        "with gzip, bzip2, xz, zstd), a zip, a tar, a folder, a pattern of parts, - for standard input, "
        "or a named set such as ml-100k; of prepared ratings the folder or its URL. A --database may "
        "stand for it.",
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
NotInterested = Annotated[
    list[str] | None,
    typer.Option(
        help="With --for-ratings: id or title of an item that this person does not want; it is not "
        "listed, and what is like it comes later (repeatable).",
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")]
SplitSeedOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Seed of which ratings are held out, apart from the others.",
        show_default="--seed",
    ),
]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        help="What this may take of the memory, such as 3GiB; ratings that would take more are prepared "
        "first, beside the output.",
        metavar="SIZE",
        show_default="half of what there is",
    ),
]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Refuse a user or item that the model does not know, instead of answering from what is "
        "known without them.",
    ),
]
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
FoldShare = Annotated[
    float,
    typer.Option(
        help="Share of a new user's rows that they are folded in from; the others measure."
    ),
]
NewUsers = Annotated[
    float,
    typer.Option(
        min=0,
        max=0.9,
        help="Share of the users to hold out whole besides: they are folded in from a part of their "
        "rows, and measured on the others.",
    ),
]
ListLengths = Annotated[
    list[int] | None,
    typer.Option("-k", min=1, help="Length of the lists to measure (repeatable); 10 by default."),
]
RelevantFrom = Annotated[
    float | None,
    typer.Option(
        help="Rating from which an item counts as relevant, where not every held-out item does."
    ),
]
Threads = Annotated[int | None, typer.Option(help="Threads; the result is the same.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON for programs.", rich_help_panel=_OUTPUT)
]
CsvOption = Annotated[
    bool, typer.Option("--csv", help="Print CSV for programs.", rich_help_panel=_OUTPUT)
]
