"""What a list of recommendations may be told."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dotbias.cli import options as o

if TYPE_CHECKING:
    from dotbias.recommender.list_options import ListKeywords

_PANEL = "What is on the list"


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The options of a list, as in ``ListOptions``; those that may be repeated are in the singular."""

    rank_by: Annotated[
        Literal["preference", "rating"] | None,
        typer.Option(
            help="preference (what this user would choose), or rating (the highest predicted first).",
            show_default="preference where the model knows it",
            rich_help_panel=_PANEL,
        ),
    ] = None
    candidate: Annotated[
        list[str] | None,
        typer.Option(
            help="Choose only from these ids or titles (repeatable).", rich_help_panel=_PANEL
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="Id or title of an item that must not appear (repeatable).",
            rich_help_panel=_PANEL,
        ),
    ] = None
    genre: Annotated[
        list[str] | None,
        typer.Option(
            help="Only items of this genre, or of any of several (repeatable).",
            rich_help_panel=_PANEL,
        ),
    ] = None
    not_genre: Annotated[
        list[str] | None,
        typer.Option(
            help="No items of this genre, or of any of several (repeatable).",
            rich_help_panel=_PANEL,
        ),
    ] = None
    year_from: Annotated[
        int | None,
        typer.Option(
            help="The first year, of items whose titles end in one, as Heat (1995) does.",
            metavar="YEAR",
            rich_help_panel=_PANEL,
        ),
    ] = None
    year_to: Annotated[
        int | None,
        typer.Option(help="The last year.", metavar="YEAR", rich_help_panel=_PANEL),
    ] = None
    include_rated: Annotated[
        bool,
        typer.Option(
            "--include-rated",
            help="Items the user has rated may appear.",
            rich_help_panel=_PANEL,
        ),
    ] = False
    min_ratings: o.MinRatings = 5
    well_known: Annotated[
        float,
        typer.Option(
            min=-1,
            max=1,
            help="From -1, hidden items, to 1, items about as well known as the most rated ones.",
            rich_help_panel=_PANEL,
        ),
    ] = 0.0
    diversity: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="From 0 to 1: how much items are left out that are much like others on the list.",
            rich_help_panel=_PANEL,
        ),
    ] = 0.0

    def keywords(self) -> "ListKeywords":
        """The arguments of ``Recommender.recommend``."""
        return {
            "rank_by": self.rank_by,
            "candidates": self.candidate,
            "exclude": self.exclude,
            "genres": self.genre,
            "not_genres": self.not_genre,
            "year_from": self.year_from,
            "year_to": self.year_to,
            "include_rated": self.include_rated,
            "min_ratings": self.min_ratings,
            "well_known": self.well_known,
            "diversity": self.diversity,
        }
