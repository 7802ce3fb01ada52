"""Alternating least squares: one side's rows are solved with the other side's held, then the other's."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dotbias.data.ratings import Ratings
from dotbias.data.stripes import OTHER, Side, Stripe
from dotbias.errors import SettingError
from dotbias.memory import check_memory
from dotbias.models.base import Array, Model, Parameters, initialised
from dotbias.models.baseline import Baseline
from dotbias.models.dot_bias import DotBias
from dotbias.models.row_form import row_weights
from dotbias.settings import generator, setting
from dotbias.solvers.base import linear_dot_bias
from dotbias.solvers.checkpoint import Arrays
from dotbias.solvers.decay import WeightDecay, as_weight_decay, prior_constants, row_counts
from dotbias.solvers.epochs import EpochLoop, Figures, IteratingSolver
from dotbias.solvers.least_squares.closed_form import ClosedForm
from dotbias.solvers.least_squares.conjugate_gradients import ONE, improve_rows
from dotbias.solvers.least_squares.normal_equations import padded, solve_rows
from dotbias.solvers.least_squares.stripes import Regressions, Stripes
from dotbias.solvers.objective import penalty
from dotbias.solvers.threads import threads
from dotbias.solvers.validation import Validation

# Chosen on validation parts of training rows alone (benchmarks/als.py). An exact minimum fits its
# training ratings more closely than the last epoch of a descent, so it needs more decay than that.
DEFAULT_DECAY: Mapping[str, Mapping[str, float]] = {
    "rating": {"user_factors": 0.08, "item_factors": 0.08, "user_bias": 0.03, "item_bias": 0.1},
    "row": {"user_factors": 15.0, "item_factors": 15.0, "user_bias": 4.0, "item_bias": 4.0},
}
ALS_FACTORS = 64
"""Length of the embeddings that suits it, where nobody says."""
_PER: Mapping[str, Literal["rating", "row"]] = {"ratings": "rating", "rows": "row"}


@dataclass(frozen=True, kw_only=True)
class ALS(IteratingSolver):
    """Alternating least squares for ``DotBias`` with linear output (Zhou et al. 2008, section 3.1).

    Minimises what ``objective`` measures and ``GradientDescent`` follows; the same ``λ`` means the same
    in both. With the items held, each user's bias and factors are the solution of a linear regression
    on its ratings; with the users held, each item's. Each of these half steps is exact, or goes a few
    steps of conjugate gradients towards it (``n_steps``; Takács, Pilászy & Tikk 2011), so the objective
    never rises (``History.half_steps``, up to rounding). A direction about which ratings and decay say
    nothing, as with ``λ = 0`` and fewer ratings than factors, stays about where it was.

    The epochs of the history are iterations: users, then items. Their ``train_rmse`` is that of the
    parameters after the iteration.

    The same data, settings and seed give the same bits for any number of threads.

    Args:
        n_iterations: how often both sides are solved.
        weight_decay: as for ``GradientDescent``: ``λ`` of all groups, a mapping from group name to
            ``λ``, or a ``WeightDecay``, which also says by ``per`` what ``λ`` counts for. Groups not
            named keep the defaults (``DEFAULT_DECAY`` of this module, which depend on ``per``).
        weighting: ``"ratings"`` or ``"rows"``, another way to say ``WeightDecay(per="rating")`` or
            ``"row"``; None leaves it to ``weight_decay``.
        biases: ``"together"`` solves each bias in one system with the factors; ``"held"`` leaves biases
            at those of ``ClosedForm``, and factors fit what they leave.
        validation_size: share of the *training* rows that is held out as validation rows; with it,
            iterations stop early and the parameters of the best one are kept.
        patience: iterations without improvement on the validation rows before they stop.
        n_steps: steps of conjugate gradients that each row takes from where it is, whitened by the
            weight decay, which must be above 0 for all that moves; None solves each row exactly.
        n_threads: threads, or None for as many as the machine has and the ratings keep busy (one
            for each 100,000).

    >>> import dotbias as db
    >>> ratings, truth = db.simulate(n_users=300, n_items=200, n_ratings=10_000, seed=0)
    >>> rec = db.fit(ratings, db.DotBias(n_factors=8), db.ALS(n_iterations=5))
    >>> falls = rec.facts.history.half_steps
    >>> len(falls), falls == sorted(falls, reverse=True)
    (10, True)
    """

    epochs_are: ClassVar[str] = "iterations"

    n_iterations: int = setting(15, at_least=1)
    weight_decay: float | Mapping[str, float] | WeightDecay | None = field(default=None)
    weighting: Literal["ratings", "rows"] | None = setting(None, choices=("ratings", "rows"))
    biases: Literal["together", "held"] = setting("together", choices=("together", "held"))
    validation_size: float = setting(0.0, at_least=0, below=1)
    patience: int = setting(3, at_least=1)
    n_steps: int | None = setting(None, at_least=1)
    n_threads: int | None = setting(None, at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        decay = self.decay.by_group(DEFAULT_DECAY["rating"])
        moved = [name for name in decay if self.biases == "together" or not name.endswith("bias")]
        still = [name for name in moved if decay[name] == 0]
        if self.n_steps is not None and still:
            raise SettingError(
                f"n_steps={self.n_steps}: conjugate gradients are whitened by the weight decay, which "
                f"is 0 for {', '.join(still)}: leave n_steps out, or decay them"
            )

    @property
    def decay(self) -> WeightDecay:
        """The weight decay of each group, with its form."""
        decay = as_weight_decay(self.weight_decay)
        if decay.decoupled is not None:
            raise SettingError(
                f"WeightDecay(decoupled={decay.decoupled}) says how a step decays, and ALS takes none: "
                "leave decoupled out"
            )
        if self.weighting is not None:
            if isinstance(self.weight_decay, WeightDecay) and decay.per != _PER[self.weighting]:
                raise SettingError(
                    f"weighting={self.weighting!r} contradicts WeightDecay(per={decay.per!r}): leave "
                    "weighting out"
                )
            decay = replace(decay, per=_PER[self.weighting])
        return replace(decay, amount=decay.by_group(DEFAULT_DECAY[decay.per]))

    @property
    def default_model(self) -> Model:
        """``DotBias`` with more factors than steps would have use for."""
        return DotBias(n_factors=ALS_FACTORS)

    @property
    def n_epochs(self) -> int:
        """Epochs are iterations here."""
        return self.n_iterations

    def start(self, model: Model, ratings: Ratings, *, seed: int = 0) -> "_Iterations":
        """A fit that has not begun.

        Ctrl-C ends it after the running iteration; the best parameters so far are its result and
        ``history.stopped`` says so.

        Raises:
            SettingError: for a model other than ``DotBias`` with linear output.
        """
        return _Iterations(self, linear_dot_bias(self, model), ratings, seed)


class _Iterations(EpochLoop):
    """The state of one fit. Inside, ratings and parameters are in units of the ratings' std."""

    solver: ALS
    model: DotBias

    def __init__(self, solver: ALS, model: DotBias, ratings: Ratings, seed: int) -> None:
        self.solver, self.model, self.ratings, self.seed = solver, model, ratings, seed
        self.rng = rng = generator(seed)
        self.start = initialised(model, ratings, rng)
        validation = Validation.hold_out(ratings, solver.validation_size, rng)
        super().__init__(solver.n_epochs, validation, patience=solver.patience)
        rest, held, self.std = validation.rest, solver.biases == "held", ratings.std
        counts = row_counts(rest)
        if held:
            biases, _ = ClosedForm().fit(Baseline(), rest)
            self.start |= {name: biases[name] for name in Baseline.groups}
        self.start |= prior_constants(solver.decay, model, counts, self.std)
        self.units = {g: np.float32(unit) for g, unit in model.units(self.std).items()}
        inside = {g: self.start[g] / unit for g, unit in self.units.items()}
        inside |= prior_constants(solver.decay, model, counts, 1.0)
        mean, std = self.start["global_mean"][0], np.float32(self.std)

        def made(stripe: Stripe) -> Regressions:
            return Regressions.of(stripe, (stripe.values - mean) / std, ONE)

        self.users, self.items = (
            _Exact(side, inside, Stripes(rest, side, made), counts, held)
            if solver.n_steps is None
            else _Stepwise(
                side, inside, Stripes(rest, side, made), counts, held, n_steps=solver.n_steps
            )
            for side in OTHER
        )
        for name in DotBias.groups[:2] if held else DotBias.groups:
            # The rows have the numbers now, and of many no second copy is kept.
            self.start[name] = np.broadcast_to(np.float32(0), self.start[name].shape)

    def threads(self) -> AbstractContextManager[None]:
        """Numba's threads."""
        return threads(self.solver.n_threads, len(self.ratings))

    def one_epoch(self) -> Figures:
        """Users, then items."""
        users, items = self.users, self.items
        for side, other in ((users, items), (items, users)):
            squares = side.solve(other)
            total = self.std**2 * (0.5 * squares + side.penalty + other.penalty)
            self.history.half_steps.append(total)
        rmse = self.std * float(np.sqrt(squares / len(self.validation.rest)))
        return Figures(train_rmse=rmse, objective=total)

    def validate(self) -> float | None:
        """See ``EpochLoop.validate``; remembers the parameters where they are the best so far."""
        return self.validation.rmse(self.model, self.parameters, self.epoch + 1)

    def parameters(self) -> Parameters:
        """The parameters as they are now, in rating units."""
        now = dict(self.start)
        for name, side in (("user", self.users), ("item", self.items)):
            if not side.held:  # units would cost it its last bit
                now[f"{name}_bias"] = side.bias * self.units[f"{name}_bias"]
            now[f"{name}_factors"] = side.factors * self.units[f"{name}_factors"]
        return now

    def result(self) -> Parameters:
        """See ``EpochLoop.result``."""
        return self.validation.best or self.parameters()

    def state(self) -> Arrays:
        """The rows of both sides."""
        return {"user_rows": self.users.rows.copy(), "item_rows": self.items.rows.copy()}

    def set_state(self, arrays: Arrays) -> None:
        """Put them back."""
        for name, side in (("user_rows", self.users), ("item_rows", self.items)):
            side.place(arrays[name])


