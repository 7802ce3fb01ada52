"""The options that say what a fit is for, and how the model that ranks is estimated."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dotbias.errors import SettingError

if TYPE_CHECKING:
    from dotbias.cli.planning import Plan
    from dotbias.data.ratings import Kind, Ratings
    from dotbias.fitting.fit import Purpose
    from dotbias.solvers.least_squares.implicit_als import ImplicitALS

_PANEL = "Lists of recommendations"
# What the options of the model that ranks are meant for, where that is not all kinds of data.
_MEANT_FOR: "dict[str, Kind | None]" = {
    "list_decay": None,
    "liking": "ratings",
    "alpha": "counts",
    "count_weighting": "counts",
}


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """What a fit is for, as typed; None where an option was not given."""

    purpose: Annotated[
        Literal["both", "predict", "recommend"] | None,
        typer.Option(
            "--for",
            help="predict (how many stars), recommend (what people choose), or both.",
            show_default="both; recommend where there are no ratings",
            rich_help_panel=_PANEL,
        ),
    ] = None
    list_decay: Annotated[
        float | None,
        typer.Option(
            help="Penalty of the model that ranks, as ImplicitALS(weight_decay=…).",
            show_default="chosen on held-out training ratings",
            rich_help_panel=_PANEL,
        ),
    ] = None
    liking: Annotated[
        float | None,
        typer.Option(
            help="How much more an item counts that was rated high.",
            show_default="0.25",
            rich_help_panel=_PANEL,
        ),
    ] = None
    alpha: Annotated[
        float | None,
        typer.Option(
            help="How much more an item counts that was chosen often.",
            show_default="1",
            rich_help_panel=_PANEL,
        ),
    ] = None
    count_weighting: Annotated[
        Literal["log", "linear", "bm25"] | None,
        typer.Option(
            help="What a count says: its logarithm, itself (also for weights of your own), or BM25.",
            show_default="log",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def purpose_for(self, ratings: "Ratings", plan: "Plan | None") -> "Purpose":
        """What the fit is for, as asked, as the data allow, or as a model of preferences that is named.

        Raises:
            SettingError: for another purpose than there is, one that the data do not serve, or an option
                that would change nothing.
        """
        from dotbias.fitting.fit import purpose_of

        named = plan.model if plan is not None and plan.ranks else None
        purpose = purpose_of(self.purpose, ratings, named)
        for name, kind in _MEANT_FOR.items():
            if getattr(self, name) is None:
                continue
            option = f"--{name.replace('_', '-')}"
            if purpose == "predict":
                raise SettingError(
                    f"{option} says how lists are made, and --for predict makes none"
                )
            if named is not None:
                raise SettingError(f"{option} is for ImplicitALS, and {named.label} is named")
            if kind not in (None, ratings.kind):
                raise SettingError(f"{option} is for {kind}, and these are {ratings.kind}")
        return purpose

    def solver(self) -> "ImplicitALS | None":
        """How preferences are estimated, or None where nothing was said."""
        from dotbias.solvers.least_squares.implicit_als import ImplicitALS

        given = {
            "weight_decay": self.list_decay,
            "liking": self.liking,
            "alpha": self.alpha,
            "weighting": self.count_weighting,
        }
        settings: dict[str, Any] = {
            name: value for name, value in given.items() if value is not None
        }
        return ImplicitALS(**settings) if settings else None
