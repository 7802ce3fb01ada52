"""How ratings are read: the options that all commands share which read ratings."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dotbias.cli import show
from dotbias.cli.groups import Only

if TYPE_CHECKING:
    from dotbias.data.ratings import Ratings

_PANEL = "Reading the ratings"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The options that say how ratings are read."""

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
            help="File of item ids and titles, such as movies.csv.", rich_help_panel=_PANEL
        ),
    ] = None

    def read(self, source: str) -> "Ratings":
        """Ratings from a file, folder or named set, with a sign of life while it reads."""
        from dotbias.data.catalog import NAMED_SETS, fetch
        from dotbias.data.read import read_ratings
        from dotbias.progress import progress_bar

        if source in NAMED_SETS and not Path(source).exists():
            source = str(fetch(source, progress=not show.quiet()))
        with progress_bar(f"reading {source}", None, enabled=not show.quiet()):
            return read_ratings(
                source,
                user=self.user_column,
                item=self.item_column,
                rating=self.rating_column,
                time=self.time_column,
                scale=self.scale,
                kind=self.kind,
                on_bad=self.on_bad,
                duplicates=self.duplicates,
                titles=self.titles,
            )


_COLUMNS = ("user_column", "item_column", "rating_column", "time_column", "kind")

WithoutTitles = Annotated[Reading, Only(*_COLUMNS, "scale", "on_bad", "duplicates")]
# Where a model knows the scale, or nothing asks for it.
WithoutScale = Annotated[Reading, Only(*_COLUMNS, "on_bad", "duplicates", "titles")]
AsTheyAre = Annotated[Reading, Only(*_COLUMNS, "on_bad", "duplicates")]
# Files of pairs, and of the ratings of one user.
PairColumns = Annotated[Reading, Only("user_column", "item_column")]
RatedColumns = Annotated[Reading, Only("item_column", "rating_column", "kind")]
