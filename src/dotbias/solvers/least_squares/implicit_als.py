"""Alternating least squares on everything: known pairs, and all that nobody chose."""

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.errors import SettingError
from dotbias.models.base import Array, Model, Observed, Parameters, has_formula_of, initialised
from dotbias.models.dot_product import DotProduct
from dotbias.settings import generator, setting
from dotbias.solvers.base import History, OnEpoch, Solver
from dotbias.solvers.epochs import EpochLoop, Figures
from dotbias.solvers.least_squares.normal_equations import padded, solve_rows
from dotbias.solvers.threads import threads
from dotbias.solvers.validation import Validation


@dataclass(frozen=True, kw_only=True)
class ImplicitALS(Solver):
    """Alternating least squares for ``DotProduct``, with the pairs that nobody rated in the sum.

    Minimises (Hu, Koren & Volinsky 2008, eq. 3, in the form of Rendle et al. 2021, eq. 4)

        ½ Σ_S c (t - p·q)² + ½ a₀ Σ_all (p·q)² + ½ λ (Σ |p_u|² + Σ |q_i|²)

    over the known pairs S and all pairs of a user and an item: what people chose is drawn to ``t`` and
    what they did not to 0. With ``z`` the rating in units of its standard deviation, ``t = 1 + β z`` and
    ``c = 1`` for ratings; ``t = 1`` and ``c = 1 + α log(1 + count)`` for counts; both 1 for events.

    Args:
        n_iterations: how often both sides are solved.
        weight_decay: ``ρ`` of ``λ = ρ √(Σ c) · 2 a₀ / (1 + a₀)``: the same number suits few and many
            ratings.
        unobserved_weight: ``a₀``, the weight of a pair that nobody rated.
        liking: ``β``, how much more a pair counts when the rating is high.
        alpha: ``α``, how much more a pair counts that occurs often.
        n_threads: threads, or None for as many as the machine has and the ratings keep busy.
    """

    n_iterations: int = setting(8, at_least=1)
    weight_decay: float = setting(0.03, above=0)
    unobserved_weight: float = setting(1.0, above=0)
    liking: float = setting(0.25, at_least=0)
    alpha: float = setting(1.0, at_least=0)
    n_threads: int | None = setting(None, at_least=1)

    @property
    def n_epochs(self) -> int:
        """Epochs are iterations here."""
        return self.n_iterations

    @property
    def default_model(self) -> Model:
        """Embeddings of 128 factors."""
        return DotProduct()

    def fit(
        self, model: Model, ratings: Ratings, *, seed: int = 0, on_epoch: OnEpoch | None = None
    ) -> tuple[Parameters, History]:
        """Embeddings, and the history of the iterations.

        Ctrl-C ends the fit after the running iteration; what it has reached is returned and
        ``history.stopped`` says so.

        Raises:
            SettingError: for a model other than ``DotProduct``, or more threads than there are.
        """
        if not has_formula_of(model, DotProduct):
            raise SettingError(f"ImplicitALS estimates DotProduct, not {type(model).__name__}")
        started = time.perf_counter()
        run = _Iterations(self, model, ratings, seed).run(on_epoch=on_epoch)
        run.history.seconds = time.perf_counter() - started
        return run.parameters(), run.history

    def constants(self, ratings: Ratings) -> Parameters:
        """What a model keeps of that which it was fitted to (see ``DotProduct``)."""
        target, confidence = np.array([1.0, 0.0]), np.array([1.0, 0.0, 0.0])
        if ratings.kind == "ratings":
            slope = self.liking / ratings.std
            target[:] = 1 - slope * ratings.global_mean, slope
        elif ratings.kind == "counts":
            confidence[1] = self.alpha
        return {
            "target": target.astype(np.float32),
            "confidence": confidence.astype(np.float32),
            "unobserved_weight": np.array([self.unobserved_weight], np.float32),
        }


