"""Columns: which of a table's columns holds the users, the items, the ratings or counts..."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, zip_longest
from typing import Literal, NamedTuple

from dotbias.data.forms import NOTHING, has_form
from dotbias.data.names import (
    NOUNS,
    USUAL,
    WHERE,
    are_of_reviews,
    is_about_users,
    may_be_id,
    may_be_rating,
    plain,
    usual_places,
    words,
)
from dotbias.data.reading import NONE, Column, Reading
from dotbias.errors import DataError

IDS = ("user", "item", "id")
VALUES = ("rating", "count")
_OPTIONAL = ("time", "title", "genres")
# No rating and no count is as large as the seconds of any time since 1973, or as its milliseconds...
_TIMES = (1e8, 1e10)
_UNITS = (1, 1e3, 1e6, 1e9)
_DATE = re.compile(
    r"\d{4}[-/]\d\d[-/]\d\d|\d\d?([/.])\d\d?\1\d{4}\b|[A-Z][a-z]{2},? .*\d\d:\d\d:\d\d"
)
_WORDS = re.compile(r"[^\W\d_][\w .&/-]*|")
_MOST_ANSWERS = 12
_FEWEST_ITEMS, _FEWEST_WITHOUT_NAMES, _FEWEST_ROWS, _FEWEST_USERS = 4, 8, 3, 6
_SHOWN, _SHOWN_LENGTH = 30, 300
MOST_WORDS = 8
"""Words of a column that tells kinds of rows apart."""


@dataclass(frozen=True)
class Wanted:
    """What is looked for in a table.

    Args:
        roles: user, item, rating, time..., in the order that columns without names usually have.
        reading: what is known of the source; columns that it names are taken.
        optional: roles that need not be there.
    """

    roles: tuple[str, ...]
    reading: Reading = field(default_factory=Reading)
    optional: tuple[str, ...] = _OPTIONAL

    def column(self, role: str) -> Column:
        """The column that is named for a role."""
        given: Column = getattr(self.reading, _OPTIONS.get(role, role))
        return given

    @property
    def sought(self) -> tuple[str, ...]:
        """The roles without those that are said to have no column."""
        return tuple(role for role in self.roles if self.column(role) != NONE)


_OPTIONS = {"id": "item", "count": "rating"}


class Found(NamedTuple):
    """Where the columns of a table are.

    Args:
        places: position of the column of each role that is there.
        passed_over: columns that could have been taken for one of these roles too.
        notices: what the user should know.
    """

    places: dict[str, int]
    passed_over: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def find_columns(
    where: str,
    columns: Sequence[str],
    wanted: Wanted,
    *,
    sample: Sequence[Sequence[str]] | None = None,
) -> Found:
    """The columns of the wanted roles.

    Without names roles take the columns as they come, after an index. Ratings or counts take the first
    one from their place on that holds numbers, and no times: what stands between is a name, or tells
    clicks from purchases. Times take one that holds dates or seconds, and no flags, counts or years.

    A rating is missing where there is nothing but users, items, times and the like; a column that could
    be anything is left to the user.

    Args:
        where: name of the source, in messages.
        columns: names of all columns, or their numbers where they have no names.
        wanted: the roles, and the columns that the user has named.
        sample: the first rows where columns have no names, else None.

    Raises:
        DataError: for a role that is needed and not there, or a column that is named and not there, or
            named for two roles.
    """
    roles = wanted.sought
    if len(columns) == 1 and sum(role not in wanted.optional + VALUES for role in roles) > 1:
        first = sample[0][0] if sample and sample[0] else columns[0]
        raise DataError(
            f"{where}: there is only one column, beginning with {clipped(first)!r}: say what stands "
            "between columns with separator= (on the command line --separator)"
        )
    named = {role: column for role in roles if (column := wanted.column(role)) is not None}
    places = {role: _named(where, columns, column) for role, column in named.items()}
    _check_distinct(where, columns, places)
    notices: list[str] = []
    held = None if sample is None else _held_by(sample)
    start = 0
    if sample is not None and held is not None and "user" in roles and "user" not in named:
        start = int(_is_index(sample, held, columns))
        if start:
            notices.append("column 1 numbers the rows: taken for an index")
    passed_over: list[int] = []
    for number, role in enumerate(roles):
        if role in places:
            continue
        places_of = usual_places(columns, role) if held is None else None
        options = _in_order(number + start, role, held, roles, places) if held else places_of or []
        free = [at for at in options if at < len(columns) and at not in places.values()]
        if free:
            places[role] = free[0]
            passed_over += free[1:] if held is None and role not in ("title", "genres") else []
    over = [at for at in dict.fromkeys(passed_over) if at not in places.values()]
    if held is None:
        places = _left_over(columns, roles, places, over, named)
    notices += _no_times(columns, held, roles, start, places)
    telling = _where(where, columns, wanted, held, sample, places)
    unknown = telling is None and _unknown(columns, held, places)
    for role in roles:
        needed = role not in wanted.optional and (role != "rating" or unknown)
        if role not in places and needed:
            raise missing(where, role, columns, wanted)
    found = {role: places[role] for role in roles if role in places}
    if telling is not None:
        found[WHERE] = telling
    return Found(found, tuple(clipped(columns[at]) for at in over), tuple(notices))


def _left_over(
    columns: Sequence[str],
    roles: Sequence[str],
    places: dict[str, int],
    over: Sequence[int],
    given: Collection[str],
) -> dict[str, int]:
    """The places, with columns whose names are not usual, for roles that nothing else is left for.

    An id of users or items is the only one that is no other id. Items are known by their titles where
    they have no ids, and a name of items beside ids is a title.
    """
    found = dict(places)
    for role, other in (("user", "item"), ("item", "user")):
        ids = {
            at: said
            for at, name in enumerate(columns)
            if at not in found.values()
            and may_be_id(name)
            and NOUNS[other].isdisjoint(said := words(name))
        }
        of_role = [at for at, said in ids.items() if not NOUNS[role].isdisjoint(said)]
        named = of_role or list(ids)
        if role in found and role not in given and plain(columns[found[role]]).endswith("name"):
            named = of_role  # ids before names
        elif role in found:
            continue
        if role in roles and len(named) == 1:
            found[role] = named[0]
    title = found.get("title")
    own_title = title is not None and plain(columns[title]) not in ("name", "名称")
    if "item" in roles and "item" not in found and own_title:
        found["item"] = found.pop("title")
    if "title" in roles and "title" not in found:
        titles = [at for at in over if plain(columns[at]) in NOUNS["item"]]
        if titles:
            found["title"] = titles[0]
    title = found.get("title")
    own = title is not None and plain(columns[title]) == "title" and "id" not in roles
    if own and are_of_reviews(columns):
        del found["title"]
    return found


def _where(
    where: str,
    columns: Sequence[str],
    wanted: Wanted,
    held: Sequence["Held"] | None,
    sample: Sequence[Sequence[str]] | None,
    places: dict[str, int],
) -> int | None:
    """The column that says which rows are read: as named; or, unless all are, one whose name is usual
    for it or, without names, one behind the items in which a few words come again and again.
    """
    named = wanted.reading.where_column
    if named is not None:
        return None if named == NONE else _named(where, columns, named)
    if "time" not in wanted.roles or not {"user", "item"} <= places.keys():
        return None
    if held is None:
        return next((at for at in usual_places(columns, WHERE) if at not in places.values()), None)
    for at in range(max(places["user"], places["item"]) + 1, len(held)):
        if at in places.values() or held[at] not in ("text", "forms"):
            continue
        said = {fields[at] for fields in sample or () if at < len(fields)}
        few = 1 < len(said) <= MOST_WORDS and 3 * len(said) < len(sample or ())
        if few and all(_WORDS.fullmatch(cell) for cell in said):
            return at
    return None


def _no_times(
    columns: Sequence[str],
    held: Sequence["Held"] | None,
    roles: Sequence[str],
    start: int,
    places: dict[str, int],
) -> list[str]:
    """What to say of a column without a name that stands where times would, and holds none."""
    if held is None or "user" not in roles or "time" not in roles or "time" in places:
        return []
    at = roles.index("time") + start
    if at >= len(columns) or at in places.values():
        return []
    column = columns[at]
    return [
        f"column {column} holds no times: passed over; pass time={column} (on the command line "
        f"--time-column {column}) if it does"
    ]


def missing(where: str, role: str, columns: Sequence[str], wanted: Wanted) -> DataError:
    """The error that a role has no column."""
    advice = _choice(columns, wanted)
    if role in VALUES:
        advice += "; or pass kind='events' (--kind events) to take each row for one event"
    if role in ("user", "item") and len(columns) > _FEWEST_ITEMS:
        advice += (
            "; or pass layout='wide' (--layout wide) if each row is a user and each column an item"
        )
    if role == "user" and (usual_places(columns, "title") or usual_places(columns, "item")):
        advice += (
            "; if all of it is of one person, it is nothing to fit, but a fitted model takes it: "
            "dotbias recommend MODEL --for-ratings FILE"
        )
    return DataError(f"{where}: no {role} column is recognised{advice}")


ASKED = re.compile(r"[^\[]*\[(.+)\]")
"""How forms name a column: the question, and then the item: ``Rate these films [Heat]``."""


def is_wide(
    columns: Sequence[str], header: bool, sample: Sequence[Sequence[str]], wanted: Wanted
) -> bool:
    """Whether a table has a row for each user and a column for each item: as the user says, or as it
    looks.

    With names: neither items nor ratings have a column, and nearly all columns hold small numbers, or
    ratings in another form. Without names: there are so many of these columns that they cannot be users,
    items, ratings; or all but the first hold such a form, as items would not.
    """
    if wanted.reading.layout is not None:
        return wanted.reading.layout == "wide"
    if not {"user", "item", "rating"} <= {*wanted.roles} or wanted.column("item") is not None:
        return False
    held = [_held(cells) for cells in zip_longest(*sample)][: len(columns)]
    own = [at for at, name in enumerate(columns) if not header or not _of_users(name)]
    if header and items_in_rows(columns):
        own = own[1:]
    elif header and not {
        *usual_places(columns, "item"),
        *usual_places(columns, "rating"),
    }.isdisjoint(own):
        return False
    asked = sum(ASKED.fullmatch(columns[at]) is not None for at in own) if header else 0
    if asked >= max(_FEWEST_ITEMS, 0.8 * len(own)):
        return True
    small = [
        at
        for at in own
        if at < len(held) and held[at] not in ("text", "dates") and _small(sample, at)
    ]
    if sum(held[at] != "nothing" for at in small) < 2:
        return False
    if header:
        return len(own) >= _FEWEST_ITEMS and len(small) >= 0.8 * len(own)
    in_forms = sum(held[at] == "forms" for at in range(1, len(held)))
    if in_forms == len(columns) - 1 >= _FEWEST_ITEMS - 1:
        return True
    n_small = sum(at > 0 for at in small)
    return len(own) > _FEWEST_WITHOUT_NAMES and n_small >= 0.9 * (len(own) - 1)


def names_users(sample: Sequence[Sequence[str]]) -> bool:
    """Whether the first column of a wide table, whose name says nothing, tells rows apart: it holds
    text, or whole numbers that are all different, and no other column does.
    """
    columns = [[cell for cell in cells if cell] for cells in zip_longest(*sample)]
    if _held(columns[0]) == "text":
        return True
    distinct = [len(set(cells)) == len(cells) == len(sample) for cells in columns]
    whole = all(map(str.isdecimal, columns[0]))
    return whole and len(sample) >= _FEWEST_USERS and distinct[0] and not any(distinct[1:])


def items_in_rows(columns: Sequence[str]) -> bool:
    """Whether a wide table has a row for each item: its first column is named for items, and all others
    of its own, which are many, have names that are not usual.
    """
    own = [at for at, name in enumerate(columns) if not _of_users(name)]
    others = [at for role in ("rating", "user") for at in usual_places(columns, role) if at in own]
    return (
        [at for at in usual_places(columns, "item") if at in own] == [0]
        and not others
        and len(own) > _FEWEST_WITHOUT_NAMES
    )


def _of_users(name: str) -> bool:
    """Whether a column of a wide table is that of the users, or says something of them."""
    return plain(name) in USUAL["user"] or is_about_users(name)


def holds_text(cells: Sequence[str | None]) -> bool:
    """Whether a column holds dates, or more words than stand for no rating."""
    words = {cell for cell in cells if cell and _number(cell) is None}
    return _held(cells) == "dates" or (_held(cells) == "text" and len(words) > _MOST_ANSWERS)


def _small(sample: Sequence[Sequence[str]], at: int) -> bool:
    cells = (fields[at] for fields in sample if at < len(fields) and fields[at] not in NOTHING)
    return all(number is None or abs(number) <= 1000 for number in map(_number, cells))


def _check_distinct(where: str, columns: Sequence[str], places: dict[str, int]) -> None:
    for role, place in places.items():
        other = next(other for other, at in places.items() if at == place)
        if other != role:
            one, two = (_OPTIONS.get(name, name) for name in (other, role))
            raise DataError(
                f"{where}: column {clipped(columns[place])} is named as both {one} and {two}: give each "
                f"a column of its own with {one}=, {two}= (on the command line --{one}-column, "
                f"--{two}-column)"
            )


def _named(where: str, columns: Sequence[str], column: Column) -> int:
    if column in columns:
        return columns.index(column)
    place = _numbered(column)
    if place is None or not 0 <= place < len(columns):
        raise DataError(f"{where}: no column {column!r}{_choice(columns)}")
    return place


def _numbered(column: Column) -> int | None:
    """Position of a column that is named by its number, counted from 1."""
    if isinstance(column, int) and not isinstance(column, bool):
        return column - 1
    return int(column) - 1 if isinstance(column, str) and column.isdecimal() else None


Held = Literal["numbers", "times", "dates", "places", "forms", "text", "nothing"]


def _held(cells: Sequence[str | None]) -> Held:
    """What a column without a name holds, by what most of its cells are."""
    filled = [cell for cell in cells if cell is not None and cell not in NOTHING]
    if not filled:
        return "nothing"
    n_dates = sum(_DATE.match(cell) is not None for cell in filled)
    n_times = sum(_is_time(cell) for cell in filled)
    n_numbers = sum(_number(cell) is not None for cell in filled)
    if 2 * n_dates >= len(filled):
        return "dates"
    if 2 * n_numbers < len(filled):
        n_forms = sum(map(has_form, filled))
        n_letters = sum(cell.lower() in "ynft" for cell in filled)  # which may mean anything
        is_form = n_forms == len(filled) or 2 * (n_forms - n_letters) > len(filled)
        return "forms" if is_form else "text"
    return "times" if 2 * n_times >= len(filled) else "numbers"


def _held_by(sample: Sequence[Sequence[str]]) -> list[Held]:
    """What columns without names hold. Two that lie side by side with numbers as long as degrees of
    latitude and longitude are places.
    """
    cells = list(zip_longest(*sample))
    held = [_held(column) for column in cells]
    degrees = [
        kind == "numbers" and 2 * sum(_is_degree(cell) for cell in column) > len(column)
        for kind, column in zip(held, cells, strict=True)
    ]
    for at, both in enumerate(pairwise(degrees)):
        if all(both):
            held[at : at + 2] = ["places", "places"]
    return held


def _is_degree(cell: str | None) -> bool:
    return cell is not None and re.fullmatch(r"-?\d{1,3}\.\d{4,}", cell) is not None


def _number(cell: str) -> float | None:
    try:
        return float(cell.replace(",", "."))
    except ValueError:
        return None


def _is_time(cell: str) -> bool:
    """Whether a number may be a time."""
    low, high = _TIMES
    number = _number(cell)
    return number is not None and any(low <= number / unit < high for unit in _UNITS)


def _is_index(
    sample: Sequence[Sequence[str]], held: Sequence[Held], columns: Sequence[str]
) -> bool:
    """Whether the first of columns without names numbers the rows: it rises by one each time, and behind
    it there are columns enough.
    """
    first = [fields[0] for fields in sample if fields]
    if len(first) < _FEWEST_ROWS or len(columns) < 4 or held[3] != "numbers":
        return False
    numbers = [int(cell) if cell.isdecimal() else None for cell in first]
    steps = [one is not None and two == one + 1 for one, two in pairwise(numbers)]
    return sum(steps) >= 0.9 * len(steps)  # one broken cell breaks two steps


def _in_order(
    number: int, role: str, held: Sequence[Held], roles: Sequence[str], places: dict[str, int]
) -> list[int]:
    """Where the role of this number may stand in columns without names, the likeliest first.

    Neither a date nor a place is an id, and a log of who was where, or did what when, has no ratings.
    """
    valued = not set(roles).isdisjoint(VALUES)
    if role in ("user", "item") and valued:
        return [at for at in range(number, len(held)) if held[at] not in ("dates", "places")]
    if role in VALUES:
        between = held[places.get("user", 0) : places.get("item", 0)]
        if "places" in held or "dates" in between:
            return []
        kinds = ("numbers", "forms")
        return [at for kind in kinds for at in range(number, len(held)) if held[at] == kind]
    if role == "time":
        dates = [at for at in range(len(held)) if held[at] == "dates"]
        times = [at for at in range(number - 1, len(held)) if held[at] == "times"]
        empty = [at for at in range(number, len(held))[:1] if held[at] == "nothing" and valued]
        return [*dates, *times] or empty
    if role in ("title", "genres") and roles[0] != "id":
        return []  # beside ratings nothing tells a title from any other text
    others = [at for at, kind in enumerate(held) if kind != "dates"]
    return others[number : number + 1]


def _unknown(
    columns: Sequence[str],
    held: Sequence["Held"] | None,
    places: dict[str, int],
) -> bool:
    """Whether there is a column without a role that could be a rating: with names, one that is neither
    known for another role nor named for what is no rating; without names, any but a time, other than in
    a log.
    """
    others = [at for at in range(len(columns)) if at not in places.values()]
    if held is None:
        return any(may_be_rating(columns[at]) for at in others)
    if "places" in held or "dates" in held[places.get("user", 0) : places.get("item", 0)]:
        return False
    return any(held[at] not in ("times", "dates") for at in others)


def clipped(text: str) -> str:
    """A text that is not too long for a message."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def _choice(columns: Sequence[str], wanted: Wanted | None = None) -> str:
    """The columns there are and, where the user can name them, the options to do it."""
    shown, length = [], 0
    for column in columns[:_SHOWN]:
        shown.append(clipped(column))
        length += len(shown[-1])
        if length > _SHOWN_LENGTH:
            break
    left = len(columns) - len(shown)
    there = f" among {', '.join(shown)}" + (f" and {left:,} more" if left else "")
    options = [] if wanted is None else [_OPTIONS.get(role, role) for role in wanted.roles]
    options = [role for role in options if role not in ("title", "genres")]
    if not options:
        return there
    if wanted is not None and "id" in wanted.roles:  # beside ratings, whose columns options name
        return f"{there}; in a file of titles call the columns id and title"
    keywords = ", ".join(f"{role}=" for role in options)
    switches = ", ".join(f"--{role}-column" for role in options)
    return f"{there}; name the columns with {keywords} (on the command line {switches})"


def has_header(first: Sequence[str], following: Sequence[Sequence[str]], wanted: Wanted) -> bool:
    """Whether the first row names columns: a name is known, or where numbers are due there is none,
    though there are some below.
    """
    given = {column for role in wanted.roles if _numbered(column := wanted.column(role)) is None}
    usual = {name for role in wanted.roles for name in USUAL[role]} - {"n"}
    if any(name.strip() in given - {None} for name in first):
        return True
    named = [at for at, name in enumerate(first) if plain(name) in usual]
    if named and (len(named) > 1 or not any(first[: named[0]]) or not any(map(_number, first))):
        return True  # one usual word behind a number may be a value
    value = next((role for role in VALUES if role in wanted.sought), None)
    if value is None:
        return False
    at = _numbered(wanted.column(value))
    places = range(len(first)) if at is None else range(at, min(at + 1, len(first)))
    below = [_held(column) for column in zip_longest(*following)]
    for place in places:
        kind = _held(first[place : place + 1])
        again = any(first[place] in fields[place : place + 1] for fields in following)
        of_form = kind == "forms" and (again or not first[place].isalpha())  # a name may be like
        if kind in ("numbers", "times", "dates") or of_form:
            return False
    return not below or any(held not in ("text", "nothing") for held in below)
