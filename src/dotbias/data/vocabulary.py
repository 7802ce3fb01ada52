"""The two-way table between the raw ids of a file and the row indices of the parameters."""

import numbers
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dotbias.data.arrays import as_column, as_number
from dotbias.data.reading import IdType
from dotbias.data.search import Search, plain_text
from dotbias.errors import (
    AmbiguousTitleError,
    DataError,
    SettingError,
    UnknownIdError,
    did_you_mean,
    listed,
)
from dotbias.shown import N_ROWS, Part, Rows, Shown

Index = NDArray[np.int32]

# A lookup table is the fastest map for integer ids; above this many entries per distinct-id bound
# it would cost more memory than it saves time.
_LARGEST_TABLE = 50_000_000
_BLOCK = 1 << 16
# Whole numbers up to this are all floats of double precision.
_EXACT = 2**53
_DIGITS = 15
# Integers have up to 128 bits, those of more than 64 as text.
_LARGEST_ID = 2**127
# Columns of what is said of an id.
_DESCRIBED = ("title", "genres")
# Genres that a message names: categories may be as many as items.
_SHOWN = 50
# Of so many unknown names it is found out what is most like them.
_HINTED = 3


def is_id(raw: Any) -> bool:
    """Whether this is one id, right or wrong, and not several."""
    if isinstance(raw, np.ndarray):
        return raw.ndim == 0
    return isinstance(raw, str | bytes) or not isinstance(raw, Iterable)


def as_id(raw: Any, noun: str = "user or item") -> int | str:
    """One raw id as an int or a str, as ``as_ids`` has it: a whole float is an integer.

    Args:
        raw: what is handed over; NumPy's scalars are what they hold.
        noun: whose id, in messages.

    Raises:
        DataError: for anything else, such as a fraction, a truth value, or None.

    >>> as_id(67.0), as_id(np.int16(67)), as_id("67")
    (67, 67, '67')
    """
    if isinstance(raw, np.generic) or (isinstance(raw, np.ndarray) and raw.ndim == 0):
        raw = raw.item()
    if isinstance(raw, str) or (type(raw) is int and abs(raw) < _LARGEST_ID):
        return raw
    number = as_number(raw)
    if number is not None:
        if isinstance(raw, numbers.Integral) and abs(int(raw)) < _LARGEST_ID:
            return int(raw)
        if number.is_integer() and abs(number) <= _EXACT:
            return int(number)
    raise DataError(f"{raw!r} is no {noun} id: ids are integers or strings")


def as_ids(raw: pl.Series | Iterable[Any]) -> pl.Series:
    """Raw ids as a Series of Int64 (any integers, whole floats too) or String (everything else that is
    text).

    Raises:
        DataError: for ids that are neither integers nor strings, missing, or no column.
    """
    column = as_column(raw, "id")
    if isinstance(column, np.ndarray) and column.dtype.kind not in "iuU":
        column = column.tolist()
    try:
        series = column if isinstance(column, pl.Series) else pl.Series("id", column)
    except (TypeError, OverflowError, ValueError):
        series = _of_several_types(column)
    if series.len() == 0 and series.dtype == pl.Null:
        return series.cast(pl.String)
    if series.null_count():
        raise DataError("a user or item id is missing")
    if series.dtype.is_float() or series.dtype.is_decimal():
        series = _whole(series)
    if series.dtype in (pl.UInt64, pl.Int128) and series.cast(pl.Int64, strict=False).null_count():
        return series.cast(pl.String)
    if series.dtype.is_integer():
        return series.cast(pl.Int64)
    if series.dtype in (pl.String, pl.Categorical, pl.Enum):
        return series.cast(pl.String)
    raise DataError(f"ids must be integers or strings, not {series.dtype}")


def _of_several_types(column: Iterable[Any]) -> pl.Series:
    """Ids such as an integer beside a whole float."""
    try:
        return pl.Series("id", [as_id(one) for one in column])
    except (TypeError, OverflowError) as error:
        raise DataError(f"ids must be all integers or all strings: {error}") from error


def _whole(ids: pl.Series) -> pl.Series:
    """Whole numbers as integers, which a frame makes floats of where another row has none."""
    numbers = ids.cast(pl.Float64)
    wrong = ~((numbers.floor() == numbers) & (numbers.abs() <= _EXACT))
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        raise DataError(f"id {row}, {ids[row]!r}, is no whole number: ids are integers or strings")
    return numbers.cast(pl.Int64)


