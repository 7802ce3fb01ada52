"""What ``curvature`` says about fits of every kind of model."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

import dotbias as db
from dotbias.errors import DataError, SettingError
from dotbias.insight.curvature import curvature, loss_surface
from tests.ratings import normal_ratings

DESCENT = db.GradientDescent(db.SGD(lr=0.05), n_epochs=20)


class Wide(nn.Module):
    """A module of one's own, with a hidden layer."""

    def __init__(self, n_users: int, n_items: int) -> None:
        super().__init__()
        self.user, self.item_factors = nn.Embedding(n_users, 2), nn.Embedding(n_items, 2)
        self.hidden, self.output = nn.Linear(4, 3), nn.Linear(3, 1)

    def forward(self, user, item):
        joined = torch.cat([self.user(user), self.item_factors(item)], dim=1)
        return 3 + self.output(torch.tanh(self.hidden(joined)))[:, 0]


@pytest.fixture(scope="module")
def ratings():
    return normal_ratings(30, 20, 300, noise=0.4, seed=2)


FITS = {
    "linear": (db.DotBias(n_factors=2), DESCENT),
    "sigmoid": (db.DotBias(n_factors=2, output="sigmoid"), DESCENT),
    "net": (
        db.EmbeddingNet(n_factors=2, hidden=(3,)),
        db.GradientDescent(db.Adam(lr=0.01), n_epochs=6, batch_size=32),
    ),
    "own": (db.Network(Wide), db.GradientDescent(db.Adam(lr=0.01), n_epochs=6, batch_size=32)),
}


@pytest.fixture(scope="module")
def recs(ratings):
    return {name: db.fit(ratings, *fit, seed=0) for name, fit in FITS.items()}


@pytest.fixture(scope="module")
def minimum(ratings):
    """A fit that has come to its minimum."""
    return db.fit(ratings, db.DotBias(n_factors=2), db.ALS(n_iterations=200), seed=0)


@pytest.fixture(scope="module")
def found(recs, ratings):
    return {
        name: curvature(rec, ratings, FITS[name][1], n_probes=1, n_steps=8)
        for name, rec in recs.items()
    }


every_fit = pytest.mark.parametrize("name", FITS)


@every_fit
def test_eigenvalues_are_those_of_the_full_matrices(name, recs, ratings, found):
    surface = loss_surface(recs[name], ratings, FITS[name][1])
    seen = found[name]
    for matrix, largest, smallest in (
        (surface.hessian(), seen.largest, seen.smallest),
        (surface.gauss_newton(), seen.gauss_newton_largest, seen.gauss_newton_smallest),
    ):
        dense = np.linalg.eigvalsh(matrix)
        error = 1e-3 * dense[-1]
        assert largest == pytest.approx(dense[::-1][:3], abs=error)
        # Where they stand close, a search that is not exact may pass one over.
        assert smallest[0] == pytest.approx(dense[0], abs=error)
        assert np.abs(smallest[:, None] - dense).min(axis=1) == pytest.approx(0, abs=error)
    assert seen.stable_rate == pytest.approx(2 / dense_top(surface), rel=1e-3)


def dense_top(surface):
    return np.linalg.eigvalsh(surface.hessian())[-1]


@pytest.mark.parametrize("output", ["linear", "sigmoid"])
@pytest.mark.parametrize("per", ["rating", "row"])
def test_the_loss_of_dot_bias_is_the_objective(output, per, ratings):
    """Row by row the decay, and unit by unit the parameters, are those of the solvers."""
    amount = {"user_factors": 0.1, "item_factors": 0.2, "user_bias": 0.3, "item_bias": 0.4}
    decay = db.WeightDecay(amount, per=per)
    solver = replace(DESCENT, weight_decay=decay)
    rec = db.fit(ratings, db.DotBias(n_factors=2, output=output), solver)
    wanted = db.objective(rec.model, rec.parameters, ratings, weight_decay=decay)
    for given in (solver, None):  # the model says itself with which decay it was fitted
        loss = loss_surface(rec, ratings, given).loss()
        assert loss * len(ratings) * ratings.std**2 == pytest.approx(wanted, rel=1e-6)


def predictions(rec, ratings):
    """Before they are cut off at the ends of the scale."""
    pairs = (torch.tensor(a).long() for a in (ratings.user_indices, ratings.item_indices))
    return rec.to_torch()(*pairs).detach().numpy()


def test_another_solver_means_another_decay(recs, ratings):
    free = replace(DESCENT, weight_decay=0)
    error = predictions(recs["linear"], ratings) - ratings.values
    wanted = 0.5 * np.mean((error / ratings.std) ** 2)
    assert loss_surface(recs["linear"], ratings, free).loss() == pytest.approx(wanted, rel=1e-6)
    assert loss_surface(recs["linear"], ratings).loss() > 1.02 * wanted


