"""The options that name files of what else is known of users and items."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dotbias.cli import hints, show
from dotbias.cli.reading import without_panics
from dotbias.data.reading import NONE

if TYPE_CHECKING:
    import polars as pl

    from dotbias.cli.solving import SolverName
    from dotbias.data.ratings import Ratings
    from dotbias.data.stripes import Side
    from dotbias.recommender.recommender import Recommender

_PANEL = "Features of users and items"


@dataclass(frozen=True, kw_only=True)
class FeatureFiles:
    """Files of features, as typed."""

    user_features: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="gibbs: what else is known of users, such as users.csv: their ids, and a column for "
            "each feature.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    item_features: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="gibbs: the same of items, such as movies.csv: ids, genres, and the year at the end of "
            "a title. What the titles beside the ratings say needs no naming; 'none' fits without it.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    @property
    def typed(self) -> "dict[str, tuple[SolverName, ...]]":
        """The options that name files, and the solvers that they are meant for."""
        return {f"--{side}-features": ("gibbs",) for side in self._files}

    @property
    def _files(self) -> "dict[Side, str]":
        """The files, by whose features they hold."""
        of_items = None if self.item_features == NONE else self.item_features
        given: dict[Side, str | None] = {"user": self.user_features, "item": of_items}
        return {side: file for side, file in given.items() if file is not None}

    def read(self, *, all_columns: bool) -> "dict[str, pl.DataFrame]":
        """The tables, by the names that ``with_features`` and ``partial_fit`` have for them.

        Args:
            all_columns: as for ``read_features``.

        Raises:
            DataError: for what cannot be read.
        """
        from dotbias.data.read_features import read_features

        with without_panics():
            return {
                f"{side}s": read_features(file, side, all_columns=all_columns)
                for side, file in self._files.items()
            }

    @cached_property
    def _to_fit(self) -> "dict[str, pl.DataFrame]":
        """Read once."""
        return self.read(all_columns=False)

    def of(self, ratings: "Ratings") -> "Ratings":
        """Ratings with these features.

        Raises:
            DataError: for files that cannot be read, or are of nobody with ratings.
            BadParameter: for ratings on disk.
        """
        from dotbias.data.prepared.prepared import PreparedPart

        if isinstance(ratings, PreparedPart):
            if not self.typed:
                return ratings
            raise typer.BadParameter(
                f"{next(iter(self.typed))}: ratings on disk are fitted by solvers that use no features"
            )
        if self.item_features == NONE:
            ratings = ratings.without_features()
        if not self.typed:
            return ratings
        tables = self._to_fit
        return ratings.with_features(users=tables.get("users"), items=tables.get("items"))

    def say_what_waits(self, model: Path, rec: "Recommender") -> None:
        """Which users and items with features are not in a model, and how they join."""
        waiting, options = [], []
        for side, file in self._files.items():
            frame = self._to_fit[f"{side}s"]
            n = int((rec.vocabulary(side).indices(frame.to_series(0)) < 0).sum())
            if n and side in rec.facts.features:
                waiting.append(f"{n:,} {side}{'s' * (n > 1)}")
                options += [f"--{side}-features", file]
        if waiting:
            grown = model.with_stem(f"{model.stem}-grown")
            command = hints.command("update", model, *options, "-o", grown)
            show.say(f"Without ratings: {' and '.join(waiting)}. To take them in: {command}")
