"""Alternating least squares: one side's rows are solved with the other side's held, then the other's."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np

from dotbias.data.prepared.prepared import PreparedPart
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
from dotbias.solvers.least_squares.on_workers import Regress, SharedHalfSteps, of_task
from dotbias.solvers.least_squares.stripes import Regressions, Stripes
from dotbias.solvers.objective import penalty
from dotbias.solvers.threads import SOLVED, threads
from dotbias.solvers.validation import Validation

# Chosen on validation parts of training rows alone (benchmarks/als.py). An exact minimum fits its
# training ratings more closely than the last epoch of a descent, so it needs more decay than that.
DEFAULT_DECAY: Mapping[str, Mapping[str, float]] = {
    "rating": {"user_factors": 0.08, "item_factors": 0.08, "user_bias": 0.03, "item_bias": 0.1},
    "row": {"user_factors": 15.0, "item_factors": 15.0, "user_bias": 4.0, "item_bias": 4.0},
}
# From so many ratings on, exact solutions take several times as long as so many steps, and gain as much.
_MANY, _STEPS = 500_000, 5
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
        n_steps: steps of conjugate gradients that each row takes in a half step from where it is,
            whitened by the weight decay, which must be above 0 for all that moves; 0 solves each row
            exactly. None is 0, and from half a million ratings on 5 if all that moves is decayed.
        n_threads: threads, or None for as many as the machine has and the ratings keep busy (one
            for each 100,000).
        cluster, n_workers: as for ``GradientDescent``.

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
    n_steps: int | None = setting(None, at_least=0)
    n_threads: int | None = setting(None, at_least=1)
    cluster: str | None = field(default=None)
    n_workers: int | None = setting(None, at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        still = self._undecayed
        if self.n_steps and still:
            raise SettingError(
                f"n_steps={self.n_steps}: conjugate gradients are whitened by the weight decay, which "
                f"is 0 for {', '.join(still)}: leave n_steps out, or decay them"
            )

    def settled(self, model: Model, ratings: Ratings) -> Self:  # noqa: ARG002
        """The same solver with a number of steps."""
        if self.n_steps is not None:
            return self
        n_steps = 0 if self._undecayed or len(ratings) < _MANY else _STEPS
        return replace(self, n_steps=n_steps)

    @property
    def _undecayed(self) -> list[str]:
        """What moves and is not decayed."""
        decay = self.decay.by_group(DEFAULT_DECAY["rating"])
        moved = [name for name in decay if self.biases == "together" or not name.endswith("bias")]
        return [name for name in moved if decay[name] == 0]

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
        model = linear_dot_bias(self, model)
        return _Iterations(self.settled(model, ratings), model, ratings, seed)


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
        self.users, self.items = sides = _sides(solver, model, rest, ratings.global_mean, self.std)
        for side in sides:
            names = f"{side.name}_bias", f"{side.name}_factors"
            side.fill(*(self.start[name] / self.units[name] for name in names))
            for name in names[1:] if held else names:
                # The rows have the numbers now, and of many no second copy is kept.
                self.start[name] = np.broadcast_to(np.float32(0), self.start[name].shape)
        self.shared = None
        if solver.cluster is not None:
            self.on_workers = True
            self.shared = SharedHalfSteps.of(regress, solver, model, rest, len(self.users.diagonal))

    def threads(self) -> AbstractContextManager[None]:
        """Numba's threads, or workers."""
        if self.shared is not None:
            return self.shared.working()
        return threads(self.solver.n_threads, len(self.ratings), SOLVED)

    def one_epoch(self) -> Figures:
        """Users, then items."""
        users, items = self.users, self.items
        for side, other in ((users, items), (items, users)):
            squares = side.solve(other, self.shared)
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
    """One side: its table, and how its rows are moved.

    Args:
        name: which side.
        constants: of its prior (``prior_constants``), in units of the ratings' std.
        ratings: what they are moved by.
        mean, std: what makes ratings targets.
        n_factors: length of the embeddings.
        held: whether biases stay as they are.

    Attributes:
        rows: the table, shape (n, width); see ``fill``.
        penalty: what the decay adds to the objective.
    """

    bias_at: int
    n_lead: int
    """The column of the bias, and how many columns come before the factors."""

    def __init__(
        self,
        name: Side,
        constants: Parameters,
        ratings: Ratings,
        mean: Any,
        std: Any,
        n_factors: int,
        *,
        held: bool,
    ) -> None:
        self.name, self.mean, self.std, self.held = name, mean, std, held
        counts = ratings.user_counts if name == "user" else ratings.item_counts
        per_rating = bool(constants["prior_per_rating"][0])
        self.weights = row_weights(counts, per_rating=per_rating)
        self.factors_at = slice(self.n_lead, self.n_lead + n_factors)
        self.blocks = ratings.row_blocks(name)
        self.stripes = Stripes(ratings, name, self.made)
        width = padded(self.n_lead + n_factors)
        check_memory(2 * width**2, f"least squares with n_factors={n_factors}")  # prior, one system
        precision = constants[f"{name}_prior_precision"]
        self.diagonal = np.zeros(width, np.float32)
        self.diagonal[self.bias_at], self.diagonal[self.factors_at] = precision[0], precision[1:]

    def made(self, stripe: Stripe) -> Regressions:
        """What the kernels want of a stripe."""
        return Regressions.of(stripe, (stripe.values - self.mean) / self.std, ONE)

    def fill(self, bias: Array, factors: Array) -> None:
        """Make the table, from biases, shape (n,), and embeddings, shape (n, k)."""
        self.rows = np.zeros((len(bias), len(self.diagonal)), np.float32)
        self.rows[:, self.bias_at], self.rows[:, self.factors_at] = bias, factors
        self.penalty = self._penalty()

    @property
    def bias(self) -> Array:
        """The bias of each row, shape (n,)."""
        return self.rows[:, self.bias_at]

    @property
    def factors(self) -> Array:
        """The embeddings, shape (n, k)."""
        return self.rows[:, self.factors_at]

    def place(self, rows: Array) -> None:
        """Take other rows, shape (n, width)."""
        self.rows[:] = rows
        self.penalty = self._penalty()

    def solve(self, other: "_Rows", shared: SharedHalfSteps | None) -> float:
        """Move every row with the other side's held; the sum of squared errors after it."""
        if shared is None:
            squares = sum(
                self.move(each, other.rows, self.rows[each.rows])[0] for each in self.stripes
            )
        else:
            squares = sum(found[0] for found in shared.half_step(self.name, self.rows, other.rows))
        self.penalty = self._penalty()
        return squares

    @abstractmethod
    def move(
        self, stripe: Regressions, other: Array, rows: Array, how: Mapping[str, Any] | None = None
    ) -> list[float]:
        """Move the rows of a stripe, in place; the sum of their squared errors after it."""

    def _penalty(self) -> float:
        nothing = np.zeros_like(self.diagonal)
        return sum(
            penalty(self.rows[block], nothing, self.diagonal, self.weights[block])
            for block in self.blocks
        )


