"""Columns: which of a table's columns holds the users, the items, the ratings..."""

import re
from collections.abc import Mapping, Sequence

from dotbias.errors import DataError

Column = str | int | None
Wanted = Mapping[str, Column]

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
IDS = ("user", "item", "id")
_OPTIONAL = ("time", "genres")


def find_columns(
    where: str, columns: Sequence[str], wanted: Wanted, *, header: bool = True
) -> dict[str, int]:
    """Position of the column of each wanted role that is there.

    Args:
        where: name of the source, in messages.
        columns: names of all columns, or their numbers where there is no header.
        wanted: the roles, with the column that the user named.
        header: whether columns have names; without, roles take them as they come.

    Raises:
        DataError: for a role that is needed and not there, or a column that is named and not there.
    """
    places = {
        role: _named(where, columns, column)
        for role, column in wanted.items()
        if column is not None
    }
    for number, role in enumerate(wanted):
        if role in places:
            continue
        options = _usual(columns, role) if header else [number][: len(columns) - number]
        place = next((option for option in options if option not in places.values()), None)
        if place is not None:
            places[role] = place
        elif role not in _OPTIONAL:
            raise DataError(f"{where}: no {role} column is recognised{_choice(columns, wanted)}")
    return {role: places[role] for role in wanted if role in places}


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


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def _choice(columns: Sequence[str], wanted: Wanted) -> str:
    """The columns there are and, where the user can name them, the options to do it."""
    there = f" among {', '.join(columns[:30])}" + (", ..." if len(columns) > 30 else "")
    roles = [role for role in wanted if role not in ("id", "title")]
    if not roles:
        return there
    options = ", ".join(f"{role}=" for role in roles)
    switches = ", ".join(f"--{role}-column" for role in roles)
    return f"{there}; name the columns with {options} (on the command line {switches})"


def has_header(first: Sequence[str], wanted: Wanted) -> bool:
    """Whether the first row names columns: a name is known, or the rating is not a number."""
    given = {column for column in wanted.values() if _numbered(column) is None}
    usual = {name for role in wanted for name in _USUAL[role].split()}
    if any(name in given or _plain(name) in usual for name in first):
        return True
    if "rating" not in wanted:
        return False
    at = _numbered(wanted["rating"])
    try:
        float(first[list(wanted).index("rating") if at is None else at])
    except (ValueError, IndexError):
        return True
    return False
