"""Records and settings to and from plain data: what JSON holds, and what files keep of them.

A record is a dataclass. Its fields are numbers, text, lists, dictionaries and further records, and
reading one back is tolerant, so that files outlive the version that wrote them: a field that the data
lacks takes its default, and a name that the record lacks is left out. So whatever joins a record must
have a default.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import polars as pl

from dotbias.errors import DataError, SettingError
from dotbias.settings import Settings

T = TypeVar("T")

# Data that is nested more deeply than this is none of ours.
_DEEPEST = 50


def to_plain(value: Any) -> Any:
    """Records, settings and whatever is in them as plain data.

    Fields of a record that are declared with ``metadata={"plain": False}`` are left out, what is in one
    with ``{"others": True}`` stands beside the other fields. Settings are a dictionary under their name.

    >>> from dotbias.solvers.least_squares.als import ALS
    >>> to_plain(ALS(n_iterations=5))
    {'ALS': {'n_iterations': 5, ...}}
    """
    if isinstance(value, Settings):
        return {type(value).__name__: _fields_of(value)}
    if is_dataclass(value) and not isinstance(value, type):
        return _fields_of(value)
    if isinstance(value, Mapping):
        return {str(key): to_plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(each) for each in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, pl.DataFrame):
        return value.to_dicts()
    if isinstance(value, slice):
        return {"slice": {"start": to_plain(value.start), "stop": to_plain(value.stop)}}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    # A function, or an object of the user's own: its name is all that can be written down.
    name = getattr(value, "__qualname__", "")
    return {type(value).__name__: {"name": name} if name else {}}


def _fields_of(value: Any) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for spec in fields(value):
        if spec.metadata.get("others"):
            data |= to_plain(getattr(value, spec.name))
        elif spec.metadata.get("plain", True):
            data[spec.name] = to_plain(getattr(value, spec.name))
    return data


def from_plain(kind: type[T], data: Any, name: str = "") -> T:
    """What ``to_plain`` has taken apart: a record, or another type that one may have for a field.

    Args:
        kind: its type. Of a field that is a frame, the metadata name the record of its rows: ``{"rows":
            kind}``.
        data: plain data.
        name: what to call it in messages.

    Raises:
        DataError: for data of another form, numbers that are not finite among it; names the field.

    >>> from dotbias.solvers.base import History
    >>> from_plain(History, {"best_epoch": 3, "mood": "good"}, "history").best_epoch
    3
    >>> from_plain(History, {"epochs": [{"epoch": "x"}]}, "history")
    Traceback (most recent call last):
        ...
    dotbias.errors.DataError: history.epochs[0].epoch must be a whole number, not 'x'
    """
    found: T = _read(kind, data, name, 0)
    return found


def _read(kind: Any, data: Any, name: str, depth: int) -> Any:
    if depth > _DEEPEST:
        raise DataError(f"{name[:80]}... is nested too deeply")
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return _any(data, name, depth)
    if origin in (Union, UnionType):
        if data is None and NoneType in parts:
            return None
        fits = str if isinstance(data, str) and str in parts else None
        others = (part for part in parts if part not in (NoneType, str))
        return _read(fits or next(others, str), data, name, depth)
    if origin is Literal:
        if data not in parts:
            raise _refusal(name, "one of " + ", ".join(map(repr, parts)), data)
        return data
    if origin in (list, tuple):
        if not isinstance(data, list):
            raise _refusal(name, "a list", data)
        read = (_read(parts[0], each, f"{name}[{n}]", depth + 1) for n, each in enumerate(data))
        return origin(read)
    if not isinstance(origin or kind, type) or not (
        is_dataclass(kind) or issubclass(origin or kind, Mapping)
    ):
        return _scalar(kind, data, name)
    if not isinstance(data, dict):
        raise _refusal(name, "a dictionary", data)
    if is_dataclass(kind):
        return _record(kind, data, name, depth)
    read = (_read(parts[1], each, _below(name, key), depth + 1) for key, each in data.items())
    return {_text(key, name): each for key, each in zip(data, read, strict=True)}


def _record(kind: Any, data: dict[str, Any], name: str, depth: int) -> Any:
    hints, given, known = get_type_hints(kind), {}, set()
    others = None
    for spec in fields(kind):
        if spec.metadata.get("others"):
            others = spec.name
            continue
        known.add(spec.name)
        if not spec.metadata.get("plain", True):
            continue
        if spec.name not in data:
            if spec.default is MISSING and spec.default_factory is MISSING:
                raise DataError(f"{_below(name, spec.name)} is missing")
            continue
        rows = spec.metadata.get("rows")
        hint = hints[spec.name] if rows is None else list[rows]  # type: ignore[valid-type]
        value = _read(hint, data[spec.name], _below(name, spec.name), depth + 1)
        given[spec.name] = value if rows is None else _frame(value, _below(name, spec.name))
    if others is not None:
        rest = {key: each for key, each in data.items() if key not in known}
        given[others] = _read(hints[others], rest, name, depth)
    return kind(**given)


def _frame(rows: list[Any], name: str) -> pl.DataFrame:
    try:
        return pl.DataFrame(rows, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OverflowError):  # whole numbers of more than 64 bits
        raise DataError(f"{name} has numbers that no table can hold") from None


def _scalar(kind: Any, data: Any, name: str) -> Any:
    if kind is str:
        return _text(data, name)
    if kind is bool:
        if not isinstance(data, bool):
            raise _refusal(name, "true or false", data)
        return data
    if kind is int:
        if not isinstance(data, int) or isinstance(data, bool):
            raise _refusal(name, "a whole number", data)
        return data
    if kind is not float:
        raise TypeError(f"{name}: {kind} is no type of a record's field")
    if not isinstance(data, (int, float)) or isinstance(data, bool):
        raise _refusal(name, "a number", data)
    try:
        number = float(data)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _refusal(name, "a finite number", data)
    return number


def _text(data: Any, name: str) -> str:
    if not isinstance(data, str):
        raise _refusal(name, "text", data)
    try:
        data.encode()
    except UnicodeEncodeError:
        raise _refusal(name, "text of whole characters", ascii(data)) from None
    return data


def _any(data: Any, name: str, depth: int) -> Any:
    """Data of any form, but of plain parts."""
    if isinstance(data, list):
        return _read(list[Any], data, name, depth)
    if isinstance(data, dict):
        return _read(dict[str, Any], data, name, depth)
    kind = type(data)
    if data is None or kind is int:
        return data
    return _scalar(kind if kind in (bool, float) else str, data, name)


def _below(name: str, part: str) -> str:
    return f"{name}.{part}" if name else part


def _refusal(name: str, wanted: str, data: Any) -> DataError:
    shown = repr(data) if not isinstance(data, int) or abs(data) < 10**50 else "so large a number"
    shown = shown if len(shown) <= 60 else f"{shown[:60]}..."
    return DataError(f"{name} must be {wanted}, not {shown}")


# -- settings ----------------------------------------------------------------------------------------


def settings_from_plain(data: Any, kinds: Mapping[str, type[Settings]]) -> Any:
    """Settings from what ``to_plain`` has made of them; those that the data lacks keep their defaults.

    Args:
        data: plain data.
        kinds: what may occur, by name.

    Raises:
        SettingError: for a name that is not among the kinds, or a setting that a kind lacks or refuses.

    >>> from dotbias.solvers.least_squares.als import ALS
    >>> settings_from_plain({"ALS": {"n_iterations": 5}}, {"ALS": ALS}).n_iterations
    5
    """
    if isinstance(data, list):
        return tuple(settings_from_plain(each, kinds) for each in data)
    if not isinstance(data, dict):
        return data
    name = object_name(data)
    inside = data if name is None else data[name]
    given = {key: settings_from_plain(each, kinds) for key, each in inside.items()}
    if name is None:
        return given
    if name == "slice" and given.keys() == {"start", "stop"}:
        return slice(given["start"], given["stop"])
    if name not in kinds:
        raise SettingError(f"{name} is none of this version of dotbias")
    own = {spec.name for spec in fields(kinds[name]) if spec.init}
    for setting in given:
        if setting not in own:
            raise SettingError(f"{name} has no setting {setting!r} in this version of dotbias")
    try:
        return kinds[name](**given)
    except (TypeError, AttributeError) as error:  # of a type that no setting of that name has
        raise SettingError(
            f"{name} has a setting of a type that it does not take: {error}"
        ) from None


def same_settings(kept: Any, mine: Settings) -> bool:
    """Whether plain data stand for these settings, those that they lack being at their defaults."""
    if kept == to_plain(mine):
        return True
    kinds: dict[str, type[Settings]] = {}

    def collect(value: Any) -> None:
        if isinstance(value, Settings):
            kinds[type(value).__name__] = type(value)
            for spec in fields(value):
                collect(getattr(value, spec.name))

    collect(mine)
    try:
        return bool(settings_from_plain(kept, kinds) == mine)
    except SettingError:
        return False


def object_name(data: Any) -> str | None:
    """The name of the object that the data stand for, or None if they stand for none.

    No setting is a dictionary of dictionaries, so one with a single one in it is an object.
    """
    if isinstance(data, dict) and len(data) == 1:
        ((name, inside),) = data.items()
        return name if isinstance(inside, dict) else None
    return None


def settings_text(data: Any) -> str:
    """Plain data of settings as ``repr`` would have written the settings.

    >>> settings_text({"Adam": {"lr": {"slice": {"start": 0.1, "stop": 0.2}}}})
    'Adam(lr=slice(0.1, 0.2, None))'
    """
    name = object_name(data)
    if name == "slice":
        return f"slice({data[name].get('start')!r}, {data[name].get('stop')!r}, None)"
    if name is not None:
        inside = ", ".join(f"{key}={settings_text(each)}" for key, each in data[name].items())
        return f"{name}({inside})"
    if isinstance(data, dict):
        return (
            "{" + ", ".join(f"{key!r}: {settings_text(each)}" for key, each in data.items()) + "}"
        )
    if isinstance(data, (list, tuple)):
        return f"({', '.join(map(settings_text, data))}{',' * (len(data) == 1)})"
    return repr(data)
