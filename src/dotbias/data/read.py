"""Reading: any usual file or frame becomes ``Ratings``, or an error that says what is wrong where.

What is found out about a source is a ``Reading``; whatever a user says of it is one too, and is not
looked for again. A table is scanned at most twice. The first scan is typed, as fast as Polars parses,
and counts only if every row is good. Otherwise the second takes all fields as text, so that each bad row
can be counted, shown and left out.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Unpack, get_args

import numpy as np
import polars as pl

from dotbias.data import codes, forms
from dotbias.data.catalog import fetch
from dotbias.data.columns import VALUES, Wanted, clipped, counts, missing, stars, usual_place
from dotbias.data.formats.known import SUFFIXES, open_table
from dotbias.data.formats.table import Row, Table, id_type
from dotbias.data.formats.titles import reshaped, with_whole_lines
from dotbias.data.ratings import LARGEST, Kind, Ratings, Scale, declared_scale
from dotbias.data.reading import NONE, How, Reading
from dotbias.data.sources.blob import PARSER_ERRORS, Blob, Frame
from dotbias.data.sources.limits import Limit, limit_of
from dotbias.data.sources.locate import RATINGS, TITLES, locate, titles_beside
from dotbias.data.vocabulary import Vocabulary
from dotbias.errors import DataError, SettingError

if TYPE_CHECKING:
    from dotbias.data.sources.locate import Source

OnBad = Literal["error", "skip"]
Duplicates = Literal["last", "mean", "sum", "error"]

_log = logging.getLogger("dotbias")

# What is kept of repeated pairs where nobody says.
_DUPLICATES: dict[Kind, Duplicates] = {"ratings": "last", "counts": "sum", "events": "sum"}
# What stands where an item has no genre, the second in MovieLens.
_NO_GENRES = ("", "(no genres listed)")
_ISO_FORMS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f%:z")
_SHOWN_ROWS = 5
# Times above these are in finer units: 1e11 seconds are the year 5138.
_FINER = ((1e17, 10**9, "nano"), (1e14, 10**6, "micro"), (1e11, 10**3, "milli"))
# What stands for nothing where a user, an item or a time should be.
_NOTHING = (
    *("", "NULL", "Null", "null", "\\N", "NA", "<NA>", "N/A", "n/a", "#N/A", "nan", "NaN", "NAN"),
    *("None", "NaT"),
)
_NO_TIMES = (*_NOTHING, "0000-00-00", "0000-00-00 00:00:00")
_FORM_ADVICE = (
    "; if ratings are written so, say how with rating_as= (on the command line --rating-as), or with "
    "missing= (--missing) which words stand for none"
)
_RATED = ("user", "item", "rating", "time", "title", "genres")
# Distinct ratings beyond which no form or word is looked for among them.
_MOST_DISTINCT = 10_000
# Words that a wide table may have in the place of a rating.
_MOST_WORDS = 8
_SAMPLED = 1 << 16
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
            ``header=``, ``separator=``, ``encoding=``, ``missing=``... Ids are integers or text and come
            back as they were, without the blanks around them: a column of a text file becomes integers
            only if each of its ids is written as a whole number is (``67.0`` is 67; ``007`` and ``+7``
            are text).

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
    _log.info("%s", report.taken)
    for line in report.lines():
        grave = line.startswith(("skipped", "no titles")) or line in report.warnings
        _log.log(logging.WARNING if grave else logging.INFO, "%s", line)
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
    _require("on_bad", on_bad, get_args(OnBad))
    _require("duplicates", duplicates, (None, *get_args(Duplicates)))
    limit = limit_of(max_unpacked)
    content, beside = locate(source, RATINGS, SUFFIXES, limit)
    table, found = _open(content, _RATED, Reading(**how))
    limits = declared_scale(scale, found)
    if duplicates == "sum" and found == "ratings":
        raise SettingError(
            "duplicates='sum': ratings do not add up; pass kind='counts' (on the command line "
            "--kind counts) if these are counts"
        )
    table, parsed = _parse(table, limits, found)
    n_rows = parsed.frame.height
    frame, sample = _usable(table, parsed, skip=on_bad == "skip")
    n_bad = n_rows - frame.height
    table, frame = _without_codes(table, frame, found)
    table, found = _what_values_are(
        table, frame, found, sure=of_model == "ratings" or scale is not None
    )
    table, frame = _above_zero(table, frame, found)
    table, frame = _dated(table, frame)
    rows = frame.drop_in_place("row") if "row" in frame.columns else None
    own_titles = _own_titles(frame)
    every = _encode(frame, limits, found)
    ratings = _without_repeats(every, duplicates or _DUPLICATES[found], table, rows)
    notices = list(table.notices)
    if titles is None and own_titles is not None:
        named = ratings.item_vocabulary.with_titles(own_titles)
        ratings = replace(ratings, item_vocabulary=named)
    else:
        ratings, said = _titled(ratings, titles, content, beside, limit)
        notices += said
    kept = {
        "last": "the last in the file" if every.times is None else "the last by time",
        "mean": "their mean",
        "sum": "their number" if found == "events" else "their sum",
    }
    reading = _completed(table, ratings, found, titled=own_titles is not None)
    return replace(ratings, reading=reading), ReadReport(
        source=table.name,
        format=table.format,
        n_rows=n_rows,
        n_bad=n_bad,
        bad_sample=sample,
        n_duplicates=len(every) - len(ratings),
        notices=tuple(notices),
        kept=kept.get(duplicates or _DUPLICATES[found], ""),
        reading=reading,
        counted=f"{len(ratings):,} {ratings.noun}, {ratings.n_users:,} users, {ratings.n_items:,} items",
        warnings=_warnings(every, table),
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
    source: "Source", *, max_unpacked: int | str | None = None, **how: Unpack[How]
) -> pl.DataFrame:
    """Read (user, item) pairs: columns ``user`` and ``item`` with raw ids (Int64 or String).

    Takes what ``read_ratings`` takes; other columns are ignored.

    Args:
        source: path or frame.
        how: what is known of it, by the names in ``Reading``.

    Raises:
        DataError: naming file, row, column and value.

    >>> read_pairs(pl.DataFrame({"userId": ["ann"], "asin": ["0007"]})).rows()
    [('ann', '0007')]
    """
    content = locate(source, RATINGS, SUFFIXES, limit_of(max_unpacked))[0]
    table = open_table(content, Wanted(("user", "item"), Reading(**how)))
    return _usable(*_parse(table), skip=None)[0].select("user", "item")


def read_rated(
    source: "Source",
    of: Literal["user", "item"] = "item",
    *,
    of_model: Kind | None = None,
    scale: tuple[float, float] | None = None,
    max_unpacked: int | str | None = None,
    **how: Unpack[How],
) -> pl.DataFrame:
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
    given = Reading(**how)
    content = locate(source, RATINGS, SUFFIXES, limit_of(max_unpacked))[0]
    owner: Literal["user", "item"] = "item" if of == "user" else "user"
    table, found = _open(content, (of, "rating"), given.where(**{owner: None}))
    place = usual_place(table.columns, owner) if table.header else None
    if given[owner] if owner in given else place not in (None, *table.places.values()):
        named = given.where(**{owner: given.get(owner) or table.columns[place or 0]})
        table, found = _open(content, (of, "rating", owner), named)
    if of_model is not None:
        found = _as_fitted(table, found, given.kind, of_model)
    limits = declared_scale(scale, found) if found == "ratings" else None
    table, parsed = _parse(table, limits, found)
    frame = _usable(table, parsed, skip=None)[0]
    table, frame = _without_codes(table, frame, found)
    table, frame = _above_zero(table, frame, found)
    if owner in frame.columns and (n := frame[owner].n_unique()) > 1:
        raise DataError(
            f"{table.name}: column {table.column(owner)} names {n:,} {owner}s: keep the rows of one"
        )
    if found == "events":
        frame = frame.with_columns(value=pl.lit(1, pl.Float32))
    if found != "ratings":
        frame = frame.group_by(of, maintain_order=True).agg(pl.col("value").sum())
    for notice in table.notices:
        _log.info("%s: %s", table.name, notice)
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


def _open(content: Any, roles: tuple[str, ...], given: Reading) -> tuple[Table, Kind]:
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
    further = not table.header and given.rating is None and place > max(first, default=-1) + 1
    if not (further or (table.header and counts(column))):
        return table, "ratings"
    other = "pass kind='ratings' (on the command line --kind ratings) if they are ratings"
    return table.noted(f"column {clipped(column)} holds counts; {other}"), "counts"


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
        typed, parsed = _evaluate(table, table.typed(), limits, kind)
        # Rows without a time may be cut short.
        gaps = parsed and "time" in table.places and parsed.frame["time"].null_count()
        if parsed is None or gaps or parsed.frame["problem"].null_count() < parsed.frame.height:
            table, parsed = replace(table, integers=typed.integers), None
        else:
            table = typed
    except PARSER_ERRORS:
        pass
    while parsed is None:
        try:
            table = _with_form(table)
            table, parsed = _evaluate(table, table.text(), limits, kind)
        except PARSER_ERRORS as error:
            table = table.repaired(error)
    if "time" in table.places and table.wanted.column("time") is None:
        times = parsed.frame["time"]
        if times.null_count() == times.len() > 0:
            column = clipped(table.column("time"))
            notice = f"column {column} holds no times that can be read: left out"
            return _parse(table.without("time", notice), limits, kind)
    return table, parsed


def _with_form(table: Table) -> Table:
    """The table, once it is known how its ratings are written: as all of them show."""
    role = next((role for role in VALUES if role in table.places), None)
    reading = table.reading
    if role is None or (reading.rating_as is not None and reading.decimal is not None):
        return table
    text = pl.col(role).cast(pl.String).str.strip_chars()
    counted = (
        table.text()
        .select(value=text)
        .filter(pl.col("value").fill_null("") != "")
        .group_by("value")
        .len()
        .collect(engine="streaming")
    )
    left_out = reading.missing or ()
    counted = counted.filter(~pl.col("value").is_in([*_NOTHING, *left_out]))
    if not 0 < counted.height <= _MOST_DISTINCT:
        return table
    other = counted.filter(pl.col("value").cast(pl.Float64, strict=False).is_null())["value"]
    texts = counted["value"].to_list()
    if not other.len():
        return table
    if reading.layout == "wide" and reading.missing is None and reading.rating_as is None:
        words = [word for word in other.sort() if not any(map(str.isdigit, word))]
        if 0 < len(words) <= _MOST_WORDS and len(words) < counted.height:
            n = counted.filter(pl.col("value").is_in(words))["len"].sum()
            shown = ", ".join(map(repr, words))
            notice = f"left out {n:,} cells without a rating: {shown}"
            return _with_form(table.known(missing=tuple(words)).noted(notice))
    if (
        reading.decimal is None
        and reading.rating_as in (None, "number")
        and forms.decimal_commas(texts)
    ):
        return table.known(decimal=",").noted("decimal commas: 3,5 is read as 3.5")
    form = forms.recognised(texts) if reading.rating_as is None else None
    if form is None:
        return table
    notice = f"ratings such as {texts[0]!r} are read as {form}"
    return table.known(rating_as=form).noted(notice)


def _evaluate(
    table: Table, lf: pl.LazyFrame, limits: Scale | None, kind: Kind
) -> tuple[Table, _Parsed | None]:
    """Take the columns of all roles in one pass over a scan; None where only the text can tell what ids
    are.
    """
    schema = lf.collect_schema()
    values = {"row": pl.col("row")} if "row" in schema else {}
    checks = [_Check("", _TOO_SHORT, pl.lit(False))]  # see ``_whole_rows``
    if "extra" in schema:
        checks.append(_Check("", "is too long", pl.col("extra").is_not_null()))
    for role in table.places:
        name = "value" if role in VALUES else role
        values[name], more = _take(role, schema, table, limits, kind)
        checks += more
    given = {role for role in table.integers if id_type(table.reading, role) == "integers"}
    strict = "row" not in schema
    altered = {
        role: _altered(role, schema[role], integers, strict=strict)
        for role, integers in table.integers.items()
        if role not in given or integers == pl.Int32
    }
    query = lf.select(
        **values,
        problem=_first_failing(checks),
        **{f"{role} altered": wrong for role, wrong in altered.items()},
    )
    frame = query.collect(engine="streaming")
    good = frame["problem"].is_null()
    n_altered = {role: (frame.drop_in_place(f"{role} altered") & good).sum() for role in altered}
    again = {role for role, n in n_altered.items() if n}
    if not again:
        table = _with_codes(table, frame, kind)
        frame = _whole_rows(_within(frame, checks, limits, table), table)
        return table, _Parsed(frame, checks)
    integers = {
        role: pl.Int64 if role in again else integers
        for role, integers in table.integers.items()
        if role not in again or integers == pl.Int32
    }
    if strict and len(integers) < len(table.integers):
        return (
            table,
            None,
        )  # the text will show whether they are text, or integers in another spelling
    table = replace(table, integers=integers)
    for role in again - integers.keys():
        if (n := n_altered[role]) <= _ODD * frame.height:
            what = (
                f"{n:,} of {frame.height:,} {'is' if n == 1 else 'are'} not written as an integer"
            )
            table = table.noted(f"ids in column {clipped(table.column(role))} are text: {what}")
    return _evaluate(table, lf, limits, kind)


# A share of ids, below which those that are no integers may be slips.
_ODD = 0.1
_TOO_SHORT = "is too short"


def _whole_rows(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The frame, in which rows that end before the time are a problem: they may have lost a part of the
    rating too.
    """
    if "row" not in frame.columns or "time" not in frame.columns:
        return frame
    gap = pl.col("time").is_null() & pl.col("problem").is_null()
    numbers = frame.filter(gap)["row"].to_list()
    if not (short := table.cut_short(numbers)):
        return frame
    wrong = pl.col("row").is_in(short)
    return frame.with_columns(
        problem=pl.when(wrong).then(pl.lit(0, pl.UInt8)).otherwise(pl.col("problem"))
    )


