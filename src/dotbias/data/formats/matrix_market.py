"""MatrixMarket: a sparse matrix of users by items as text, with rows and columns counted from 1."""

from dataclasses import replace

import numpy as np
import polars as pl

from dotbias.data.columns import Wanted
from dotbias.data.formats.frames import open_frame
from dotbias.data.formats.objects import of_matrix
from dotbias.data.formats.table import Table
from dotbias.data.formats.text import open_text
from dotbias.data.reading import NONE
from dotbias.data.sources.blob import Blob, damaged
from dotbias.errors import DataError

_COMMENT = "%"
_COLUMNS = {"user": 1, "item": 2, "rating": 3}


def open_matrix_market(blob: Blob, wanted: Wanted) -> Table:
    """The table of the entries of a matrix; a pattern of entries without values is one of pairs.

    Of a matrix that is written out in full the zeros are no ratings. SciPy's parser ends the process on
    damaged text, and names no row.

    Raises:
        DataError: for a matrix that cannot be one of users by items, or is not what its first lines
            promise.
    """
    with blob.lines() as lines:
        first, line, n_lines = next(lines), "", 1
        for n_lines, line in enumerate(lines, 2):  # noqa: B007 - the last of them is looked at
            if line.strip() and not line.startswith(_COMMENT):
                break
    kind, sizes = first.lower().split()[1:], line.split()
    if kind[:1] != ["matrix"] or len(kind) != 4 or not all(map(str.isdecimal, sizes)):
        said = f"its first lines are {first.strip()[:60]!r} and {line.strip()[:60]!r}"
        raise damaged(blob.name, "MatrixMarket", ValueError(said))
    _, layout, values, symmetry = kind
    if symmetry != "general" or values not in ("real", "integer", "double", "pattern"):
        raise DataError(
            f"{blob.name}: a matrix of ratings is general and real, not {symmetry} {values}"
        )
    if (layout, len(sizes)) == ("array", 2):
        return _written_out(blob, n_lines, (int(sizes[0]), int(sizes[1])), wanted)
    if (layout, len(sizes)) != ("coordinate", 3):
        raise damaged(blob.name, "MatrixMarket", ValueError(f"{layout} of {line.strip()[:60]}"))
    return _entries(blob, n_lines, list(map(int, sizes)), wanted, valued=values != "pattern")


def _entries(blob: Blob, n_lines: int, sizes: list[int], wanted: Wanted, *, valued: bool) -> Table:
    given = wanted.reading
    columns = {role: given.get(role) or at for role, at in _COLUMNS.items()}
    if not valued:
        columns["rating"] = NONE
    reading = given.known(
        **columns,
        time=NONE,
        user_ids=given.user_ids or "integers",
        item_ids=given.item_ids or "integers",
        layout="long",
        header=False,
        separator=" ",
        quote=NONE,
        comment=_COMMENT,
        skip_lines=n_lines,
    )
    table = replace(
        open_text(blob, replace(wanted, reading=reading)),
        format="MatrixMarket",
        columns=["1", "2", "3"][: 2 + valued],
    )
    entries = table.text()
    n = entries.select(pl.len()).collect(engine="streaming").item()
    if n != sizes[2]:
        raise damaged(blob.name, "MatrixMarket", ValueError(f"{n:,} entries of {sizes[2]:,}"))
    for role in ("user", "item"):
        if (at := table.places.get(role, 2)) < 2:
            size = sizes[at]
            place = pl.col(role).str.strip_chars().cast(pl.Int64, strict=False)
            outside = entries.filter(~place.is_between(1, size)).head(1).collect()
            for row in table.rows(outside["row"].to_list()):
                raise DataError(
                    f"{blob.name}, row {row.place:,}: {role} {row.values[role]} is none of the {size:,} "
                    "that the first lines promise"
                )
    return table


def _written_out(blob: Blob, n_lines: int, sizes: tuple[int, int], wanted: Wanted) -> Table:
    from scipy.sparse import coo_array

    try:
        with blob.lines() as lines:
            cells = [line for line in list(lines)[n_lines:] if line.strip()]
        matrix = np.array(cells, np.float64).reshape(sizes, order="F")
    except ValueError as error:
        raise damaged(blob.name, "MatrixMarket", error) from error
    found = of_matrix(blob.name, "MatrixMarket", coo_array(matrix), first=1)
    return open_frame(found.name, found.format, found.lf, wanted)
