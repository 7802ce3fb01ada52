"""Reading: any usual file or frame becomes ``Ratings``, or an error that says what is wrong where.

A table is scanned at most twice. The first scan is typed, as fast as Polars parses, and counts only
if every row is good. Otherwise the second takes all fields as text, so that each bad row can be
counted, shown and left out.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import polars as pl

from dotbias.data.catalog import fetch
from dotbias.data.columns import VALUES, Column, Wanted, counts, missing, usual_place
from dotbias.data.formats.known import SUFFIXES, open_table
from dotbias.data.formats.table import Row, Table
from dotbias.data.ratings import KINDS, LARGEST, Kind, Ratings, Scale, declared_scale
from dotbias.data.sources import RATINGS, TITLES, locate
from dotbias.data.vocabulary import Vocabulary
from dotbias.errors import DataError, SettingError

if TYPE_CHECKING:
    from dotbias.data.sources import Source

OnBad = Literal["error", "skip"]
Duplicates = Literal["last", "mean", "sum", "error"]

_log = logging.getLogger("dotbias")

# What is kept of repeated pairs where nobody says.
_DUPLICATES: dict[Kind, Duplicates] = {"ratings": "last", "counts": "sum", "events": "sum"}
# What stands where an item has no genre, the second in MovieLens.
_NO_GENRES = ("", "(no genres listed)")
_ISO_FORMS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f%:z")
_SHOWN_ROWS = 5
_SKIP_ADVICE = 'pass on_bad="skip" (on the command line --on-bad skip) to leave out such rows'


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used.

    Args:
        row: line of the file, counted from 1; in Parquet, Arrow and frames the row, from 1.
        column: name of the column, or its number where there is no header; empty where the row as a
            whole is wrong.
        value: what stands there; empty where nothing does.
        reason: what is wrong with it.

    >>> str(BadRow(17, "rating", "'abc'", "is not a number"))
    "row 17, column rating: 'abc' is not a number"
    """

    row: int
    column: str
    value: str
    reason: str

    def __str__(self) -> str:
        where = f"row {self.row:,}, column {self.column}" if self.column else f"row {self.row:,}"
        return f"{where}: {self.value} {self.reason}" if self.value else f"{where}: {self.reason}"


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
    """

    source: str
    format: str
    n_rows: int
    n_bad: int = 0
    bad_sample: tuple[BadRow, ...] = ()
    n_duplicates: int = 0
    notices: tuple[str, ...] = ()
    kept: str = ""

    def lines(self) -> list[str]:
        """Sentences for people; none where there is nothing to say."""
        lines = list(self.notices)
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


def read_ratings(
    source: "Source",
    *,
    user: Column = None,
    item: Column = None,
    rating: Column = None,
    time: Column = None,
    scale: tuple[float, float] | None = None,
    kind: Kind | None = None,
    on_bad: OnBad = "error",
    duplicates: Duplicates | None = None,
    titles: "Source | None" = None,
) -> Ratings:
    """Read ratings from a file, a folder, an archive, a named set or a frame.

    What a file holds is recognised by its content: text separated by commas, tabs, semicolons, bars
    or two colons, with or without a header; JSON lines; Parquet; Arrow IPC; each also packed with
    gzip or zstd. In a zip or a folder the ratings are found by their name, and the titles beside
    them.

    Where there are no ratings, a column of counts is taken (``plays``, ``quantity``, ``hours``...), or
    each row for an event, and the log says so. Rows that count nothing, with a 0, are left out: such a
    pair is like one that is not there.

    Args:
        source: path, name of a named set such as ``"ml-100k"``, or pandas or Polars frame.
        user: name of the column, or its number counted from 1. By default it is recognised by a
            usual name (``userId``, ``reviewerID``...), in a file without a header by its place:
            user, item, rating, time.
        item: as ``user``. Ids are integers or text and come back as they were: a column of a text
            file becomes integers only if each of its ids is written as an integer is (``007`` and
            ``+7`` are not).
        rating: as ``user``; the column of the ratings, or of the counts.
        time: as ``user``, but may be missing; seconds since 1970, or ISO dates (UTC).
        scale: lowest and highest possible rating; by default the range of the ratings at hand.
        kind: what the values are (``Ratings``): by default counts if their column has a usual name of
            counts, or stands further right than ratings do in a file without a header; events if there
            is neither and no column left that it could be; else ratings.
        on_bad: "error" stops at the first row that cannot be used, "skip" leaves such rows out.
        duplicates: of a (user, item) pair that occurs again keep the "last" rating (by time where
            there are times, else by place), or the "mean", or treat it as an "error". Of counts and
            events also the "sum", their default, at the latest of their times; events that occur again
            become counts by it.
        titles: file or frame with the titles of the items, see ``read_titles``.

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
        user=user,
        item=item,
        rating=rating,
        time=time,
        scale=scale,
        kind=kind,
        on_bad=on_bad,
        duplicates=duplicates,
        titles=titles,
    )
    for line in report.lines():
        _log.log(logging.WARNING if line.startswith("skipped") else logging.INFO, "%s", line)
    return ratings


