"""Scanning: the columns of a table, in one pass or two, and what is wrong with each row that is bad.

A table is scanned at most twice. The first scan is typed, as fast as Polars parses, and counts only if
every row is good. Otherwise the second takes all fields as text, so that each bad row can be counted,
shown and left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import polars as pl
from polars import selectors

from dotbias.data import codes, forms, times
from dotbias.data.columns import IDS, MOST_WORDS, VALUES, clipped
from dotbias.data.formats.table import Row, Table, id_type
from dotbias.data.names import WHERE
from dotbias.data.ratings import LARGEST, Kind, Scale
from dotbias.data.reading import Reading
from dotbias.data.sources.blob import PARSER_ERRORS
from dotbias.errors import DataError, NothingLeftError

# What stands where an item has no genre, the second in MovieLens.
_NO_GENRES = ("", "(no genres listed)")
_SHOWN_ROWS = 5
_NO_TIMES = (*forms.NOTHING, "0000-00-00", "0000-00-00 00:00:00")
_FORM_ADVICE = (
    "; if ratings are written so, say how with rating_as= (on the command line --rating-as), or with "
    "missing= (--missing) which words stand for none"
)
_NO_TIME = "is not a time (seconds since 1970, or an ISO date)"
_TIME_ADVICE = (
    "; if dates are written so, say how with time_as= (on the command line --time-as '%d/%m/%Y')"
)
# Distinct ratings beyond which no form or word is looked for among them.
_MOST_DISTINCT = 10_000
# Words that a wide table may have in the place of a rating.
_MOST_WORDS = 8
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
        part: the file that it is in, of a table in several files.

    >>> str(BadRow(17, "rating", "'abc'", "is not a number"))
    "row 17, column rating: 'abc' is not a number"
    """

    row: int
    column: str
    value: str
    reason: str
    part: str = ""

    def __str__(self) -> str:
        where = f"{self.part}, row {self.row:,}" if self.part else f"row {self.row:,}"
        where += f", column {self.column}" if self.column else ""
        return f"{where}: {self.value} {self.reason}" if self.value else f"{where}: {self.reason}"


class Check(NamedTuple):
    """A reason not to use a row: what can be wrong with the value of a role, and where it is."""

    role: str
    reason: str
    fails: pl.Expr


class Parsed(NamedTuple):
    """Columns of a table and ``problem``: the number of the first check a row fails, else null. Text ids
    may be Enums, see ``as_text``.
    """

    frame: pl.DataFrame
    checks: list[Check]


