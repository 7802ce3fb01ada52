"""Delta tables: folders of Parquet files, of which a log tells which are part of the table."""

from pathlib import Path

from dotbias.data.sources.blob import Parts, shown
from dotbias.data.sources.folders import file_blob
from dotbias.data.sources.limits import Limit
from dotbias.errors import DataError
from dotbias.extras import install

LOG = "_delta_log"
# With these, files hold rows that are no part of the table, or columns under other names.
_BEYOND = {"deletionVectors", "columnMapping"}
_OTHERWISE = "or read it with polars.read_delta and pass the frame"


def delta_table(path: Path, limit: Limit) -> Parts:
    """The files that are part of a table.

    Args:
        path: the folder.
        limit: what packed files may unpack to.

    Raises:
        DataError: where the extra is missing, or for a table of which files say too much.
    """
    name = shown(path)
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError
    except ImportError:
        raise DataError(
            f"{name}: a Delta table, whose log tells which of its files count: {install('delta')}, "
            f"{_OTHERWISE}"
        ) from None
    try:
        table = DeltaTable(path)
        beyond = _BEYOND.intersection(table.protocol().reader_features or ())
        files = sorted(map(Path, table.file_uris()))
    except (DeltaError, OSError) as error:
        raise DataError(f"{name}: the Delta table is damaged ({str(error).strip()})") from error
    if beyond:
        raise DataError(
            f"{name}: a Delta table with {' and '.join(sorted(beyond))}: {_OTHERWISE[3:]}"
        )
    if not files:
        raise DataError(f"{name}: the Delta table has no rows")
    root = path.resolve()
    blobs = []
    for file in files:
        inside = file.resolve().relative_to(root)
        blobs.append(file_blob(path / inside, limit))
    said = f"{name}: version {table.version()} of a Delta table, {len(files):,} files"
    return Parts(name, tuple(blobs), (said,))