class _Iterations(EpochLoop):
    """The state of one fit."""

    def __init__(self, solver: ImplicitALS, model: DotProduct, ratings: Ratings, seed: int) -> None:
        self.model, self.ratings, self.n_threads = model, ratings, solver.n_threads
        rng = generator(seed)
        self.start = initialised(model, ratings, rng) | solver.constants(ratings)
        super().__init__(solver.n_epochs, Validation.hold_out(ratings, 0, rng))
        known = model.observed(
            self.start, "user", np.array([0, len(ratings)]), ratings.items, ratings.values
        )
        self.n_known = len(ratings)
        total = float(len(ratings) if known.weights is None else known.weights.sum(dtype=float))
        self.a0 = solver.unobserved_weight
        self.penalty = solver.weight_decay * np.sqrt(total) * 2 * self.a0 / (1 + self.a0)
        self.users = _RowRegressions(
            self.start["user_factors"], ratings.users, ratings.items, known
        )
        self.items = _RowRegressions(
            self.start["item_factors"], ratings.items, ratings.users, known
        )

    def threads(self) -> AbstractContextManager[None]:
        """Numba's threads."""
        return threads(self.n_threads, self.n_known)

    def one_epoch(self) -> Figures:
        """Users, then items."""
        for side, other in ((self.users, self.items), (self.items, self.users)):
            squares = side.solve(other.rows, self.a0, self.penalty)
            unknown = float((_gram(side.rows) * _gram(other.rows)).sum())
            lengths = sum(float(np.square(s.rows, dtype=np.float64).sum()) for s in (side, other))
            total = 0.5 * (squares + self.a0 * unknown + self.penalty * lengths)
            self.history.half_steps.append(total)
        return Figures(train_rmse=float(np.sqrt(squares / self.n_known)), objective=total)

    def validate(self) -> float | None:
        """There are no validation rows: the error of known pairs says nothing of lists."""
        return None

    def parameters(self) -> Parameters:
        """The parameters as they are now."""
        p, q = self.users.rows, self.items.rows
        return self.start | {
            "user_factors": p,
            "item_factors": q,
            "stranger": p.mean(axis=0, dtype=np.float64).astype(np.float32),
            **_prior("user", self.a0 * _gram(q), self.penalty),
            **_prior("item", self.a0 * _gram(p), self.penalty),
            "prior_per_rating": np.zeros(1, np.float32),
        }


def _gram(rows: Array) -> NDArray[np.float64]:
    """``Σ x xᵀ`` over the rows of a table, shape (k, k)."""
    wide = rows.astype(np.float64)
    gram: NDArray[np.float64] = wide.T @ wide
    return gram


def _prior(side: str, pull: NDArray[np.float64], penalty: float) -> Parameters:
    """What folding in needs: a row without choices is drawn to 0 by all items that it did not choose.
    Its first number stands for the bias that there is not.
    """
    k = len(pull)
    precision = np.zeros((1 + k, 1 + k), np.float32)
    precision[1:, 1:] = pull + penalty * np.eye(k)
    return {
        f"{side}_prior_mean": np.zeros(1 + k, np.float32),
        f"{side}_prior_precision": precision,
    }


class _RowRegressions:
    """The regressions of one side's rows: their known pairs row by row."""

    def __init__(self, rows: Array, own: Index, partners: Index, known: Observed) -> None:
        n = len(own)
        table = coo_array(
            (np.arange(n), (own, partners)), (len(rows), int(partners.max(initial=0)) + 1)
        ).tocsr()
        self.starts, self.partners = table.indptr, table.indices
        self.targets = known.targets[table.data]
        self.weights = None if known.weights is None else known.weights[table.data]
        self.rows = rows.copy()

    def solve(self, others: Array, a0: float, penalty: float) -> float:
        """Solve every row with the other side's held; the weighted sum of squared errors after it."""
        prior = a0 * _gram(others) + penalty * np.eye(others.shape[1])
        if self.weights is None:
            k = others.shape[1]
            wide = ((0, 0), (1, padded(1 + k) - 1 - k))
            rows = np.pad(self.rows, wide)
            order = np.argsort(-np.diff(self.starts), kind="stable")
            ones = np.ones(len(rows), np.float32)
            precision = np.pad(prior, (wide[1], wide[1])).astype(np.float32)
            none = np.zeros_like(rows)
            squares = solve_rows(
                order,
                self.starts,
                self.partners,
                self.targets,
                np.pad(others, wide),
                rows,
                none,
                precision,
                ones,
                1,
                2,
            )
            self.rows[...] = rows[:, 1 : 1 + k]
            return float(squares)
        total = 0.0
        for row in range(len(self.rows)):
            own = slice(self.starts[row], self.starts[row + 1])
            y = others[self.partners[own]].astype(np.float64)
            c = np.ones(len(y)) if self.weights is None else self.weights[own].astype(np.float64)
            t = self.targets[own]
            x = np.linalg.solve(prior + (y * c[:, None]).T @ y, y.T @ (c * t))
            self.rows[row] = x
            total += float(c @ np.square(y @ x - t))
        return total
