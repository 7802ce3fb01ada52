"""A reading: what of a source was taken as what, as a line for people and as options for next time."""

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypedDict, get_args

from dotbias.data.kind import KINDS, Kind
from dotbias.errors import SettingError
from dotbias.shown import Shown

Column = str | int | None
Layout = Literal["long", "wide", "netflix", "lists"]
IdType = Literal["integers", "text"]

NONE = "none"
"""Given for a column, there is none; for codes, or quotation marks, likewise."""

# Words for separators that a shell makes hard to type.
_SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|", "blank": " ", "\\t": "\t"}
_SHOWN_SEPARATORS = {separator: name for name, separator in _SEPARATORS.items()} | {"\t": "tab"}
_FORMS = ("number", "stars", "percent", "fraction", "yes-no")
_ROLES = ("user", "item", "rating", "time", "title", "genres")


class How(TypedDict, total=False):
    """The options of reading, as ``Reading`` explains them."""

    layout: Layout | None
    header: bool | None
    user: Column
    item: Column
    rating: Column
    time: Column
    title: Column
    genres: Column
    user_ids: IdType | None
    item_ids: IdType | None
    kind: Kind | None
    rating_as: str | None
    time_as: str | None
    missing: Any
    where: str | None
    separator: str | None
    quote: str | None
    decimal: str | None
    comment: str | None
    skip_lines: int | None
    encoding: str | None


