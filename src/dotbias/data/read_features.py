"""Read what is known of users or items beside their ratings."""

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Unpack

import polars as pl

from dotbias.data.columns import Wanted
from dotbias.data.features import TEXT, tells
from dotbias.data.formats.known import SUFFIXES, open_table
from dotbias.data.reading import How, Reading
from dotbias.data.scan import as_text, others, parse, usable
from dotbias.data.sources.limits import limit_of
from dotbias.data.sources.locate import TITLES, USERS, locate
from dotbias.data.vocabulary import years_of
from dotbias.errors import DataError, listed

if TYPE_CHECKING:
    from dotbias.data.formats.table import Table
    from dotbias.data.sources.locate import Source

_log = logging.getLogger("dotbias")


def read_features(
    source: "Source",
    of: Literal["user", "item"],
    *,
    all_columns: bool = False,
    max_unpacked: int | str | None = None,
    **how: Unpack[How],
) -> pl.DataFrame:
    """Read a table of users or items, as ``Ratings.with_features`` and ``Recommender.partial_fit`` take
    it: ids, and a column for each feature.

    Takes what ``read_ratings`` takes; ``movies.csv`` and ``users.dat`` of MovieLens are read as they
    are. Text that is numbers throughout becomes numbers, and ``true`` and ``false`` become booleans. Of
    items, titles that end in a year, ``Heat (1995)``, give the number ``year``, and the title comes
    along for items that join a model. A column of text whose values come less than twice on average,
    such as addresses, tells next to nothing, and is left out; so are dates.

    Args:
        source: path or frame.
        of: whose ids there are: in a column of a usual name, also ``id``, or the first one without a
            header.
        all_columns: whether text whose values come less than twice stays: what is to join a model may be
            a few rows, and features that it was not fitted to do no harm.
        max_unpacked: as for ``read_ratings``.
        how: what is known of it, by the names in ``Reading``: ``user=``, ``item=``, ``title=``...

    Raises:
        DataError: when there is no such file, no ids, or a row without one.

    >>> films = pl.DataFrame({"movieId": [1, 2], "title": ["Heat (1995)", "Ran (1985)"], "minutes": 170})
    >>> read_features(films, "item").columns
    ['item', 'minutes', 'year', 'title']
    """
    patterns, roles = (TITLES, ("id", "title")) if of == "item" else (USERS, ("user",))
    content = locate(source, patterns, SUFFIXES, limit_of(max_unpacked))[0]
    given = Reading(**how)
    table, parsed = parse(_opened(content, roles, of, given))
    frame = as_text(usable(table, parsed, skip=None)[0].select(*table.places))
    if not table.header:
        _refuse_names(frame[roles[0]], table.name, of)
    for notice in table.notices:
        _log.info("%s: %s", table.name, notice)
    rest = others(table)
    columns = [frame[roles[0]].alias(of)]
    titles = frame["title"] if "title" in frame.columns else None
    if titles is not None:
        rest = rest.drop(table.column("title"))
    taken = {of} if titles is None else {of, "title"}
    if twice := taken & set(rest.columns):
        _log.info("%s: left out, as another column has the name: %s", table.name, listed(twice))
        rest = rest.drop(twice)
    typed = [_typed(column, table.reading.decimal or ".") for column in rest]
    telling = [column for column in typed if _may_be(column) and (all_columns or tells(column))]
    if len(telling) < len(typed):
        kept = {column.name for column in telling}
        names = listed(repr(column.name) for column in typed if column.name not in kept)
        _log.info("%s: left out, as no row tells anything of another: %s", table.name, names)
    columns += telling
    if titles is not None:
        years = years_of(titles).cast(pl.Float64)
        if years.count() and "year" not in rest.columns:
            columns.append(years)
        columns.append(titles)
    return pl.DataFrame(columns)


def _opened(
    content: Any, roles: tuple[str, ...], of: Literal["user", "item"], given: Reading
) -> "Table":
    """The table whose ids are of that side.

    Raises:
        DataError: when no column is one of ids.
    """

    def as_told(reading: Reading) -> "Table":
        return open_table(content, Wanted(roles, reading, optional=("title",)))

    if given.get(of) is not None:
        return as_told(given)
    found: Table | DataError
    try:
        found = as_told(given)
    except DataError as error:
        found = error
    if isinstance(found, DataError) or not found.header:
        # In a table of users, an id is a user's.
        for name in ("id", "ID", "Id") if of == "user" else ():
            with suppress(DataError):
                return as_told(given.known(user=name))
    if isinstance(found, DataError):
        raise found
    if not found.header and found.places[roles[0]]:
        # Numbers from 1 on, which elsewhere are those of the rows.
        return as_told(given.known(**{of: found.columns[0]}))
    return found


def _refuse_names(ids: pl.Series, name: str, of: str) -> None:
    """Refuse ids of which the first alone is no number: it is the name of a column that is not usual.

    Raises:
        DataError: naming it.
    """
    numbers = ids.cast(pl.Int64, strict=False)
    if ids.len() > 1 and numbers.null_count() == 1 and numbers[0] is None:
        raise DataError(
            f"{name}: no {of} column is recognised; the first row, which begins with {ids[0]!r}, seems "
            f"to hold names: call the column of ids {of!r}"
        )


def _typed(column: pl.Series, decimal: str) -> pl.Series:
    """Text as what it is written to be; a number that begins with a zero is a code, and stays text."""
    if column.dtype != pl.String:
        return column
    text = column.str.strip_chars()
    text = text.set(text == "", None)
    numbers = text.str.replace(decimal, ".", literal=True).cast(pl.Float64, strict=False)
    if numbers.null_count() == text.null_count() and not text.str.contains(r"^-?0\d").any():
        return numbers
    lower = text.str.to_lowercase()
    if lower.drop_nulls().is_in(["true", "false"]).all():
        return lower == "true"
    return text


def _may_be(column: pl.Series) -> bool:
    """Whether features are made of such a column: dates are none."""
    return column.dtype.is_numeric() or column.dtype in (*TEXT, pl.Boolean)
