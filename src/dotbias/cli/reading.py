"""How ratings are read: the options that all commands share which read ratings."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dotbias.cli import show
from dotbias.cli.groups import Only
from dotbias.data.reading import NONE

if TYPE_CHECKING:
    from dotbias.data.ratings import Ratings
    from dotbias.data.reading import How
    from dotbias.data.sources.blob import Frame
    from dotbias.recommender.recommender import Recommender

_PANEL = "Reading the ratings"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The options that say where ratings are, beside the argument, and how they are read."""

    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Read from a database: a file of SQLite, or an address such as "
            "postgresql+psycopg://user@host/name. Without --table it is that of a service, and what "
            "people told it counts over RATINGS, if those are named too.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    table: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A table or view of the --database, any whose rows are ratings.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    user_column: Annotated[
        str | None, typer.Option(help="Name of the user column.", rich_help_panel=_PANEL)
    ] = None
    item_column: Annotated[
        str | None, typer.Option(help="Name of the item column.", rich_help_panel=_PANEL)
    ] = None
    rating_column: Annotated[
        str | None,
        typer.Option(help="Name of the column of ratings or counts.", rich_help_panel=_PANEL),
    ] = None
    time_column: Annotated[
        str | None, typer.Option(help="Name of the time column.", rich_help_panel=_PANEL)
    ] = None
    scale: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Lowest and highest possible rating; by default the range of the training ratings.",
            metavar="LOW HIGH",
            rich_help_panel=_PANEL,
        ),
    ] = None
    user_ids: Annotated[
        Literal["integers", "text"] | None,
        typer.Option(
            help="What user ids are; by default text unless all are written as integers are.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    item_ids: Annotated[
        Literal["integers", "text"] | None,
        typer.Option(help="What item ids are, likewise.", rich_help_panel=_PANEL),
    ] = None
    kind: Annotated[
        Literal["ratings", "counts", "events"] | None,
        typer.Option(
            help="What the values are: stars; plays, purchases, hours; or events, of which only user "
            "and item are known. By default as the columns' names say.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    on_bad: Annotated[
        Literal["error", "skip"],
        typer.Option(help="Stop at a bad row, or skip and count it.", rich_help_panel=_PANEL),
    ] = "error"
    duplicates: Annotated[
        Literal["last", "mean", "sum", "error"] | None,
        typer.Option(
            help="What to keep of repeated (user, item) pairs: by default the last rating, and the sum "
            "of counts and events.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    titles: Annotated[
        Path | None,
        typer.Option(
            help="File of item ids and titles, such as movies.csv, by default one beside the ratings; "
            "none to leave that out.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    max_unpacked: Annotated[
        str | None,
        typer.Option(
            help="What a packed file or an archive may unpack to, such as 40GB; by default 20GB, and no "
            "more than 200 times its size.",
            metavar="SIZE",
            rich_help_panel=_PANEL,
        ),
    ] = None
    title_column: Annotated[
        str | None,
        typer.Option(
            help="Name of the title column of the items.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    genres_column: Annotated[
        str | None,
        typer.Option(
            help="Name of the genre column of the items.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    layout: Annotated[
        Literal["long", "wide", "netflix", "lists"] | None,
        typer.Option(
            help="A row for each rating; a row for each user and a column for each item; "
            "Netflix: a line such as 101: before the rows of an item; or a line for each user with "
            "all of the user's items. By default recognised, and said.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    header: Annotated[
        bool | None,
        typer.Option(
            "--header/--no-header",
            help="Whether the columns have names.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    separator: Annotated[
        str | None,
        typer.Option(
            help="What stands between columns: one or more characters, or comma, semicolon, tab,"
            " bar, blank (one or several).",
            rich_help_panel=_PANEL,
        ),
    ] = None
    quote: Annotated[
        str | None,
        typer.Option(
            help="Quotation mark around fields, or none.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    decimal: Annotated[
        str | None,
        typer.Option(
            help="Decimal mark, . or ,",
            rich_help_panel=_PANEL,
        ),
    ] = None
    comment: Annotated[
        str | None,
        typer.Option(
            help="What lines begin with that are no rows, or none.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    skip_lines: Annotated[
        int | None,
        typer.Option(
            help="Number of lines before the header, or the first row, to leave out.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    encoding: Annotated[
        str | None,
        typer.Option(
            help="Encoding of text, such as cp1251, gb18030, utf-16.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    missing: Annotated[
        list[str] | None,
        typer.Option(
            help="Number or word that stands for no rating (repeatable); none to keep all.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    where: Annotated[
        str | None,
        typer.Option(
            help="Which rows to read: a column and its values, as in event=buy,cart; none for all.",
            metavar="COLUMN=VALUE",
            rich_help_panel=_PANEL,
        ),
    ] = None
    rating_as: Annotated[
        str | None,
        typer.Option(
            help="How ratings are written: number, stars, percent, fraction, yes-no; or words "
            "with their numbers: good=3,bad=1.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    time_as: Annotated[
        str | None,
        typer.Option(
            help="How dates are written, other than ISO dates: %d/%m/%Y, %B %d, %Y.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def how(self, rec: "Recommender | None" = None, *, joining: bool = False) -> "How":
        """The options that the reader takes.

        Args:
            rec: the model that the file goes with: where its ids are text, numbers are text too.
            joining: whether the ids are to become the model's own. If not, and where those are integers,
                text may be a title, or an id that is unknown.
        """
        types: How = {"user_ids": self.user_ids, "item_ids": self.item_ids}
        if rec is not None and (joining or rec.user_vocabulary.id_type == "text"):
            types["user_ids"] = rec.user_vocabulary.id_type
        if rec is not None and (joining or rec.item_vocabulary.id_type == "text"):
            types["item_ids"] = rec.item_vocabulary.id_type
        return {
            "user": self.user_column,
            "item": self.item_column,
            "rating": self.rating_column,
            "time": self.time_column,
            "title": self.title_column,
            "genres": self.genres_column,
            "kind": self.kind,
            "layout": self.layout,
            "header": self.header,
            "separator": self.separator,
            "quote": self.quote,
            "decimal": self.decimal,
            "comment": self.comment,
            "skip_lines": self.skip_lines,
            "encoding": self.encoding,
            "missing": self.missing,
            "where": self.where,
            "rating_as": self.rating_as,
            "time_as": self.time_as,
            **types,
        }

    def options(self, rec: "Recommender | None" = None, *, joining: bool = False) -> dict[str, Any]:
        """All options of ``read_ratings``; ``rec`` and ``joining`` as for ``how``."""
        return {
            "scale": self.scale,
            "on_bad": self.on_bad,
            "duplicates": self.duplicates,
            "titles": self.titles,
            "max_unpacked": self.max_unpacked,
            **self.how(rec, joining=joining),
        }

    def are_named(self, source: str | None) -> bool:
        """Whether ratings are named, by the argument or as a database."""
        return not (source is None and self.database is None)

    def read(
        self,
        source: str | None,
        rec: "Recommender | None" = None,
        *,
        joining: bool = False,
        memory: str | None = None,
    ) -> "Ratings":
        """Ratings from a file, a folder, a named set or a database, with a sign of life while it reads.

        Args:
            source: as the user has named it; None where the ratings are in a database alone.
            rec: the model that is to take them.
            joining: as for ``how``.
            memory: what those may take that are read from disk.

        Raises:
            DataError: for what cannot be read.
            DatabaseError: for the database of a service that cannot be.
        """
        if self.database is None:
            if self.table is not None:
                raise typer.BadParameter("--table is one of a --database: name that too")
            if source is None:
                raise typer.BadParameter("name RATINGS: a file, a folder, a set; or a --database")
            if (prepared := self._prepared(source, memory)) is not None:
                return prepared
            return self._read(source, rec, joining=joining)
        if self.table is None:
            return self._told(self.database, source, rec, joining=joining)
        if source is not None:
            raise typer.BadParameter("name RATINGS or a --table, not both")
        from dotbias.data.sources.databases import of_table

        return self._read(of_table(self.database, self.table), rec, joining=joining)

    def _prepared(self, source: str, memory: str | None) -> "Ratings | None":
        """Those of a folder that `dotbias prepare` has written; None where it is none."""
        from dotbias.data.prepared.manifest import is_prepared
        from dotbias.data.prepared.prepared import PreparedRatings
        from dotbias.data.sources.databases import without_password

        if not is_prepared(source):
            return None
        usual = type(self)()
        given = [
            field.name
            for field in fields(self)
            if getattr(self, field.name) != getattr(usual, field.name)
        ]
        if given:
            option = f"--{given[0].replace('_', '-')}"
            raise typer.BadParameter(
                f"{option} says how ratings are read, and those in {without_password(source)} were read "
                "when they were prepared: leave it out, or give it to `dotbias prepare`"
            )
        return PreparedRatings.open(source, memory=memory).whole

    def _told(
        self, database: str, source: str | None, rec: "Recommender | None", *, joining: bool
    ) -> "Ratings":
        """What people told a service, over the ratings of a file where one is named."""
        from dotbias.cli.serving import needs_extra
        from dotbias.data.sources.blob import Frame
        from dotbias.errors import DataError

        needs_extra()
        from dotbias.data.read import read_titles
        from dotbias.data.sources.databases import without_password
        from dotbias.serving.store.said import Said
        from dotbias.serving.training import training_ratings

        said, name = Said.read(database), without_password(database)
        rows = said.ratings()
        if source is not None:
            of_file = without_password(source)
            show.say(f"{name}: {rows.height:,} ratings, which count over those of {of_file}")
            ratings = training_ratings(self._read(source, rec, joining=joining), said)
            if self.titles in (None, Path(NONE)):
                return ratings
            known = read_titles(self.titles)  # of items that only the service knows, too
            return ratings.titled(ratings.item_vocabulary.with_titles(known))
        if rows.is_empty():
            raise DataError(f"{name}: nobody has rated anything yet; name RATINGS besides")
        told = rows.select("user", "item", "time", rating="value")
        return self._read(Frame(name, "ratings of a service", told.lazy()), rec, joining=joining)

    def _read(
        self, source: "str | Frame", rec: "Recommender | None", *, joining: bool
    ) -> "Ratings":
        from dotbias.data.catalog import NAMED_SETS, fetch
        from dotbias.data.read import read_ratings
        from dotbias.data.sources.blob import Frame
        from dotbias.data.sources.databases import without_password
        from dotbias.progress import progress_bar

        name = source.name if isinstance(source, Frame) else without_password(source)
        is_set = isinstance(source, str) and source in NAMED_SETS
        if is_set and not Path(name).exists():
            source = str(fetch(name, progress=not show.quiet()))
        with (
            without_panics(),
            progress_bar(f"reading {name}", None, enabled=not show.quiet()),
        ):
            return read_ratings(
                source,
                of_model=None if rec is None else rec.facts.kind,
                **self.options(rec, joining=joining),
            )


@dataclass(frozen=True, kw_only=True)
class _Untitled(Reading):
    """Of commands that make no use of titles: those beside the ratings are not looked for."""

    titles: Path | None = Path(NONE)


@contextmanager
def without_panics() -> Iterator[None]:
    """Keep what a parser of machine code says when it panics off stderr: the error of the file says it.

    What else libraries say there comes at the end, and what Python says at once. This takes the whole
    process's stderr, so it is for the command, whose process does nothing else meanwhile.
    """
    try:
        own = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    with os.fdopen(own, "w", buffering=1, errors="replace") as stderr, TemporaryFile() as said:
        is_own = sys.stderr is not None and sys.stderr is sys.__stderr__
        os.dup2(said.fileno(), 2)
        try:
            with redirect_stderr(stderr) if is_own else nullcontext():
                yield
        finally:
            stderr.flush()
            os.dup2(own, 2)
            said.seek(0)
            text = said.read()
            if b"panicked at" not in text:
                os.write(2, text)


_FORMAT = (
    *("layout", "header", "separator", "quote", "decimal", "comment", "skip_lines", "encoding"),
    *("missing", "where", "rating_as", "max_unpacked"),
)
_COLUMNS = (
    *("database", "table"),
    *("user_column", "item_column", "rating_column", "time_column", "time_as", "kind"),
    *_FORMAT,
)

WithoutTitles = Annotated[_Untitled, Only(*_COLUMNS, "scale", "on_bad", "duplicates")]
_TITLES = ("titles", "title_column", "genres_column")
# Of commands that fit.
WithScale = Annotated[Reading, Only(*_COLUMNS, "scale", "on_bad", "duplicates", *_TITLES)]
# Where a model knows the scale, or nothing asks for it.
WithoutScale = Annotated[Reading, Only(*_COLUMNS, "on_bad", "duplicates", *_TITLES)]
AsTheyAre = Annotated[_Untitled, Only(*_COLUMNS, "on_bad", "duplicates")]
# Files of pairs, and of the ratings of one user.
PairColumns = Annotated[Reading, Only("user_column", "item_column", *_FORMAT)]
RatedColumns = Annotated[
    Reading, Only("user_column", "item_column", "rating_column", "kind", *_FORMAT)
]


def summary(table: "Ratings") -> str:
    """What was read, in a sentence."""
    low, high = table.scale
    values = "" if table.kind == "events" else f" from {low:g} to {high:g}"
    return f"{len(table):,} {table.kind}{values} by {table.n_users:,} users of {table.n_items:,} items."