def _with_codes(table: Table, frame: pl.DataFrame, kind: Kind) -> Table:
    """The table, once it is known which numbers stand for no rating."""
    if kind != "ratings" or table.wanted.reading.missing is not None or "value" not in frame:
        return table
    values = frame["value"].drop_nulls().to_numpy()
    words = [code for code in table.reading.missing or () if not _numbers((code,))]
    found = [f"{code:g}" for code in codes.recognised(values)]
    return table.known(missing=(*words, *found))


def _within(
    frame: pl.DataFrame, checks: Sequence[_Check], limits: Scale | None, table: Table
) -> pl.DataFrame:
    """The frame, in which ratings outside the scale are a problem unless they are codes for none."""
    number = next((n for n, check in enumerate(checks) if check.reason.startswith(_OUTSIDE)), None)
    if number is None or limits is None:
        return frame
    low, high = (pl.lit(limit, pl.Float32) for limit in limits)
    outside = ~pl.col("value").is_between(low, high)
    if not frame.select(outside.any()).item():
        return frame
    known = _numbers(table.reading.missing or ())
    earlier = pl.col("problem").is_null() | (pl.col("problem") > number)
    wrong = outside & ~pl.col("value").is_in(known) & earlier
    return frame.with_columns(
        problem=pl.when(wrong).then(pl.lit(number, pl.UInt8)).otherwise(pl.col("problem"))
    )