def read_ratings_with_report(
    source: "Source",
    *,
    user: Column = None,
    item: Column = None,
    rating: Column = None,
    time: Column = None,
    scale: tuple[float, float] | None = None,
    kind: Kind | None = None,
    on_bad: OnBad = "error",
    duplicates: Duplicates | None = None,
    titles: "Source | None" = None,
) -> tuple[Ratings, ReadReport]:
    """The ratings as ``read_ratings`` returns them, and what happened while reading.

    >>> frame = pl.DataFrame({"user": [1, 1, 2], "item": [7, 7, 7], "rating": [4, 5, None]})
    >>> ratings, report = read_ratings_with_report(frame, on_bad="skip")
    >>> print(*report.lines(), sep="; ")
    skipped 1 bad row of 3, the first: row 3, column rating: missing;
    1 repeated (user, item) pair: kept the last in the file
    """
    _require("on_bad", on_bad, get_args(OnBad))
    _require("duplicates", duplicates, (None, *get_args(Duplicates)))
    content, beside = locate(source, RATINGS, SUFFIXES)
    table, found = _open(content, {"user": user, "item": item}, rating, kind, {"time": time})
    limits = declared_scale(scale, found)
    if duplicates == "sum" and found == "ratings":
        raise SettingError(
            "duplicates='sum': ratings do not add up; pass kind='counts' (on the command line "
            "--kind counts) if these are counts"
        )
    table, parsed = _parse(table, limits, found)
    n_rows, notices = parsed.frame.height, list(table.notices)
    frame, sample = _usable(table, parsed, skip=on_bad == "skip")
    n_bad = n_rows - frame.height
    frame = _above_zero(table, frame, found, notices)
    rows = frame.drop_in_place("row") if "row" in frame.columns else None
    every = _encode(frame, limits, found)
    ratings = _without_repeats(every, duplicates or _DUPLICATES[found], table, rows)
    if found == "ratings" and len(every) > 1 and every.values.min() == every.values.max():
        notices.append(
            f"all ratings are {every.values[0]:g}, which leaves nothing to predict: if a row says no "
            "more than that it is there, pass kind='events' (on the command line --kind events)"
        )
    if titles is not None:
        ratings = _titled(ratings, read_titles(titles))
    elif beside is not None:
        try:
            ratings = _titled(ratings, _read_titles(beside))
        except DataError as error:  # nobody asked for them
            notices.append(f"no titles: {error}")
    kept = {
        "last": "the last in the file" if every.times is None else "the last by time",
        "mean": "their mean",
        "sum": "their number" if found == "events" else "their sum",
    }
    return ratings, ReadReport(
        source=table.name,
        format=table.format,
        n_rows=n_rows,
        n_bad=n_bad,
        bad_sample=sample,
        n_duplicates=len(every) - len(ratings),
        notices=tuple(notices),
        kept=kept.get(duplicates or _DUPLICATES[found], ""),
    )


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


def read_titles(source: "Source") -> pl.DataFrame:
    """Read the titles of items: columns ``id`` (Int64 or String) and ``title`` (String).

    Takes what ``read_ratings`` takes, with an item id and a title column (``movieId``, ``title``),
    or without a header: id, title. So ``movies.csv``, ``movies.dat`` and ``u.item`` of MovieLens
    are read as they are. Rows without an id or a title are left out.

    Genres come along as a third column, ``genres`` (String, several separated by bars), where there is
    a column of that name (or ``category``), or a third and last one without a header.

    Raises:
        DataError: when there is no such file, no such columns, or no title at all.

    >>> read_titles(pl.DataFrame({"movieId": [1], "title": ["Heat (1995)"]})).rows()
    [(1, 'Heat (1995)')]
    """
    return _read_titles(locate(source, TITLES, SUFFIXES)[0])


