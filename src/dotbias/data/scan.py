"""Scanning: the columns of a table, in one pass or two, and what is wrong with each row that is bad.

A table is scanned at most twice. The first scan is typed, as fast as Polars parses, and counts only if
every row is good. Otherwise the second takes all fields as text, so that each bad row can be counted,
shown and left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import polars as pl

from dotbias.data import codes, forms
from dotbias.data.columns import VALUES, clipped
from dotbias.data.formats.table import Row, Table, id_type
from dotbias.data.ratings import LARGEST, Kind, Scale
from dotbias.data.reading import Reading
from dotbias.data.sources.blob import PARSER_ERRORS, in_part
from dotbias.errors import DataError

# What stands where an item has no genre, the second in MovieLens.
_NO_GENRES = ("", "(no genres listed)")
_ISO_FORMS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f%:z")
# No more is left of a date that breaks off in its year.
_LAST_YEAR = 9999
_SHOWN_ROWS = 5
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
        part: name of the file, of a table in several.

    >>> str(BadRow(17, "rating", "'abc'", "is not a number"))
    "row 17, column rating: 'abc' is not a number"
    """

    row: int
    column: str
    value: str
    reason: str
    part: str = ""

    def __str__(self) -> str:
        where = f"row {in_part(self.part, self.row)}"
        where += f", column {self.column}" if self.column else ""
        return f"{where}: {self.value} {self.reason}" if self.value else f"{where}: {self.reason}"


class Check(NamedTuple):
    """A reason not to use a row: what can be wrong with the value of a role, and where it is."""

    role: str
    reason: str
    fails: pl.Expr


class Parsed(NamedTuple):
    """Columns of a table and ``problem``: the number of the first check a row fails, else null."""

    frame: pl.DataFrame
    checks: list[Check]


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
            return parse(table.without("time", notice), limits, kind)
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
) -> tuple[Table, Parsed | None]:
    """Take the columns of all roles in one pass over a scan; None where only the text can tell what ids
    are.
    """
    schema = lf.collect_schema()
    values = {"row": pl.col("row")} if "row" in schema else {}
    checks = [Check("", _TOO_SHORT, pl.lit(False))]  # see ``_whole_rows``
    if "extra" in schema:
        checks.append(Check("", "is too long", pl.col("extra").is_not_null()))
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
    signed_zero = raw.str.starts_with("+") | raw.str.starts_with("-0")
    return lost | (raw.str.starts_with("0") & (raw != "0")) | signed_zero


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
        dtype, raw = pl.String(), raw.cast(pl.String).str.strip_chars()
        if role in VALUES:
            fails = {"missing": raw.is_null() | (raw == "")}
        else:
            fails = {"missing": raw.is_null() | raw.is_in(_NOTHING)}
    if role in VALUES:
        values, more = _value(raw, dtype, limits, kind, table.reading)
        words = [code for code in table.reading.missing or () if not codes.numbers((code,))]
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
        fails["is below 0, which no count is"] = number < 0
    return number, fails


def _time(raw: pl.Expr, dtype: pl.DataType) -> _Taken:
    if dtype == pl.String:
        dates = raw.map_batches(_dates, return_dtype=pl.Int64, is_elementwise=True)
        numbers = raw.cast(pl.Int64, strict=False).fill_null(
            raw.cast(pl.Float64, strict=False).floor().cast(pl.Int64, strict=False)
        )
        left_over = numbers.is_between(0, _LAST_YEAR) & dates.is_not_null().any()
        seconds = dates.fill_null(pl.when(~left_over).then(numbers))
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


def _dates(text: pl.Series) -> pl.Series:
    """Seconds since 1970 of ISO dates (UTC where no zone is given), else null."""
    if text.cast(pl.Int64, strict=False).null_count() == text.null_count():
        return pl.repeat(
            None, len(text), dtype=pl.Int64, eager=True
        )  # looking takes ten times as long
    iso = text.str.replace(" ", "T", literal=True).str.replace("Z$", "+00:00")
    iso = iso.set(~iso.str.contains(r"^\d{4}-"), None)
    dates = (iso.str.to_datetime(form, strict=False).dt.epoch("s") for form in _ISO_FORMS)
    return pl.select(pl.coalesce(*dates)).to_series()


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


def _bad_row(table: Table, row: Row, check: Check) -> BadRow:
    if row.fault:
        return BadRow(row.place, "", "", row.fault, row.part)
    value = "" if check.reason == "missing" else repr(row.values[check.role])
    column = clipped(row.column or table.column(check.role))
    value = value[:57] + "..." if len(value) > 60 else value
    return BadRow(row.place, column, value, check.reason, row.part)