def _first_failing(checks: Sequence[_Check]) -> pl.Expr:
    problem = pl.lit(None, pl.UInt8)
    for number in reversed(range(len(checks))):
        problem = pl.when(checks[number].fails).then(pl.lit(number, pl.UInt8)).otherwise(problem)
    return problem


def _altered(role: str, dtype: pl.DataType, kind: type[pl.DataType], *, strict: bool) -> pl.Expr:
    """Which ids would not come back as they were if they were read as a kind of integers.

    Args:
        role, dtype: which column it is.
        kind: of integers.
        strict: whether only the shortest spelling will do; finding out others takes ten times as long.
    """
    raw = pl.col(role)
    if dtype != pl.String:
        return raw.cast(kind, strict=False).is_null()
    raw = raw if strict else _whole(raw.str.strip_chars())
    lost = raw.cast(kind, strict=False).is_null()
    signed_zero = raw.str.starts_with("+") | raw.str.starts_with("-0")
    return lost | (raw.str.starts_with("0") & (raw != "0")) | signed_zero


def _whole(text: pl.Expr) -> pl.Expr:
    """Numbers without the zeros behind a decimal point, which programs write where one is missing."""
    return text.str.replace(r"^(-?\d+)\.0+$", "$1")


def _take(
    role: str, schema: pl.Schema, table: Table, limits: Scale | None, kind: Kind
) -> tuple[pl.Expr, list[_Check]]:
    """The values of a role, null where they cannot be used, and what can be wrong with them."""
    raw, dtype = pl.col(role), schema[role]
    fails = {"missing": raw.is_null()}
    if role in table.integers and dtype == pl.String and "row" not in schema:
        ids = raw.cast(table.integers[role], strict=False)
        given = id_type(table.reading, role) == "integers"
        check = (_NO_INTEGER, ids.is_null()) if given else ("missing", raw.is_null())
        return ids, [_Check(role, *check)]
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null) or (
        dtype == pl.Boolean and role in VALUES
    ):
        dtype, raw = pl.String(), raw.cast(pl.String).str.strip_chars()
        if role in VALUES:
            fails = {"missing": raw.is_null() | (raw == "")}
        else:
            fails = {"missing": raw.is_null() | raw.is_in(_NOTHING)}
    if role in VALUES:
        values, more = _value(raw, dtype, limits, kind, table.reading)
        words = [code for code in table.reading.missing or () if not _numbers((code,))]
        if words and dtype == pl.String:
            more = {reason: failing & ~raw.is_in(words) for reason, failing in more.items()}
    elif role == "time":
        values, more = _time(raw, dtype)
        fails = {}
    elif role == "title":
        values, more = raw.cast(pl.String), {}
    elif role == "genres":
        values, more, fails = _genres(raw, dtype), {}, {}
    else:
        values, more = _id(raw, dtype, role, table)
    if role in table.wanted.optional:
        fails = {}
    if values is None:
        column = clipped(table.column(role))
        raise DataError(f"{table.name}, column {column}: {dtype} cannot be used as {role}")
    return values, [_Check(role, reason, failing) for reason, failing in (fails | more).items()]


