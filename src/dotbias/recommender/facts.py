"""What a recommender, and its file, keep of a fit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dotbias.data.features import FeatureEncoder
from dotbias.data.ratings import Kind
from dotbias.data.reading import Reading
from dotbias.plain import object_name, settings_text, to_plain
from dotbias.shown import Shown
from dotbias.solvers.base import History


@dataclass(frozen=True)
class Considered(Shown):
    """A solver that was considered: its name, and the seconds that it was expected to take on the
    reference machine.
    """

    solver: str
    seconds: float


@dataclass(frozen=True)
class Chosen(Shown):
    """Which solver was chosen where nobody named one, and why.

    Args:
        solver: its name.
        seconds: how long it was expected to take on the reference machine.
        budget: how long it was allowed to.
        reason: why it was chosen, in words.
        candidates: all that were considered.
    """

    solver: str
    seconds: float
    budget: float
    reason: str
    candidates: tuple[Considered, ...] = ()


@dataclass(frozen=True)
class TriedPenalty(Shown):
    """A penalty that was tried: ``weight_decay`` of the solver, and nDCG of the lists under it."""

    weight_decay: float
    ndcg: float


@dataclass(frozen=True)
class ChosenPreference(Shown):
    """How the solver of preferences was chosen where nobody named one.

    Args:
        solver: its name.
        weight_decay: its penalty; None where the most rated items are recommended to everyone.
        reason: why, in words.
        tried: all penalties that were tried, the weakest first.
        most_rated: nDCG of the most rated items on the same held-out rows; None where nothing could be
            measured.
        n_users: how many users' lists were measured.
        seconds: how long choosing took.
    """

    solver: str
    weight_decay: float | None
    reason: str
    tried: tuple[TriedPenalty, ...] = ()
    most_rated: float | None = None
    n_users: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Joined(Shown):
    """Ratings that joined the model after the fit.

    Args:
        at: when, in UTC.
        n_ratings: how many ratings.
        n_replaced: how many of them took the place of an earlier one; of counts, were added to one.
        n_new_users: users who were new.
        n_new_items: items that were new.
    """

    at: str
    n_ratings: int
    n_replaced: int
    n_new_users: int
    n_new_items: int


@dataclass(frozen=True, kw_only=True)
class Facts(Shown, Mapping[str, Any]):
    """What is known of a fit, and of what came after it. Whatever is unknown is None or empty.

    It can be read as plain data too, with the solver as text: ``facts["history"]["seconds"]``.

    Args:
        kind: what the model was fitted to: ratings, counts or events.
        reading: how these were read, where they were.
        solver: the solver as plain data (``dotbias.plain``); text where no data can be made of it.
        seed: of the fit.
        choice: how the solver was chosen, or None where the user named it.
        preference_choice: the same of a solver of preferences.
        history: what happened during the fit, without the parameters of its cycles.
        fitted_at: when the fit ended, in UTC.
        held_out: error on held-out ratings as ``dotbias fit`` has measured it, as plain data
            (``dotbias.evaluation.evaluate.HeldOut``).
        partial_fits: what has joined since.
        features: how what is known of users and items beside ratings is read, by side, where the
            model was fitted to it.
        half_precision: whether the factors were saved in half precision.
        notes: whatever else the file says: notes of the user's own, facts of later versions.
    """

    kind: Kind = "ratings"
    reading: Reading | None = None
    solver: dict[str, Any] | str | None = None
    seed: int | None = None
    choice: Chosen | None = None
    preference_choice: ChosenPreference | None = None
    history: History = field(default_factory=History)
    fitted_at: str | None = None
    held_out: dict[str, Any] | None = None
    partial_fits: tuple[Joined, ...] = ()
    features: dict[str, FeatureEncoder] = field(default_factory=dict)
    half_precision: bool = False
    notes: dict[str, Any] = field(default_factory=dict, metadata={"others": True})

    @property
    def solver_name(self) -> str | None:
        """The class of the solver."""
        text = self.solver_text
        return None if text is None else object_name(self.solver) or text.partition("(")[0]

    @property
    def solver_text(self) -> str | None:
        """The solver as ``repr`` shows it."""
        known = self.solver is None or isinstance(self.solver, str)
        return self.solver if known else settings_text(self.solver)  # type: ignore[return-value]

    def __getitem__(self, name: str) -> Any:
        return self._said()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._said())

    def __len__(self) -> int:
        return len(self._said())

    def _said(self) -> dict[str, Any]:
        return {**to_plain(self), "solver": self.solver_text}
