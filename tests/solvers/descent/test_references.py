"""Rules that ``torch.optim`` does not have, against other programs, mostly of their authors, in float64.

The same runs and the same measure as in ``test_torch``. What nobody offers for PyTorch is written here
from the paper.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dotbias.data.ratings import Ratings
from dotbias.models import DotBias
from dotbias.solvers.decay import WeightDecay
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.rules import (
    LAMB,
    LARS,
    DoG,
    Prodigy,
    RowAdagrad,
    Rule,
    ScheduleFreeAdamW,
    ScheduleFreeSGD,
)
from tests.ratings import random_ratings

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
schedulefree = pytest.importorskip("schedulefree")
prodigyopt = pytest.importorskip("prodigyopt")
pytorch_optimizer = pytest.importorskip("pytorch_optimizer")

from tests.solvers.descent.test_torch import (  # noqa: E402
    BATCH,
    EPS,
    Tensors,
    Twin,
    assert_same_tables,
    descend,
    leaves,
    new_run,
)

pytestmark = pytest.mark.usefixtures("one_thread_in_double_precision")

batches = pytest.mark.parametrize("batch_size", [None, BATCH], ids=["full", "batches"])


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(n_users=12, n_items=9, n=63, seed=3)


class Each:
    """An optimiser of its own for each of some parameters."""

    def __init__(self, make: Callable[[Tensors], Any], parameters: Tensors) -> None:
        self.all = [make([parameter]) for parameter in parameters]

    def zero_grad(self) -> None:
        for optimiser in self.all:
            optimiser.zero_grad()

    def step(self) -> None:
        for optimiser in self.all:
            optimiser.step()


class ByHand:
    """Moves tables by a function of a table, its gradient and what is kept of it."""

    def __init__(self, move: Callable[[Any, Any, dict[str, Any]], Any], tables: Tensors) -> None:
        self.move, self.tables, self.kept = move, tables, [{} for _ in tables]

    def zero_grad(self) -> None:
        for table in self.tables:
            table.grad = None

    def step(self) -> None:
        with torch.no_grad():
            for table, kept in zip(self.tables, self.kept, strict=True):
                table -= self.move(table, table.grad, kept)


class Rows(ByHand):
    """An optimiser that is handed each row of a table as a parameter of its own."""

    def __init__(self, make: Callable[[Tensors], Any], tables: Tensors) -> None:
        def move(table: Any, gradient: Any, kept: dict[str, Any]) -> Any:
            if not kept:
                # A bias is a vector to it, an embedding a matrix of one row.
                kept["rows"] = [
                    torch.nn.Parameter(row.clone()[None] if len(row) > 1 else row.clone())
                    for row in table
                ]
                kept["optimiser"] = make(kept["rows"])
            for row, g in zip(kept["rows"], gradient, strict=True):
                row.grad = g.clone().reshape(row.shape)
            kept["optimiser"].step()
            return table - torch.cat([row.reshape(1, -1) for row in kept["rows"]])

        super().__init__(move, tables)


def check(
    rule: Rule, optimiser_of: Any, ratings: Ratings, batch_size: int | None, within: float = 1e-9
) -> tuple[Any, Any, Any]:
    """Both runs, having seen that their tables are the same; ours, the optimiser and its tables."""
    run = new_run(rule, ratings, "linear", batch_size=batch_size, weight_decay=0.0)
    start, tables = leaves(run), leaves(run)
    optimiser = optimiser_of(tables)
    descend(Twin(ratings, "linear"), tables, optimiser, batch_size)
    assert_same_tables(run.run(), tables, start, within)
    return run, optimiser, tables


@batches
def test_row_wise_adagrad_is_that_of_dlrm(ratings: Ratings, batch_size: int | None) -> None:
    """``RWSAdagrad``, whose moments are means of squares over a row."""

    def move(table: Any, g: Any, kept: dict[str, Any]) -> Any:  # noqa: ARG001
        kept["moment"] = kept.get("moment", 0) + g.pow(2).mean(dim=1)
        return 0.1 * g / (kept["moment"].sqrt() + EPS)[:, None]

    run, *_ = check(
        RowAdagrad(lr=0.1, eps=EPS), lambda tables: ByHand(move, tables), ratings, batch_size
    )
    assert [state.shape for state in run.tables.states] == [(1, n, 1) for n in (12, 9, 12, 9)]


@batches
def test_lars_is_that_of_pytorch_optimizer(ratings: Ratings, batch_size: int | None) -> None:
    """At a rate at which its steps, which do not shorten by themselves, do not leap to and fro."""

    def make(rows: Tensors) -> Any:
        return pytorch_optimizer.LARS(rows, lr=0.001, momentum=0.9, trust_coefficient=1.0)

    check(LARS(lr=0.001), lambda tables: Rows(make, tables), ratings, batch_size)


@batches
@pytest.mark.parametrize("decay", [0.0, 0.02], ids=["bare", "decay"])
def test_lamb_is_the_way_of_adam_at_a_length_of_its_own(
    ratings: Ratings, decay: float, batch_size: int | None
) -> None:
    """That of ``torch.optim.Adam`` at a rate of 1."""

    def move(table: Any, g: Any, kept: dict[str, Any]) -> Any:
        if not kept:
            kept["at"] = torch.nn.Parameter(table.clone())
            kept["adam"] = torch.optim.Adam([kept["at"]], lr=1.0, eps=EPS)
        before = kept["at"].detach().clone()
        kept["at"].grad = g.clone()
        kept["adam"].step()
        way = before - kept["at"].detach() + decay * table
        if table.shape[1] > 1:
            length = way.norm(dim=1)
            ratio = torch.where(length > 0, table.norm(dim=1) / length, 1.0)
            way = way * ratio[:, None]
        return 0.01 * way

    weight_decay = WeightDecay(decay * len(ratings), per="row", decoupled=True)
    rule = LAMB(lr=0.01, eps=EPS)
    run = new_run(rule, ratings, "linear", batch_size=batch_size, weight_decay=weight_decay)
    start, tables = leaves(run), leaves(run)
    descend(Twin(ratings, "linear"), tables, ByHand(move, tables), batch_size)
    assert_same_tables(run.run(), tables, start)


def same_average(run: Any, optimiser: Any, tables: Tensors) -> None:
    """What is predicted with is the average, as their ``eval`` puts it in place."""
    optimiser.eval()
    units = run._units.values()
    for name, unit, table in zip(run.model.groups, units, tables, strict=True):
        ours, theirs = run.parameters()[name], float(unit) * table.detach().numpy()
        np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, rtol=1e-5, atol=1e-6)
    moved = [t.detach().numpy() - v for t, v in zip(tables, run.tables.values, strict=True)]
    assert max(abs(m).max() for m in moved) > 1e-3, "the average is where gradients are taken"


@batches
@pytest.mark.parametrize("beta", [0.9, 0.5])
def test_schedule_free_descent_is_its_authors(
    ratings: Ratings, beta: float, batch_size: int | None
) -> None:
    def make(tables: Tensors) -> Any:
        optimiser = schedulefree.SGDScheduleFree(tables, lr=0.1, momentum=beta)
        optimiser.train()
        return optimiser

    same_average(*check(ScheduleFreeSGD(lr=0.1, beta=beta), make, ratings, batch_size))


@batches
@pytest.mark.parametrize("decay", [0.0, 0.02], ids=["bare", "decay"])
def test_schedule_free_adamw_is_its_authors(
    ratings: Ratings, decay: float, batch_size: int | None
) -> None:
    rule = ScheduleFreeAdamW(lr=0.01, eps=EPS)
    weight_decay = WeightDecay(decay * len(ratings), per="row")
    run = new_run(rule, ratings, "linear", batch_size=batch_size, weight_decay=weight_decay)
    start, tables = leaves(run), leaves(run)
    optimiser = schedulefree.AdamWScheduleFree(
        tables, lr=0.01, betas=(0.9, 0.999), eps=EPS, weight_decay=decay
    )
    optimiser.train()
    descend(Twin(ratings, "linear"), tables, optimiser, batch_size)
    assert_same_tables(run.run(), tables, start)
    same_average(run, optimiser, tables)


@batches
def test_prodigy_is_its_authors(ratings: Ratings, batch_size: int | None) -> None:
    """With an ``ε`` so small that the ``d`` beside it does not matter."""

    def make(tables: Tensors) -> Any:
        return Each(lambda one: prodigyopt.Prodigy(one, lr=0.3, eps=1e-14), tables)

    run, optimiser, _ = check(Prodigy(lr=0.3, eps=1e-14), make, ratings, batch_size, within=1e-6)
    theirs = [each.param_groups[0]["d"] for each in optimiser.all]
    np.testing.assert_allclose([group[0] for group in run._groups], theirs, rtol=1e-6)
    assert min(theirs) > 1e-3, "nothing was estimated"


@batches
def test_distance_over_gradients_is_its_equation(ratings: Ratings, batch_size: int | None) -> None:
    """With the gradients of the steps before."""

    def move(table: Any, g: Any, kept: dict[str, Any]) -> Any:
        if not kept:
            kept |= {"first": table.clone(), "d": 1e-4 * (1 + table.norm()), "squares": 0.0}
            step = torch.zeros_like(table)
        else:
            kept["d"] = max(kept["d"], (table - kept["first"]).norm())
            step = kept["d"] / (kept["squares"] + 1e-8) ** 0.5 * g
        kept["squares"] += (g * g).sum()
        return step

    check(DoG(start=1e-4), lambda tables: ByHand(move, tables), ratings, batch_size)


def test_an_average_moves_with_the_steps_of_its_own_row() -> None:
    """With the steps of the run in the weights, seldom rated rows stayed where they had begun."""
    ratings = random_ratings(n_users=40, n_items=30, n=600, seed=0)
    solver = GradientDescent(ScheduleFreeSGD(lr=0.1), n_epochs=20)
    parameters, _ = solver.fit(DotBias(n_factors=2), ratings)
    plain, _ = GradientDescent(n_epochs=20).fit(DotBias(n_factors=2), ratings)
    length = np.linalg.norm(parameters["user_bias"])
    assert length > 0.5 * np.linalg.norm(plain["user_bias"])
