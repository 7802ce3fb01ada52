"""Every rule against the counterpart in ``torch.optim`` that its docstring names, in float64.

Written for PyTorch 2.13. The gradients on that side come from autograd, and constants like the mean
rating from NumPy, so nothing but the starting parameters is shared. "Equal" means here: after 200
steps each table's difference has less than 1e-9 of the table's norm (measured: below 1e-14), or less
than 1e-5 where PyTorch puts an ``ε`` elsewhere than we do.

Where a rule has an ``ε`` it is 0.01: large enough that its place shows, and that it dampens the jumps
of RMSprop and Nadam to and fro around a minimum, in which the rounding of any two programs grows
tenfold every few steps. That the defaults are PyTorch's is a test of its own.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import pytest
from scripts import pages

from dotbias.data.ratings import Ratings
from dotbias.models import DotBias
from dotbias.solvers.decay import WeightDecay
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.rules import RULES, SGD, Rule
from dotbias.solvers.descent.schedules import OneCycle
from dotbias.solvers.descent.training import Training
from tests.ratings import random_ratings

torch = pytest.importorskip(
    "torch", reason="PyTorch, which these tests compare with, is not installed"
)

Tensors = list[Any]

N_STEPS = 200
BATCH = 16  # 63 ratings: three batches of 16 and one of 15
EPS = 0.01
RATE = {"sgd": 0.1, "momentum": 0.02, "nesterov": 0.02, "adagrad": 0.1, "adadelta": 1.0}  # or 0.01


def optimiser(call: str) -> Callable[..., Any]:
    """What makes the optimiser that a docstring writes like ``SGD(momentum=0.9)``."""
    name, _, settings = call.rstrip(")").partition("(")
    parsed = ast.parse(f"f({settings})", mode="eval").body
    assert isinstance(parsed, ast.Call)
    given = {k.arg: ast.literal_eval(k.value) for k in parsed.keywords}
    return partial(getattr(torch.optim, name), **given)


OPTIMISERS = {
    name: optimiser(call) for name, rule in RULES.items() if (call := pages.counterpart(rule))
}


def make(name: str, eps: float = EPS) -> tuple[Rule, Callable[[Tensors], Any]]:
    """A rule, and what makes its counterpart for given tables."""
    settings: dict[str, Any] = {"lr": RATE.get(name, 0.01)}
    if hasattr(RULES[name], "eps"):
        settings["eps"] = eps
    return RULES[name](**settings), partial(OPTIMISERS[name], **settings)


pytestmark = pytest.mark.usefixtures("one_thread_in_double_precision")


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(n_users=12, n_items=9, n=63, seed=3)


def new_run(rule: Rule, ratings: Ratings, output: str, **solver: Any) -> Training:
    """A run of ``N_STEPS`` steps in float64, in the stored order, all rows moving."""
    batch_size = solver.setdefault("batch_size", BATCH)
    steps_per_epoch = 1 if batch_size is None else -(-len(ratings) // batch_size)
    assert N_STEPS % steps_per_epoch == 0
    settings = {"order": "stored", "schedule": "constant", "semantics": "dense"} | solver
    descent = GradientDescent(rule, n_epochs=N_STEPS // steps_per_epoch, n_threads=1, **settings)
    model = DotBias(n_factors=3, output=output, init_std=0.3)
    return Training(descent, model, ratings, seed=5, dtype=np.float64)


def leaves(training: Training) -> Tensors:
    """The starting parameters as torch tensors: p, q, b_u, b_i."""
    return [torch.tensor(table, requires_grad=True) for table in training.tables.values]


class Twin:
    """The same model and objective, written for autograd."""

    def __init__(self, ratings: Ratings, output: str) -> None:
        values = ratings.values.astype(np.float64)
        spread = values.std()
        mean = float(np.float32(values.mean()))  # a model stores its mean in single precision
        self.sigmoid = output == "sigmoid"
        self.low, self.width = 0.5 / spread, 5.0 / spread  # ratings 1 to 5, half a one of margin
        share = (mean - 0.5) / 5.0
        self.offset = np.log(share / (1 - share)) if self.sigmoid else mean / spread
        self.users = torch.tensor(ratings.user_indices.astype(np.int64))
        self.items = torch.tensor(ratings.item_indices.astype(np.int64))
        self.values = torch.tensor(values / spread)

    def batches(self, batch_size: int | None) -> Iterator[Any]:
        """The rows of each of the ``N_STEPS`` steps."""
        epoch = torch.arange(len(self.values)).split(batch_size or len(self.values))
        for step in range(N_STEPS):
            yield epoch[step % len(epoch)]

    def loss(self, p_u: Any, q_i: Any, b_u: Any, b_i: Any, rows: Any) -> Any:
        """Mean of half the squared error, given the batch's own rows of each table."""
        z = self.offset + b_u[:, 0] + b_i[:, 0] + (p_u * q_i).sum(1)
        predicted = self.low + self.width * torch.sigmoid(z) if self.sigmoid else z
        return 0.5 * ((predicted - self.values[rows]) ** 2).mean()

    def batch_loss(self, tables: Tensors, rows: Any) -> Any:
        p, q, b_u, b_i = tables
        u, i = self.users[rows], self.items[rows]
        return self.loss(p[u], q[i], b_u[u], b_i[i], rows)


