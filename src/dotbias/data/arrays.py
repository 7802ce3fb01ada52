"""Columns that a user hands over: what a column is, and numbers in it, checked where they come in."""

import math
import numbers
from collections.abc import Iterable, Mapping, Set
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dotbias.errors import DataError

LARGEST = 1e18
"""No rating, and no number of a feature, may be larger: single precision overflows at squares not much
above its own.
"""


def as_column(raw: Any, noun: str) -> Any:
    """A column that has a length and an order: as it is, or the list of what it yields.

    Args:
        raw: Series, array, list, generator...
        noun: what one of its values is called in messages.

    Raises:
        DataError: for what has no order (a set), is no column (a text, a number, a table), or hides
            values behind a mask.
    """
    if isinstance(raw, pl.Series):
        return raw
    if isinstance(raw, Set | Mapping) or not isinstance(raw, Iterable):
        lacks = "order" if isinstance(raw, Set | Mapping) else "rows"
        raise DataError(
            f"{noun}s of type {type(raw).__name__} have no {lacks}: give a list, array or Series"
        )
    if isinstance(raw, str | bytes):
        raise DataError(f"{raw!r} is one {noun}: give {noun}s as a list, array or Series")
    if np.ma.isMaskedArray(raw) and np.ma.getmaskarray(raw).any():
        raise DataError(f"{noun} {int(np.argmax(np.ma.getmaskarray(raw)))} is masked: leave it out")
    if isinstance(raw, np.ndarray):
        if raw.ndim != 1:
            raise DataError(f"{noun}s have the shape {raw.shape}: give one column, shape (n,)")
        return np.asarray(raw)
    return raw if isinstance(raw, list) else list(raw)


def as_numbers(raw: Any, noun: str) -> NDArray[Any]:
    """A column of real numbers, shape (n,), of any precision; what is missing is NaN.

    Args:
        raw, noun: as for ``as_column``.

    Raises:
        DataError: as ``as_column``, and for values that are no numbers: text, booleans, dates.
    """
    column = as_column(raw, noun)
    if isinstance(column, pl.Series):
        if not column.dtype.is_numeric():
            raise DataError(f"{noun}s are {column.dtype}: give numbers")
        whole = column.dtype.is_integer() and not column.null_count()
        return column.to_numpy() if whole else column.cast(pl.Float64).to_numpy()
    try:
        array = np.asarray(column)
    except ValueError as error:  # lists of several lengths
        raise DataError(f"{noun}s are lists: give numbers") from error
    if array.ndim != 1:
        raise DataError(f"{noun}s have the shape {array.shape}: give one column, shape (n,)")
    if len(array) == 0:
        return array.astype(np.float64)
    if array.dtype == object:
        found = [as_number(value) for value in array]
        for row, (value, number) in enumerate(zip(array, found, strict=True)):
            if number is None:
                raise DataError(f"{noun} {row}, {value!r}, is not a number")
        return np.array(found, np.float64)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{noun}s are {array.dtype}: give numbers")
    return array


def as_number(value: Any) -> float | None:
    """A single real number, or None for anything else."""
    plain = type(value) is float or type(value) is int  # which is asked a hundred times as often
    if not plain and (isinstance(value, bool) or not isinstance(value, numbers.Real | Decimal)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def as_whole_numbers(raw: Any, noun: str) -> NDArray[np.int64]:
    """A column of whole numbers, shape (n,).

    Raises:
        DataError: as ``as_numbers``, and for fractions or numbers beyond 64 bits.
    """
    array = as_numbers(raw, noun)
    if array.dtype == np.int64:
        return array
    if array.dtype.kind == "f":
        wrong = ~(np.abs(array) < 2.0**63) | (array != np.floor(array))
    else:
        wrong = array > np.iinfo(np.int64).max
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(f"{noun} {row}, {array[row]}, is not a whole number of 64 bits")
    return array.astype(np.int64, copy=False)