_NO_INTEGER = "is no integer, as the ids should be"
_Taken = tuple[pl.Expr | None, dict[str, pl.Expr]]


def _id(raw: pl.Expr, dtype: pl.DataType, role: str, table: Table) -> _Taken:
    kind = table.integers.get(role, pl.String)
    given = id_type(table.reading, role)
    if dtype.is_float():  # what pandas makes of integers where one is missing
        whole = raw.cast(pl.Int64, strict=False)
        return whole.cast(pl.String) if given == "text" else whole, {
            "missing": raw.is_null() | raw.is_nan(),
            "is neither an integer nor text": whole.is_null() | (whole != raw),
        }
    if not (dtype.is_integer() or dtype == pl.String):
        return None, {}
    if dtype == pl.String and kind != pl.String:
        raw = _whole(raw)
    values = raw.cast(kind, strict=False)
    if given == "integers":
        return values, {_NO_INTEGER: values.is_null()}
    return values, {}


# What is wrong with a rating outside the scale.
_OUTSIDE = "is outside the scale"


def _value(
    raw: pl.Expr, dtype: pl.DataType, limits: Scale | None, kind: Kind, reading: Reading
) -> _Taken:
    if not (dtype.is_numeric() or dtype == pl.String):
        return None, {}
    if dtype == pl.String:
        number = forms.numbers(raw, reading.rating_as, reading.decimal)
    else:
        number = raw.cast(pl.Float32, strict=False)
    fails = {
        "is not a number": number.is_null(),
        f"is not a finite number up to {LARGEST:g} in size": ~(number.abs() <= LARGEST),
    }
    if limits is not None:  # which codes for no rating may be, see ``_within``
        fails[f"{_OUTSIDE} {limits.lowest:g}-{limits.highest:g}"] = pl.lit(False)
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
    unread = seconds.is_null() & raw.is_not_null()
    if dtype == pl.String:
        unread &= ~raw.is_in(_NO_TIMES)
    elif dtype.is_float():
        unread &= raw.is_not_nan()
    return seconds, {"is not a time (seconds since 1970, or an ISO date)": unread}


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
    form = any("is not a number" in str(row) for row in sample)
    form_advice = _FORM_ADVICE if form and table.reading.rating_as is None else ""
    if n_bad == frame.height:
        where = f": all {n_bad:,} rows are bad, the first: " if n_bad > 1 else ", "
        raise DataError(f"{table.name}{where}{sample[0]}{form_advice}")
    if not skip:
        advice = "" if skip is None else f"; {_SKIP_ADVICE}"
        count = f" (the first of {n_bad:,} such rows)" if n_bad > 1 else ""
        raise DataError(f"{table.name}, {sample[0]}{count}{advice}{form_advice}")
    return frame.filter(pl.col("problem").is_null()), sample


