"""Columns: which of a table's columns holds the users, the items, the ratings or counts..."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise, zip_longest
from typing import Literal, NamedTuple

from dotbias.data.forms import NOTHING, has_form
from dotbias.data.reading import NONE, Column, Reading
from dotbias.errors import DataError

_COUNTS = (
    "count counts plays playcount nplays listens listencount clicks views viewcount visits visitcount "
    "watchcount downloads purchases orders quantity qty units weight frequency freq hours hoursplayed "
    "playtime playtimeforever minutes seconds times n"
)
_STARS = (
    "rating ratings stars star starrating score overall value bookrating userrating reviewscore "
    "ratingvalue isrecommended recommended"
)

WHERE = "where"
"""The role of the column that says which rows are read."""

# Usual column names, the likeliest first, without case, spaces and underscores: ids before names.
_USUAL = {
    "user": "userid uid user customerid memberid reviewerid accountid visitorid personid username "
    "reviewer customer member person",
    "item": "itemid iid item movieid filmid productid bookid trackid songid artistid animeid gameid "
    "appid businessid parentasin asin isbn movie film product book track song artist anime game id",
    "rating": f"{_STARS} {_COUNTS}",
    "time": "timestamp time unixreviewtime unixtime datetime date reviewtime ratedat createdat",
    "title": "movietitle itemtitle itemname booktitle productname trackname title name",
    "genres": "genres genre categories category",
    # What tells purchases from clicks, and the like.
    WHERE: "event eventtype eventname action actiontype activity behavior behaviortype behaviour "
    "behaviourtype interaction interactiontype",
}
_USUAL["id"] = _USUAL["item"]
# A rating may turn out to be a count, and what is asked for as a count may be called a rating.
_USUAL["count"] = f"{_COUNTS} {_STARS}"
_NAMES_OF_ITEMS = "movie film product book track song artist anime game item"
IDS = ("user", "item", "id")
VALUES = ("rating", "count")
_OPTIONAL = ("time", "title", "genres")
# Names that frames give to the numbers of their rows when they write them.
_ROW_NUMBERS = ("", "unnamed0", "index", "rownames", "level0")
# No rating and no count is as large as the seconds of any time since 1973, or as its milliseconds...
_TIMES = (1e8, 1e10)
_UNITS = (1, 1e3, 1e6, 1e9)
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
# RecBole writes the type of a column behind its name.
_TYPED = re.compile(r":(token|float|token_seq|float_seq)$")
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
    held = None if sample is None else [_held(cells) for cells in zip_longest(*sample)]
    start = 0
    if sample is not None and held is not None and "user" in roles and "user" not in named:
        start = int(_is_index(sample, held, columns))
        if start:
            notices.append("column 1 numbers the rows: taken for an index")
    passed_over: list[int] = []
    for number, role in enumerate(roles):
        if role in places:
            continue
        places_of = _usual(columns, role) if held is None else None
        options = _in_order(number + start, role, held, roles) if held else places_of or []
        free = [at for at in options if at < len(columns) and at not in places.values()]
        if free:
            places[role] = free[0]
            passed_over += free[1:] if held is None and role not in ("title", "genres") else []
    over = [at for at in dict.fromkeys(passed_over) if at not in places.values()]
    if "title" in roles and "title" not in places and held is None:
        titles = [at for at in over if _plain(columns[at]) in _NAMES_OF_ITEMS.split()]
        if titles:
            places["title"] = titles[0]
    notices += _no_times(columns, held, roles, start, places)
    telling = _where(where, columns, wanted, held, sample, places)
    unknown = telling is None and _unknown(columns, held, places)
    for role in roles:
        needed = role not in wanted.optional and (role != "rating" or unknown)
        if role not in places and needed:
            raise missing(where, role, columns, wanted)
    if held is not None and len(columns) - start > 4 and not named and "user" in roles:
        notices.append(
            f"there are {len(columns):,} columns without names: if others are meant, name them by number"
            " with user=, item=, rating= (on the command line --user-column, --item-column, "
            "--rating-column)"
        )
    found = {role: places[role] for role in roles if role in places}
    if telling is not None:
        found[WHERE] = telling
    return Found(found, tuple(clipped(columns[at]) for at in over), tuple(notices))


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
        return next((at for at in _usual(columns, WHERE) if at not in places.values()), None)
    for at in range(max(places["user"], places["item"]) + 1, len(held)):
        if at in places.values() or held[at] not in ("text", "forms"):
            continue
        words = {fields[at] for fields in sample or () if at < len(fields)}
        if 1 < len(words) <= MOST_WORDS and 3 * len(words) < len(sample or ()):
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
    return DataError(f"{where}: no {role} column is recognised{advice}")


def counts(column: str) -> bool:
    """Whether a column of this name holds counts, and no ratings."""
    return _plain(column) in _COUNTS.split()


def stars(column: str) -> bool:
    """Whether a column of this name holds ratings, whatever they look like."""
    return _plain(column) in _STARS.split() and _plain(column) != "value"


def usual_place(columns: Sequence[str], role: str) -> int | None:
    """Position of the first column whose name is usual for a role."""
    return next(iter(_usual(columns, role)), None)


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
    own = [
        at
        for at, name in enumerate(columns)
        if not header or _plain(name) not in (*_ROW_NUMBERS, *_USUAL["user"].split())
    ]
    small = [
        at
        for at in own
        if at < len(held) and held[at] not in ("text", "dates") and _small(sample, at)
    ]
    if sum(held[at] != "nothing" for at in small) < 2:
        return False
    if header:
        known = [*_usual(columns, "item"), *_usual(columns, "rating")]
        return len(own) >= _FEWEST_ITEMS and not known and len(small) >= 0.8 * len(own)
    in_forms = sum(held[at] == "forms" for at in range(1, len(held)))
    if in_forms == len(columns) - 1 >= _FEWEST_ITEMS - 1:
        return True
    n_small = sum(at > 0 for at in small)
    return len(own) > _FEWEST_WITHOUT_NAMES and n_small >= 0.9 * (len(own) - 1)


def names_users(sample: Sequence[Sequence[str]]) -> bool:
    """Whether the first column of a wide table, whose name says nothing, tells users apart: it holds
    text, or whole numbers that are all different, and no other column does.
    """
    columns = [[cell for cell in cells if cell] for cells in zip_longest(*sample)]
    if _held(columns[0]) == "text":
        return True
    distinct = [len(set(cells)) == len(cells) == len(sample) for cells in columns]
    whole = all(map(str.isdecimal, columns[0]))
    return whole and len(sample) >= _FEWEST_USERS and distinct[0] and not any(distinct[1:])


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


def _usual(columns: Sequence[str], role: str) -> list[int]:
    plain = [_plain(column) for column in columns]
    return [plain.index(name) for name in _USUAL[role].split() if name in plain]


Held = Literal["numbers", "times", "dates", "forms", "text", "nothing"]


def _held(cells: Sequence[str | None]) -> Held:
    """What a column without a name holds, by what most of its cells are."""
    filled = [cell for cell in cells if cell is not None and cell not in NOTHING]
    if not filled:
        return "nothing"
    n_dates = sum(bool(_DATE.match(cell)) for cell in filled)
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


def _in_order(number: int, role: str, held: Sequence[Held], roles: Sequence[str]) -> list[int]:
    """Where the role of this number may stand in columns without names, the likeliest first."""
    valued = not set(roles).isdisjoint(VALUES)
    if role in VALUES:
        kinds = ("numbers", "forms")
        return [at for kind in kinds for at in range(number, len(held)) if held[at] == kind]
    if role == "time":
        times = [at for at in range(number - 1, len(held)) if held[at] == "times"]
        dates = [at for at, kind in enumerate(held) if kind == "dates"]
        empty = [at for at in range(number, len(held))[:1] if held[at] == "nothing" and valued]
        return [*dates, *times] or empty
    if role in ("title", "genres") and roles[0] != "id":
        return []  # beside ratings nothing tells a title from any other text
    others = [at for at, kind in enumerate(held) if kind != "dates"]
    return others[number : number + 1]


def _unknown(columns: Sequence[str], held: Sequence[Held] | None, places: dict[str, int]) -> bool:
    """Whether there is a column without a role that is neither known for another one nor a time."""
    usual = {*_ROW_NUMBERS, *(name for names in _USUAL.values() for name in names.split())}
    return any(
        _plain(name) not in usual if held is None else held[at] not in ("times", "dates")
        for at, name in enumerate(columns)
        if at not in places.values()
    )


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", _TYPED.sub("", name.strip().lower()))


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
    keywords = ", ".join(f"{role}=" for role in options)
    switches = ", ".join(f"--{role}-column" for role in options)
    return f"{there}; name the columns with {keywords} (on the command line {switches})"


def has_header(first: Sequence[str], following: Sequence[Sequence[str]], wanted: Wanted) -> bool:
    """Whether the first row names columns: a name is known, or where numbers are due there is none,
    though there are some below.
    """
    given = {column for role in wanted.roles if _numbered(column := wanted.column(role)) is None}
    usual = {name for role in wanted.roles for name in _USUAL[role].split()} - {"n"}
    if any(name.strip() in given - {None} or _plain(name) in usual for name in first):
        return True
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