def as_text(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame of ``parse``, in which text ids are text."""
    return frame.with_columns(selectors.enum().cast(pl.String))


def parse(
    table: Table, limits: Scale | None = None, kind: Kind = "ratings"
) -> tuple[Table, Parsed]:
    """Scan a table: typed, and where that is not clean, as text; what was learnt of the table stays in
    the one that comes back.
    """
    parsed = None
    try:
        typed, parsed = _evaluate(table, table.typed(), limits, kind)
        # Rows without a time may be cut short.
        gaps = parsed and "time" in table.places and parsed.frame["time"].null_count()
        bad = parsed and parsed.frame["problem"].null_count() < parsed.frame.height
        if parsed is None or gaps or bad or not _categorised(parsed.frame):
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
    if "time" not in table.places:
        return table, parsed
    n_read = parsed.frame["time"].count()
    if 2 * n_read < parsed.frame.height and (dated := _with_dates(table)) is not table:
        return parse(dated, limits, kind)
    if n_read == 0 < parsed.frame.height and table.wanted.column("time") is None:
        column = clipped(table.column("time"))
        notice = f"column {column} holds no times that can be read: left out"
        return parse(table.without("time", notice), limits, kind)
    return table, parsed


def others(table: Table) -> pl.DataFrame:
    """The columns of a long table that are none of its ids, row by row of what ``parse`` has read: text
    where the source is text. Lists and the like, which no table of text can hold, are left out.

    Raises:
        DataError: for two columns of one name.
    """
    ids = {place for role, place in table.places.items() if role in IDS}
    rest = {f"other {at}": at for at in range(len(table.columns)) if at not in ids}
    if table.reading.layout != "long" or not rest:
        return pl.DataFrame()
    every = replace(table, places={**table.places, **rest})
    names = {role: table.columns[at] for role, at in rest.items()}
    columns = list(names.values())
    for name in columns:
        if columns.count(name) > 1:
            raise DataError(f"{table.name}: there are two columns {name!r}: rename one")
    frame = _chosen(table, every.text()).select(*names).collect(engine="streaming")
    return frame.drop(selectors.nested()).rename(names, strict=False)


def _chosen(table: Table, lf: pl.LazyFrame) -> pl.LazyFrame:
    """The rows of a table that are read."""
    words = table.reading.where_values
    return lf.filter(_word().is_in(words)) if words else lf


def _word() -> pl.Expr:
    """What stands in the column that says which rows are read, the same in all formats."""
    return _whole(pl.col(WHERE).cast(pl.String).str.strip_chars().str.to_lowercase())


def _not_chosen(table: Table) -> str:
    """What stands in the rows that are not read, where none is."""
    if not table.reading.where_values:
        return ""
    query = table.text().select(_word()).drop_nulls().unique().sort(WHERE).head(MOST_WORDS + 1)
    words = [clipped(word) for word in query.collect(engine="streaming")[WHERE]]
    more = ", ..." if len(words) > MOST_WORDS else ""
    return f" where {table.reading.where}: there are {', '.join(words[:MOST_WORDS])}{more}"


def row_numbers(table: Table) -> pl.Series:
    """The numbers in a table of the rows that are read."""
    return _chosen(table, table.text()).select("row").collect(engine="streaming")["row"]


def _categorised(frame: pl.DataFrame) -> bool:
    """Make text ids, as they came from a typed scan, Enums of their distinct values, in place; False
    where the text is to be scanned: an id has blanks around it, or is a word for nothing.
    """
    for role in IDS:
        if role in frame.columns and frame.schema[role] == pl.String:
            distinct = frame[role].unique().sort()
            if (distinct != distinct.str.strip_chars()).any() or distinct.is_in(
                forms.NOTHING
            ).any():
                return False
            at = frame.get_column_index(role)
            frame.replace_column(at, frame[role].cast(pl.Enum(distinct)))
    return True


def _with_dates(table: Table) -> Table:
    """The table, once it is known how its dates are written, where they are no ISO dates."""
    lf = table.text().select("time")
    if table.reading.time_as is not None or lf.collect_schema()["time"] != pl.String:
        return table
    text = lf.collect(engine="streaming")["time"].str.strip_chars()
    text = text.filter(~text.is_in(_NO_TIMES))
    form = times.recognised(text)
    if form is None:
        return table
    column, example = clipped(table.column("time")), text.drop_nulls()[0]
    option = f"pass time_as= (on the command line --time-as) if {example!r} is another day"
    return table.known(time_as=form).noted(f"times in column {column} are read as {form}; {option}")


def _with_form(table: Table) -> Table:
    """The table, once it is known how its ratings are written: as all of them show."""
    role = next((role for role in VALUES if role in table.places), None)
    reading = table.reading
    if role is None or (reading.rating_as is not None and reading.decimal is not None):
        return table
    text = pl.col(role).cast(pl.String).str.strip_chars()
    counted = (
        _chosen(table, table.text())
        .select(value=text)
        .filter(pl.col("value").fill_null("") != "")
        .group_by("value")
        .len()
        .collect(engine="streaming")
    )
    left_out = reading.missing or ()
    counted = counted.filter(~pl.col("value").is_in([*forms.NOTHING, *left_out]))
    if not 0 < counted.height <= _MOST_DISTINCT:
        return table
    other = counted.filter(pl.col("value").cast(pl.Float64, strict=False).is_null())["value"]
    texts = counted["value"].to_list()
    if not other.len():
        return table
    if reading.layout == "wide" and reading.missing is None and reading.rating_as is None:
        words = [word for word in other.sort() if not any(map(str.isdigit, word))]
        if len(words) == counted.height:
            words = [word for word in words if not forms.has_form(word)]
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
) -> tuple[Table, Parsed | None]:
    """Take the columns of all roles in one pass over a scan; None where only the text can tell what ids
    are.
    """
    lf = _chosen(table, lf)
    schema = lf.collect_schema()
    values = {"row": pl.col("row")} if "row" in schema else {}
    checks = [Check("", _TOO_SHORT, pl.lit(False))]  # see ``_whole_rows``
    if "extra" in schema:
        checks.append(Check("", "is too long", pl.col("extra").is_not_null()))
    for role in table.places:
        if role == WHERE:
            if not table.reading.where_values:  # what is to be read is up to all that stands there
                values[WHERE] = _word()
            continue
        name = "value" if role in VALUES else role
        values[name], more = _take(role, schema, table, limits, kind)
        checks += more
    given = {role for role in table.integers if id_type(table.reading, role) == "integers"}
    strict = "row" not in schema
    altered = {
        role: _altered(role, schema[role], integers, strict=strict)
        for role, integers in table.integers.items()
        if role not in given
    }
    query = lf.select(
        **values,
        problem=_first_failing(checks),
        **{f"{role} altered": wrong for role, wrong in altered.items()},
    )
    frame = query.collect(engine="streaming")
    if "value" in values:  # which is looked at more than once, and by NumPy in one piece
        frame.replace_column(frame.get_column_index("value"), frame["value"].rechunk())
    good = frame["problem"].is_null()
    n_altered = {role: (frame.drop_in_place(f"{role} altered") & good).sum() for role in altered}
    again = {role for role, n in n_altered.items() if n}
    if not again:
        table = _with_codes(table, frame, kind)
        frame = _whole_rows(_within(frame, checks, limits, table), table)
        return table, Parsed(frame, checks)
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
    lengths = zip(numbers, table.lengths(numbers), strict=True)
    if not (short := [number for number, length in lengths if length < len(table.columns)]):
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
    words = [code for code in table.reading.missing or () if not codes.numbers((code,))]
    found = [f"{code:g}" for code in codes.recognised(values)]
    return table.known(missing=(*words, *found))


def _within(
    frame: pl.DataFrame, checks: Sequence[Check], limits: Scale | None, table: Table
) -> pl.DataFrame:
    """The frame, in which ratings outside the scale are a problem unless they are codes for none."""
    number = next((n for n, check in enumerate(checks) if check.reason.startswith(_OUTSIDE)), None)
    if number is None or limits is None:
        return frame
    low, high = (pl.lit(limit, pl.Float32) for limit in limits)
    outside = ~pl.col("value").is_between(low, high)
    if not frame.select(outside.any()).item():
        return frame
    known = codes.numbers(table.reading.missing or ())
    earlier = pl.col("problem").is_null() | (pl.col("problem") > number)
    wrong = outside & ~pl.col("value").is_in(known) & earlier
    return frame.with_columns(
        problem=pl.when(wrong).then(pl.lit(number, pl.UInt8)).otherwise(pl.col("problem"))
    )


def _first_failing(checks: Sequence[Check]) -> pl.Expr:
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
    # What begins with + or -0, and what with 0: in the order of text two comparisons find each.
    return lost | (raw < "-1") | ((raw > "0") & (raw < "1"))


def _whole(text: pl.Expr) -> pl.Expr:
    """Numbers without the zeros behind a decimal point, which programs write where one is missing."""
    return text.str.replace(r"^(-?\d+)\.0+$", "$1")


def _take(
    role: str, schema: pl.Schema, table: Table, limits: Scale | None, kind: Kind
) -> tuple[pl.Expr, list[Check]]:
    """The values of a role, null where they cannot be used, and what can be wrong with them."""
    raw, dtype = pl.col(role), schema[role]
    fails = {"missing": raw.is_null()}
    if role in table.integers and dtype == pl.String and "row" not in schema:
        ids = raw.cast(table.integers[role], strict=False)
        given = id_type(table.reading, role) == "integers"
        check = (_NO_INTEGER, ids.is_null()) if given else ("missing", raw.is_null())
        return ids, [Check(role, *check)]
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null) or (
        dtype == pl.Boolean and role in VALUES
    ):
        dtype, raw = pl.String(), raw.cast(pl.String)
        if role not in IDS or "row" in schema:  # else see ``_categorised``
            raw = raw.str.strip_chars()
            nothing = raw == "" if role in VALUES else raw.is_in(forms.NOTHING)
            fails = {"missing": raw.is_null() | nothing}
    if role in VALUES:
        values, more = _value(raw, dtype, limits, kind, table.reading)
        words = [code for code in table.reading.missing or () if not codes.numbers((code,))]
        if words and dtype == pl.String:
            more = {reason: failing & ~raw.is_in(words) for reason, failing in more.items()}
    elif role == "time":
        values, more = _time(raw, dtype, table.reading.time_as)
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
    return values, [Check(role, reason, failing) for reason, failing in (fails | more).items()]


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
        is_code = number.is_in(codes.numbers(reading.missing or ()))
        fails["is below 0, which no count is"] = (number < 0) & ~is_code
    return number, fails


def _time(raw: pl.Expr, dtype: pl.DataType, form: str | None) -> _Taken:
    if dtype == pl.String:
        seconds = times.read_as(pl.when(~raw.is_in(_NO_TIMES)).then(raw), form)
    elif dtype in (pl.Date, pl.Datetime):
        seconds = raw.dt.epoch("s").cast(pl.Int64)
    elif dtype.is_numeric():
        seconds = raw.floor().cast(pl.Int64, strict=False)
    else:  # a time of the day, such as stands beside a date: left out where nobody has named it
        seconds = pl.lit(None, pl.Int64)
    unread = seconds.is_null() & raw.is_not_null()
    if dtype == pl.String:
        unread &= ~raw.is_in(_NO_TIMES)
    elif dtype.is_float():
        unread &= raw.is_not_nan()
    return seconds, {_NO_TIME: unread}


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


def usable(
    table: Table, parsed: Parsed, *, skip: bool | None
) -> tuple[pl.DataFrame, tuple[BadRow, ...]]:
    """The good rows, and the first few of the bad ones.

    Args:
        table, parsed: from ``parse``.
        skip: whether bad rows are left out; None where nobody is asked.

    Raises:
        DataError: where there are no rows, no good ones, or a bad one that may not be skipped.
    """
    frame, checks = parsed
    n_bad = frame.height - frame["problem"].null_count()
    if frame.height == 0:
        raise NothingLeftError(f"{table.name}: there are no rows{_not_chosen(table)}")
    if n_bad == 0:
        return frame, ()
    bad = frame.filter(pl.col("problem").is_not_null()).head(_SHOWN_ROWS)
    rows = table.shown(bad["row"].to_list())
    sample = tuple(
        _bad_row(table, row, checks[problem])
        for row, problem in zip(rows, bad["problem"], strict=True)
    )
    alone = "" if sample[0].part else f"{table.name}, "
    form = any("is not a number" in str(row) for row in sample)
    form_advice = _FORM_ADVICE if form and table.reading.rating_as is None else ""
    if any(_NO_TIME in str(row) for row in sample):
        form_advice += _TIME_ADVICE
    if n_bad == frame.height:
        where = f"{table.name}: all {n_bad:,} rows are bad, the first: " if n_bad > 1 else alone
        said = f"{where}{sample[0]}{form_advice}"
        raise NothingLeftError(said, n_bad, sample) if skip else DataError(said)
    if not skip:
        advice = "" if skip is None else f"; {_SKIP_ADVICE}"
        count = f" (the first of {n_bad:,} such rows)" if n_bad > 1 else ""
        raise DataError(f"{alone}{sample[0]}{count}{advice}{form_advice}")
    return frame.filter(pl.col("problem").is_null()), sample


def _bad_row(table: Table, row: Row, check: Check) -> BadRow:
    if row.fault:
        return BadRow(row.place, "", "", row.fault, row.part)
    value = "" if check.reason == "missing" else repr(row.values[check.role])
    column = clipped(row.column or table.column(check.role))
    value = value[:57] + "..." if len(value) > 60 else value
    return BadRow(row.place, column, value, check.reason, row.part)


def numbered(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """All rows of a scan, with the number that each has in the table."""
    if "row" in frame.columns:
        return frame
    return frame.with_columns(row_numbers(table))


def places(table: Table, numbers: Sequence[int]) -> str:
    """Where the rows of these ascending numbers stand: the file, and the line or row of it."""
    by_part: dict[str, list[str]] = {}
    for row in table.shown(numbers):
        by_part.setdefault(row.part or table.name, []).append(f"{row.place:,}")
    return ", and ".join(
        f"{part}, {'row' if len(rows) == 1 else 'rows'} {' and '.join(rows)}"
        for part, rows in by_part.items()
    )