def descend(
    twin: Twin,
    tables: Tensors,
    optimiser: Any,
    batch_size: int | None,
    *,
    penalty: Callable[[Tensors], Any] = lambda tables: 0.0,  # noqa: ARG005
    before_step: Callable[[int], None] = lambda step: None,  # noqa: ARG005
) -> Tensors:
    """The plain training loop of every PyTorch tutorial."""
    for step, rows in enumerate(twin.batches(batch_size)):
        optimiser.zero_grad()
        (twin.batch_loss(tables, rows) + penalty(tables)).backward()
        before_step(step)
        optimiser.step()
    return tables


def assert_same_tables(
    training: Training, tables: Tensors, start: Tensors, within: float = 1e-9
) -> None:
    for name, ours, theirs, first in zip(
        training.model.groups, training.tables.values, tables, start, strict=True
    ):
        expected, first = theirs.detach().numpy(), first.detach().numpy()
        moved = np.linalg.norm(expected - first)
        assert moved > 0.05 * np.linalg.norm(expected), f"{name} hardly moved: nothing was compared"
        difference = np.linalg.norm(ours - expected) / np.linalg.norm(expected)
        assert difference < within, f"{name} differs by {difference:.2g} of its norm"


def test_a_rule_that_torch_has_says_so() -> None:
    theirs = {name.lower() for name in vars(torch.optim)}
    assert RULES.keys() & theirs <= OPTIMISERS.keys()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_settings_start_from_the_defaults_of_torch(name: str) -> None:
    """All but the rates, unless the docstring says so."""
    rule, theirs = RULES[name](), OPTIMISERS[name]([torch.zeros(1, requires_grad=True)]).defaults
    names = {"psi": "momentum_decay", "rho": "rho" if "rho" in theirs else "alpha"}
    for field in fields(rule):
        if field.name in ("beta1", "beta2"):
            expected = theirs["betas"][int(field.name[-1]) - 1]
        elif field.name != "lr":
            expected = theirs[names.get(field.name, field.name)]
        else:
            continue
        assert getattr(rule, field.name) == expected, field.name