class _Rows(ABC):
    """One side: its table, and its ratings row by row, as the kernels want them.

    Args:
        side: which.
        start: the parameters to start from, and the constants of its prior.
        stripes: the ratings.
        counts: how many each row of each group has.
        held: whether biases stay as they are.
        bias_at: the column of the bias.
        n_lead: how many columns come before the factors.

    Attributes:
        penalty: what the decay adds to the objective.
    """

    def __init__(
        self,
        side: Side,
        start: Parameters,
        stripes: Stripes[Regressions],
        counts: Mapping[str, NDArray[np.int64]],
        held: bool,
        *,
        bias_at: int,
        n_lead: int,
    ) -> None:
        bias, factors = start[f"{side}_bias"], start[f"{side}_factors"]
        self.stripes, self.held = stripes, held
        per_rating = bool(start["prior_per_rating"][0])
        self.weights = row_weights(counts[f"{side}_bias"], per_rating=per_rating)
        k = factors.shape[1]
        self._bias_at, self._factors_at = bias_at, slice(n_lead, n_lead + k)
        width = padded(n_lead + k)
        check_memory(2 * width**2, f"least squares with n_factors={k}")  # the prior and one system
        self.rows = np.zeros((len(bias), width), np.float32)
        self.rows[:, self._bias_at], self.rows[:, self._factors_at] = bias, factors
        precision = start[f"{side}_prior_precision"]
        self.diagonal = np.zeros(width, np.float32)
        self.diagonal[self._bias_at], self.diagonal[self._factors_at] = precision[0], precision[1:]
        self.penalty = self._penalty()

    @property
    def bias(self) -> Array:
        """The bias of each row, shape (n,)."""
        return self.rows[:, self._bias_at]

    @property
    def factors(self) -> Array:
        """The embeddings, shape (n, k)."""
        return self.rows[:, self._factors_at]

    def place(self, rows: Array) -> None:
        """Take other rows, shape (n, width)."""
        self.rows[:] = rows
        self.penalty = self._penalty()

    def solve(self, other: "_Rows") -> float:
        """Move every row with the other side's held; the sum of squared errors after it."""
        squares = sum(self._moved(stripe, other) for stripe in self.stripes)
        self.penalty = self._penalty()
        return squares

    @abstractmethod
    def _moved(self, stripe: Regressions, other: "_Rows") -> float:
        """The same for the rows of a stripe, but for the penalty."""

    def _penalty(self) -> float:
        return penalty(self.rows, np.zeros_like(self.diagonal), self.diagonal, self.weights)