def _bad_row(table: Table, row: Row, check: _Check) -> BadRow:
    if row.fault:
        return BadRow(row.place, "", "", row.fault)
    value = "" if check.reason == "missing" else repr(row.values[check.role])
    column = clipped(row.column or table.column(check.role))
    return BadRow(row.place, column, value[:57] + "..." if len(value) > 60 else value, check.reason)


# What the values say ------------------------------------------------------------------------------


def _without_codes(table: Table, frame: pl.DataFrame, kind: Kind) -> tuple[Table, pl.DataFrame]:
    """The rows that hold a rating, none of the codes for no rating; and the table that knows them."""
    if kind != "ratings" or "value" not in frame.columns:
        return table, frame
    known = _numbers(table.reading.missing or ())
    kept = frame
    if known or frame["value"].null_count():
        kept = frame.filter(pl.col("value").is_not_null() & ~pl.col("value").is_in(known))
    if kept.is_empty():
        raise DataError(
            f"{table.name}: all {frame.height:,} rows have no rating: pass missing='none' (on the "
            "command line --missing none) to keep them"
        )
    n = frame["value"].is_in(known).sum() if known else 0
    if n:
        shown = " or ".join(f"{code:g}" for code in known)
        keep = "pass missing='none' (on the command line --missing none) to keep them"
        table = table.noted(f"left out {n:,} rows with {shown}, which stands for no rating; {keep}")
    return table, kept