@pytest.mark.parametrize("decay", [0.0, 0.02], ids=["bare", "decay"])
@pytest.mark.parametrize("output", ["linear", "sigmoid"])
@pytest.mark.parametrize("batch_size", [None, BATCH], ids=["full", "batches"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_rule_equals_that_of_torch(
    ratings: Ratings, name: str, batch_size: int | None, output: str, decay: float
) -> None:
    """``weight_decay`` of torch is added to the gradient of a mean, ours to that of a sum."""
    rule, optimiser_of = make(name)
    weight_decay = WeightDecay(decay * len(ratings), per="row")
    run = new_run(rule, ratings, output, batch_size=batch_size, weight_decay=weight_decay)
    start, tables = leaves(run), leaves(run)
    optimiser = optimiser_of(tables, weight_decay=decay)
    descend(Twin(ratings, output), tables, optimiser, batch_size)
    assert_same_tables(run.run(), tables, start)


@pytest.mark.parametrize("output", ["linear", "sigmoid"])
@pytest.mark.parametrize("batch_size", [None, BATCH], ids=["full", "batches"])
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_decay_per_rating_is_a_penalty_that_grows_with_the_ratings_of_a_row(
    ratings: Ratings, name: str, batch_size: int | None, output: str
) -> None:
    amounts = {"user_factors": 0.1, "item_factors": 0.05, "user_bias": 0.3, "item_bias": 0.2}
    counts = [
        np.bincount(rows)[:, None] for rows in (ratings.user_indices, ratings.item_indices)
    ] * 2
    shares = [
        torch.tensor(amount * n / len(ratings))
        for amount, n in zip(amounts.values(), counts, strict=True)
    ]

    def penalty(tables: Tensors) -> Any:
        return sum((0.5 * s * t**2).sum() for s, t in zip(shares, tables, strict=True))

    rule, optimiser_of = make(name)
    weight_decay = WeightDecay(amounts, per="rating")
    run = new_run(rule, ratings, output, batch_size=batch_size, weight_decay=weight_decay)
    start, tables = leaves(run), leaves(run)
    descend(Twin(ratings, output), tables, optimiser_of(tables), batch_size, penalty=penalty)
    assert_same_tables(run.run(), tables, start)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adagrad"])
def test_decoupled_decay_shrinks_the_parameters_beside_the_step(
    ratings: Ratings, name: str
) -> None:
    decay, (rule, optimiser_of) = 0.05, make(name)
    weight_decay = WeightDecay(decay * len(ratings), per="row", decoupled=True)
    run = new_run(rule, ratings, "linear", weight_decay=weight_decay)
    start, tables = leaves(run), leaves(run)

    def shrink(step: int) -> None:  # noqa: ARG001
        with torch.no_grad():
            for table in tables:
                table *= 1 - RATE[name] * decay

    descend(Twin(ratings, "linear"), tables, optimiser_of(tables), BATCH, before_step=shrink)
    assert_same_tables(run.run(), tables, start)


def test_adamw_with_coupled_decay_is_adam(ratings: Ratings) -> None:
    weight_decay = WeightDecay(0.02 * len(ratings), per="row", decoupled=False)
    run = new_run(make("adamw")[0], ratings, "linear", weight_decay=weight_decay)
    start, tables = leaves(run), leaves(run)
    optimiser = make("adam")[1](tables, weight_decay=0.02)
    descend(Twin(ratings, "linear"), tables, optimiser, BATCH)
    assert_same_tables(run.run(), tables, start)


def test_lazy_adam_equals_sparse_adam(ratings: Ratings) -> None:
    """SparseAdam adds ``ε`` before it corrects ``v``; with 1e-12 the place no longer matters."""
    rule, _ = make("adam", eps=1e-12)
    run = new_run(rule, ratings, "linear", semantics="lazy", weight_decay=0.0, batch_size=8)
    twin, start = Twin(ratings, "linear"), leaves(run)
    p, q, b_u, b_i = layers = [
        torch.nn.Embedding.from_pretrained(table.detach().clone(), freeze=False, sparse=True)
        for table in start
    ]
    weights = [layer.weight for layer in layers]
    optimiser = torch.optim.SparseAdam(weights, lr=0.01, eps=1e-12)
    for rows in twin.batches(8):
        optimiser.zero_grad()
        u, i = twin.users[rows], twin.items[rows]
        twin.loss(p(u), q(i), b_u(u), b_i(i), rows).backward()
        optimiser.step()
    assert_same_tables(run.run(), weights, start, within=1e-5)
    dense = new_run(rule, ratings, "linear", weight_decay=0.0, batch_size=8).run()
    with pytest.raises(AssertionError, match="differs"):
        assert_same_tables(dense, weights, start, within=1e-3)


def test_clipping_shortens_the_gradient_of_all_tables_together(ratings: Ratings) -> None:
    """PyTorch adds 1e-6 to the norm by which it divides."""
    largest = 0.3
    run = new_run(SGD(lr=0.1), ratings, "linear", clip=largest, weight_decay=0.0)
    start, tables = leaves(run), leaves(run)
    norms = []

    def clip(step: int) -> None:  # noqa: ARG001
        norms.append(float(torch.nn.utils.clip_grad_norm_(tables, largest)))

    descend(
        Twin(ratings, "linear"), tables, torch.optim.SGD(tables, lr=0.1), BATCH, before_step=clip
    )
    assert_same_tables(run.run(), tables, start, within=1e-5)
    clipped = np.mean(np.array(norms) > largest)
    assert 0.1 < clipped < 0.9


@pytest.mark.parametrize("name", ["momentum", "nesterov", "adam"])
def test_one_cycle_moves_rate_and_momentum_at_each_step(ratings: Ratings, name: str) -> None:
    schedule, (rule, optimiser_of) = OneCycle(), make(name)
    run = new_run(rule, ratings, "linear", schedule=schedule, weight_decay=0.0)
    start, tables = leaves(run), leaves(run)
    optimiser = optimiser_of(tables)
    n_epochs = N_STEPS // 4
    moments = np.array([e + BATCH * b / len(ratings) for e in range(n_epochs) for b in range(4)])
    factors, momenta = schedule.lr(moments, n_epochs), schedule.momentum(moments, n_epochs)
    assert np.ptp(momenta) > 0.09

    def follow(step: int) -> None:
        (group,) = optimiser.param_groups
        group["lr"] = rule.top_rate * factors[step]
        if "betas" in group:
            group["betas"] = (momenta[step], group["betas"][1])
        else:
            group["momentum"] = momenta[step]

    descend(Twin(ratings, "linear"), tables, optimiser, BATCH, before_step=follow)
    assert_same_tables(run.run(), tables, start)