def _exact(name: int | str) -> int | None:
    """An integer id, also in digits; None for other text, and where there are too many."""
    if isinstance(name, str):
        if not (name.isascii() and name.isdigit() and len(name) <= _DIGITS):
            return None
        name = int(name)
    return name if abs(name) <= _EXACT else None


def years_of(titles: pl.Series) -> pl.Series:
    """The year at the end of each title, ``Heat (1995)``: column ``year``, Int16, null without one."""
    found = titles.str.extract(r"\((\d{4})\)\s*$")
    return found.cast(pl.Int16, strict=False).alias("year")


class Vocabulary(Shown):
    """Distinct raw ids in sorted order; the position of an id is its row in the parameters.

    Args:
        ids: Series of n distinct ids (Int64 or String), sorted; text of prepared ratings is in the order
            of its hash, which nothing asks for.
        titles: Series of n strings (null where unknown), or None.
        genres: likewise, several genres of one item separated by bars.

    >>> items = Vocabulary(pl.Series([10, 30, 50]), pl.Series(["Heat", "Casino", "Ran"]))
    >>> items.indices([50, 10, 99])
    array([ 2,  0, -1], dtype=int32)
    >>> items.find("casi"), items.raw(1), items.label(1)
    (1, 30, 'Casino')
    """

    def __init__(
        self, ids: pl.Series, titles: pl.Series | None = None, genres: pl.Series | None = None
    ) -> None:
        self.ids = ids.alias("id")
        self.titles = None if titles is None else titles.cast(pl.String).alias("title")
        self.genres = None if genres is None else genres.cast(pl.String).alias("genres")

    @classmethod
    def encode(cls, raw: pl.Series) -> tuple["Vocabulary", Index]:
        """The vocabulary of a column of ids and the index of every row's id, shape (n,)."""
        if isinstance(raw.dtype, pl.Enum) and raw.dtype.categories.is_sorted():
            codes, categories = raw.to_physical().cast(pl.Int32), raw.dtype.categories
            used = _IntegerTable.spanning(codes, 0, categories.len() - 1)
            return cls(categories.gather(used.ids)), used.indices(codes)
        if raw.dtype != pl.Int32 or raw.null_count():  # which would only be copied
            raw = as_ids(raw)
        if raw.dtype.is_integer() and raw.len():
            table = _IntegerTable.over(raw)
            if table is not None:
                return cls(pl.Series(table.ids)), table.indices(raw)
        vocabulary = cls(as_ids(raw.unique().sort()))
        return vocabulary, vocabulary.indices(raw)

    def __len__(self) -> int:
        return self.ids.len()

    @cached_property
    def id_type(self) -> IdType:
        """Whether the ids are integers or text."""
        return "text" if self.ids.dtype == pl.String else "integers"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.ids.equals(other.ids)

    __hash__ = None  # type: ignore[assignment]

    def _parts(self) -> Iterable[Part]:
        columns = [column for column in (self.ids, self.titles, self.genres) if column is not None]
        yield Rows(pl.DataFrame([column.head(N_ROWS) for column in columns]), len(self))

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.ids.head(3).to_list()))
        return f"Vocabulary({len(self)} ids: {shown}{', ...' if len(self) > 3 else ''})"

    @cached_property
    def _places(self) -> dict[str, int]:
        """Index of each text id: for a few ids far quicker than ``indices``, for many slower."""
        return {id: place for place, id in enumerate(self.ids)}

    def indices(self, raw: pl.Series | Iterable[Any]) -> Index:
        """Index of every id, shape (n,), int32; -1 for ids that are not in the vocabulary."""
        series = as_ids(raw)
        if series.len() == 0 or len(self) == 0:
            return np.full(series.len(), -1, np.int32)
        if self.ids.dtype == pl.String:
            codes = series.cast(pl.String).cast(pl.Enum(self.ids), strict=False)
            return codes.to_physical().cast(pl.Int32).fill_null(-1).to_numpy()
        # Text that came from a command line or a web form may well name an integer id.
        numbers = series.cast(pl.Int64, strict=False)
        if not numbers.null_count():
            return self._of_integers(numbers.to_numpy())
        found = self._of_integers(numbers.fill_null(0).to_numpy())
        return np.where(numbers.is_not_null().to_numpy(), found, np.int32(-1))

    def _of_integers(self, values: NDArray[np.int64]) -> Index:
        """``indices`` of integers, where ids are integers."""
        known = self.ids.to_numpy()
        at = np.minimum(np.searchsorted(known, values), len(known) - 1)
        return np.where(known[at] == values, at, -1).astype(np.int32)

    def indices_of_few(self, names: Sequence[int | str]) -> Index:
        """``indices`` of a few ids (``as_id``), without the detour that pays for many."""
        if self.ids.dtype == pl.String:
            return np.array([self._places.get(str(name), -1) for name in names], np.int32)
        values = [_exact(name) for name in names]
        if len(self) and None not in values:
            return self._of_integers(np.array(values, np.int64))
        return self.indices(pl.Series([str(name) for name in names], dtype=pl.String))

    def in_own_type(self, raw: pl.Series | Iterable[Any]) -> pl.Series:
        """Ids in the type that they have here, integers or text; integers stay as text where one of them
        is none.

        >>> Vocabulary(pl.Series([10, 30])).in_own_type(["30", "99"]).to_list()
        [30, 99]
        """
        ids = as_ids(raw)
        own = ids.cast(self.ids.dtype, strict=False)
        return ids if own.null_count() else own

    def raw(self, index: int) -> int | str:
        """The raw id at an index, as it was in the file."""
        return self.ids[int(index)]  # type: ignore[no-any-return]

    def label(self, index: int) -> str:
        """The title at an index, or the raw id as text where there is no title."""
        title = None if self.titles is None else self.titles[int(index)]
        return str(self.raw(index)) if title is None else str(title)

    def find(self, name: Any, *, noun: str = "item") -> int:
        """Index of a raw id, an exact title, or of the one title that ``Search.meant`` by a name: case,
        accents and the order of words are ignored, the year may be left out, and a part of exactly one
        title will do.

        Where ids are integers, a number is one of them or a whole title, never a part of one: a wrong id
        must not stand for whatever has its digits in its name.

        Raises:
            UnknownIdError: when nothing matches, with what is most like it, or several titles do (they
                are listed, and the error is an ``AmbiguousTitleError``).
            DataError: for what is no id (``as_id``).
        """
        try:
            return self._find(name, noun=noun)
        except AmbiguousTitleError:
            raise
        except UnknownIdError as error:
            raise UnknownIdError(f"{error}{self._nearest(name)}") from None

    def _find(self, name: Any, *, noun: str) -> int:
        """The same without a look for what is most like a name that is unknown, which takes long."""
        name = as_id(name, noun)
        at = int(self.indices_of_few([name])[0])
        if at < 0 and isinstance(name, str) and name != name.strip():
            name = name.strip()
            at = int(self.indices_of_few([name])[0])
        if at >= 0:
            return at
        if self.titles is None or not isinstance(name, str):
            raise UnknownIdError(
                f"unknown {noun} {name!r}: not among the {len(self):,} in training"
                f"{self._no_titles(noun)}"
            )
        exact = (self.titles == name).arg_true().to_numpy()
        if len(exact) == 1:
            return int(exact[0])
        number = not len(exact) and self.ids.dtype != pl.String
        if number and plain_text(name).isdecimal():
            raise UnknownIdError(
                f"unknown {noun} {name!r}: no id or whole title among {len(self):,} is this number; to "
                "find a title by a part, give more of it"
            )
        matches = exact if len(exact) else self._search.meant(name)
        if len(matches) == 1:
            return int(matches[0])
        if len(matches) == 0:
            raise UnknownIdError(
                f"unknown {noun} {name!r}: no id or title among {len(self):,} matches"
            )
        shown = "\n".join(f"  {self.raw(m)}  {self.label(m)}" for m in matches[:10])
        more = f"\n  ... and {len(matches) - 10} more" if len(matches) > 10 else ""
        raise AmbiguousTitleError(
            f"{name!r} matches {len(matches)} titles; give the {noun}'s id or more of the title:\n"
            f"{shown}{more}"
        )

    @cached_property
    def _search(self) -> Search:
        """Titles, or text ids where there are none, by what people type."""
        return Search(self, np.zeros(len(self), np.int64))

    def _nearest(self, name: Any) -> str:
        """A question about what is most like an unknown name; empty where nothing is."""
        if not isinstance(name, str) or (self.titles is None and self.ids.dtype != pl.String):
            return ""
        near = [repr(self.label(at)) for at in self._search.near(name)]
        return f"; did you mean {' or '.join(near)}?" if near else ""

    def _no_titles(self, noun: str) -> str:
        """What to do where a name may be a title, and no titles are known."""
        if self.titles is not None or noun != "item":
            return ""
        return (
            "; no titles are known: fit with titles= (on the command line --titles), a file of item ids "
            "and titles"
        )

    @property
    def n_titles(self) -> int:
        """Number of ids whose title is known."""
        return 0 if self.titles is None else len(self) - self.titles.null_count()

    @cached_property
    def _genre_table(self) -> dict[str, tuple[str, Index]]:
        """Of each genre in lower case its name and the indices of its items; by name."""
        if self.genres is None:
            return {}
        long = self.genres.str.split("|").to_frame().with_row_index().explode("genres")
        named = long.filter(pl.col("genres").fill_null("") != "").group_by(
            pl.col("genres").str.to_lowercase().alias("lower")
        )
        table = named.agg(pl.col("genres").min(), pl.col("index").cast(pl.Int32)).sort("lower")
        return {lower: (name, np.array(own, np.int32)) for lower, name, own in table.iter_rows()}

    def genre_counts(self) -> dict[str, int]:
        """How many items have each genre, by name in the order of the alphabet.

        >>> genres = pl.Series(["Crime|Drama", None, "War|Crime"])
        >>> Vocabulary(pl.Series([10, 30, 50]), genres=genres).genre_counts()
        {'Crime': 2, 'Drama': 1, 'War': 1}
        """
        return {name: len(own) for name, own in self._genre_table.values()}

    def of_genres(self, names: Iterable[str]) -> NDArray[np.bool_]:
        """Which items have any of these genres, in any case: shape (n,).

        Raises:
            SettingError: for a genre that no item has, or where none are known.

        >>> genres = pl.Series(["Crime|Drama", None, "War"])
        >>> Vocabulary(pl.Series([10, 30, 50]), genres=genres).of_genres(["drama", "WAR"])
        array([ True, False,  True])
        """
        table = self._genre_table
        found = np.zeros(len(self), np.bool_)
        for name in names:
            lower = str(name).lower()
            if lower not in table:
                raise SettingError(self._unknown_genre(name))
            found[table[lower][1]] = True
        return found

    @cached_property
    def years(self) -> NDArray[np.int16]:
        """The year at the end of each title, ``Heat (1995)``: shape (n,); 0 where there is none."""
        if self.titles is None:
            return np.zeros(len(self), np.int16)
        return years_of(self.titles).fill_null(0).to_numpy()

    def of_years(self, first: int | None, last: int | None) -> NDArray[np.bool_]:
        """Which items have titles with a year from the first to the last, both included: shape (n,).

        Raises:
            SettingError: for what is no year, or where no title has one.

        >>> films = Vocabulary(pl.Series([10, 30]), pl.Series(["Heat (1995)", "Ran (1985)"]))
        >>> films.of_years(1990, None)
        array([ True, False])
        """
        for year in (first, last):
            whole = isinstance(year, numbers.Integral) and not isinstance(year, bool)
            if year is not None and not whole:
                raise SettingError(
                    f"year_from and year_to must be years such as 1995, not {year!r}"
                )
        if first is not None and last is not None and first > last:
            raise SettingError(f"year_from={first} is after year_to={last}: exchange them")
        if not self.years.any():
            raise SettingError(
                "no title says a year, as Heat (1995) does: leave year_from and year_to out"
            )
        within = self.years > 0
        if first is not None:
            within &= self.years >= first
        if last is not None:
            within &= self.years <= last
        return within

    def _unknown_genre(self, name: Any) -> str:
        """What there is instead of a genre."""
        table = self._genre_table
        if not table:
            return (
                f"genre {name!r}: nothing is known of the genres of these items; fit with titles= (on "
                "the command line --titles), a file of item ids, titles and genres"
            )
        known = [known for known, _ in table.values()]
        near = did_you_mean(str(name), known)
        return f"no item has the genre {name!r}: there are {listed(known, _SHOWN)}{near}"

    def find_known(
        self, names: Sequence[Any], *, noun: str = "item"
    ) -> tuple[Index, dict[int, UnknownIdError]]:
        """Indices of many ids or titles, and why some of them have none.

        Returns:
            Index of every name, shape (n,), -1 where ``find`` would refuse; and what it would raise
            there, by position.

        Raises:
            DataError: for what is no id (``as_id``).
        """
        names = [as_id(name, noun) for name in names]
        found = self.indices_of_few(names).copy()
        refused: dict[int, UnknownIdError] = {}
        for missed in np.flatnonzero(found < 0).tolist():
            find = self.find if len(refused) < _HINTED else self._find
            try:
                found[missed] = find(names[missed], noun=noun)
            except UnknownIdError as error:
                refused[missed] = error
        return found, refused

    def merge(self, other: "Vocabulary", *, noun: str = "item") -> "Vocabulary":
        """The vocabulary of the ids of both, in the type of those here; a title (or genre) here counts
        before one there.

        Raises:
            DataError: where these ids are integers, and others are text and no integers.

        >>> Vocabulary(pl.Series([10, 30])).merge(Vocabulary(pl.Series(["20", "30"])))
        Vocabulary(3 ids: 10, 20, 30)
        """
        joining = self.in_own_type(other.ids)
        if joining.dtype != self.ids.dtype or joining.n_unique() < len(other):
            raise DataError(
                f"{noun} ids are integers here and text in the new ones: use the same ids"
            )
        other = Vocabulary(joining, other.titles, other.genres)
        merged = Vocabulary(pl.concat([self.ids, other.ids]).unique().sort())
        both = [vocabulary.described() for vocabulary in (self, other)]
        named = pl.concat(both, how="diagonal")
        return merged.with_titles(named) if named.width > 1 else merged

    def take(self, indices: Index) -> "Vocabulary":
        """The vocabulary of the given indices, which must be ascending."""
        taken = self.described()[indices]
        return Vocabulary(taken["id"], *(taken.get_column(c, default=None) for c in _DESCRIBED))

    def with_titles(self, titles: pl.DataFrame) -> "Vocabulary":
        """The same ids with what is said of them in a frame of columns ``id``, ``title`` and perhaps
        ``genres``. Of several rows with one id, the first that says something counts.
        """
        named = titles.with_columns(as_ids(titles["id"]).cast(self.ids.dtype, strict=False))
        first = pl.exclude("id").drop_nulls().first()
        named = named.drop_nulls("id").group_by("id", maintain_order=True).agg(first)
        joined = self.ids.to_frame().join(named, on="id", how="left", maintain_order="left")
        return Vocabulary(self.ids, *(joined.get_column(c, default=None) for c in _DESCRIBED))

    def described(self) -> pl.DataFrame:
        """Ids, and the columns of what is said of them where there are any."""
        columns = [self.ids, self.titles, self.genres]
        return pl.DataFrame([column for column in columns if column is not None])


