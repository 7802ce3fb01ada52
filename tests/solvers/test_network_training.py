"""Training networks: against the compiled solver, against plain PyTorch, and what can go wrong."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import dotbias as db
from dotbias.data.ratings import Ratings
from dotbias.solvers.rules import RULES
from dotbias.solvers.training import Training
from tests.ratings import random_ratings

torch = pytest.importorskip("torch", reason="PyTorch, which trains networks, is not installed")

from torch import nn  # noqa: E402

from dotbias.solvers.network_training import NetworkTraining  # noqa: E402

N_FACTORS = 4
RATINGS = random_ratings(n_users=12, n_items=9, n=63, seed=3)
SPREAD, MEAN = RATINGS.spread, float(np.float32(RATINGS.global_mean))


@pytest.fixture(autouse=True)
def one_thread_in_double_precision() -> Iterator[None]:
    """NAdam keeps its product in the default precision; small tensors are slower when shared out."""
    n_threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_num_threads(n_threads)
    torch.set_default_dtype(dtype)


@pytest.fixture
def ratings() -> Ratings:
    return RATINGS


class DotBiasNet(nn.Module):
    """The shallow model as a module of one's own, in the units of the ratings' spread."""

    def __init__(self, n_users: int, n_items: int) -> None:
        super().__init__()
        self.user_factors = nn.Embedding(n_users, N_FACTORS)
        self.item_factors = nn.Embedding(n_items, N_FACTORS)
        self.user_bias, self.item_bias = nn.Embedding(n_users, 1), nn.Embedding(n_items, 1)

    def forward(self, user: Any, item: Any) -> Any:
        dot = (self.user_factors(user) * self.item_factors(item)).sum(1)
        z = dot + self.user_bias(user)[:, 0] + self.item_bias(item)[:, 0]
        return MEAN + SPREAD * z


def solver(rule: str, **settings: Any) -> db.GradientDescent:
    made = RULES[rule]
    rate = {"sgd": 0.1, "momentum": 0.02, "nesterov": 0.02, "adadelta": 1.0}.get(rule, 0.01)
    # A large ε dampens what rounding becomes in rules that divide by small gradients.
    eps = {"eps": 0.01} if hasattr(made, "eps") else {}
    given = {"batch_size": 16, "n_epochs": 25, "order": "stored", "weight_decay": 0.0, **settings}
    return db.GradientDescent(made(lr=rate, **eps), **given)


def both(descent: db.GradientDescent, ratings: Ratings) -> tuple[Any, Any]:
    """The compiled run and the network's, from the same starting parameters."""
    compiled = Training(
        replace(descent, device=None),
        db.DotBias(n_factors=N_FACTORS, init_std=0.3),
        ratings,
        dtype=np.float64,
    )
    decay = descent.weight_decay
    if isinstance(decay, dict):  # by the names that networks have
        descent = replace(
            descent,
            weight_decay={"embeddings": decay["user_factors"], "biases": decay["user_bias"]},
        )
    network = NetworkTraining(
        descent, db.Network(DotBiasNet, masked=0.0), ratings, dtype=np.float64
    )
    start = dict(zip(compiled.model.groups, compiled.tables.values, strict=True))
    with torch.no_grad():
        for name, table in start.items():
            weight = network.module.get_parameter(f"{name}.weight")
            weight[:-1] = torch.tensor(table.reshape(len(table), -1))
            weight[-1] = 0
    return compiled, network


def assert_same_tables(compiled: Any, network: Any, rtol: float = 1e-9) -> None:
    for name, table in zip(compiled.model.groups, compiled.tables.values, strict=True):
        ours = network.module.get_parameter(f"{name}.weight").detach().numpy()[:-1]
        theirs = table.reshape(len(table), -1)
        assert np.linalg.norm(ours - theirs) < rtol * np.linalg.norm(theirs), name


@pytest.mark.parametrize("semantics", ["lazy", "dense"])
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_does_to_a_network_what_it_does_to_the_compiled_model(rule, semantics, ratings):
    compiled, network = both(solver(rule, semantics=semantics), ratings)
    assert_same_tables(compiled.run(), network.run())