def read_pairs(source: "Source", *, user: Column = None, item: Column = None) -> pl.DataFrame:
    """Read (user, item) pairs: columns ``user`` and ``item`` with raw ids (Int64 or String).

    Takes what ``read_ratings`` takes; other columns are ignored.

    Raises:
        DataError: naming file, row, column and value.

    >>> read_pairs(pl.DataFrame({"userId": ["ann"], "asin": ["0007"]})).rows()
    [('ann', '0007')]
    """
    table = open_table(locate(source, RATINGS, SUFFIXES)[0], {"user": user, "item": item})
    return _usable(*_parse(table), skip=None)[0].select("user", "item")


def read_rated(
    source: "Source",
    of: Literal["user", "item"] = "item",
    *,
    user: Column = None,
    item: Column = None,
    rating: Column = None,
    kind: Kind | None = None,
    of_model: Kind | None = None,
) -> pl.DataFrame:
    """Read what one user has given to items, or one item has got from users.

    Takes what ``read_ratings`` takes; other columns are ignored, but for one that names several users
    (items). Without a header: id, rating.

    Args:
        source: path, or frame.
        of: whose ids stand beside the ratings.
        user, item, rating, kind: as in ``read_ratings``.
        of_model: what a model was fitted to that is to take them.

    Returns:
        Columns ``user`` or ``item``, with raw ids (Int64 or String), and ``rating``: the rating, the
        count, or 1 where there is neither. Counts and events of one id are added up.

    Raises:
        DataError: naming file, row, column and value; for ratings that a model of counts or events is
            to take, or the other way round, and for rows of several users (items).
        SettingError: for a kind that is none.

    >>> read_rated(pl.DataFrame({"film": ["Heat (1995)"], "stars": [4.5]})).rows()
    [('Heat (1995)', 4.5)]
    >>> read_rated(pl.DataFrame({"film": ["Heat (1995)", "Big (1988)"]})).rows()
    [('Heat (1995)', 1.0), ('Big (1988)', 1.0)]
    """
    ids = {"user": user, "item": item}[of]
    content = locate(source, RATINGS, SUFFIXES)[0]
    table, found = _open(content, {of: ids}, rating, kind, {})
    owner: Literal["user", "item"] = "item" if of == "user" else "user"
    place = usual_place(table.columns, owner) if table.header else None
    if place is not None and place not in table.places.values():
        table, found = _open(content, {of: ids}, rating, kind, {owner: table.columns[place]})
    if of_model is not None:
        found = _as_fitted(table, found, kind, of_model)
    table, parsed = _parse(table, None, found)
    notices = list(table.notices)
    frame = _above_zero(table, _usable(table, parsed, skip=None)[0], found, notices)
    if owner in frame.columns and (n := frame[owner].n_unique()) > 1:
        raise DataError(
            f"{table.name}: column {table.columns[table.places[owner]]} names {n:,} {owner}s: keep the "
            "rows of one"
        )
    if found == "events":
        frame = frame.with_columns(value=pl.lit(1, pl.Float32))
    if found != "ratings":
        frame = frame.group_by(of, maintain_order=True).agg(pl.col("value").sum())
    for notice in notices:
        _log.info("%s", notice)
    return frame.select(of, rating="value")


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


def _open(
    content: Any, ids: Wanted, rating: Column, kind: Kind | None, beside: Wanted
) -> tuple[Table, Kind]:
    """The table of ratings, counts or events, and which of the three it holds.

    Args:
        content: a blob or frame.
        ids: the roles of ids, with the columns that the user named.
        rating: column of the ratings or counts that the user named.
        kind: what the user says that they are.
        beside: further roles, likewise.
    """
    _require("kind", kind, (None, *KINDS))
    if kind == "events":
        if rating is not None:
            raise SettingError(
                f"rating={rating!r}, kind='events': events have neither ratings nor counts; leave one "
                "of the two out"
            )
        return open_table(content, {**ids, **beside}), kind
    role = "count" if kind == "counts" else "rating"
    table = open_table(content, {**ids, role: rating, **beside})
    place = table.places.get(role)
    if place is None:
        if kind is not None:
            raise missing(table.name, role, table.columns, table.wanted)
        return _noted(table, "no column of ratings or counts: each row is one event"), "events"
    if kind is not None:
        return table, kind
    column = table.columns[place]
    further = not table.header and rating is None and place > list(table.wanted).index(role)
    if not (further or (table.header and counts(column))):
        return table, "ratings"
    other = "pass kind='ratings' (on the command line --kind ratings) if they are ratings"
    return _noted(table, f"column {column} holds counts; {other}"), "counts"