class _IntegerTable:
    """Id → index as one array over the range of the ids."""

    def __init__(self, lowest: int, table: Index, ids: NDArray[np.int64]) -> None:
        self.lowest, self.table, self.ids = lowest, table, ids

    @classmethod
    def over(cls, ids: pl.Series) -> "_IntegerTable | None":
        """The table for a column of ids, or None where their range is too wide for one."""
        lowest, highest = int(ids.min()), int(ids.max())  # type: ignore[arg-type]
        width = highest - lowest + 1
        if width > min(_LARGEST_TABLE, max(4 * ids.len(), 1_000_000)):
            return None
        return cls.spanning(ids, lowest, highest)

    @classmethod
    def spanning(cls, ids: pl.Series, lowest: int, highest: int) -> "_IntegerTable":
        """The table for a column of ids from the lowest to the highest."""
        present = np.zeros(highest - lowest + 1, np.bool_)
        for _, values in _blocks(ids):
            present[values - lowest] = True
        known = np.flatnonzero(present) + lowest
        return cls(lowest, np.cumsum(present, dtype=np.int32) - np.int32(1), known)

    def indices(self, ids: pl.Series) -> Index:
        if self.lowest == 0 and len(self.ids) == len(self.table):
            return ids.cast(pl.Int32).to_numpy()  # each id is its own index
        index = np.empty(ids.len(), np.int32)
        for rows, values in _blocks(ids):
            index[rows] = self.table[values - self.lowest]
        return index


def _blocks(ids: pl.Series) -> Iterator[tuple[slice, NDArray[np.signedinteger[Any]]]]:
    """A column in parts small enough that what is computed from one stays in the cache."""
    for start in range(0, ids.len(), _BLOCK):
        block = ids.slice(start, _BLOCK).to_numpy()
        yield slice(start, start + len(block)), block
