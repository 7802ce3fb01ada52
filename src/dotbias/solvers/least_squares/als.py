"""Alternating least squares: one side's rows are solved exactly, then the other's."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.errors import SettingError
from dotbias.memory import check_memory
from dotbias.models.base import Array, Model, Parameters, initialised
from dotbias.models.baseline import Baseline
from dotbias.models.dot_bias import DotBias
from dotbias.models.row_form import row_weights
from dotbias.settings import generator, setting
from dotbias.solvers.base import History, OnEpoch, Solver, linear_dot_bias
from dotbias.solvers.decay import WeightDecay, as_weight_decay, prior_constants, row_counts
from dotbias.solvers.epochs import EpochLoop, Figures
from dotbias.solvers.least_squares.closed_form import ClosedForm
from dotbias.solvers.least_squares.normal_equations import padded, solve_rows
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
class ALS(Solver):
    """Alternating least squares for ``DotBias`` with linear output (Zhou et al. 2008, section 3.1).

    Minimises what ``objective`` measures and ``GradientDescent`` follows; the same ``λ`` means the same
    in both. With the items held, each user's bias and factors are the solution of a linear regression
    on its ratings; with the users held, each item's. Each of these half steps is exact, so the objective
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
    n_threads: int | None = setting(None, at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.decay

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

    def fit(
        self, model: Model, ratings: Ratings, *, seed: int = 0, on_epoch: OnEpoch | None = None
    ) -> tuple[Parameters, History]:
        """Embeddings and biases, and the history of the iterations.

        Ctrl-C ends the fit after the running iteration; the best parameters so far are returned and
        ``history.stopped`` says so.

        Raises:
            SettingError: for a model other than ``DotBias`` with linear output, or more threads than
                there are.
        """
        model = linear_dot_bias(self, model)
        started = time.perf_counter()
        run = _Iterations(self, model, ratings, seed).run(on_epoch=on_epoch)
        run.history.seconds = time.perf_counter() - started
        return run.validation.best or run.parameters(), run.history


class _Iterations(EpochLoop):
    """The state of one fit. Inside, ratings and parameters are in units of the ratings' std."""

    def __init__(self, solver: ALS, model: DotBias, ratings: Ratings, seed: int) -> None:
        self.model, self.ratings, self.n_threads = model, ratings, solver.n_threads
        rng = generator(seed)
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
        targets = (rest.values - self.start["global_mean"][0]) / np.float32(self.std)
        self.users = _RowRegressions(
            "user", inside, rest.user_indices, rest.item_indices, targets, held
        )
        self.items = _RowRegressions(
            "item", inside, rest.item_indices, rest.user_indices, targets, held
        )

    def threads(self) -> AbstractContextManager[None]:
        """Numba's threads."""
        return threads(self.n_threads, len(self.ratings))

    def one_epoch(self) -> Figures:
        """Users, then items."""
        users, items = self.users, self.items
        for side, other in ((users, items), (items, users)):
            squares = side.solve(other.rows)
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
            bias, factors = side.rows[:, 0], side.rows[:, 1 : 1 + self.model.n_factors]
            if not side.held:  # units would cost it its last bit
                now[f"{name}_bias"] = bias * self.units[f"{name}_bias"]
            now[f"{name}_factors"] = factors * self.units[f"{name}_factors"]
        return now


class _RowRegressions:
    """The regressions of one side's rows: their ratings row by row, as the kernel wants them."""

    def __init__(
        self,
        name: str,
        start: Parameters,
        rows: Index,
        partners: Index,
        targets: Array,
        held: bool,
    ) -> None:
        bias, factors = start[f"{name}_bias"], start[f"{name}_factors"]
        table = coo_array((targets, (rows, partners)), (len(bias), int(partners.max()) + 1))
        table.has_canonical_format = True  # else a pair that is rated twice would be added up
        by_row = table.tocsr()
        self.starts, self.partners, self.targets = by_row.indptr, by_row.indices, by_row.data
        counts: NDArray[np.int64] = np.diff(self.starts).astype(np.int64)
        self.order = np.argsort(-counts, kind="stable")
        k, width = factors.shape[1], padded(1 + factors.shape[1])
        check_memory(2 * width**2, f"least squares with n_factors={k}")  # the prior and one system
        self.rows = np.zeros((len(bias), width), np.float32)
        self.rows[:, 0], self.rows[:, 1 : 1 + k] = bias, factors
        self.weights = row_weights(counts, per_rating=bool(start["prior_per_rating"][0]))
        self._diagonal = np.zeros(width, np.float32)
        self._diagonal[: 1 + k] = start[f"{name}_prior_precision"]
        self.penalty = self._penalty()
        self._mean, self._precision = np.zeros_like(self.rows), np.diag(self._diagonal)
        self.held = held

    def solve(self, others: Array) -> float:
        """Solve every row with the other side's held; the sum of squared errors after it."""
        squares = solve_rows(
            self.order,
            self.starts,
            self.partners,
            self.targets,
            others,
            self.rows,
            self._mean,
            self._precision,
            self.weights,
            int(self.held),
            2,
        )
        self.penalty = self._penalty()
        return float(squares)

    def _penalty(self) -> float:
        """What the decay adds to the objective."""
        return penalty(self.rows, np.zeros_like(self._diagonal), self._diagonal, self.weights)