def _noted(table: Table, notice: str) -> Table:
    return replace(table, notices=(*table.notices, notice))


# From a table to ratings ------------------------------------------------------------------------


class _Check(NamedTuple):
    """A reason not to use a row: what can be wrong with the value of a role, and where it is."""

    role: str
    reason: str
    fails: pl.Expr


class _Parsed(NamedTuple):
    """Columns of a table and ``problem``: the number of the first check a row fails, else null."""

    frame: pl.DataFrame
    checks: list[_Check]


def _parse(
    table: Table, limits: Scale | None = None, kind: Kind = "ratings"
) -> tuple[Table, _Parsed]:
    """Scan a table: typed, and where that is not clean, as text; what was learnt of the table stays in
    the one that comes back.
    """
    parsed = None
    try:
        table, parsed = _evaluate(table, table.typed(), limits, kind)
        if parsed.frame["problem"].null_count() < parsed.frame.height:
            parsed = None
    except (pl.exceptions.PolarsError, OSError):
        pass
    while parsed is None:
        try:
            table, parsed = _evaluate(table, table.text(), limits, kind)
        except (pl.exceptions.PolarsError, OSError) as error:
            table = table.repaired(error)
    if "time" in table.places and table.wanted["time"] is None:
        times = parsed.frame["time"]
        if times.null_count() == times.len() > 0:
            column = table.columns[table.places["time"]]
            notice = f"column {column} holds no times that can be read: left out"
            return _parse(table.without("time", notice), limits, kind)
    return table, parsed


def _evaluate(
    table: Table, lf: pl.LazyFrame, limits: Scale | None, kind: Kind
) -> tuple[Table, _Parsed]:
    """Take the columns of all roles in one pass over a scan."""
    schema = lf.collect_schema()
    values = {"row": pl.col("row")} if "row" in schema else {}
    checks = [_Check("", "is too long", pl.col("extra").is_not_null())] if "extra" in schema else []
    for role in table.places:
        name = "value" if role in VALUES else role
        values[name], more = _take(role, schema[role], table, limits, kind)
        checks += more
    altered = {role: _altered(role, schema[role], kind) for role, kind in table.integers.items()}
    query = lf.select(
        **values,
        problem=_first_failing(checks),
        **{f"{role} altered": wrong for role, wrong in altered.items()},
    )
    frame = query.collect(engine="streaming")
    good = frame["problem"].is_null()
    again = {role for role in altered if (frame.drop_in_place(f"{role} altered") & good).any()}
    if not again:
        return table, _Parsed(frame, checks)
    integers = {
        role: pl.Int64 if role in again else kind
        for role, kind in table.integers.items()
        if role not in again or kind == pl.Int32
    }
    return _evaluate(replace(table, integers=integers), lf, limits, kind)


def _first_failing(checks: Sequence[_Check]) -> pl.Expr:
    problem = pl.lit(None, pl.UInt8)
    for number in reversed(range(len(checks))):
        problem = pl.when(checks[number].fails).then(pl.lit(number, pl.UInt8)).otherwise(problem)
    return problem


def _altered(role: str, dtype: pl.DataType, kind: type[pl.DataType]) -> pl.Expr:
    """Which ids would not come back as they were if they were read as a kind of integers."""
    raw = pl.col(role)
    lost = raw.cast(kind, strict=False).is_null()
    if dtype != pl.String:
        return lost
    signed_zero = raw.str.starts_with("+") | raw.str.starts_with("-0")
    return lost | (raw.str.starts_with("0") & (raw != "0")) | signed_zero