def _numbers(texts: Sequence[str]) -> list[float]:
    """Those codes that are numbers, in single precision."""
    found = []
    for text in texts:
        try:
            found.append(float(np.float32(text)))
        except ValueError:
            continue
    return found


def _what_values_are(
    table: Table, frame: pl.DataFrame, kind: Kind, *, sure: bool
) -> tuple[Table, Kind]:
    """What the values are, now that they are known: all the same say no more than that they are there,
    and what is mostly small and sometimes huge is counted.
    """
    if table.wanted.reading.kind is not None or kind != "ratings" or sure:
        return table, kind
    values = frame["value"].to_numpy()
    ratings = "pass kind='ratings' (on the command line --kind ratings) if they are ratings"
    if len(values) > 1 and values.min() == values.max():
        said = f"all ratings are {values[0]:g}, which leaves nothing to predict"
        if len(values) >= _FEW:
            return table.noted(f"{said}: taken for events, of who did what; {ratings}"), "events"
        events = "pass kind='events' (on the command line --kind events)"
        return table.noted(f"{said}: if a row says no more than that it is there, {events}"), kind
    named = table.header and stars(table.columns[table.places["rating"]])
    if not named and table.reading.layout == "long" and _heavy_tailed(values):
        said = "are mostly small and sometimes huge, as counts are: taken for counts"
        column = clipped(table.column("rating"))
        return table.noted(f"the values of column {column} {said}; {ratings}"), "counts"
    return table, kind