def test_the_decay_of_a_network_counts_a_row_for_each_of_its_ratings(recs, ratings):
    amounts = {"embeddings": 0.3, "hidden": 0.2, "output": 0.1, "biases": 0.05}
    solver = replace(FITS["own"][1], weight_decay=amounts)
    surface = loss_surface(recs["own"], ratings, solver)
    decay = surface.by_name(surface.decay)
    assert np.allclose(decay["user.weight"][:-1, 0], 0.3 * ratings.user_counts / len(ratings))
    assert np.allclose(decay["item_factors.weight"][:-1, 1], 0.3 * ratings.item_counts / 300)
    assert not decay["user.weight"][-1].any()  # the unknown have no ratings
    assert (decay["hidden.weight"] == 0.2).all()
    assert (decay["output.weight"] == 0.1).all()
    assert (decay["hidden.bias"] == 0.05).all()


def test_a_full_batch_step_follows_the_gradient(ratings):
    """It is the gradient that dotbias's own descent takes, units and decay included."""
    solver = db.GradientDescent(
        db.SGD(lr=0.5), batch_size=None, n_epochs=1, schedule="constant", weight_decay=0.2
    )
    model = db.DotBias(n_factors=2, init_std=0.5)
    before = model.initialise(ratings, np.random.default_rng(0))
    start = db.Recommender.of(model, before, ratings)
    surface = loss_surface(start, ratings, solver)
    moved = surface.by_name(surface.w - 0.5 * surface.gradient())
    after, _ = solver.fit(model, ratings, seed=0)
    for name, unit in model.units(ratings.std).items():
        assert np.allclose(after[name], moved[name] * unit, rtol=0, atol=1e-6)
        assert np.abs(after[name] - before[name]).max() > 1e-3


def test_gradient_norms_are_given_by_group(found):
    assert list(found["linear"].gradient_norms) == list(db.DotBias.groups)
    assert set(found["net"].gradient_norms) == {"embeddings", "hidden", "output", "biases"}


def test_gauss_newton_has_no_negative_eigenvalue(found):
    for seen in found.values():
        assert seen.gauss_newton_smallest[0] > -1e-12


def test_an_unfinished_fit_is_no_minimum_and_says_so(found):
    for name in ("linear", "net"):
        assert found[name].smallest[0] < 0
        assert not found[name].is_minimum
        assert "Not a minimum: the smallest eigenvalue is negative" in str(found[name])


def test_a_minimum_is_flat_where_embeddings_can_be_rotated(minimum, ratings):
    seen = curvature(minimum, ratings, n_probes=1, n_steps=8)
    assert seen.is_minimum
    assert "No direction was found in which the loss curves downward" in str(seen)
    assert max(seen.gradient_norms.values()) < 1e-4
    # Two factors can be turned in one way.
    assert abs(seen.smallest[0]) < 1e-4 * seen.largest[0] < seen.smallest[1]


def test_full_batch_descent_diverges_where_the_largest_eigenvalue_says(minimum, ratings):
    seen = curvature(minimum, ratings, n_probes=1, n_steps=8, find_rates=True)
    assert 0.95 * seen.stable_rate < seen.divergence_rate < 1.1 * seen.stable_rate
    assert 0.1 * seen.stable_rate < seen.finder_rate < 2 * seen.stable_rate
    assert f"diverges from {seen.divergence_rate:.3g}" in str(seen)


def test_a_network_has_its_rates_too(recs, ratings):
    solver = replace(FITS["own"][1], n_epochs=3)
    seen = curvature(recs["own"], ratings, solver, n_probes=1, n_steps=4, find_rates=True)
    assert 0.3 * seen.stable_rate < seen.divergence_rate < 3 * seen.stable_rate
    assert seen.finder_rate is None or seen.finder_rate > 0


def test_without_being_asked_there_is_no_fit(found):
    assert found["linear"].finder_rate is None
    assert found["linear"].divergence_rate is None
    assert "diverges" not in str(found["linear"])


def test_the_slice_has_the_curvature_of_its_directions(found):
    seen = found["linear"]
    middle = len(seen.slice.x) // 2
    heights = seen.slice.heights
    assert heights[middle, middle] == pytest.approx(seen.loss)
    for steps, losses, value in (
        (seen.slice.x, heights[middle], seen.largest[0]),
        (seen.slice.y, heights[:, middle], seen.largest[1]),
    ):
        around = losses[middle - 1] - 2 * losses[middle] + losses[middle + 1]
        assert around / (steps[1] - steps[0]) ** 2 == pytest.approx(value, rel=0.02)


def test_the_same_seed_gives_the_same_bits(recs, ratings):
    first, again = (
        curvature(recs["own"], ratings, n_probes=1, n_steps=4, seed=3) for _ in range(2)
    )
    assert first.to_dict() == again.to_dict()