def _take(
    role: str, dtype: pl.DataType, table: Table, limits: Scale | None, kind: Kind
) -> tuple[pl.Expr, list[_Check]]:
    """The values of a role, null where they cannot be used, and what can be wrong with them."""
    raw = pl.col(role)
    fails = {"missing": raw.is_null()}
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        dtype, raw = pl.String(), raw.cast(pl.String)
        raw = raw.str.strip_chars() if role in (*VALUES, "time") else raw
        fails = {"missing": raw.is_null() | (raw == "")}
    if role in VALUES:
        values, more = _value(raw, dtype, limits, kind)
    elif role == "time":
        values, more = _time(raw, dtype)
    elif role == "title":
        values, more = raw.cast(pl.String), {}
    elif role == "genres":
        values, more, fails = _genres(raw, dtype), {}, {}
    else:
        values, more = _id(raw, dtype, table.integers.get(role, pl.String))
    if values is None:
        column = table.columns[table.places[role]]
        raise DataError(f"{table.name}, column {column}: {dtype} cannot be used as {role}")
    return values, [_Check(role, reason, failing) for reason, failing in (fails | more).items()]


_Taken = tuple[pl.Expr | None, dict[str, pl.Expr]]


def _id(raw: pl.Expr, dtype: pl.DataType, kind: type[pl.DataType]) -> _Taken:
    if dtype.is_float():  # what pandas makes of integers where one is missing
        whole = raw.cast(pl.Int64, strict=False)
        return whole, {
            "missing": raw.is_null() | raw.is_nan(),
            "is neither an integer nor text": whole.is_null() | (whole != raw),
        }
    return (raw.cast(kind, strict=False) if dtype.is_integer() or dtype == pl.String else None), {}


def _value(raw: pl.Expr, dtype: pl.DataType, limits: Scale | None, kind: Kind) -> _Taken:
    if not (dtype.is_numeric() or dtype == pl.String):
        return None, {}
    number = raw.cast(pl.Float32, strict=False)
    fails = {
        "is not a number": number.is_null(),
        f"is not a finite number up to {LARGEST:g} in size": ~(number.abs() <= LARGEST),
    }
    if limits is not None:
        low, high = (pl.lit(limit, pl.Float32) for limit in limits)
        outside = f"is outside the scale {limits.lowest:g}-{limits.highest:g}"
        fails[outside] = ~number.is_between(low, high)
    if kind == "counts":
        fails["is below 0, which no count is"] = number < 0
    return number, fails


def _time(raw: pl.Expr, dtype: pl.DataType) -> _Taken:
    if dtype == pl.String:
        seconds = raw.map_batches(_seconds, return_dtype=pl.Int64, is_elementwise=True)
    elif dtype in (pl.Date, pl.Datetime):
        seconds = raw.dt.epoch("s").cast(pl.Int64)
    elif dtype.is_numeric():
        seconds = raw.floor().cast(pl.Int64, strict=False)
    else:
        return None, {}
    return seconds, {"is not a time (seconds since 1970, or an ISO date)": seconds.is_null()}


