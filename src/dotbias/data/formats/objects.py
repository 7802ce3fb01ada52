"""Objects of Python: frames, arrays, matrices, and lists, whose columns may have names or not."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from dotbias.data.columns import Wanted, find_columns, is_wide
from dotbias.data.formats.frames import open_frame
from dotbias.data.formats.json_shapes import records
from dotbias.data.formats.table import SAMPLED_ROWS, Table
from dotbias.data.names import WHERE, only_numbered
from dotbias.data.sources.blob import Frame
from dotbias.errors import DataError

_ROWS = "pass rows of user, item, rating and perhaps time"


def open_object(source: Any, wanted: Wanted) -> Table:
    """The table of an object.

    Raises:
        DataError: for one that holds no table, or columns of mixed types.
    """
    if _is_pandas(source):
        named = [n for n in source.index.names if n is not None and n not in source.columns]
        return _open_pandas(source.reset_index(named) if named else source, wanted)
    frame = _as_frame(source)
    return open_frame(frame.name, frame.format, frame.lf, wanted, header=frame.header)


def _as_frame(source: Any) -> Frame:
    if isinstance(source, pl.DataFrame | pl.LazyFrame):
        return Frame("the frame", "Polars frame", source.lazy())
    if isinstance(source, np.ndarray):
        return _of_array(source)
    if type(source).__module__.startswith("scipy.sparse"):
        return of_matrix("the matrix", "SciPy sparse matrix", source, first=0)
    if hasattr(source, "__arrow_c_stream__"):
        with suppress(TypeError, ValueError, pl.exceptions.PolarsError):  # a column is no table
            return Frame("the table", "Arrow table", pl.DataFrame(source).lazy())
    if isinstance(source, Mapping) and source:
        nested = all(isinstance(one, Mapping) for one in source.values())
        if nested and (rows := records([source])):
            return _of_dictionaries(rows)
        columns = {str(name): values for name, values in source.items()}
        lf = _columns("the dictionary", columns)
        return Frame("the dictionary", "dictionary of columns", lf)
    if isinstance(source, list | tuple) and source:
        if all(isinstance(row, Mapping) for row in source):
            return _of_dictionaries(source)
        if all(isinstance(row, list | tuple) for row in source):
            return of_rows("the list", "list of rows", source)
    raise DataError(
        f"cannot read ratings from a {type(source).__name__}: pass a path or a frame, or rows"
    )


def _of_dictionaries(rows: Sequence[Mapping[str, Any]]) -> Frame:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {str(name): [row.get(name) for row in rows] for name in names}
    return Frame("the list", "list of dictionaries", _columns("the list", columns))


def of_rows(name: str, format: str, rows: Sequence[Sequence[Any]]) -> Frame:
    """Rows of values, whose columns have names where they are named tuples.

    Args:
        name, format: in messages.
        rows: one or more.
    """
    width = len(rows[0])
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise DataError(f"{name}, row {number:,}: has {len(row)} columns instead of {width}")
    names = getattr(rows[0], "_fields", None)
    labels = names or [str(number) for number in range(1, width + 1)]
    columns = dict(zip(labels, map(list, zip(*rows, strict=True)), strict=True))
    return Frame(name, format, _columns(name, columns), header=names is not None)


def _of_array(array: np.ndarray[Any, Any]) -> Frame:
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise DataError("the array has masked values: pass the rows without them")
    if array.dtype.names:
        columns = {name: array[name].ravel() for name in array.dtype.names}
        return Frame("the array", "NumPy array", _columns("the array", columns))
    if array.ndim != 2 or not 2 <= array.shape[1] <= 4:
        raise DataError(
            f"the array has the shape {array.shape}: {_ROWS}, (n, 2) to (n, 4); of users by items pass "
            "scipy.sparse.coo_array(array), in which 0 is no rating"
        )
    columns = {str(k + 1): array[:, k] for k in range(array.shape[1])}
    return Frame("the array", "NumPy array", _columns("the array", columns), header=False)


def of_matrix(name: str, format: str, matrix: Any, *, first: int) -> Frame:
    """The entries of a sparse matrix of users by items.

    Args:
        name, format: in messages.
        matrix: of SciPy; what is stored in it are ratings, zeros too.
        first: number of its first row and column.
    """
    entries = matrix.tocoo()
    if len(entries.shape) != 2:
        raise DataError(f"{name} has the shape {entries.shape}: pass one of users by items")
    users, items = (places.astype(np.int64) + first for places in entries.coords)
    columns = {"user": users, "item": items, "rating": np.asarray(entries.data)}
    return Frame(name, format, _columns(name, columns))


def _columns(where: str, columns: Mapping[str, Any]) -> pl.LazyFrame:
    """Columns as Series, of which each must hold values of one type.

    Args:
        where: name of the object, in messages.
        columns: arrays, Series, or lists; in a list integers may stand among other numbers.
    """
    series = {}
    for name, values in columns.items():
        if isinstance(values, np.ndarray) and values.dtype.kind == "O":
            values = values.tolist()
        dtype = None
        if isinstance(values, list | tuple):
            types = {type(value) for value in values} - {type(None)}
            # Polars would go by the first.
            is_mixed = any(issubclass(kind, float | np.floating) for kind in types) and all(
                issubclass(kind, int | float | np.number) and kind is not bool for kind in types
            )
            dtype = pl.Float64 if is_mixed else None
        try:
            series[name] = pl.Series(name, values, dtype)
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
            said = str(error).partition("\n")[0]
            raise DataError(
                f"{where}: column {name} has values of mixed types, or of none that is known ({said})"
            ) from error
    lengths = {name: len(column) for name, column in series.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{where}: its columns are not equally long: {lengths}")
    return pl.LazyFrame(series)


def _is_pandas(source: Any) -> bool:
    return type(source).__module__.partition(".")[0] == "pandas" and hasattr(source, "columns")


def _from_pandas(given: Any) -> Any:
    try:
        return pl.from_pandas(given)
    except (TypeError, ValueError) as error:
        raise DataError(f"the frame has a column of mixed types: {error}") from error


def _open_pandas(frame: Any, wanted: Wanted) -> Table:
    """The table of a pandas frame, of which only the wanted columns are converted."""
    columns = [str(column) for column in frame.columns]
    if only_numbered(columns):
        plain = _from_pandas(frame.rename(columns=str))
        return open_frame("the frame", "pandas frame", plain.lazy(), wanted)
    head = frame.head(SAMPLED_ROWS)
    sample = [
        ["" if (cell := str(value)) in ("nan", "NaT", "<NA>", "None") else cell for value in row]
        for row in head.itertuples(index=False)
    ]
    wide = is_wide(columns, True, sample, wanted)
    if wide:
        places = {str(at): at for at in range(len(columns))}
        reading = wanted.reading
    else:
        places = find_columns("the frame", columns, wanted).places
        # Among the columns that are picked a number would be another column's.
        roles: dict[str, Any] = {
            {"id": "item", "count": "rating"}.get(role, role): columns[places[role]]
            for role in wanted.sought
            if wanted.column(role) is not None
        }
        if wanted.reading.where_values:
            column, values = columns[places[WHERE]], ",".join(wanted.reading.where_values)
            roles["where"] = f"{column}={values}"
        reading = wanted.reading.known(**roles)
    picked = {
        columns[place]: _from_pandas(frame.iloc[:, place]) for place in sorted(places.values())
    }
    given = replace(wanted, reading=reading)
    return open_frame("the frame", "pandas frame", pl.LazyFrame(picked), given)