def test_ratings_may_have_other_indices(recs, ratings):
    """They go by their ids: here without the first users, so that all others move up."""
    kept = ratings.user_indices >= 5
    part = ratings.take(kept)
    assert part.user_indices.max() < ratings.user_indices.max()
    error = (predictions(recs["linear"], ratings) - ratings.values)[kept]
    wanted = 0.5 * np.mean((error / part.std) ** 2)
    free = replace(DESCENT, weight_decay=0)
    assert loss_surface(recs["linear"], part, free).loss() == pytest.approx(wanted, rel=1e-6)


def test_the_table_and_the_plain_data_hold_the_same(found):
    seen = found["linear"]
    table = dict(seen.frame().rows())
    plain = json.loads(json.dumps(seen.to_dict(), allow_nan=False))
    assert table["largest eigenvalue 1"] == plain["hessian"]["largest"][0] == seen.largest[0]
    assert table["smallest of Gauss-Newton 3"] == plain["gauss_newton"]["smallest"][2]
    assert table["gradient norm, item_bias"] == plain["gradient_norms"]["item_bias"]
    assert table["stable rate 2/largest"] == plain["rates"]["stable"] == 2 / seen.largest[0]
    assert table["mean eigenvalue"] == plain["mean_eigenvalue"]
    assert seen.frame().schema == {"quantity": pl.String, "value": pl.Float64}


@every_fit
def test_every_fit_can_be_drawn(name, found, tmp_path):
    pytest.importorskip("matplotlib")
    picture, surface = found[name].picture(), found[name].surface()
    spectrum, along = picture.panels
    assert [mark.x for mark in spectrum.marks] == [found[name].smallest[0], found[name].largest[0]]
    assert {line.name for line in along.lines} == {
        "steepest direction",
        "second direction",
        "slope and curvature alone",
    }
    for drawn, file in ((picture, "a.png"), (surface, "b.png")):
        assert drawn.save(tmp_path / file).stat().st_size > 10_000


def test_the_parabola_of_a_direction_touches_the_loss(found):
    """Slope and curvature come from derivatives, the points from the loss itself."""
    _, along = found["net"].picture().panels
    for points, bowl in zip(along.lines[::2], along.lines[1::2], strict=True):
        middle = len(points.x) // 2
        near = slice(middle - 1, middle + 2)
        wanted = np.interp(points.x[near], bowl.x, bowl.y)
        rise = np.ptp(points.y)
        assert np.allclose(points.y[near], wanted, atol=0.05 * rise)


# Mistakes.


def test_ratings_that_the_model_does_not_know(recs):
    strange = db.Ratings.from_columns([0, 99], [0, 1], [3.0, 4.0])
    with pytest.raises(DataError, match="the model does not know the user 99"):
        curvature(recs["linear"], strange)


def test_a_model_without_a_form_in_pytorch(ratings):
    with pytest.raises(SettingError, match="Baseline has no form in PyTorch"):
        curvature(db.fit(ratings, db.Baseline()), ratings)


def test_a_fit_that_does_not_say_how_it_was_shrunk(ratings):
    rec = db.fit(ratings, db.DotBias(n_factors=2), db.Gibbs(n_samples=4, burn_in=1, n_factors=2))
    with pytest.raises(SettingError, match="does not say which weight decay it was fitted with"):
        curvature(rec, ratings)
    assert curvature(rec, ratings, DESCENT, n_probes=1, n_steps=2).loss > 0


def test_a_loss_that_is_not_finite(recs, ratings):
    bad = dict(recs["linear"].parameters)
    bad["user_bias"] = np.full_like(bad["user_bias"], np.nan)
    with pytest.raises(SettingError, match="is not finite"):
        curvature(replace(recs["linear"], parameters=bad), ratings)


def test_one_eigenvalue_makes_no_plane(recs, ratings):
    with pytest.raises(SettingError, match="n_eigenvalues=1 must be at least 2"):
        curvature(recs["linear"], ratings, n_eigenvalues=1)


def test_numbers_that_make_no_sense_are_refused_before_the_work(recs, ratings):
    with pytest.raises(SettingError, match="n_eigenvalues=1000000: of"):
        curvature(recs["linear"], ratings, n_eigenvalues=1_000_000)
    with pytest.raises(SettingError, match="n_probes=0, n_steps=40: there must be at least 1"):
        curvature(recs["linear"], ratings, n_probes=0)


def test_without_pytorch_the_message_names_the_command(recs, ratings, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SettingError, match=r'pip install .*\[torch\]"'):
        curvature(recs["linear"], ratings)


def test_threads_are_as_before(recs, ratings):
    before = torch.get_num_threads()
    seen = [
        curvature(recs["linear"], ratings, replace(DESCENT, n_threads=n), n_probes=1, n_steps=2)
        for n in (1, 2)
    ]
    assert torch.get_num_threads() == before
    assert seen[0].largest == pytest.approx(seen[1].largest)