@dataclass(frozen=True, kw_only=True)
class Reading(Shown, Mapping[str, Any]):
    """How a source is read. What is None is still to be found out; what was found can be given back:
    ``read_ratings(path, **reading)``.

    Args:
        layout: "long", a row for each rating; "wide", a row for each user and a column for each item
            (where ``item`` is named, the other way round); "netflix", a line such as ``101:`` with an
            item before the rows of its users; or "lists", a line for each user with all of the user's
            items.
        header: whether the columns have names.
        user: name of the column, or its number counted from 1; "none" where there is none.
        item, rating, time, title, genres: as ``user``.
        user_ids: whether ids are "integers" or "text"; the ids of a file that goes with a model are what
            they are in the model.
        item_ids: as ``user_ids``.
        kind: what the values are: "ratings", "counts" or "events".
        rating_as: how ratings are written: "number"; "stars" (``4 stars``, ``4 out of 5``, ``★★★★``);
            "percent" (``80%``); "fraction" (``4/5``); "yes-no" (true, thumbs up...: 1, else 0); or words
            with their numbers (``"good=3,bad=1"``).
        time_as: how dates are written, as ``strptime`` has it (``"%d/%m/%Y"``); ISO dates and seconds
            since 1970 are known without it.
        missing: values that stand for no rating, numbers or words; "none" where there are none.
        where: which rows are read, ``"column=value"`` or ``"column=value,value"``, the column by its
            name or its number; "none" for all.
        separator: what stands between columns: one or more characters, or comma, semicolon, tab, bar,
            blank (one or several, or tabs).
        quote: the quotation mark around fields, or "none".
        decimal: the decimal mark, ``.`` or ``,``.
        comment: what lines begin with that are no rows; "none" where all are rows.
        skip_lines: how many lines to leave out before the header, or before the first row.
        encoding: of text, by the name that Python has for it: utf-8, cp1252, gb18030, utf-16...
        passed_over: columns that could have been taken too.

    Raises:
        SettingError: for an option outside its range.

    >>> print(Reading(header=False, user=1, item=2, rating=3, time="none"))
    no header: column 1 = user, 2 = item, 3 = rating
    >>> print(Reading(header=True, user="userId", item="movieId", passed_over=("movie",)))
    userId = user, movieId = item; passed over: movie
    >>> dict(Reading(user="userId", separator="tab"))
    {'user': 'userId', 'separator': '\\t'}
    """

    layout: Layout | None = None
    header: bool | None = None
    user: Column = None
    item: Column = None
    rating: Column = None
    time: Column = None
    title: Column = None
    genres: Column = None
    user_ids: IdType | None = None
    item_ids: IdType | None = None
    kind: Kind | None = None
    rating_as: str | None = None
    time_as: str | None = None
    missing: tuple[str, ...] | None = None
    where: str | None = None
    separator: str | None = None
    quote: str | None = None
    decimal: str | None = None
    comment: str | None = None
    skip_lines: int | None = None
    encoding: str | None = None
    passed_over: tuple[str, ...] = field(default=(), compare=False, metadata={"option": False})

    def __post_init__(self) -> None:
        for name, choices in (
            ("layout", get_args(Layout)),
            ("user_ids", get_args(IdType)),
            ("item_ids", get_args(IdType)),
            ("kind", KINDS),
            ("decimal", (".", ",")),
        ):
            value = getattr(self, name)
            if value is not None and value not in choices:
                known = ", ".join(choices)
                raise SettingError(f"{name}={value!r}: {name} must be one of {known}")
        if self.rating_as not in (None, *_FORMS) and "=" not in str(self.rating_as):
            raise SettingError(
                f"rating_as={self.rating_as!r}: rating_as must be one of {', '.join(_FORMS)}, or words "
                "with their numbers such as good=3,bad=1"
            )
        self._set("missing", _codes(self.missing))
        if self.where is not None and self.where != NONE and not all(self._where()):
            raise SettingError(
                f"where={self.where!r}: where must be a column and values, such as event=buy or "
                "event=buy,view; or none"
            )
        self._set("separator", _SEPARATORS.get(self.separator or "", self.separator))
        if self.separator == "" or re.search(r"[\r\n\x1f]", self.separator or ""):
            raise SettingError(
                f"separator={self.separator!r}: separator must be one or more characters of a line, or "
                f"one of {', '.join(_SEPARATORS)}"
            )
        for name, value in (("quote", self.quote), ("comment", self.comment)):
            if value is not None and (not value or not value.isprintable()):
                raise SettingError(f"{name}={value!r}: {name} must be a mark, or none")
        if self.quote is not None and self.quote != NONE and len(self.quote.encode()) != 1:
            raise SettingError(f"quote={self.quote!r}: quote must be one ASCII character, or none")
        if self.skip_lines is not None and not (
            type(self.skip_lines) is int and self.skip_lines >= 0
        ):
            raise SettingError(
                f"skip_lines={self.skip_lines!r}: skip_lines must be a whole number at least 0"
            )
        if self.encoding is not None:
            self._set("encoding", _known_encoding(self.encoding))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def __getitem__(self, name: str) -> Any:
        return self._options()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._options())

    def __len__(self) -> int:
        return len(self._options())

    def _options(self) -> dict[str, Any]:
        """What is known, as keywords."""
        known = {
            spec.name: getattr(self, spec.name)
            for spec in fields(self)
            if spec.metadata.get("option", True) and getattr(self, spec.name) is not None
        }
        if known.get("missing") == ():
            known["missing"] = NONE
        return known

    def known(self, **found: Any) -> "Reading":
        """The same reading with what is known besides."""
        return replace(self, **found)

    @property
    def where_column(self) -> Column:
        """The column that says which rows are read; None where nobody has named one, or "none"."""
        return self.where if self.where in (None, NONE) else self._where()[0]

    @property
    def where_values(self) -> tuple[str, ...]:
        """What stands there in the rows that are read, in lower case; empty where all are."""
        return () if self.where in (None, NONE) else self._where()[1]

    def _where(self) -> tuple[str, tuple[str, ...]]:
        column, _, values = str(self.where).partition("=")
        known = (value.strip().lower() for value in values.split(","))
        return column.strip(), tuple(value for value in known if value)

    def __str__(self) -> str:
        named = [(role, getattr(self, role)) for role in _ROLES]
        named = [(role, column) for role, column in named if column not in (None, NONE)]
        words = {"rating": "count"} if self.kind == "counts" else {}
        said = ", ".join(f"{column} = {words.get(role, role)}" for role, column in named)
        if not self.header:
            said = f"no header: column {said}"
        if self.layout == "netflix":
            said = "lines such as 101: name the item; then user, rating, date"
        if self.layout == "wide":
            by, across = ("user", "items") if self.item is None else ("item", "users")
            key = getattr(self, by)
            rows = f"column {key} = {by}" if key not in (None, NONE) else f"a row = a {by}"
            header = "" if self.header else "no header: "
            said = f"{header}a wide table: {rows}, the other columns = {across}"
        if self.layout == "lists":
            said = "a line for each user: the user, then the user's items"
        details = [
            f"{_SHOWN_SEPARATORS.get(self.separator or '', self.separator)} between columns"
            if self.separator not in (None, ",", "\t", "::")
            else "",
            f"{self.encoding}" if self.encoding not in (None, "utf-8") else "",
            "decimal comma" if self.decimal == "," else "",
            f"{self.skip_lines:,} lines skipped"
            if (self.skip_lines or 0) > 1
            else "1 line skipped"
            if self.skip_lines
            else "",
            f"ratings written as {self.rating_as}"
            if self.rating_as not in (None, "number")
            else "",
            f"no rating where {', '.join(self.missing)}" if self.missing else "",
            f"only rows where {self.where}" if self.where not in (None, NONE) else "",
            "each row is an event" if self.kind == "events" else "",
            f"passed over: {', '.join(self.passed_over)}" if self.passed_over else "",
        ]
        return "; ".join([said, *filter(None, details)])


def _codes(given: Any) -> tuple[str, ...] | None:
    """Codes as text; none at all for "none"."""
    if given is None or given == NONE:
        return None if given is None else ()
    several = given if isinstance(given, tuple | list) else [given]
    codes = tuple(f"{c:g}" if isinstance(c, int | float) else str(c).strip() for c in several)
    return () if codes == (NONE,) else codes


def _known_encoding(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise SettingError(
            f"encoding={name!r}: there is no such encoding; usual ones are utf-8, cp1252 (Western), "
            "cp1251 (Cyrillic), gb18030 (Chinese), shift_jis, utf-16"
        ) from None
