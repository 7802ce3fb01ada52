"""The options that name files of what else is known of users and items."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dotbias.cli import hints, show
from dotbias.cli.reading import without_panics
from dotbias.errors import listed

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
            "a title.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    @property
    def typed(self) -> "dict[str, tuple[SolverName, ...]]":
        """The options that were given, and the solvers that they are meant for."""
        given = {"--user-features": self.user_features, "--item-features": self.item_features}
        return {option: ("gibbs",) for option, file in given.items() if file is not None}

    def read(self, *, all_columns: bool) -> "dict[str, pl.DataFrame]":
        """The tables, by the names that ``with_features`` and ``partial_fit`` have for them.

        Args:
            all_columns: as for ``read_features``.

        Raises:
            DataError: for what cannot be read.
        """
        from dotbias.data.read_features import read_features

        found = {}
        with without_panics():
            if self.user_features is not None:
                found["users"] = read_features(self.user_features, "user", all_columns=all_columns)
            if self.item_features is not None:
                found["items"] = read_features(self.item_features, "item", all_columns=all_columns)
        return found

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

        if not self.typed:
            return ratings
        if isinstance(ratings, PreparedPart):
            raise typer.BadParameter(
                f"{next(iter(self.typed))}: ratings on disk are fitted by solvers that use no features"
            )
        users, items = (self._to_fit.get(nouns) for nouns in ("users", "items"))
        told = ratings.with_features(users=users, items=items)
        assert told.features is not None
        for side, names in zip(("users", "items"), told.features.names, strict=True):
            if side in self._to_fit:
                show.say(f"Features of {side}: {listed(names)}.")
        return told

    def say_what_waits(self, model: Path, rec: "Recommender") -> None:
        """Which users and items with features are not in a model, and how they join."""
        waiting, options = [], []
        for (nouns, frame), option in zip(self._to_fit.items(), self.typed, strict=True):
            side: Side = "user" if nouns == "users" else "item"
            n = int((rec.vocabulary(side).indices(frame.to_series(0)) < 0).sum())
            if n and side in rec.facts.features:
                file = self.user_features if side == "user" else self.item_features
                waiting.append(f"{n:,} {nouns if n > 1 else side}")
                options += [option, file]
        if waiting:
            grown = model.with_stem(f"{model.stem}-grown")
            command = hints.command("update", model, *options, "-o", grown)
            show.say(f"Without ratings: {' and '.join(waiting)}. To take them in: {command}")
