"""Reading: any usual file or frame becomes ``Ratings``, or an error that says what is wrong where.

What is found out about a source is a ``Reading``; whatever a user says of it is one too, and is not
looked for again.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Unpack, get_args

import numpy as np
import polars as pl

from dotbias.data import values
from dotbias.data.catalog import fetch
from dotbias.data.columns import Wanted, clipped, missing
from dotbias.data.formats.known import SUFFIXES, open_table
from dotbias.data.formats.table import Origin, Table
from dotbias.data.formats.titles import reshaped, with_whole_lines
from dotbias.data.names import WHERE, counts, usual_place
from dotbias.data.prepared.manifest import is_prepared
from dotbias.data.prepared.prepared import PreparedRatings
from dotbias.data.ratings import Kind, Ratings, Scale, declared_scale
from dotbias.data.reading import NONE, How, Reading
from dotbias.data.scan import BadRow, as_text, numbered, others, parse, places, usable
from dotbias.data.sources.blob import Blob, Frame
from dotbias.data.sources.limits import Limit, limit_of
from dotbias.data.sources.locate import RATINGS, TITLES, locate, titles_beside
from dotbias.data.vocabulary import Vocabulary
from dotbias.errors import DataError, SettingError

if TYPE_CHECKING:
    from dotbias.data.sources.locate import Source

OnBad = Literal["error", "skip"]
Duplicates = Literal["last", "mean", "sum", "error"]

_log = logging.getLogger("dotbias")

DUPLICATES: dict[Kind, Duplicates] = {"ratings": "last", "counts": "sum", "events": "sum"}
"""What is kept of repeated pairs where nobody says."""

# Columns of a table of predictions.
_PREDICTED = ("user", "item", "prediction", "preference", "basis", "std", "lower", "upper")
# Columns of a table of ratings.
RATED = ("user", "item", "rating", "time", "title", "genres")


@dataclass(frozen=True)
class ReadReport:
    """What happened while reading.

    Args:
        source: the file, member of an archive, or frame that was read.
        format: what it turned out to hold.
        n_rows: rows it has, bad ones included.
        n_bad: rows left out because they could not be used.
        bad_sample: the first few of them.
        n_duplicates: ratings left out because their (user, item) pair occurs again.
        notices: whatever else a user should know.
        kept: what was kept of repeated pairs.
        reading: what was taken as what.
        counted: how many ratings, users and items there are, in words.
        warnings: whatever makes it likely that something is not what it was taken for.
    """

    source: str
    format: str
    n_rows: int
    n_bad: int = 0
    bad_sample: tuple[BadRow, ...] = ()
    n_duplicates: int = 0
    notices: tuple[str, ...] = ()
    kept: str = ""
    reading: Reading = field(default_factory=Reading)
    counted: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def taken(self) -> str:
        """What was taken as what, in one line."""
        return f"{self.source}: {self.reading}: {self.counted}"

    def lines(self) -> list[str]:
        """Sentences for people; none where there is nothing to say."""
        lines = [*self.warnings, *self.notices]
        if self.n_bad:
            rows = "row" if self.n_bad == 1 else "rows"
            first = self.bad_sample[0]
            lines.append(
                f"skipped {self.n_bad:,} bad {rows} of {self.n_rows:,}, the first: {first}"
            )
        if self.n_duplicates:
            pairs = "pair" if self.n_duplicates == 1 else "pairs"
            lines.append(f"{self.n_duplicates:,} repeated (user, item) {pairs}: kept {self.kept}")
        return lines

    def log(self) -> None:
        """Tell all of it."""
        _log.info("%s", self.taken)
        for line in self.lines():
            grave = line.startswith(("skipped", "no titles")) or line in self.warnings
            _log.log(logging.WARNING if grave else logging.INFO, "%s", line)


def read_ratings(
    source: "Source",
    *,
    scale: tuple[float, float] | None = None,
    on_bad: OnBad = "error",
    duplicates: Duplicates | None = None,
    titles: "Source | None" = None,
    of_model: Kind | None = None,
    max_unpacked: int | str | None = None,
    **how: Unpack[How],
) -> Ratings:
    """Read ratings from a file, a folder, an archive, a named set or a frame.

    What a file holds is recognised by its content (docs/reading.md). In a zip, a tar, a folder, an Excel
    workbook or a database the ratings are found by their name, and the titles beside them; files such as
    ``part-00000.csv``, those of a pattern and those of a list are parts of one table. What was taken as
    what is logged as one line, kept as ``Ratings.reading``, and can be given back:
    ``read_ratings(path, **ratings.reading)``.

    Where there are no ratings, a column of counts is taken (``plays``, ``quantity``, ``hours``...), or
    each row for an event, and the log says so; likewise where all ratings are the same. Rows that count
    nothing, with a 0, are left out: such a pair is like one that is not there.

    Args:
        source: path, pattern or list of paths, ``"-"`` for standard input, name of a named set such as
            ``"ml-100k"``, or address of a database, ``"sqlite:///file.db?table=ratings"`` (others than
            SQLite and DuckDB through SQLAlchemy). Or an object: pandas or Polars frame, lazy too; Arrow
            table; rows as tuples, dictionaries or an array of shape (n, 2) to (n, 4); columns as a
            dictionary; a SciPy sparse matrix of users by items, whose rows and columns are ids from 0.
        scale: lowest and highest possible rating; by default the range of the ratings at hand.
        on_bad: "error" stops at the first row that cannot be used, "skip" leaves such rows out.
        duplicates: of a (user, item) pair that occurs again keep the "last" rating (by time where
            there are times, else by place), or the "mean", or treat it as an "error". Of counts and
            events also the "sum", their default, at the latest of their times; events that occur again
            become counts by it.
        titles: file or frame with the titles of the items, see ``read_titles``. By default those beside
            the ratings, in their archive, database, or folder (``movies.csv``), if any ids are the same;
            "none" leaves those out.
        of_model: what a model was fitted to that is to take them; for one of ratings, ratings that are
            all the same are ratings too.
        max_unpacked: bytes that a packed file or an archive may unpack to, or text such as ``"40GB"``.
            By default 20 GB, and above 1 MB no more than 200 times its size.
        how: what is known of the source, by the names in ``Reading``: ``user=``, ``item=``, ``rating=``,
            ``time=``, ``title=``, ``genres=`` (columns by name or number), ``kind=``, ``layout=``,
            ``header=``, ``separator=``, ``encoding=``, ``missing=``, ``where=``... Ids are integers or
            text and come back as they were, without blanks around them: a column of a text file becomes
            integers only if each of its ids is written as a whole number is (``67.0`` is 67; ``007`` and
            ``+7`` are text).

    Returns:
        The ratings in the order of the source. What was left out is logged (logger ``dotbias``);
        ``read_ratings_with_report`` returns it.

    Raises:
        DataError: naming file, row, column and value.
        SettingError: for an option outside its range.
        DownloadError: when a named set cannot be fetched.

    >>> frame = pl.DataFrame({"userId": ["ann", "bob"], "movieId": [7, 7], "stars": [4, 5]})
    >>> read_ratings(frame)
    Ratings(2 ratings, 2 users, 1 items, scale 4-5)
    >>> read_ratings(pl.DataFrame({"user": ["ann", "bob", "ann"], "artist": [7, 7, 7]}))
    Ratings(2 interactions, 2 users, 1 items, counts 1-2)
    """
    ratings, report = read_ratings_with_report(
        source,
        scale=scale,
        on_bad=on_bad,
        duplicates=duplicates,
        titles=titles,
        of_model=of_model,
        max_unpacked=max_unpacked,
        **how,
    )
    report.log()
    return ratings


def read_ratings_with_report(
    source: "Source",
    *,
    scale: tuple[float, float] | None = None,
    on_bad: OnBad = "error",
    duplicates: Duplicates | None = None,
    titles: "Source | None" = None,
    of_model: Kind | None = None,
    max_unpacked: int | str | None = None,
    **how: Unpack[How],
) -> tuple[Ratings, ReadReport]:
    """The ratings as ``read_ratings`` returns them, and what happened while reading.

    >>> frame = pl.DataFrame({"user": [1, 1, 2], "item": [7, 7, 7], "rating": [4, 5, None]})
    >>> ratings, report = read_ratings_with_report(frame, on_bad="skip")
    >>> report.taken
    'the frame: user = user, item = item, rating = rating: 1 ratings, 1 users, 1 items'
    >>> print(*report.lines(), sep="; ")
    skipped 1 bad row of 3, the first: row 3, column rating: missing;
    1 repeated (user, item) pair: kept the last in the file
    """
    limit = limit_of(max_unpacked)
    content, beside = locate(source, RATINGS, SUFFIXES, limit)
    return read_located(
        content,
        beside,
        Reading(**how),
        limit=limit,
        scale=scale,
        on_bad=on_bad,
        duplicates=duplicates,
        titles=titles,
        of_model=of_model,
    )


def read_located(
    content: Any,
    beside: Blob | Frame | None,
    given: Reading,
    *,
    limit: Limit,
    scale: tuple[float, float] | None = None,
    on_bad: OnBad = "error",
    duplicates: Duplicates | None = None,
    titles: "Source | None" = None,
    of_model: Kind | None = None,
) -> tuple[Ratings, ReadReport]:
    """The same of what ``locate`` has found.

    Args:
        content, beside: the ratings, and the titles in the same container.
        given: what is known of them.
        limit: what packed files may unpack to.
        scale, on_bad, duplicates, titles, of_model: as for ``read_ratings``.
    """
    good = good_rows(
        content,
        given,
        scale=scale,
        on_bad=on_bad,
        duplicates=duplicates,
        sure=of_model == "ratings" or scale is not None,
    )
    found, limits = good.kind, good.scale
    counted = good.n_rows, good.n_bad, good.bad_sample
    table, frame = values.dated(good.table, good.frame)
    del good  # and with it the frame, which is emptied now
    rows = frame.drop_in_place("row") if "row" in frame.columns else None
    own = values.own_titles(frame)
    every = encode_rows(frame, limits, found)
    if any(map(_over_lines, (every.user_vocabulary, every.item_vocabulary))):
        table.check_quotes()
    duplicates = duplicates or DUPLICATES[found]

    def where(*at: int) -> str:
        assert rows is not None
        return places(table, rows[list(at)].to_list())

    ratings = without_repeats(every, duplicates, where)
    notices = list(table.notices)
    if titles is None and own is not None:
        named = ratings.item_vocabulary.with_titles(own)
    else:
        known = known_titles(titles, content, beside, limit)
        named = known.of(ratings.item_vocabulary)
        notices += known.said(named.n_titles, len(named))
    if named.n_titles:
        ratings = ratings.titled(named)
    reading = _completed(table, ratings, found, titled=own is not None)
    return replace(ratings, reading=reading), ReadReport(
        source=table.name,
        format=table.format,
        n_rows=counted[0],
        n_bad=counted[1],
        bad_sample=counted[2],
        n_duplicates=len(every) - len(ratings),
        notices=tuple(notices),
        kept=what_is_kept(duplicates, found, dated=every.times is not None),
        reading=reading,
        counted=f"{len(ratings):,} {ratings.noun}, {ratings.n_users:,} users, {ratings.n_items:,} items",
        warnings=values.warnings(every, table),
    )


@dataclass(frozen=True, eq=False)
class GoodRows:
    """The rows of a source, or of a part of one, that can be used.

    Args:
        table: where they come from, and what is known of it by now.
        frame: columns ``user``, ``item``, ``value`` unless they are events, and ``time``, ``title``,
            ``genres`` where there are any; ``row``, the number in the table, where repeated pairs are an
            error.
        kind: what the values are.
        scale: the scale that the user has named.
        n_rows: rows that were read.
        n_bad: those that could not be used.
        bad_sample: the first few of them.
    """

    table: Table
    frame: pl.DataFrame
    kind: Kind
    scale: Scale | None
    n_rows: int
    n_bad: int
    bad_sample: tuple[BadRow, ...]


def good_rows(
    content: Any,
    given: Reading,
    *,
    scale: tuple[float, float] | None = None,
    on_bad: OnBad = "error",
    duplicates: Duplicates | None = None,
    sure: bool = False,
    origin: Origin | None = None,
) -> GoodRows:
    """Read what ``locate`` has found.

    Args:
        content: a blob, a frame, parts...
        given: what is known of it.
        scale, on_bad, duplicates: as for ``read_ratings``.
        sure: whether ratings that are all the same are ratings.
        origin: where the rows come from, of a part of a file.

    Raises:
        DataError, SettingError: as ``read_ratings``.
        NothingLeftError: where no row is left that says anything.
    """
    _require("on_bad", on_bad, get_args(OnBad))
    _require("duplicates", duplicates, (None, *get_args(Duplicates)))
    table, found = open_ratings(content, RATED, given)
    if origin is not None:
        table = table.from_parts(origin)
    if table.reading.where_values and WHERE not in table.places:
        raise DataError(
            f"{table.name}: where= (on the command line --where) chooses rows of one rating each, and "
            f"this is {table.format}: leave it out"
        )
    limits = declared_scale(scale, found)
    if duplicates == "sum" and found == "ratings":
        raise SettingError(
            "duplicates='sum': ratings do not add up; pass kind='counts' (on the command line "
            "--kind counts) if these are counts"
        )
    table, parsed = parse(table, limits, found)
    n_rows = parsed.frame.height
    frame, sample = usable(table, parsed, skip=on_bad == "skip")
    if duplicates == "error":
        frame = numbered(table, frame)  # before any more rows are left out
    n_bad = n_rows - frame.height
    table, frame = values.kinds_of_rows(table, frame)
    table, frame = values.without_codes(table, frame, found)
    table, found = values.what_values_are(table, frame, found, sure=sure)
    table, frame = values.above_zero(table, frame, found)
    return GoodRows(table, frame, found, limits, n_rows, n_bad, sample)


def as_ratings(
    given: "Ratings | PreparedRatings | Source", *, of_model: Kind | None = None
) -> Ratings:
    """Ratings as they are, and whatever else holds ratings as ``read_ratings`` reads it. Of prepared
    ratings, or the path or URL of their folder, those for training.

    Args:
        given: ratings, or a frame, path, named set...
        of_model: as for ``read_ratings``.

    Raises:
        DataError, DownloadError: as ``read_ratings``.
    """
    if isinstance(given, str | os.PathLike) and is_prepared(given):
        given = PreparedRatings.open(given)
    if isinstance(given, PreparedRatings):
        return given.training
    return given if isinstance(given, Ratings) else read_ratings(given, of_model=of_model)


def load(name: str, **read_options: Any) -> Ratings:
    """The ratings of a named set, downloaded when it is first used.

    Args:
        name: one of ``NAMED_SETS``.
        read_options: passed to ``read_ratings``.

    Raises:
        DataError: for an unknown name, or as ``read_ratings``.
        DownloadError: as ``fetch``.
    """
    return read_ratings(fetch(name), **read_options)


def read_titles(
    source: "Source", *, max_unpacked: int | str | None = None, **how: Unpack[How]
) -> pl.DataFrame:
    """Read the titles of items: columns ``id`` (Int64 or String) and ``title`` (String).

    Takes what ``read_ratings`` takes, with an item id and a title column (``movieId``, ``title``),
    or without a header: id, title. So ``movies.csv``, ``movies.dat`` and ``u.item`` of MovieLens
    are read as they are. Rows without an id or a title are left out.

    Genres come along as a third column, ``genres`` (String, several separated by bars), where there is
    a column of that name (or ``category``), or a third and last one without a header.

    Args:
        source: path or frame.
        how: what is known of it, by the names in ``Reading``: ``item=``, ``title=``, ``genres=``...

    Raises:
        DataError: when there is no such file, no such columns, or no title at all.

    >>> read_titles(pl.DataFrame({"movieId": [1], "title": ["Heat (1995)"]})).rows()
    [(1, 'Heat (1995)')]
    """
    content = locate(source, TITLES, SUFFIXES, limit_of(max_unpacked))[0]
    return _read_titles(content, Reading(**how))


def read_pairs(
    source: "Source",
    *,
    keep: bool = False,
    max_unpacked: int | str | None = None,
    **how: Unpack[How],
) -> pl.DataFrame:
    """Read (user, item) pairs: columns ``user`` and ``item`` with raw ids (Int64 or String).

    Takes what ``read_ratings`` takes.

    Args:
        source: path or frame.
        keep: whether the other columns come along, under their own names (with ``of the file`` behind
            one of a column that a table of predictions has itself); text where the source is text.
        how: what is known of it, by the names in ``Reading``.

    Raises:
        DataError: naming file, row, column and value.

    >>> read_pairs(pl.DataFrame({"userId": ["ann"], "asin": ["0007"]})).rows()
    [('ann', '0007')]
    """
    content = locate(source, RATINGS, SUFFIXES, limit_of(max_unpacked))[0]
    table = open_table(content, Wanted(("user", "item"), Reading(**how)))
    table, parsed = parse(table)
    pairs = as_text(usable(table, parsed, skip=None)[0].select("user", "item"))
    if not keep:
        return pairs
    given = others(table)
    own = {name: f"{name} of the file" for name in _PREDICTED}
    return pl.concat([pairs, given.rename(own, strict=False)], how="horizontal")


@dataclass(frozen=True, eq=False)
class Rated:
    """What one user has given to items, or one item has got from users.

    Args:
        frame: columns ``user`` or ``item``, with raw ids (Int64 or String), and ``rating``: the rating,
            the count, or 1 where there is neither.
        table: where they come from.
        rows: number in the table of each row of the frame.
    """

    frame: pl.DataFrame
    table: Table = field(repr=False)
    rows: pl.Series = field(repr=False)

    def where(self, *numbers: int) -> str:
        """Where rows of the frame, counted from 0, stand: ``"mine.csv, row 4"``."""
        return places(self.table, [self.rows[number] for number in numbers])


def read_rated(
    source: "Source",
    of: Literal["user", "item"] = "item",
    *,
    of_model: Kind | None = None,
    scale: tuple[float, float] | None = None,
    max_unpacked: int | str | None = None,
    **how: Unpack[How],
) -> Rated:
    """Read what one user has given to items, or one item has got from users.

    Takes what ``read_ratings`` takes; other columns are ignored, but for one that names several users
    (items). Without a header: id, rating.

    Args:
        source: path, or frame.
        of: whose ids stand beside the ratings.
        of_model: what a model was fitted to that is to take them.
        scale: lowest and highest possible rating, where they are ratings.
        max_unpacked: bytes that a packed file or an archive may unpack to, or text such as ``"40GB"``.
            By default 20 GB, and above 1 MB no more than 200 times its size.
        how: what is known of the source, by the names in ``Reading``.

    Returns:
        The ratings; counts and events of one id are added up.

    Raises:
        DataError: naming file, row, column and value; for ratings that a model of counts or events is
            to take, or the other way round, and for rows of several users (items).
        SettingError: for a kind that is none.

    >>> read_rated(pl.DataFrame({"film": ["Heat (1995)"], "stars": [4.5]})).frame.rows()
    [('Heat (1995)', 4.5)]
    >>> read_rated(pl.DataFrame({"film": ["Heat (1995)", "Big (1988)"]})).frame.rows()
    [('Heat (1995)', 1.0), ('Big (1988)', 1.0)]
    """
    given = Reading(**how)
    content = locate(source, RATINGS, SUFFIXES, limit_of(max_unpacked))[0]
    owner: Literal["user", "item"] = "item" if of == "user" else "user"
    table, found = open_ratings(content, (of, "rating"), given.known(**{owner: None}))
    place = usual_place(table.columns, owner) if table.header else None
    if given[owner] if owner in given else place not in (None, *table.places.values()):
        named = given.known(**{owner: given.get(owner) or table.columns[place or 0]})
        table, found = open_ratings(content, (of, "rating", owner), named)
    if of_model is not None:
        found = _as_fitted(table, found, given.kind, of_model)
    limits = declared_scale(scale, found) if found == "ratings" else None
    table, parsed = parse(table, limits, found)
    frame = numbered(table, usable(table, parsed, skip=None)[0])
    table, frame = values.without_codes(table, frame, found)
    table, frame = values.above_zero(table, frame, found)
    if owner in frame.columns and (n := frame[owner].n_unique()) > 1:
        raise DataError(
            f"{table.name}: column {table.column(owner)} names {n:,} {owner}s: keep the rows of one"
        )
    if found == "events":
        frame = frame.with_columns(value=pl.lit(1, pl.Float32))
    if found != "ratings":
        once = frame.group_by(of, maintain_order=True)
        frame = once.agg(pl.col("value").sum(), pl.col("row").first())
    for notice in table.notices:
        _log.info("%s: %s", table.name, notice)
    return Rated(as_text(frame.select(of, rating="value")), table, frame["row"])


def _as_fitted(table: Table, found: Kind, kind: Kind | None, of_model: Kind) -> Kind:
    """What a table holds for a model: stars are no counts, and what was chosen is no star.

    Args:
        table, found: the table, and what it seems to hold.
        kind: what the user says that it holds.
        of_model: what the model was fitted to.
    """
    if (found == "ratings") == (of_model == "ratings"):
        return found
    if found == "ratings" and kind is None and not table.header:
        return of_model  # numbers without a name
    advice = (
        "add a column of ratings, or name it with rating= (on the command line --rating-column)"
        if of_model == "ratings"
        else f"name their column for what it counts, or pass --kind {of_model} on the command line"
    )
    raise DataError(
        f"{table.name}: these are {found}, and the model was fitted to {of_model}: {advice}"
    )


def _require(name: str, value: str | None, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        known = ", ".join(choice for choice in choices if choice is not None)
        raise SettingError(f"{name}={value!r}: {name} must be one of {known}")


def open_ratings(content: Any, roles: tuple[str, ...], given: Reading) -> tuple[Table, Kind]:
    """The table of ratings, counts or events, and which of the three it holds as far as its columns say.

    Args:
        content: a blob or frame.
        roles: what to look for.
        given: what is known of it.
    """
    kind = given.kind
    if kind == "events" or given.rating == NONE:
        if given.rating not in (None, NONE):
            raise SettingError(
                f"rating={given.rating!r}, kind='events': events have neither ratings nor counts; leave "
                "one of the two out"
            )
        if kind not in (None, "events"):
            raise SettingError(f"rating='none', kind={kind!r}: only events do without")
        roles = tuple(role for role in roles if role != "rating")
        return open_table(content, Wanted(roles, given)), "events"
    role = "count" if kind == "counts" else "rating"
    named = tuple(role if each == "rating" else each for each in roles)
    table = open_table(content, Wanted(named, given))
    place = table.places.get(role)
    if place is None:
        if kind is not None:
            raise missing(table.name, role, table.columns, table.wanted)
        return table.noted("no column of ratings or counts: each row is one event"), "events"
    if kind is not None or table.reading.layout != "long":
        return table, kind or "ratings"
    column = table.columns[place]
    first = [table.places[each] for each in ("user", "item") if each in table.places]
    between = {*range(max(first, default=-1) + 1, place)} - {table.places.get("time")}
    further = not table.header and given.rating is None and between
    if not (further or (table.header and counts(column))):
        return table, "ratings"
    other = "pass kind='ratings' (on the command line --kind ratings) if they are ratings"
    return table.noted(f"column {clipped(column)} holds counts; {other}"), "counts"


def _completed(table: Table, ratings: Ratings, kind: Kind, *, titled: bool) -> Reading:
    """All that is known of the source, so that it can be given back."""
    reading = table.reading
    places = dict(table.places)
    if not titled:
        places = {role: at for role, at in places.items() if role not in ("title", "genres")}
    if kind == "events":
        places.pop("rating", None)
    twice = len(set(table.columns)) < len(table.columns)
    columns: dict[str, Any] = {}
    if reading.layout == "long":
        for role in RATED:
            at = places.get(role, places.get("count") if role == "rating" else None)
            by_name = table.header and not twice
            columns[role] = NONE if at is None else table.columns[at] if by_name else at + 1
    return reading.known(
        **columns,
        user_ids=ratings.user_vocabulary.id_type,
        item_ids=ratings.item_vocabulary.id_type,
        kind=kind,
        missing=reading.missing or (),
        where=reading.where or NONE,
        rating_as=reading.rating_as or "number",
    )


def encode_rows(frame: pl.DataFrame, limits: Scale | None, kind: Kind) -> Ratings:
    """Ratings from the columns of a frame, which is emptied.

    Each column is dropped before the next is coded, since this is where memory peaks.
    """
    user_vocabulary, users = Vocabulary.encode(frame.drop_in_place("user"))
    item_vocabulary, items = Vocabulary.encode(frame.drop_in_place("item"))
    # Rechunking takes the memory that the ids have left to Polars; NumPy would take more.
    values = (
        np.ones(len(users), np.float32)
        if kind == "events"
        else frame.drop_in_place("value").rechunk().to_numpy()
    )
    times = frame.drop_in_place("time").rechunk().to_numpy() if "time" in frame.columns else None
    return Ratings(users, items, values, user_vocabulary, item_vocabulary, times, limits, kind=kind)


def _over_lines(vocabulary: Vocabulary) -> bool:
    """Whether an id goes over several lines, as one does where a quotation mark is misplaced."""
    is_text = vocabulary.id_type == "text"
    return is_text and bool(vocabulary.ids.str.contains("\n", literal=True).any())


# The value of a pair, of its values in the order of time.
_KEPT = {
    "last": pl.col("value").last(),
    "mean": pl.col("value").cast(pl.Float64).mean(),
    "sum": pl.col("value").cast(pl.Float64).sum(),
}


def without_repeats(
    ratings: Ratings, duplicates: Duplicates, where: Callable[[int, int], str]
) -> Ratings:
    """One rating, or count, or event, for each (user, item) pair.

    Args:
        ratings: what to look through.
        duplicates: as in ``read_ratings``.
        where: where two of them stand in their source, for an error.
    """
    repeated = ratings.repeated()
    if repeated.is_empty():
        return ratings
    if duplicates == "error":
        raise _repeated_error(ratings, repeated, where)
    at = repeated["row"].to_numpy()
    times = np.zeros(len(at), np.int64) if ratings.times is None else ratings.times[at]
    kept = (
        repeated.with_columns(pl.Series("value", ratings.values[at]), pl.Series("time", times))
        .sort("pair", "time", "row")
        .group_by("pair")
        .agg(pl.col("row").last(), _KEPT[duplicates])
    )
    values = ratings.values.copy()
    values[kept["row"].to_numpy()] = kept["value"].to_numpy()
    keep = np.ones(len(values), np.bool_)
    keep[at] = False
    keep[kept["row"].to_numpy()] = True
    return replace(
        ratings,
        user_indices=ratings.user_indices[keep],
        item_indices=ratings.item_indices[keep],
        values=values[keep],
        times=None if ratings.times is None else ratings.times[keep],
        kind="counts" if duplicates == "sum" else ratings.kind,
    )


def what_is_kept(duplicates: Duplicates, kind: Kind, *, dated: bool) -> str:
    """What is kept of repeated pairs, in words."""
    return {
        "last": "the last by time" if dated else "the last in the file",
        "mean": "their mean",
        "sum": "their number" if kind == "events" else "their sum",
        "error": "",
    }[duplicates]


_DO = {"ratings": "rate", "counts": "count", "events": "are of"}


def _repeated_error(
    ratings: Ratings, repeated: pl.DataFrame, where: Callable[[int, int], str]
) -> DataError:
    first: dict[int, int] = {}
    for row, pair in repeated.iter_rows():
        if pair in first:
            break
        first[pair] = row
    user = ratings.user_vocabulary.raw(ratings.user_indices[row])
    item = ratings.item_vocabulary.raw(ratings.item_indices[row])
    advice = (
        'duplicates="last" or "mean" (on the command line --duplicates last) to keep one rating'
        if ratings.kind == "ratings"
        else 'duplicates="sum" (on the command line --duplicates sum) to add them up'
    )
    return DataError(
        f"{where(first[pair], row)}: both {_DO[ratings.kind]} user {user!r}, item {item!r}; pass "
        f"{advice}"
    )


# Titles -------------------------------------------------------------------------------------------


def _read_titles(content: Any, given: Reading) -> pl.DataFrame:
    """The titles in what ``locate`` has found; a broken line costs one."""
    content = reshaped(content, given.encoding)
    titles = None
    try:
        titles, is_whole = _titles_of(content, given)
        if is_whole:
            return titles
    except DataError as error:
        if "quotation mark" not in str(error):
            raise
        fault = error
    mended = with_whole_lines(content, given.encoding)
    if mended is not None:
        others = _titles_of(mended, replace(given, encoding=None))[0]
        if titles is None or others.height > titles.height:
            return others
    if titles is None:
        raise fault
    return titles


def _titles_of(content: Any, given: Reading) -> tuple[pl.DataFrame, bool]:
    """Titles, and whether each row has given one, on one line."""
    wanted = Wanted(("id", "title", "genres"), given, optional=("genres",))
    table = open_table(content, wanted)
    if given.genres is None and not table.header and len(table.columns) > len(table.places):
        table = table.without("genres")  # the third of many columns may be anything
    table, parsed = parse(table)
    titles = as_text(usable(table, parsed, skip=True)[0].select(*table.places))
    for notice in table.notices:
        _log.info("%s: %s", table.name, notice)
    is_whole = titles.height == parsed.frame.height
    return titles, is_whole and not titles["title"].str.contains("\n", literal=True).any()


_NO_TITLES = pl.DataFrame(schema={"id": pl.Int64, "title": pl.String})


@dataclass(frozen=True, eq=False)
class KnownTitles:
    """Titles of items, perhaps of none.

    Args:
        frame: columns ``id``, ``title`` and perhaps ``genres``.
        name: where they come from.
        near: whether they were found beside the ratings, of which nobody had said anything.
        fault: why there are none, where they could not be read.
    """

    frame: pl.DataFrame = field(default_factory=lambda: _NO_TITLES)
    name: str = ""
    near: bool = False
    fault: str = ""

    def of(self, vocabulary: Vocabulary) -> Vocabulary:
        """A vocabulary with those of its items."""
        return vocabulary if self.frame.is_empty() else vocabulary.with_titles(self.frame)

    def said(self, n_titles: int, n_items: int) -> list[str]:
        """What to say of them, given how many of the items have one."""
        if self.fault:
            return [f"no titles: {self.fault}"]
        if self.name and not n_titles:
            return [f"no titles: no id in {self.name} is that of an item here"]
        if self.near:
            return [f"titles of {n_titles:,} of {n_items:,} items: {self.name}"]
        return []


def known_titles(
    titles: "Source | None", content: Any, beside: Blob | Frame | None, limit: Limit
) -> KnownTitles:
    """The titles that go with ratings.

    Args:
        titles: what the user has named.
        content: what the ratings are read from.
        beside: the titles in the same container.
        limit: what packed files may unpack to.
    """
    near = None
    if isinstance(titles, str | os.PathLike) and os.fspath(titles) == NONE:
        return KnownTitles()
    if titles is not None:
        found = locate(titles, TITLES, SUFFIXES, limit)[0]
    elif beside is not None:
        found = beside
    else:
        found = near = titles_beside(content)
    if found is None:
        return KnownTitles()
    name = getattr(found, "name", "the titles")
    try:
        return KnownTitles(_read_titles(found, Reading()), name, near is not None)
    except DataError as error:
        if titles is not None:
            raise
        return KnownTitles(fault=str(error))  # nobody asked for them
