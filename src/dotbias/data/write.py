"""Frames as files: CSV or Parquet, by the ending; or many of them as a folder of Parquet files."""

import re
from collections.abc import Iterable
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

    Text stays as it is, also what a spreadsheet would take for a formula: it is to be read again.

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


_PART, _MARK = "part-{:05d}.parquet", {"written_by": "dotbias"}


def _is_ours(folder: Path) -> bool:
    """Whether there is nothing in a folder but parts that were written here."""
    try:
        return all(
            re.fullmatch(r"part-\d{5,}\.parquet", path.name) is not None
            and pl.read_parquet_metadata(path).items() >= _MARK.items()
            for path in folder.iterdir()
        )
    except (OSError, pl.exceptions.PolarsError):
        return False


TABLES = FileKind("folder of lists", is_ours=_is_ours, is_folder=True)
"""Parts of a table, ``part-00000.parquet`` and so on, which most readers of Parquet read as one."""


def write_parts(tables: Iterable[pl.DataFrame], path: Path, *, force: bool = False) -> int:
    """Write frames as a folder of Parquet files, whole or not at all; one frame is held at a time.

    Args:
        tables: what to write, of the same columns.
        path: the folder. One that was written here is replaced.
        force: whether any other is.

    Returns:
        How many rows there are.

    Raises:
        DataError: naming the folder, when it cannot be written, or when there is another one.
    """
    n_rows = 0
    with whole_file(path, TABLES, force=force) as folder:
        for number, table in enumerate(tables):
            with (folder / _PART.format(number)).open("wb") as file:
                try:
                    table.write_parquet(file, metadata=_MARK)
                except pl.exceptions.ComputeError as error:
                    raise DataError(f"cannot write {path}: {error}") from error
            n_rows += table.height
    return n_rows
