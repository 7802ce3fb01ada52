"""MatrixMarket: a sparse matrix of users by items as text, with rows and columns counted from 1."""

from io import BytesIO
from typing import Any

from dotbias.data.columns import Wanted
from dotbias.data.formats.frames import open_frame
from dotbias.data.formats.objects import of_matrix
from dotbias.data.formats.table import Table
from dotbias.data.sources.blob import Blob, damaged

_SHORTEST_ENTRY = len("0\n")


def open_matrix_market(blob: Blob, wanted: Wanted) -> Table:
    """The table of the entries of a matrix; a pattern of entries without values is one of pairs.

    Of a matrix that is written out in full the zeros are no ratings.
    """
    from scipy.io import mminfo, mmread
    from scipy.sparse import coo_array

    try:
        # Of a file on disk SciPy's parser ends the process where it cannot go back to the beginning.
        content = blob.read()
        n_rows, n_columns, n_entries, layout, field, _ = mminfo(BytesIO(content))
        # SciPy makes room for what the first lines promise.
        if _SHORTEST_ENTRY * n_entries > len(content) + _SHORTEST_ENTRY:
            raise ValueError(f"{n_rows} by {n_columns} with {n_entries} entries are promised")
        matrix: Any = mmread(BytesIO(content), spmatrix=False)
    except (ValueError, TypeError, IndexError, OverflowError, MemoryError) as error:
        raise damaged(blob.name, "MatrixMarket", error) from error
    if layout == "array":
        matrix = coo_array(matrix)
    found = of_matrix(blob.name, "MatrixMarket", matrix, first=1)
    lf = found.lf.drop("rating") if field == "pattern" else found.lf
    return open_frame(found.name, found.format, lf, wanted)