def _heavy_tailed(values: np.ndarray[Any, Any]) -> bool:
    sample = values[:: -(-len(values) // _SAMPLED)]
    if values.min() < 0 or len(np.unique(sample)) <= 10:
        return False
    return bool(values.max() > 20 * max(float(np.median(sample)), 1.0) and values.max() > 100)


def _warnings(every: Ratings, table: Table) -> tuple[str, ...]:
    """What makes it likely that a column is not what it was taken for."""
    said = []
    name = "name the columns with user=, item=, rating= (on the command line --user-column, ...)"
    if every.n_users == len(every) > 2 * _FEW:
        column = clipped(table.column("user"))
        said.append(
            f"each of the {len(every):,} rows has another user: is column {column} a number of rows? If "
            f"so, {name}"
        )
    if every.kind == "ratings" and table.reading.layout == "long" and len(every) > _FEW:
        sample = every.values[:: -(-len(every) // _SAMPLED)]
        column = clipped(table.column("rating"))
        if sample.min() >= 1e8:
            said.append(f"the ratings in column {column} look like times: if they are, {name}")
        elif (sample == np.rint(sample)).all() and len(np.unique(sample)) > 200:
            said.append(
                f"the ratings in column {column} look like ids or counts: if they are, {name}"
            )
    return tuple(said)


# Rows of which nothing can be told yet.
_FEW = 10


def _above_zero(table: Table, frame: pl.DataFrame, kind: Kind) -> tuple[Table, pl.DataFrame]:
    """The frame without rows that count nothing, whose number is noted."""
    if kind != "counts":
        return table, frame
    kept = frame.filter(pl.col("value") > 0)
    if kept.is_empty():
        raise DataError(f"{table.name}: all {frame.height:,} counts are 0")
    if kept.height < frame.height:
        table = table.noted(f"left out {frame.height - kept.height:,} rows with a count of 0")
    return table, kept


def _dated(table: Table, frame: pl.DataFrame) -> tuple[Table, pl.DataFrame]:
    """The frame with seconds in each row: a missing time, which costs no rating, is the earliest."""
    if "time" not in frame.columns:
        return table, frame
    column, times = clipped(table.column("time")), frame["time"]
    if (n := times.null_count()) == frame.height:
        said = f"column {column} holds no times: left out"
        return table.without("time", said), frame.drop("time")
    if n:
        said = f"{n:,} of {frame.height:,} times are missing in column {column}: taken for the earliest"
        table, times = table.noted(said), times.fill_null(strategy="min")
    earliest = times.min()
    for least, unit, name in _FINER:
        if isinstance(earliest, int) and earliest > least:
            table = table.noted(f"times in column {column} are in {name}seconds")
            return table, frame.with_columns(times // unit)
    return table, frame.with_columns(times) if n else frame


def _own_titles(frame: pl.DataFrame) -> pl.DataFrame | None:
    """Titles (and genres) of the items out of the ratings themselves, which leave the frame; None where
    there are none, or they are of the rating, as a review's.
    """
    described = [name for name in ("title", "genres") if name in frame.columns]
    columns = {name: frame.drop_in_place(name) for name in described}
    if "title" not in columns:
        return None
    named = frame.select(id="item").with_columns(**columns).drop_nulls("title")
    pairs = named.unique(maintain_order=True)
    n_items = pairs["id"].n_unique()
    if n_items == 0 or pairs.select("id", "title").unique().height > 1.2 * n_items:
        return None
    return pairs


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
        for role in _RATED:
            at = places.get(role, places.get("count") if role == "rating" else None)
            by_name = table.header and not twice
            columns[role] = NONE if at is None else table.columns[at] if by_name else at + 1
    return reading.where(
        **columns,
        user_ids=ratings.user_vocabulary.id_type,
        item_ids=ratings.item_vocabulary.id_type,
        kind=kind,
        missing=reading.missing or (),
        rating_as=reading.rating_as or "number",
    )


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
    table, parsed = _parse(table)
    titles = _usable(table, parsed, skip=True)[0].select(*table.places)
    for notice in table.notices:
        _log.info("%s: %s", table.name, notice)
    is_whole = titles.height == parsed.frame.height
    return titles, is_whole and not titles["title"].str.contains("\n", literal=True).any()


def _titled(
    ratings: Ratings,
    titles: "Source | None",
    content: Any,
    beside: Blob | Frame | None,
    limit: Limit,
) -> tuple[Ratings, list[str]]:
    """The ratings with the titles of their items, and what to say of these.

    Args:
        ratings: without titles.
        titles: what the user has named.
        content: what the ratings were read from.
        beside: the titles in the same container.
        limit: what packed files may unpack to.
    """
    near = None
    if isinstance(titles, str | os.PathLike) and os.fspath(titles) == NONE:
        return ratings, []
    if titles is not None:
        found = locate(titles, TITLES, SUFFIXES, limit)[0]
    elif beside is not None:
        found = beside
    else:
        found = near = titles_beside(content)
    if found is None:
        return ratings, []
    name = getattr(found, "name", "the titles")
    try:
        named = ratings.item_vocabulary.with_titles(_read_titles(found, Reading()))
    except DataError as error:
        if titles is not None:
            raise
        return ratings, [f"no titles: {error}"]  # nobody asked for them
    if not named.n_titles:
        return ratings, [f"no titles: no id in {name} is that of an item here"]
    said = (
        [f"titles of {named.n_titles:,} of {len(named):,} items: {name}"]
        if near is not None
        else []
    )
    return replace(ratings, item_vocabulary=named), said
