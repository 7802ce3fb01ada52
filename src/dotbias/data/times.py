"""Times: seconds since 1970 from numbers and from dates, however they are written."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import polars as pl

_ISO = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f%#z")
# Dates that are not ISO; abbreviations of months are read by %B too, and single digits by %d.
_DATES = (
    *(
        "%m/%d/%Y",
        "%d/%m/%Y",
        "%d.%m.%Y",
        "%d-%m-%Y",
        "%Y/%m/%d",
        "%Y.%m.%d",
        "%m/%d/%y",
        "%d.%m.%y",
    ),
    *("%B %d, %Y", "%d %B %Y", "%d-%B-%Y", "%d-%B-%y", "%m %d, %Y", "%Y年%m月%d日"),
    *("%a %b %d %H:%M:%S %z %Y", "%a, %d %b %Y %H:%M:%S%#z"),
)
_CLOCKS = (" %H:%M", " %H:%M:%S%.f", " %I:%M %p", " %I:%M:%S %p")
# No more is left of a date that breaks off in its year.
_LAST_YEAR = 9999
# What has the look of a date in any form; to read all of them again would take far longer.
_LIKE_DATE = r"\d[-/. 年]\d+[-/. 月]\d|\d.*\pL{3}|\pL{3}.*\d"
# Before lies what a year without its century, or what is left of one, is taken for; years have four
# digits.
_EARLIEST, _LATEST = -(2**32), 253_402_300_799
# Dates whose day and month may be the other way round.
_AMBIGUOUS = {"%m/%d/%Y": "%d/%m/%Y"}


class Unit(NamedTuple):
    """What whole numbers may be other than seconds.

    Args:
        name: in words.
        lowest, highest: all of them lie between these.
        seconds: an expression of the seconds.
    """

    name: str
    lowest: int
    highest: int
    seconds: pl.Expr


_raw = pl.col("time")


def _digits(form: str) -> pl.Expr:
    return _raw.cast(pl.String).str.to_datetime(form, strict=False).dt.epoch("s")


# No rating is of 1970, when the first numbers here would be if they were seconds.
_UNITS = (
    Unit("days, as spreadsheets count them", 25_569, 73_050, (_raw - 25_569) * 86_400),
    Unit("dates such as 20040131", 19_700_101, 21_001_231, _digits("%Y%m%d")),
    Unit("times such as 20040131235959", 197001 * 10**8, 210101 * 10**8, _digits("%Y%m%d%H%M%S")),
    Unit("in nanoseconds", 10**17, 2**63, _raw // 10**9),
    Unit("in microseconds", 10**14, 2**63, _raw // 10**6),
    Unit("in milliseconds", 10**11, 2**63, _raw // 10**3),  # 1e11 seconds are the year 5138
)  # fmt: skip


def in_seconds(times: pl.Series) -> tuple[pl.Series, str]:
    """Seconds since 1970, and in words what the whole numbers were, if they were none.

    >>> in_seconds(pl.Series([1102107268000]))[0].to_list(), in_seconds(pl.Series([20041203]))[1]
    ([1102107268], 'dates such as 20040131')
    """
    lowest, highest = times.min(), times.max()
    for unit in _UNITS:
        if isinstance(lowest, int) and isinstance(highest, int) and unit.lowest < lowest:
            if highest > unit.highest:
                continue
            seconds = (
                times.rename("time").to_frame().select(unit.seconds.cast(pl.Int64)).to_series()
            )
            if not seconds.null_count():
                return seconds, unit.name
    return times, ""


def read_as(text: pl.Expr, form: str | None = None) -> pl.Expr:
    """Seconds since 1970 from text (UTC where no zone is given), null where it is no time.

    A small number among dates is what is left of one that breaks off, and no time.

    Args:
        text: numbers and ISO dates, or dates of the form.
        form: of dates, as ``strptime`` has it, with the time of the day or without.

    >>> text = pl.Series(["2004-12-03 20:54:28", "1102107268", "2004-", "2004"])
    >>> pl.select(read_as(pl.lit(text))).to_series().to_list()
    [1102107268, 1102107268, None, None]
    >>> pl.select(read_as(pl.lit("3.12.2004 20:54"), "%d.%m.%Y")).item()
    1102107240
    """
    dates = text.map_batches(partial(_dates, form=form), return_dtype=pl.Int64, is_elementwise=True)
    numbers = text.cast(pl.Int64, strict=False).fill_null(
        text.cast(pl.Float64, strict=False).floor().cast(pl.Int64, strict=False)
    )
    left_over = numbers.is_between(0, _LAST_YEAR) & text.str.contains(_LIKE_DATE).any()
    return dates.fill_null(pl.when(~left_over).then(numbers))


def _dates(text: pl.Series, form: str | None) -> pl.Series:
    """Seconds since 1970 of the dates, null for what is none."""
    n_numbers = text.cast(pl.Int64, strict=False).count()
    if n_numbers == text.count() and form is None:  # trying dates takes ten times as long
        return pl.repeat(None, len(text), dtype=pl.Int64, eager=True)
    own = [] if form is None else [form, *(form + clock for clock in _CLOCKS)]
    found = _read(text, own, text.str.replace(" ", "T", literal=True).str.replace("Z$", "+00:00"))
    if found.count() + n_numbers >= text.count():
        return found
    spelled = text.str.replace(r" ?(?:Z|UTC|GMT)$", "+00:00")
    iso = spelled.str.replace(r"^(\d{4}-\d\d-\d\d)[ T](\d\d)$", "${1}T$2:00")
    iso = iso.str.replace(r"^(\d{4}-\d\d-\d\d) ", "${1}T")
    return found.fill_null(_read(spelled, own, iso))


def _read(text: pl.Series, own: Sequence[str], iso: pl.Series) -> pl.Series:
    """Seconds of the dates of some forms, else of ISO dates; a year has four digits."""
    iso = iso.set(~iso.str.contains(r"^\d{4}-"), None)
    tried = [*((text, form) for form in own), *((iso, form) for form in _ISO)]
    found = (text.str.to_datetime(form, strict=False).dt.epoch("s") for text, form in tried)
    seconds = pl.select(pl.coalesce(*found)).to_series()
    return seconds.set(~seconds.is_between(_EARLIEST, _LATEST), None)


def recognised(text: pl.Series) -> str | None:
    """The form in which most of these times are, other than numbers of seconds and ISO dates.

    Day and month that could be the other way round in all of them are taken for month and day.

    >>> recognised(pl.Series(["12/31/2010", "1/2/2011"])), recognised(pl.Series(["31/12/2010"]))
    ('%m/%d/%Y', '%d/%m/%Y')
    """
    text = text.drop_nulls()
    sample = text.head(_SAMPLED)
    for form in _DATES:
        if _n_read(sample, form) < _MOST * sample.len() or not sample.len():
            continue
        other = _AMBIGUOUS.get(form)
        if other is not None and _n_read(text, other) > _n_read(text, form):
            form = other
        return form if _n_read(text, form) >= _MOST * text.len() else None
    return None


_SAMPLED, _MOST = 500, 0.9


def _n_read(text: pl.Series, form: str) -> int:
    """How many are dates, of the form or of ISO."""
    return _dates(text, form).count()
