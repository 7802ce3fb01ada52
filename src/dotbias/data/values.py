"""Values: what they say of a table once they are known: codes, counts, times, titles."""

from typing import Any

import numpy as np
import polars as pl

from dotbias.data import codes
from dotbias.data.columns import MOST_WORDS, clipped
from dotbias.data.formats.table import Table
from dotbias.data.names import WHERE, stars
from dotbias.data.ratings import Kind, Ratings
from dotbias.data.times import in_seconds
from dotbias.errors import NothingLeftError

_SAMPLED = 1 << 16
_YEARS = (1900, 2100)


def without_codes(table: Table, frame: pl.DataFrame, kind: Kind) -> tuple[Table, pl.DataFrame]:
    """The rows that hold a rating or a count, none of the codes for none; and the table that knows them.
    A count that is not there is 0, and left out with those (``above_zero``).
    """
    if kind == "events" or "value" not in frame.columns:
        return table, frame
    known = codes.numbers(table.reading.missing or ())
    value = pl.col("value")
    good = ~value.is_in(known).fill_null(False)
    if kind == "ratings":
        good &= value.is_not_null()
    kept = frame.filter(good) if known or frame["value"].null_count() else frame
    noun = "rating" if kind == "ratings" else "count"
    if kept.is_empty():
        raise NothingLeftError(
            f"{table.name}: all {frame.height:,} rows have no {noun}: pass missing='none' (on the "
            "command line --missing none) to keep them"
        )
    n = frame["value"].is_in(known).sum() if known else 0
    if n:
        shown = " or ".join(f"{code:g}" for code in known)
        keep = "pass missing='none' (on the command line --missing none) to keep them"
        table = table.noted(f"left out {n:,} rows with {shown}, which stands for no {noun}; {keep}")
    return table, kept


def kinds_of_rows(table: Table, frame: pl.DataFrame) -> tuple[Table, pl.DataFrame]:
    """What to say where a column tells kinds of rows apart, and the rows without that column: all of
    them, for each says that somebody has something. With one word all values may be the same, as of
    purchases beside hours of play: then the others are what to ask for.
    """
    if WHERE not in frame.columns:
        return table, frame
    words = frame.drop_in_place(WHERE)
    column = clipped(table.column(WHERE))
    known = words.drop_nulls().value_counts().sort(WHERE)
    if table.reading.where_values or not 1 < known.height <= MOST_WORDS:
        return table, frame
    shown = ", ".join(f"{clipped(word)} ({n:,} rows)" for word, n in known.iter_rows())
    same: dict[str, float] = {}
    if "value" in frame.columns:
        grouped = frame.select(words, "value").drop_nulls().group_by(WHERE)
        spread = grouped.agg(pl.len(), low=pl.col("value").min(), high=pl.col("value").max())
        constant = (pl.col("low") == pl.col("high")) & (pl.col("len") >= _FEW)
        same = dict(spread.filter(constant).select(WHERE, "low").sort(WHERE).iter_rows())
    varied = [word for word in known[WHERE] if word not in same]
    if not same or not varied:
        same, varied = {}, [known.sort("count", WHERE)[WHERE][0]]
    always = ", ".join(f"always {value:g} where {word}" for word, value in same.items())
    option = f"{column}={','.join(varied)}"
    return table.noted(
        f"column {column} tells {shown} apart: all are read"
        + (f", and values are {always}" if always else "")
        + f"; pass where={option!r} (on the command line --where {option}) for some of them"
    ), frame


def what_values_are(
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


def warnings(every: Ratings, table: Table) -> tuple[str, ...]:
    """What makes it likely that a column is not what it was taken for."""
    said = []
    name = "name the columns with user=, item=, rating= (on the command line --user-column, ...)"
    for role, n_ids in (("user", every.n_users), ("item", every.n_items)):
        column = table.column(role)
        suspect = role == "user" or column.lower() == "id"  # one person has each item once
        if n_ids == len(every) > 2 * _FEW and suspect:
            said.append(
                f"each of the {len(every):,} rows has another {role}: is column {clipped(column)} a "
                f"number of rows? If so, {name}"
            )
    is_long, given = table.reading.layout == "long", table.wanted.reading
    without_names = len(table.columns) - min(table.places.values())  # behind an index
    if is_long and not table.header and without_names > 4 and given.user is given.item is None:
        said.append(
            f"there are {len(table.columns):,} columns without names: if others are meant, name them by "
            f"number with user=, item=, rating= (on the command line --user-column, --item-column, "
            "--rating-column)"
        )
    n_pairs = every.n_users * every.n_items
    if len(every) >= _CROWDED * n_pairs:
        said.append(
            f"the {len(every):,} rows are of no more than {every.n_users:,} users and {every.n_items:,} "
            f"items: if others are meant, {name}"
        )
    if any(_shortened(ids) for ids in (every.user_vocabulary.ids, every.item_vocabulary.ids)):
        said.append(
            "ids such as 1E+05 are numbers that a spreadsheet or R has shortened, perhaps several to "
            "one: have the column written as text (in R: format(id, scientific=FALSE))"
        )
    if every.kind == "ratings" and is_long and len(every) > _FEW:
        sample = every.values[:: -(-len(every) // _SAMPLED)]
        column = clipped(table.column("rating"))
        whole = (sample == np.rint(sample)).all()
        if whole and sample.min() >= _YEARS[0] and sample.max() <= _YEARS[1]:
            said.append(f"the ratings in column {column} look like years: if they are, {name}")
        elif sample.min() >= 1e8:
            said.append(f"the ratings in column {column} look like times: if they are, {name}")
        elif whole and len(np.unique(sample)) > 200:
            said.append(
                f"the ratings in column {column} look like ids or counts: if they are, {name}"
            )
    return tuple(said)


# Rows for each pair of user and item beyond which these are hardly users and items.
_CROWDED = 20


def _shortened(ids: pl.Series) -> bool:
    return ids.dtype == pl.String and ids.str.contains(r"^\d(\.\d+)?[eE]\+\d+$").any()


# Rows of which nothing can be told yet.
_FEW = 10


def above_zero(table: Table, frame: pl.DataFrame, kind: Kind) -> tuple[Table, pl.DataFrame]:
    """The frame without rows that count nothing, whose number is noted."""
    if kind != "counts":
        return table, frame
    kept = frame.filter(pl.col("value") > 0)
    if kept.is_empty():
        raise NothingLeftError(f"{table.name}: all {frame.height:,} counts are 0")
    if kept.height < frame.height:
        table = table.noted(f"left out {frame.height - kept.height:,} rows with a count of 0")
    return table, kept


def dated(table: Table, frame: pl.DataFrame) -> tuple[Table, pl.DataFrame]:
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
    times, unit = in_seconds(times)
    if unit:
        table = table.noted(f"times in column {column} are {unit}")
    return table, frame.with_columns(time=times) if n or unit else frame


def own_titles(frame: pl.DataFrame) -> pl.DataFrame | None:
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
