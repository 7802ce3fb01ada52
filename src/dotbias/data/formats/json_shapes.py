"""Shapes of JSON other than a list of flat objects: what programs nest, and how it becomes rows.

What they share: a row is found inside out. Objects within objects become columns such as ``user.id``;
lists within rows become rows of their own; and what stands as a key becomes a column.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from dotbias.data.names import usual_place

Row = dict[str, Any]
_DEEPEST = 8


def shapes(values: Sequence[Any]) -> Iterator[Callable[[Sequence[Any]], list[Row]]]:
    """Ways to make flat rows of the values that a JSON text holds, the likeliest first.

    Args:
        values: the first of them, or all.
    """
    rows = records(values)
    if not rows:
        return
    inner = [key for key, value in rows[0].items() if isinstance(value, list | dict)]
    inner.sort(key=lambda key: -len(rows[0][key]))
    rated = [key for key in inner if _are_ratings(key, rows[0][key])]
    for key in rated:
        yield _exploding(key)
    yield lambda them: [flat(row) for row in records(them)]
    for key in inner:
        if key not in rated:
            yield _exploding(key)


def _exploding(key: str) -> Callable[[Sequence[Any]], list[Row]]:
    return lambda values: [row for outer in records(values) for row in exploded(outer, key)]


def _are_items(key: str) -> bool:
    return usual_place([key.rstrip("s")], "item") is not None


def _are_ratings(key: str, value: Any) -> bool:
    """Whether these are items with a number each, and no object such as ``{"value": 5, "max": 5}``."""
    return (
        isinstance(value, dict)
        and key.endswith("s")
        and (_are_items(key) or usual_place([key], "rating") is not None)
        and all(isinstance(cell, int | float) for cell in value.values())
    )


def records(values: Sequence[Any]) -> list[Row]:
    """The objects that are rows among the values of a text: they themselves, those in a list, those that
    a wrapper holds, or what is made of a table of another orientation.

    >>> records([{"data": [{"user": 1, "item": 2}, {"user": 1, "item": 3}], "next": None}])
    [{'user': 1, 'item': 2}, {'user': 1, 'item': 3}]
    >>> records([{"ann": {"Heat": 5, "Big": 3}}])
    [{'user': 'ann', 'item': 'Heat', 'rating': 5}, {'user': 'ann', 'item': 'Big', 'rating': 3}]
    >>> records([{"columns": ["user", "item"], "data": [[1, 2]]}])
    [{'user': 1, 'item': 2}]
    """
    if len(values) == 1:
        value = values[0]
        return _of_list(value) if isinstance(value, list) else _of_object(value, 0)
    return _of_list(values)


def _of_list(values: Sequence[Any]) -> list[Row]:
    if values and all(isinstance(value, dict) for value in values):
        return list(values)
    lists = bool(values) and all(isinstance(value, list) for value in values)
    if lists and values[0] and all(isinstance(name, str) for name in values[0]):
        return [dict(zip(values[0], row, strict=False)) for row in values[1:]]
    return []


def _of_object(value: Any, depth: int) -> list[Row]:
    if not isinstance(value, dict) or depth > _DEEPEST:
        return []
    named = _has_names(list(value))
    if isinstance(names := value.get("columns"), list) and isinstance(value.get("data"), list):
        return [dict(zip(names, row, strict=False)) for row in value["data"]]
    inner = list(value.values())
    if named and inner and all(isinstance(column, list) for column in inner):
        return [dict(zip(value, row, strict=False)) for row in zip(*inner, strict=False)]
    if named and inner and all(isinstance(column, dict) for column in inner):
        return [{name: column.get(at) for name, column in value.items()} for at in inner[0]]
    if named:
        return []
    return _keyed(value) or _wrapped(value, depth)


def _keyed(value: Mapping[str, Any]) -> list[Row]:
    """Rows whose keys say whose they are, or only number them."""
    inner = [one for one in value.values() if one != {} and one != []]
    if not inner or len({type(one) for one in inner}) > 1:
        return []
    if all(isinstance(one, dict) for one in inner):
        if all(_has_names(list(one)) for one in inner):
            return inner
        if all(isinstance(cell, int | float) for one in inner for cell in one.values()):
            return _triples(value)
    if all(isinstance(one, list) for one in inner):
        cells = [cell for one in inner for cell in one]
        if all(isinstance(cell, int | str) for cell in cells):
            return [
                {"user": user, "item": item} for user, items in _with_ids(value) for item in items
            ]
        if all(isinstance(cell, list) and len(cell) in (2, 3) for cell in cells):
            names = ("user", "item", "rating", "time")
            return [
                dict(zip(names, (user, *cell), strict=False))
                for user, pairs in _with_ids(value)
                for cell in pairs
            ]
        alike = (
            all(isinstance(cell, dict) for cell in cells) and len(set(map(frozenset, cells))) == 1
        )
        if len(inner) > 1 and alike:
            return [{"user": user, **row} for user, rows in _with_ids(value) for row in rows]
    return []


def _triples(value: Mapping[Any, Mapping[Any, float]]) -> list[Row]:
    """Users, their items, and the ratings of these."""
    items = list(dict.fromkeys(item for ratings in value.values() for item in ratings))
    ids = dict(zip(items, _ids(items), strict=True))
    return [
        {"user": user, "item": ids[item], "rating": rating}
        for user, ratings in _with_ids(value)
        for item, rating in ratings.items()
    ]


def _wrapped(value: Mapping[str, Any], depth: int) -> list[Row]:
    """The longest list of objects in a wrapper, such as the answer of a service."""
    found: list[Row] = []
    for one in value.values():
        rows = _of_list(one) if isinstance(one, list) else _of_object(one, depth + 1)
        found = max(found, rows, key=len)
    return found


def _has_names(names: Sequence[str]) -> bool:
    texts = list(map(str, names))
    return all(usual_place(texts, role) is not None for role in ("user", "item"))


def _ids(keys: Iterable[Any]) -> list[Any]:
    """Keys as ids: JSON has text only in this place."""
    keys = list(keys)
    if all(isinstance(key, str) and re.fullmatch(r"0|-?[1-9]\d{0,17}", key) for key in keys):
        return list(map(int, keys))
    return keys


def _with_ids(value: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    return zip(_ids(value), value.values(), strict=True)


def flat(row: Mapping[str, Any]) -> Row:
    """An object without objects in it.

    >>> flat({"_id": {"$oid": "5f"}, "user": {"id": 1, "name": "Ann"}, "tags": ["a"]})
    {'_id': '5f', 'user.id': 1, 'user.name': 'Ann', 'tags': ['a']}
    """
    return dict(_cells(row, "", 0))


def _cells(row: Mapping[str, Any], before: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, raw in row.items():
        value = _plain(raw)
        if isinstance(value, dict) and depth < _DEEPEST:
            yield from _cells(value, f"{before}{key}.", depth + 1)
        else:
            yield f"{before}{key}", value


def _plain(value: Any) -> Any:
    """What MongoDB and DynamoDB write with its type: ``{"$numberInt": "5"}``, ``{"N": "5"}``."""
    if isinstance(value, float) and value != value:
        return None  # NaN, as Python writes what is missing
    if not isinstance(value, dict) or len(value) != 1:
        return value
    ((kind, inner),) = value.items()
    if kind == "S" and isinstance(inner, str):
        return inner
    if kind in ("N", "$numberInt", "$numberLong", "$numberDouble", "$numberDecimal"):
        try:
            return int(inner) if str(inner).lstrip("-").isdecimal() else float(inner)
        except (TypeError, ValueError):
            return inner
    return _plain(inner) if kind.startswith("$") else value


def exploded(row: Mapping[str, Any], key: str) -> Iterator[Row]:
    """A row for each of what stands under a key of an object: objects, items, or items and ratings.

    >>> list(exploded({"user": 1, "ratings": {"Heat": 5}}, "ratings"))
    [{'user': 1, 'item': 'Heat', 'rating': 5}]
    >>> list(exploded({"user": 1, "items": [7]}, "items"))
    [{'user': 1, 'item': 7}]
    """
    inner = row.get(key)
    outer = flat({name: value for name, value in row.items() if name != key})
    if isinstance(inner, dict) and _are_ratings(key, inner):
        for item, rating in _with_ids(inner):
            yield {**outer, "item": item, "rating": rating}
    for one in inner if isinstance(inner, list) else ():
        if isinstance(one, dict):
            yield {**outer, **flat({key: one})}
        elif _are_items(key) and isinstance(one, int | str):
            yield {**outer, "item": one}
