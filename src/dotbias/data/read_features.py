"""Read what is known of users or items beside their ratings."""

import logging
from typing import TYPE_CHECKING, Literal, Unpack

import polars as pl

from dotbias.data.columns import Wanted
from dotbias.data.formats.known import SUFFIXES, open_table
from dotbias.data.reading import How, Reading
from dotbias.data.scan import as_text, others, parse, usable
from dotbias.data.sources.limits import limit_of
from dotbias.data.sources.locate import TITLES, USERS, locate
from dotbias.errors import listed

if TYPE_CHECKING:
    from dotbias.data.sources.locate import Source

_log = logging.getLogger("dotbias")


def read_features(
    source: "Source",
    of: Literal["user", "item"],
    *,
    max_unpacked: int | str | None = None,
    **how: Unpack[How],
) -> pl.DataFrame:
    """Read a table of users or items, as ``Ratings.with_features`` and ``Recommender.partial_fit`` take
    it: ids, and a column for each feature.

    Takes what ``read_ratings`` takes; ``movies.csv`` and ``users.dat`` of MovieLens are read as they
    are. Text that is numbers throughout becomes numbers, and ``true`` and ``false`` become booleans. Of
    items, titles that end in a year, ``Heat (1995)``, give the number ``year``, and the title comes
    along for items that join a model. A column of text whose values come less than twice on average,
    such as addresses, tells next to nothing, and is left out.

    Args:
        source: path or frame.
        of: whose ids there are: in a column of a usual name, or the first one without a header.
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
    table = open_table(content, Wanted(roles, given, optional=("title",)))
    if not table.header and table.places[roles[0]] and given.get(of) is None:
        # Numbers from 1 on, which elsewhere are those of the rows.
        named = given.known(**{of: table.columns[0]})
        table = open_table(content, Wanted(roles, named, optional=("title",)))
    table, parsed = parse(table)
    frame = as_text(usable(table, parsed, skip=None)[0].select(*table.places))
    for notice in table.notices:
        _log.info("%s: %s", table.name, notice)
    rest = others(table)
    columns = [frame[roles[0]].alias(of)]
    titles = frame["title"] if "title" in frame.columns else None
    if titles is not None:
        rest = rest.drop(table.column("title"))
    typed = [_typed(column) for column in rest]
    telling = [column for column in typed if _tells(column)]
    if left_out := [column.name for column in typed if not _tells(column)]:
        names = listed(map(repr, left_out))
        _log.info("%s: left out, as next to no value comes twice: %s", table.name, names)
    columns += telling
    if titles is not None:
        years = titles.str.extract(r"\((\d{4})\)\s*$").cast(pl.Float64).alias("year")
        if years.count() and "year" not in rest.columns:
            columns.append(years)
        columns.append(titles)
    return pl.DataFrame(columns)


def _typed(column: pl.Series) -> pl.Series:
    """Text as what it is written to be."""
    if column.dtype != pl.String:
        return column
    text = column.str.strip_chars()
    text = text.set(text == "", None)
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.null_count() == text.null_count():
        return numbers
    lower = text.str.to_lowercase()
    if lower.drop_nulls().is_in(["true", "false"]).all():
        return lower == "true"
    return text


def _tells(column: pl.Series) -> bool:
    """Whether a column may tell one row something of another: of text, values come twice on average."""
    here = column.drop_nulls()
    if column.dtype == pl.String:
        here = here.str.split("|").explode()
        return 2 * here.n_unique() <= here.len()
    return here.len() > 0
