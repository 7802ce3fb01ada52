"""Frames as files: CSV or Parquet, by the ending."""

from pathlib import Path

import polars as pl

from dotbias.errors import DataError
from dotbias.whole_file import FileKind, whole_file

TABLE = FileKind("table", (".csv", ".parquet"))
"""Whose table a file holds cannot be told: none that is there is replaced without being asked to."""


def write_table(
    table: pl.DataFrame, path: Path, kind: FileKind = TABLE, *, force: bool = False
) -> None:
    """Write a frame as CSV or Parquet, by the file's ending, whole or not at all.

    Args:
        table: what to write.
        path: where to.
        kind: what the file is to hold; its endings are among those of ``TABLE``.
        force: whether a file that is there is replaced.

    Raises:
        DataError: naming the file, when it cannot be written, has another ending, or is there already.
    """
    # An open file, since Polars takes names of UTF-8 only.
    with whole_file(path, kind, force=force) as part, part.open("wb") as file:
        try:
            if path.suffix.lower() == ".parquet":
                table.write_parquet(file)
            else:
                table.write_csv(file)
        except pl.exceptions.ComputeError as error:  # as which Polars reports a full disk
            raise DataError(f"cannot write {path}: {error}") from error
