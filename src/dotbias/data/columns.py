"""Columns: which of a table's columns holds the users, the items, the ratings or counts..."""

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Literal

from dotbias.errors import DataError

Column = str | int | None
Wanted = Mapping[str, Column]

_COUNTS = (
    "count counts plays playcount nplays listens listencount clicks views viewcount visits visitcount "
    "watchcount downloads purchases orders quantity qty units weight frequency freq hours hoursplayed "
    "playtime minutes seconds times n"
)

# Usual column names, the likeliest first, without case, spaces and underscores.
_USUAL = {
    "user": "user userid uid username reviewerid reviewer customerid customer memberid member "
    "accountid visitorid",
    "item": "item itemid iid movie movieid film filmid asin parentasin product productid book "
    "bookid isbn track trackid song songid artist artistid anime animeid game gameid businessid",
    "rating": "rating ratings stars star starrating score overall value bookrating userrating "
    "reviewscore ratingvalue",
    "time": "timestamp time unixreviewtime unixtime datetime date reviewtime ratedat createdat",
    "title": "title name movietitle itemtitle itemname booktitle productname trackname",
    "genres": "genres genre categories category",
}
_USUAL["id"] = _USUAL["item"] + " id"
# A rating may turn out to be a count, and what is asked for as a count may be called a rating.
_USUAL["rating"], _USUAL["count"] = (
    f"{_USUAL['rating']} {_COUNTS}",
    f"{_COUNTS} {_USUAL['rating']}",
)
IDS = ("user", "item", "id")
VALUES = ("rating", "count")
_OPTIONAL = ("time", "genres")
# Names that frames give to the numbers of their rows when they write them.
_ROW_NUMBERS = ("", "unnamed0", "index")
# No rating and no count is as large as the seconds, or milliseconds, of any time since 1973.
_TIMES = (1e8, 1e14)
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def find_columns(
    where: str,
    columns: Sequence[str],
    wanted: Wanted,
    *,
    sample: Sequence[Sequence[str]] | None = None,
) -> dict[str, int]:
    """Position of the column of each wanted role that is there.

    Without names roles take the columns as they come. Ratings or counts take the first one from their
    place on that holds numbers, and no times: what stands between is a name, or tells clicks from
    purchases.

    A rating is missing where there is nothing but users, items, times and the like; a column that could
    be anything is left to the user.

    Args:
        where: name of the source, in messages.
        columns: names of all columns, or their numbers where they have no names.
        wanted: the roles, with the column that the user named.
        sample: the first rows where columns have no names, else None.

    Raises:
        DataError: for a role that is needed and not there, or a column that is named and not there.
    """
    places = {
        role: _named(where, columns, column)
        for role, column in wanted.items()
        if column is not None
    }
    held = None if sample is None else [_held(cells) for cells in zip_longest(*sample)]
    for number, role in enumerate(wanted):
        if role in places:
            continue
        options = _usual(columns, role) if held is None else _in_order(number, role, held, wanted)
        free = (at for at in options if at < len(columns) and at not in places.values())
        place = next(free, None)
        if place is not None:
            places[role] = place
    unknown = _unknown(columns, held, places)
    for role in wanted:
        if role not in places and role not in _OPTIONAL and (role != "rating" or unknown):
            raise missing(where, role, columns, wanted)
    return {role: places[role] for role in wanted if role in places}


def missing(where: str, role: str, columns: Sequence[str], wanted: Wanted) -> DataError:
    """The error that a role has no column."""
    advice = _choice(columns, wanted)
    if role in VALUES:
        advice += "; or pass kind='events' (--kind events) to take each row for one event"
    return DataError(f"{where}: no {role} column is recognised{advice}")


def counts(column: str) -> bool:
    """Whether a column of this name holds counts, and no ratings."""
    return _plain(column) in _COUNTS.split()


def usual_place(columns: Sequence[str], role: str) -> int | None:
    """Position of the first column whose name is usual for a role."""
    return next(iter(_usual(columns, role)), None)


def _named(where: str, columns: Sequence[str], column: Column) -> int:
    if column in columns:
        return columns.index(column)
    place = _numbered(column)
    if place is None or not 0 <= place < len(columns):
        raise DataError(f"{where}: no column {column!r}{_choice(columns, {})}")
    return place


def _numbered(column: Column) -> int | None:
    """Position of a column that is named by its number, counted from 1."""
    if isinstance(column, int) and not isinstance(column, bool):
        return column - 1
    return int(column) - 1 if isinstance(column, str) and column.isdecimal() else None


def _usual(columns: Sequence[str], role: str) -> list[int]:
    plain = [_plain(column) for column in columns]
    return [plain.index(name) for name in _USUAL[role].split() if name in plain]


_Held = Literal["numbers", "times", "text"]


def _held(cells: Sequence[str | None]) -> _Held:
    """What a column without a name holds, by what most of its cells are."""
    filled = [cell for cell in cells if cell]
    n_times = sum(_is_time(cell) for cell in filled)
    n_numbers = sum(_number(cell) is not None for cell in filled)
    if 2 * max(n_times, n_numbers) < max(len(filled), 1):
        return "text"
    return "times" if 2 * n_times >= len(filled) else "numbers"


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _is_time(cell: str) -> bool:
    low, high = _TIMES
    number = _number(cell)
    return low <= number < high if number is not None else bool(_DATE.match(cell))


def _in_order(number: int, role: str, held: Sequence[_Held], wanted: Wanted) -> list[int]:
    """Where the role of this number may stand in columns without names, the likeliest first."""
    valued = not wanted.keys().isdisjoint(VALUES)
    if role in VALUES:
        return [at for at in range(number, len(held)) if held[at] == "numbers"]
    if role == "time":
        times = [at for at in range(number - 1, len(held)) if held[at] == "times"]
        return [*times, number] if valued else times
    return [number]


def _unknown(
    columns: Sequence[str], held: Sequence[_Held] | None, places: Mapping[str, int]
) -> bool:
    """Whether there is a column without a role that is neither known for another one nor a time."""
    usual = {*_ROW_NUMBERS, *(name for names in _USUAL.values() for name in names.split())}
    return any(
        _plain(name) not in usual if held is None else held[at] != "times"
        for at, name in enumerate(columns)
        if at not in places.values()
    )


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def _choice(columns: Sequence[str], wanted: Wanted) -> str:
    """The columns there are and, where the user can name them, the options to do it."""
    there = f" among {', '.join(columns[:30])}" + (", ..." if len(columns) > 30 else "")
    roles = [role for role in wanted if role not in ("id", "title")]
    if not roles:
        return there
    roles = ["rating" if role in VALUES else role for role in roles]
    options = ", ".join(f"{role}=" for role in roles)
    switches = ", ".join(f"--{role}-column" for role in roles)
    return f"{there}; name the columns with {options} (on the command line {switches})"


def has_header(first: Sequence[str], wanted: Wanted) -> bool:
    """Whether the first row names columns: a name is known, or where numbers are due there is none."""
    given = {column for column in wanted.values() if _numbered(column) is None}
    usual = {name for role in wanted for name in _USUAL[role].split()}
    if any(name in given or _plain(name) in usual for name in first):
        return True
    value = next((role for role in VALUES if role in wanted), None)
    if value is None:
        return False
    at = _numbered(wanted[value])
    cells = first if at is None else first[at : at + 1]
    return all(_held([cell]) == "text" for cell in cells)
