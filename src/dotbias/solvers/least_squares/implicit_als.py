"""Alternating least squares on everything: known pairs, and all that nobody chose."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from dotbias.data.prepared.prepared import PreparedPart
from dotbias.data.ratings import Ratings
from dotbias.data.stripes import OTHER, Side, Stripe
from dotbias.errors import SettingError
from dotbias.memory import check_memory
from dotbias.models.base import Array, Model, Parameters, has_formula_of, initialised
from dotbias.models.dot_product import (
    DotProduct,
    bm25_sides,
    mean_row,
    prior_precision,
    user_weights,
)
from dotbias.settings import generator, setting
from dotbias.solvers.base import History, OnEpoch
from dotbias.solvers.checkpoint import Arrays
from dotbias.solvers.epochs import CarryOn, EpochLoop, Figures, IteratingSolver, finished
from dotbias.solvers.least_squares.conjugate_gradients import ONE, improve_rows
from dotbias.solvers.least_squares.eigenbasis import Eigenbasis, gram, turned
from dotbias.solvers.least_squares.normal_equations import padded
from dotbias.solvers.least_squares.on_workers import Regress, SharedHalfSteps, of_task
from dotbias.solvers.least_squares.stripes import Regressions, Stripes
from dotbias.solvers.least_squares.svd import Rows, numbers_held, truncated_svd
from dotbias.solvers.threads import SOLVED, threads
from dotbias.solvers.validation import Validation
from dotbias.solvers.workers.exchange import WorkerLostError

_log = logging.getLogger("dotbias")

USUAL_DECAY = 0.065
"""``ImplicitALS.weight_decay`` where nobody has chosen one."""

# Steps of conjugate gradients after which a row is solved; rows stop sooner where the rest is rounding.
_TO_THE_END = 20
# The penalty of the second part is so much times so high a power of the number of known pairs. On
# held-out training rows some 540 was best for the 72,000 pairs of ml-100k and of ml-latest-small, and
# 3,400 for the 720,000 of ml-1m.
_SHRINKAGE, _POWER = 0.07, 0.8
_NO_LINEAR_TERM = np.zeros((0, 0), np.float32)


@dataclass(frozen=True, kw_only=True)
class ImplicitALS(IteratingSolver):
    """Alternating least squares for ``DotProduct``, with the pairs that nobody rated in the sum.

    Minimises (Hu, Koren & Volinsky 2008, eq. 3, in the form of Rendle et al. 2021, eq. 4)

        ½ Σ_u w_u (Σ_S c (t - p·q)² + a₀ Σ_all (p·q)² + λ |p_u|²) + ½ Σ λ_i |q_i|²

    over a user's known pairs S and all pairs of the user and an item: what people chose is drawn to
    ``t`` and what they did not to 0. Each user weighs ``w_u ∝ n_u^-x``, n_u being their known pairs,
    such that ``Σ w_u n_u = Σ n_u``: lists are for users, and with ``x = 0`` those with many choices
    would shape the items for all. With ``z`` the rating in units of its standard deviation,
    ``t = 1 + β z`` and ``c = 1`` for ratings; ``t = 1`` and ``c = 1 + α f`` for counts; both 1 for
    events. The penalty of an item grows with its pairs (Rendle et al. 2021, eq. 5),
    ``λ_i = λ (b_i / mean b)^ν`` with ``b_i = n_i + a₀ n_users``.

    ``f`` of a count ``n`` is ``log(1 + n)``; with ``weighting="linear"`` ``n`` itself (both in Hu et
    al.); with ``"bm25"`` what Robertson's formula makes of it (Robertson & Zaragoza 2009), with items as
    documents and users as terms, as in the package implicit: what someone takes who takes everything
    counts less, and so does what everyone takes.

        f = idf_u · n (K1 + 1) / (n + K1 (1 - B + B · total_i / mean total))
        idf_u = log(n_items / (1 + items of u)), at least 0

    For weights of one's own read them as counts (``Ratings.from_columns(..., kind="counts")``, ``--kind
    counts``) and take ``weighting="linear"``: a pair of the weight ``n`` has ``c = 1 + α n``.

    A model with ``n_svd_factors`` has a second part, which the iterations do not touch. Let ``X`` hold
    ``√w c t / c̄`` at known pairs and 0 elsewhere, ``c̄`` being the mean of ``c``. With
    ``X = U diag(s) Vᵀ`` and ``e = s² / (s² + κ)`` users are ``U √(s e) / √w`` and items ``V √(s e)``.
    That is the ridge regression of a user's whole row, known pairs or not, on ``V diag(s)`` with the
    penalty ``κ = 0.07 n^0.8`` for n known pairs. Either part is fitted to half of ``t``.

    A half step holds one side, turns both tables to where its Gram matrix is diagonal, which leaves dot
    products alone, and improves each row of the other side by a few steps of conjugate gradients from
    where it was (Takács, Pilászy & Tikk 2011), so the objective never rises (``History.half_steps``, up
    to rounding). After the last iteration users are solved once more, to the end: a user's embedding is
    then what folding in their pairs gives, and explanations of it leave nothing over. The same data,
    settings and seed give the same bits for any number of threads.

    Args:
        n_iterations: how often both sides are solved.
        weight_decay: ``ρ`` of ``λ = ρ √(Σ c) · 2 a₀ / (1 + a₀)``. None leaves it to ``dotbias.fit``,
            which chooses it on held-out training rows; a fit of the solver alone then takes 0.065.
        unobserved_weight: ``a₀``, the weight of a pair that nobody rated.
        balance: ``x``, from 0, where every choice counts the same, to 1, where every user does. A user's
            own regression does not depend on it.
        frequency_scaling: ``ν``; with 0 all items have the same penalty.
        liking: ``β``, how much more a pair counts when the rating is high.
        alpha: ``α``, how much more a pair counts that occurs often.
        weighting: ``f``, what a count says.
        bm25_k1: ``K1``, how large a count may be before more of it says little more.
        bm25_b: ``B``, how much less a count says of an item that is taken often, from 0 to 1.
        n_steps: steps of conjugate gradients by which a row comes nearer to its solution in each half
            step, from where it was. More are more exact, and slower; what they bring the next
            iterations bring too.
        n_threads: threads, or None for as many as the machine has and the ratings keep busy.
        cluster, n_workers: as for ``GradientDescent``; what concerns a whole table, its Gram matrix and
            turning it, is done here.
    """

    epochs_are: ClassVar[str] = "iterations"

    n_iterations: int = setting(8, at_least=1)
    weight_decay: float | None = setting(None, above=0)
    unobserved_weight: float = setting(0.25, above=0)
    balance: float = setting(0.4, at_least=0, at_most=1)
    frequency_scaling: float = setting(0.5, at_least=0, at_most=1)
    liking: float = setting(0.25, at_least=0)
    alpha: float = setting(1.0, at_least=0)
    weighting: Literal["log", "linear", "bm25"] = setting("log", choices=("log", "linear", "bm25"))
    bm25_k1: float = setting(100.0, at_least=0)
    bm25_b: float = setting(0.8, at_least=0, at_most=1)
    n_steps: int = setting(3, at_least=1)
    n_threads: int | None = setting(None, at_least=1)
    cluster: str | None = field(default=None)
    n_workers: int | None = setting(None, at_least=1)

    @property
    def n_epochs(self) -> int:
        """Epochs are iterations here."""
        return self.n_iterations

    @property
    def default_model(self) -> Model:
        """Embeddings of 128 factors."""
        return DotProduct()

    def start(
        self,
        model: Model,
        ratings: Ratings,
        *,
        seed: int = 0,
        embeddings: Parameters | None = None,
        svd: Parameters | None = None,
    ) -> "_Iterations":
        """A fit that has not begun.

        With ``embeddings``, the parameters of an earlier fit under the same vocabularies, the iterations
        go on from its embeddings instead of from random ones. With ``svd``, those of an earlier fit to
        the same pairs that differed in ``weight_decay`` or iterations alone, its second part is taken
        over.

        Ctrl-C ends it after the running iteration; what it has reached is its result and
        ``history.stopped`` says so.

        Raises:
            SettingError: for a model other than ``DotProduct``.
        """
        if not has_formula_of(model, DotProduct):
            raise SettingError(f"ImplicitALS estimates DotProduct, not {type(model).__name__}")
        if model.n_svd_factors and svd is None:  # before the iterations, which come first
            sides = ratings.n_users, ratings.n_items
            _ = ratings.values  # all at once, which ratings on disk refuse
            taken = numbers_held(*sides, model.n_svd_factors)
            check_memory(taken, f"an SVD with n_svd_factors={model.n_svd_factors}")
        return _Iterations(self, model, ratings, seed, embeddings, svd)

    def fit(
        self,
        model: Model,
        ratings: Ratings,
        *,
        seed: int = 0,
        on_epoch: OnEpoch | None = None,
        carry_on: CarryOn | None = None,
        start: Parameters | None = None,
        svd: Parameters | None = None,
    ) -> tuple[Parameters, History]:
        """Embeddings, and the history of the iterations: ``start`` and ``svd`` as for a fit that has not
        begun (``embeddings``, ``svd``).
        """
        begun = partial(self.start, model, ratings, seed=seed, embeddings=start, svd=svd)
        return finished(begun, on_epoch, carry_on)

    def constants(self, ratings: Ratings) -> Parameters:
        """What a model keeps of that which it was fitted to (see ``DotProduct``)."""
        target, confidence = np.array([1.0, 0.0]), np.array([1.0, 0.0, 0.0])
        bm25: Parameters = {}
        if ratings.kind == "ratings":
            slope = self.liking / ratings.std
            target[:] = 1 - slope * ratings.global_mean, slope
        elif ratings.kind == "counts" and self.weighting == "bm25":
            saturation = np.array([self.alpha, self.bm25_k1, self.bm25_b], np.float32)
            totals = np.bincount(ratings.item_indices, ratings.values, ratings.n_items)
            bm25 = {"saturation": saturation, **bm25_sides(ratings.user_counts, totals)}
        elif ratings.kind == "counts":
            confidence[1 if self.weighting == "log" else 2] = self.alpha
        counts = ratings.user_counts
        even = user_weights(np.array([self.balance, 1], np.float32), counts).astype(np.float64)
        return bm25 | {
            "balance": np.array([self.balance, counts.sum() / (counts * even).sum()], np.float32),
            "target": target.astype(np.float32),
            "confidence": confidence.astype(np.float32),
            "unobserved_weight": np.array([self.unobserved_weight], np.float32),
        }


class _Iterations(EpochLoop):
    """The state of one fit.

    A user who weighs ``w`` is one of weight 1 whose embedding and targets are ``√w`` times as long, and
    so they are kept here: then nothing but known pairs differs from user to user.
    """

    solver: ImplicitALS
    model: DotProduct

    def __init__(
        self,
        solver: ImplicitALS,
        model: DotProduct,
        ratings: Ratings,
        seed: int,
        start: Parameters | None,
        svd: Parameters | None = None,
    ) -> None:
        self.solver, self.model, self.ratings, self.seed = solver, model, ratings, seed
        self.n_steps, self._svd = solver.n_steps, svd
        self.rng = rng = generator(seed)
        self.start = initialised(model, ratings, rng)
        if start is not None:
            self.start |= {name: start[name] for name in model.groups}
        for name in model.groups:  # the second part is no matter of iterations
            self.start[name] = self.start[name][:, : model.n_factors]
        super().__init__(solver.n_epochs, Validation.hold_out(ratings, 0, rng))
        self.users, self.items = _sides(solver, model, ratings)
        self.start |= self.users.constants
        self.start["balance"] = solver.constants(ratings)["balance"]
        self.lengths = self.users.own_lengths
        self.users.fill(self.start["user_factors"] * self.lengths[:, None])
        self.items.fill(self.start["item_factors"])
        self.a0 = solver.unobserved_weight
        self.weight = sum(each.weight for each in self.users.stripes)
        self.penalty, self.least, self.growth = _penalties(
            solver, model, ratings, self.weight, self.users, self.items
        )
        self.shared = None
        if solver.cluster is not None:
            self.on_workers = True
            width = self.users.table.shape[1]
            self.shared = SharedHalfSteps.of(
                regress, solver, model, ratings, width, weight=self.weight
            )

    @contextmanager
    def threads(self) -> Iterator[None]:
        """Numba's threads, and one of LAPACK's, whose bits depend on their number."""
        with ExitStack() as stack:
            stack.enter_context(threads(self.solver.n_threads, len(self.ratings), SOLVED))
            stack.enter_context(threadpool_limits(1, "blas"))
            if self.shared is not None:
                stack.enter_context(self.shared.working())
            yield

    def one_epoch(self) -> Figures:
        """Users, then items."""
        self._half_step(self.users, self.items, self.n_steps)
        squares, total = self._half_step(self.items, self.users, self.n_steps)
        rmse = float(np.sqrt(squares / len(self.ratings)))
        return Figures(train_rmse=rmse, objective=total)

    def solve_users(self) -> None:
        """Users as the items are now, to the end: the half step that belongs to no iteration."""
        before = self.state() if self.on_workers else {}
        try:
            with self.threads():
                self._half_step(self.users, self.items, _TO_THE_END)
        except WorkerLostError as error:
            _log.warning("%s: the last half step is done here.", error)
            self.shared = None
            self.set_state(before)
            self.solve_users()

    def _half_step(self, side: "_Rows", other: "_Rows", n_steps: int) -> tuple[float, float]:
        """Improve one side: ``Σ c (t - p·q)²`` and the objective after it."""
        squares = side.improve(other, self.a0, n_steps, self.shared)
        total = 0.5 * (squares + side.pull + other.decay)
        self.history.half_steps.append(total)
        return squares, total

    def svd(self) -> tuple[Array, Array, Array]:
        """The second part of users and of items, and the singular values."""
        with self.threads():
            found = truncated_svd(
                self.users.pulls(), self.items.pulls(), self.model.n_svd_factors, self.rng
            )
        mean_weight = self.weight / len(self.ratings)
        s = found.values / mean_weight
        penalty = self.model.share**2 * _SHRINKAGE * len(self.ratings) ** _POWER
        kept = s**2 / (s**2 + penalty)
        lengths = np.sqrt(s * kept).astype(np.float32)
        values = np.where(s > 0, mean_weight * s, 1)
        users = found.left * lengths / self.lengths[:, None]
        return users, found.right * lengths, values.astype(np.float32)

    def validate(self) -> float | None:
        """There are no validation rows: the error of known pairs says nothing of lists."""
        return None

    def parameters(self) -> Parameters:
        """The parameters as they are now."""
        p = (self.users.factors / self.lengths[:, None]).astype(np.float32, copy=False)
        q = self.items.factors
        return self.start | {
            "user_factors": p,
            "item_factors": q,
            "stranger": mean_row(p),
            "penalty": np.array([self.penalty, self.least], np.float32),
            "user_prior_mean": np.zeros(1 + p.shape[1], np.float32),
            "item_prior_mean": np.zeros(1 + p.shape[1], np.float32),
            "user_prior_precision": prior_precision(self.a0 * self.items.gram, self.penalty),
            "item_prior_precision": prior_precision(self.a0 * self.users.gram, self.least),
            "item_prior_growth": self.growth,
            "prior_per_rating": np.zeros(1, np.float32),
        }

    def result(self) -> Parameters:
        """The parameters, users solved to the end, with the second part where the model has one: asked
        for once, at the end, for it moves the users on.
        """
        self.solve_users()
        parameters = self.parameters()
        if self.model.n_svd_factors:
            users, items, values = self.svd() if self._svd is None else _second_part(self._svd)
            for name, second in zip(self.model.groups, (users, items), strict=True):
                parameters[name] = np.hstack([parameters[name], second])
            parameters["singular_values"] = values
            parameters["stranger"] = mean_row(parameters["user_factors"])
        return parameters

    def state(self) -> Arrays:
        """The tables of both sides, in the basis that they were last turned to."""
        return {"user_rows": self.users.table.copy(), "item_rows": self.items.table.copy()}

    def set_state(self, arrays: Arrays) -> None:
        """Put them back."""
        self.users.table, self.items.table = (
            arrays[name].copy() for name in ("user_rows", "item_rows")
        )


class _Rows:
    """One side: its table, and how its rows are moved.

    Args:
        model: says what known pairs are drawn to (``Model.observed``).
        constants: what it says that from.
        side: which.
        ratings: the known pairs.
        lengths: what the targets of each user are multiplied by, shape (n_users,).

    Attributes:
        table: all rows with what pads them, shape (n, width); see ``fill``.
        penalties: ``λ`` of each row, shape (n,).
        pull: ``a₀ Σ (p·q)² + Σ λ |x|²`` after the last half step.
    """

    def __init__(
        self, model: DotProduct, constants: Parameters, side: Side, ratings: Ratings, lengths: Array
    ) -> None:
        self.model, self.constants, self.side, self.k = model, constants, side, model.n_factors
        self.blocks = ratings.row_blocks(side)
        self.stripes = Stripes(ratings, side, self.made)
        self.own_lengths: Array = lengths if side == "user" else ONE
        self.lengths: Array = ONE if side == "user" else lengths
        self.penalties = np.zeros(
            ratings.n_users if side == "user" else ratings.n_items, np.float32
        )
        self.pull = math.inf

    def made(self, stripe: Stripe) -> Regressions:
        """What the kernel wants of a stripe."""
        _, starts, partners, values = stripe
        known = self.model.observed(self.constants, self.side, starts, partners, values)
        targets, weights = known.checked(len(values))
        return Regressions.of(
            stripe, _shared(targets), ONE if weights is None else _shared(weights)
        )

    def fill(self, factors: Array) -> None:
        """Make the table, from embeddings, shape (n, k)."""
        self.table = np.pad(factors, ((0, 0), (0, padded(self.k) - self.k)))

    def pulls(self) -> Rows:
        """``c t`` of the known pairs, of which a decomposition needs all at once."""
        own, partner = self.own_lengths, self.lengths
        (whole,) = self.stripes
        n = len(whole.partners)
        values = np.broadcast_to(whole.targets * whole.weights, n)
        values = values * (np.repeat(own, np.diff(whole.starts)) if len(own) > 1 else own)
        values = values * (partner[whole.partners] if len(partner) > 1 else partner)
        return Rows(whole.order, whole.starts, whole.partners, values)

    @property
    def factors(self) -> Array:
        """The embeddings, shape (n, k)."""
        return np.ascontiguousarray(self.table[:, : self.k])

    @property
    def gram(self) -> NDArray[np.float64]:
        """``Σ x xᵀ``, shape (k, k)."""
        products: NDArray[np.float64] = gram(self.table)[: self.k, : self.k]
        return products

    @property
    def decay(self) -> float:
        """``Σ λ |x|²``."""
        squares = np.einsum("nf,nf->n", self.table, self.table)
        return float(np.dot(self.penalties.astype(np.float64), squares))

    def improve(
        self, other: "_Rows", a0: float, n_steps: int, shared: SharedHalfSteps | None
    ) -> float:
        """Improve every row with the other side's held; both are turned (``Eigenbasis``).

        Returns:
            ``Σ c (t - p·q)²`` over the known pairs; ``pull`` is then ``a₀ Σ (p·q)² + Σ λ |x|²``.
        """
        basis = Eigenbasis.of(other.gram, self.table.shape[1])
        for rows in (self, other):
            rows.table = turned(rows.table, basis.vectors)
        how = {"diagonal": (a0 * basis.values).tolist(), "n_steps": n_steps}
        moved: Iterable[list[float]] = (
            (self.move(each, other.table, self.table[each.rows], how) for each in self.stripes)
            if shared is None
            else shared.half_step(self.side, self.table, other.table, **how)
        )
        squares = self.pull = 0.0
        for some, pull in moved:
            squares += some
            self.pull += pull
        return squares

    def move(
        self, stripe: Regressions, other: Array, rows: Array, how: Mapping[str, Any]
    ) -> list[float]:
        """Improve the rows of a stripe, in place.

        Args:
            stripe: their known pairs.
            other: the other side's table.
            rows: theirs.
            how: ``"diagonal"`` of what all pairs pull with, and ``"n_steps"``.
        """
        own = self.own_lengths
        squares, pull = improve_rows(
            stripe.order,
            stripe.starts,
            stripe.partners,
            stripe.targets,
            stripe.weights,
            own[stripe.rows] if len(own) > 1 else own,
            self.lengths,
            other,
            np.array(how["diagonal"], np.float32),
            ONE,
            self.penalties[stripe.rows],
            rows,
            _NO_LINEAR_TERM,
            how["n_steps"],
        )
        return [float(squares.sum()), float(pull.sum())]


def _sides(solver: ImplicitALS, model: DotProduct, ratings: Ratings) -> tuple[_Rows, _Rows]:
    """Users and items, without their tables and penalties."""
    constants = solver.constants(ratings)
    constants["target"] *= np.float32(model.share)
    weights = user_weights(constants["balance"], ratings.user_counts)
    constants |= {"user_weight": weights, "balance": np.array([0, 1], np.float32)}
    lengths = np.sqrt(weights)
    users, items = (_Rows(model, constants, side, ratings, lengths) for side in OTHER)
    return users, items


def _penalties(
    solver: ImplicitALS,
    model: DotProduct,
    ratings: Ratings,
    weight: float,
    users: _Rows,
    items: _Rows,
) -> tuple[float, float, Array]:
    """Set the penalty of each row.

    Args:
        solver, model, ratings: what is estimated, how and from what.
        weight: ``Σ c`` over the known pairs.
        users, items: whose rows.

    Returns:
        That of all users, the least of an item, and how the others grow (``item_prior_growth``).
    """
    a0 = solver.unobserved_weight
    decay = USUAL_DECAY if solver.weight_decay is None else solver.weight_decay
    # Half the penalty is as strong where the targets are half as large.
    per_root = model.share * decay * 2 * a0 / (1 + a0)
    penalty = per_root * np.sqrt(weight)
    power, offset = solver.frequency_scaling, a0 * ratings.n_users
    of_counts = ratings.item_counts + offset
    scale = penalty / float(of_counts.mean()) ** power
    users.penalties[:] = penalty
    items.penalties[:] = scale * of_counts**power
    return penalty, scale * offset**power, np.array([scale, offset, power], np.float32)


def regress(ratings: PreparedPart, spec: Mapping[str, Any]) -> Regress:
    """What a worker does."""
    solver, model = of_task(spec, ImplicitALS)
    sides = _sides(solver, model, ratings)
    _penalties(solver, model, ratings, spec["weight"], *sides)
    return Regress(
        ratings,
        {side.side: side.made for side in sides},
        {side.side: side.move for side in sides},
    )


def _second_part(parameters: Parameters) -> tuple[Array, Array, Array]:
    """That of users and of items, and the singular values, of an earlier fit."""
    values = parameters["singular_values"]
    users, items = (
        parameters[name][:, -len(values) :] for name in ("user_factors", "item_factors")
    )
    return users, items, values


def _shared(numbers: Array) -> Array:
    """Numbers as they are, or one in the place of all where they are the same."""
    if np.ptp(numbers) == 0:
        return np.array(numbers[:1], np.float32)
    return np.ascontiguousarray(numbers, np.float32)