def _genres(raw: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.List(pl.String):
        text = raw.list.join("|")
    else:
        text = raw.cast(pl.String)
        # A list in JSON lines arrives as its JSON.
        names = text.str.extract_all(r'"(?:[^"\\]|\\.)*"').list.eval(
            pl.element().str.strip_chars('"')
        )
        text = pl.when(text.str.starts_with("[")).then(names.list.join("|")).otherwise(text)
    return text.replace(dict.fromkeys(_NO_GENRES))


def _seconds(text: pl.Series) -> pl.Series:
    """Seconds since 1970 from numbers and ISO dates (UTC where no zone is given), else null."""
    seconds = text.cast(pl.Int64, strict=False)
    if seconds.null_count() == 0:  # nearly always; trying the other forms takes ten times as long
        return seconds
    fraction = text.cast(pl.Float64, strict=False).floor().cast(pl.Int64, strict=False)
    iso = text.str.replace(" ", "T", literal=True).str.replace("Z$", "+00:00")
    dates = (iso.str.to_datetime(form, strict=False).dt.epoch("s") for form in _ISO_FORMS)
    return pl.select(pl.coalesce(seconds, fraction, *dates)).to_series()


def _usable(
    table: Table, parsed: _Parsed, *, skip: bool | None
) -> tuple[pl.DataFrame, tuple[BadRow, ...]]:
    """The good rows, and the first few of the bad ones.

    Args:
        table, parsed: from ``_parse``.
        skip: whether bad rows are left out; None where nobody is asked.

    Raises:
        DataError: where there are no rows, no good ones, or a bad one that may not be skipped.
    """
    frame, checks = parsed
    n_bad = frame.height - frame["problem"].null_count()
    if frame.height == 0:
        raise DataError(f"{table.name}: there are no rows")
    if n_bad == 0:
        return frame, ()
    bad = frame.filter(pl.col("problem").is_not_null()).head(_SHOWN_ROWS)
    rows = table.rows(bad["row"].to_list())
    sample = tuple(
        _bad_row(table, row, checks[problem])
        for row, problem in zip(rows, bad["problem"], strict=True)
    )
    if not skip:
        advice = "" if skip is None else f"; {_SKIP_ADVICE}"
        count = f" (the first of {n_bad:,} such rows)" if n_bad > 1 else ""
        raise DataError(f"{table.name}, {sample[0]}{count}{advice}")
    if n_bad == frame.height:
        raise DataError(f"{table.name}: all {n_bad:,} rows are bad, the first: {sample[0]}")
    return frame.filter(pl.col("problem").is_null()), sample


def _bad_row(table: Table, row: Row, check: _Check) -> BadRow:
    if row.fault:
        return BadRow(row.place, "", "", row.fault)
    value = "" if check.reason == "missing" else repr(row.values[check.role])
    column = table.columns[table.places[check.role]]
    return BadRow(row.place, column, value[:57] + "..." if len(value) > 60 else value, check.reason)


def _above_zero(table: Table, frame: pl.DataFrame, kind: Kind, notices: list[str]) -> pl.DataFrame:
    """The frame without rows that count nothing, whose number is noted."""
    if kind != "counts":
        return frame
    kept = frame.filter(pl.col("value") > 0)
    if kept.is_empty():
        raise DataError(f"{table.name}: all {frame.height:,} counts are 0")
    if kept.height < frame.height:
        notices.append(f"left out {frame.height - kept.height:,} rows with a count of 0")
    return kept


def _encode(frame: pl.DataFrame, limits: Scale | None, kind: Kind) -> Ratings:
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


# The value of a pair, of its values in the order of time.
_KEPT = {
    "last": pl.col("value").last(),
    "mean": pl.col("value").cast(pl.Float64).mean(),
    "sum": pl.col("value").cast(pl.Float64).sum(),
}


def _without_repeats(
    ratings: Ratings,
    duplicates: Duplicates,
    table: Table,
    rows: pl.Series | None,
) -> Ratings:
    """One rating, or count, or event, for each (user, item) pair.

    Args:
        ratings: what to look through.
        duplicates: as in ``read_ratings``.
        table: where the ratings come from, to name the rows of an error.
        rows: number in the table of each rating, where it is not its own.
    """
    repeated = ratings.repeated()
    if repeated.is_empty():
        return ratings
    if duplicates == "error":
        raise _repeated_error(ratings, repeated, table, rows)
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
        users=ratings.users[keep],
        items=ratings.items[keep],
        values=values[keep],
        times=None if ratings.times is None else ratings.times[keep],
        kind="counts" if duplicates == "sum" else ratings.kind,
    )


_DO = {"ratings": "rate", "counts": "count", "events": "are of"}


def _repeated_error(
    ratings: Ratings, repeated: pl.DataFrame, table: Table, rows: pl.Series | None
) -> DataError:
    first: dict[int, int] = {}
    for row, pair in repeated.iter_rows():
        if pair in first:
            break
        first[pair] = row
    user = ratings.user_vocabulary.raw(ratings.users[row])
    item = ratings.item_vocabulary.raw(ratings.items[row])
    numbers = [first[pair], row] if rows is None else [rows[first[pair]], rows[row]]
    one, two = (found.place for found in table.rows(numbers))
    advice = (
        'duplicates="last" or "mean" (on the command line --duplicates last) to keep one rating'
        if ratings.kind == "ratings"
        else 'duplicates="sum" (on the command line --duplicates sum) to add them up'
    )
    return DataError(
        f"{table.name}, rows {one:,} and {two:,}: both {_DO[ratings.kind]} user {user!r}, item "
        f"{item!r}; pass {advice}"
    )


def _read_titles(content: Any) -> pl.DataFrame:
    table = open_table(content, {"id": None, "title": None, "genres": None})
    if not table.header and len(table.columns) > len(table.places):
        table = table.without("genres")  # the third of many columns may be anything
    table, parsed = _parse(table)
    titles = _usable(table, parsed, skip=True)[0].select(*table.places)
    for notice in table.notices:
        _log.info("%s: %s", table.name, notice)
    return titles


def _titled(ratings: Ratings, titles: pl.DataFrame) -> Ratings:
    return replace(ratings, item_vocabulary=ratings.item_vocabulary.with_titles(titles))