class _Exact(_Rows):
    """Rows ``(b, p)``, each the solution of its regression."""

    bias_at, n_lead = 0, 1

    def move(
        self,
        stripe: Regressions,
        other: Array,
        rows: Array,
        how: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> list[float]:
        """See ``_Rows.move``."""
        squares = solve_rows(
            stripe.order,
            stripe.starts,
            stripe.partners,
            stripe.targets,
            other,
            rows,
            np.zeros_like(rows),
            np.diag(self.diagonal),
            self.weights[stripe.rows],
            int(self.held),
            2,
        )
        return [float(squares)]


class _Stepwise(_Rows):
    """Rows ``(b, 1, p)`` of users and ``(1, h, q)`` of items, whose products are all of a rating: each
    goes some steps from where it is. What has no penalty stays, and so does the 1.
    """

    n_lead = 2

    def __init__(self, name: Side, *of_side: Any, n_steps: int, held: bool) -> None:
        # The bias of users stands where items have a 1, and the other way around.
        self.bias_at = 0 if name == "user" else 1
        super().__init__(name, *of_side, held=held)
        self.n_steps = n_steps
        self.moving = self.diagonal.copy()
        if held:
            self.moving[self.bias_at] = 0

    def fill(self, bias: Array, factors: Array) -> None:
        """See ``_Rows.fill``."""
        super().fill(bias, factors)
        self.rows[:, 1 - self.bias_at] = 1

    def move(
        self,
        stripe: Regressions,
        other: Array,
        rows: Array,
        how: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> list[float]:
        """See ``_Rows.move``."""
        squares, _ = improve_rows(
            stripe.order,
            stripe.starts,
            stripe.partners,
            stripe.targets,
            stripe.weights,
            ONE,
            ONE,
            other,
            self.moving,
            self.weights[stripe.rows],
            np.zeros(len(rows), np.float32),
            rows,
            np.empty((0, 0), np.float32),
            self.n_steps,
        )
        return [float(squares.sum())]


def _sides(
    solver: ALS, model: DotBias, ratings: Ratings, mean: float, std: float
) -> tuple[_Rows, _Rows]:
    """Users and items, without their tables."""
    constants = prior_constants(solver.decay, model, row_counts(ratings), 1.0)
    held = solver.biases == "held"
    users, items = (
        (
            name,
            constants,
            ratings,
            np.float32(mean),
            np.float32(std),
            model.n_factors,
        )
        for name in OTHER
    )
    if not solver.n_steps:
        return _Exact(*users, held=held), _Exact(*items, held=held)
    steps = solver.n_steps
    return _Stepwise(*users, n_steps=steps, held=held), _Stepwise(*items, n_steps=steps, held=held)


def regress(ratings: PreparedPart, spec: Mapping[str, Any]) -> Regress:
    """What a worker does."""
    solver, model = of_task(spec, ALS, WeightDecay)
    sides = _sides(solver, model, ratings, ratings.global_mean, ratings.std)
    return Regress(
        ratings,
        {side.name: side.made for side in sides},
        {side.name: side.move for side in sides},
    )
