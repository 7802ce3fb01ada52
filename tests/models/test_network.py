"""A module of one's own through the whole toolkit; files; what networks do not have."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import dotbias as db
from dotbias.data.ratings import Ratings
from dotbias.errors import ModelFileError, SettingError
from tests.ratings import random_ratings

torch = pytest.importorskip("torch", reason="PyTorch, which networks need, is not installed")

from torch import nn  # noqa: E402


class TwoTowers(nn.Module):
    """A module of a user's own."""

    def __init__(self, n_users: int, n_items: int) -> None:
        super().__init__()
        self.user_factors = nn.Embedding(n_users, 6)
        self.item_factors = nn.Embedding(n_items, 6)
        self.tower = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 6))

    def forward(self, user: Any, item: Any) -> Any:
        return 3 + (self.tower(self.user_factors(user)) * self.item_factors(item)).sum(1)


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return db.simulate(120, 60, 4000, n_factors=2, seed=1)[0]


SOLVER = db.GradientDescent(db.Adam(lr=0.01), n_epochs=4, batch_size=64)


@pytest.fixture(scope="module")
def rec(ratings: Ratings) -> db.Recommender:
    return db.fit(ratings.split(0.1, seed=1)[0], db.Network(TwoTowers), SOLVER)


def test_a_module_of_ones_own_is_a_model_in_three_lines(rec, ratings):
    assert db.evaluate(rec, ratings.split(0.1, seed=1)[1]).rmse < ratings.std
    assert rec.recommend(1, k=3).height == 3
    assert rec.similar(2, k=3).height == 3  # by the embedding named item_factors
    assert np.isfinite(rec.predict(["nobody", "1"], [1, 2])).all()
    module = rec.to_torch()
    assert isinstance(module, TwoTowers)
    assert not module.training
    rating = module(torch.tensor([3]), torch.tensor([5])).item()
    low, high = rec.parameters["scale"]
    u, i = rec.user_vocabulary.raw(3), rec.item_vocabulary.raw(5)
    assert np.clip(rating, low, high) == pytest.approx(rec.predict(u, i), abs=1e-6)


def test_it_is_in_the_finder_and_in_the_race(ratings):
    model = db.Network(TwoTowers)
    curve = db.lr_find(model, SOLVER, ratings, n_trials=2)
    assert curve.suggestion is not None
    outcome = db.race(
        ratings, [db.Adam(), db.SGD()], model, SOLVER, rates={"adam": 0.01, "sgd": 0.1}
    )
    assert [r.state for r in outcome.runners] == ["done", "done"]
    assert "Network" in outcome.protocol


def test_the_range_test_puts_a_network_back_bit_for_bit(ratings):
    from dotbias.tuning.lr_finder import range_test

    solver = db.GradientDescent(db.Adam(lr=1.0), n_epochs=3, batch_size=64, validation_size=0.1)
    swept, still = (solver.start(db.Network(TwoTowers), ratings, seed=2) for _ in range(2))
    losses, _ = range_test(swept, np.geomspace(1e-4, 1e-1, 10))
    assert len(losses) >= 5
    swept.solver = still.solver = solver
    for name, array in still.state().items():
        np.testing.assert_array_equal(array, swept.state()[name])
    np.testing.assert_array_equal(
        still.run(1).parameters()["tower.0.weight"], swept.run(1).parameters()["tower.0.weight"]
    )


def test_a_file_holds_its_parameters_and_no_code(rec, tmp_path):
    path = tmp_path / "own.dotbias"
    rec.save(path)
    with pytest.raises(
        ModelFileError, match=r"holds a network of one's own, TwoTowers, and no code"
    ):
        db.Recommender.load(path)
    again = db.Recommender.load(path, model=db.Network(TwoTowers))
    np.testing.assert_array_equal(again.predict([1, 2], [3, 4]), rec.predict([1, 2], [3, 4]))
    with pytest.raises(ModelFileError, match="holds a Network, not a DotBias"):
        db.Recommender.load(path, model=db.DotBias())
    with pytest.raises(ModelFileError, match="the module is not the one that was fitted: missing"):
        db.Recommender.load(path, model=db.Network(nn.Embedding))
    assert rec.info()["settings"] == {"make": "TwoTowers", "masked": 0.02}


@pytest.mark.parametrize("batch_norm", [False, True])
def test_an_embedding_net_comes_back_from_its_file(batch_norm, ratings, tmp_path):
    model = db.EmbeddingNet(n_factors=(3, 5), hidden=(4, 2), batch_norm=batch_norm)
    rec = db.fit(ratings, model, SOLVER)
    rec.save(tmp_path / "net.dotbias")
    again = db.Recommender.load(tmp_path / "net.dotbias")
    assert again.model == model
    for name, array in rec.parameters.items():
        np.testing.assert_array_equal(array.ravel(), again.parameters[name].ravel())
    np.testing.assert_array_equal(again.predict([1, 2], [3, 4]), rec.predict([1, 2], [3, 4]))


def test_networks_say_what_they_do_not_have(rec, ratings):
    with pytest.raises(SettingError, match="Network has no biases to rank items by"):
        rec.item_bias_ranking()
    for act in (
        lambda: rec.fold_in_user({1: 4.0}),
        lambda: rec.fold_in_item({1: 4.0}),
        lambda: rec.partial_fit(ratings),
    ):
        with pytest.raises(SettingError, match=r"Network .* items and ratings can be added"):
            act()
    with pytest.raises(SettingError, match="ALS estimates DotBias, not Network"):
        db.fit(ratings, db.Network(TwoTowers), db.ALS())
    with pytest.raises(SettingError, match="Baseline has no form in PyTorch"):
        db.fit(ratings, db.Baseline()).to_torch()


def test_a_network_without_item_factors_has_no_similar_items():
    class Mean(nn.Module):
        def __init__(self, *_: int) -> None:
            super().__init__()
            self.mean = nn.Parameter(torch.full((1,), 3.0))

        def forward(self, user: Any, _item: Any) -> Any:
            return self.mean.expand(len(user))

    ratings = random_ratings(n_users=30, n_items=20, n=300, seed=3)
    rec = db.fit(ratings, db.Network(Mean), SOLVER)
    with pytest.raises(SettingError, match="Network has no embeddings to compare items by"):
        rec.similar(1)


def test_names_of_constants_are_taken():
    class Taken(nn.Module):
        def __init__(self, *_: int) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.zeros(1))

    with pytest.raises(SettingError, match="must not have a parameter or buffer named 'scale'"):
        db.Network(Taken).initialise(
            random_ratings(n_users=3, n_items=3, n=6, seed=0), np.random.default_rng(0)
        )


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
import dotbias as db
ratings, _ = db.simulate(50, 40, 1000, seed=1)
rec = db.fit(ratings, db.DotBias(n_factors=2))
for act in (lambda: db.fit(ratings, db.EmbeddingNet()), rec.to_torch):
    try:
        act()
    except db.SettingError as error:
        assert '[torch]"' in str(error), error
    else:
        raise AssertionError("nothing was refused")
"""


def test_without_the_extra_the_error_names_the_command():
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH], check=True)