class _Exact(_Rows):
    """Rows ``(b, p)``, each the solution of its regression."""

    def __init__(self, *of_side: Any) -> None:
        super().__init__(*of_side, bias_at=0, n_lead=1)
        self._mean, self._precision = np.zeros_like(self.rows), np.diag(self.diagonal)

    def _moved(self, stripe: Regressions, other: _Rows) -> float:
        squares = solve_rows(
            stripe.order,
            stripe.starts,
            stripe.partners,
            stripe.targets,
            other.rows,
            self.rows[stripe.rows],
            self._mean[stripe.rows],
            self._precision,
            self.weights[stripe.rows],
            int(self.held),
            2,
        )
        return float(squares)


class _Stepwise(_Rows):
    """Rows ``(b, 1, p)`` of users and ``(1, h, q)`` of items, whose products are all of a rating: each
    goes some steps from where it is. What has no penalty stays, and so does the 1.
    """

    def __init__(self, side: Side, *of_side: Any, n_steps: int) -> None:
        # The bias of users stands where items have a 1, and the other way around.
        super().__init__(side, *of_side, bias_at=0 if side == "user" else 1, n_lead=2)
        self._n_steps = n_steps
        self.rows[:, 1 - self._bias_at] = 1
        self._moving = self.diagonal.copy()
        if self.held:
            self._moving[self._bias_at] = 0
        self._nothing = np.zeros(len(self.rows), np.float32), np.empty((0, 0), np.float32)

    def _moved(self, stripe: Regressions, other: _Rows) -> float:
        penalties, linear = self._nothing
        squares, _ = improve_rows(
            stripe.order,
            stripe.starts,
            stripe.partners,
            stripe.targets,
            stripe.weights,
            ONE,
            ONE,
            other.rows,
            self._moving,
            self.weights[stripe.rows],
            penalties[stripe.rows],
            self.rows[stripe.rows],
            linear,
            self._n_steps,
        )
        return float(squares.sum())
