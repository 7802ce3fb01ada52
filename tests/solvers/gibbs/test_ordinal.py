"""Ratings as ordered categories."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr

import dotbias as db
from dotbias.errors import SettingError
from dotbias.solvers.gibbs.gibbs import Gibbs
from dotbias.solvers.gibbs.ordinal import Ordinal

THRESHOLDS = np.array([-1.2, -0.4, 0.7, 1.5])


def made(n: int, seed: int) -> tuple[Ordinal, np.ndarray]:
    """Ratings from 1 to 5 that these thresholds make of known predictions."""
    rng = np.random.default_rng(seed)
    predictions = rng.normal(0, 0.8, n)
    latent = predictions + rng.standard_normal(n)
    values = 1 + np.searchsorted(THRESHOLDS, latent)
    return Ordinal.of(values.astype(np.float32)), predictions


def test_the_first_thresholds_give_each_level_its_share():
    likelihood, _ = made(5000, 0)
    below = np.cumsum(np.bincount(likelihood.codes))[:-1] / 5000
    np.testing.assert_allclose(ndtr(likelihood.thresholds), below, atol=1e-12)


def test_a_draw_lies_between_the_thresholds_of_its_level():
    likelihood, predictions = made(2000, 1)
    precision = np.random.default_rng(0).gamma(5, 0.2, 2000)
    latent = likelihood.draw(predictions, precision, np.random.default_rng(2))
    edges = np.concatenate([[-np.inf], likelihood.thresholds, [np.inf]])
    assert (latent >= edges[likelihood.codes] - 1e-5).all()
    assert (latent <= edges[likelihood.codes + 1] + 1e-5).all()


def test_draws_have_the_mean_of_a_truncated_normal():
    n = 200_000
    likelihood = Ordinal(np.array([1.0, 2.0, 3.0]), np.ones(n, np.int64), np.array([0.2, 1.0]))
    likelihood.step = 0.0  # thresholds stay
    latent = likelihood.draw(np.full(n, 0.5), np.full(n, 4.0), np.random.default_rng(0))
    grid = np.linspace(0.2, 1.0, 100_001)
    density = np.exp(-0.5 * 4 * (grid - 0.5) ** 2)
    expected = (grid * density).sum() / density.sum()
    assert abs(latent.mean() - expected) < 4 * latent.std() / np.sqrt(n)


def test_expected_ratings_equal_a_sum_over_levels():
    likelihood, _ = made(500, 3)
    predictions, precision = np.array([-2.0, 0.0, 0.3, 5.0]), np.array([1.0, 0.5, 2.0, 1.0])
    edges = np.concatenate([[-np.inf], likelihood.thresholds, [np.inf]])
    root = np.sqrt(precision)[:, None]
    reached = ndtr(root * (edges[None, :] - predictions[:, None]))
    share = np.diff(reached, axis=1)
    mean, square = likelihood.expected(predictions, precision)
    np.testing.assert_allclose(mean, share @ likelihood.levels, rtol=1e-12)
    np.testing.assert_allclose(square, share @ likelihood.levels**2, rtol=1e-12)


def test_thresholds_find_those_that_made_the_ratings():
    likelihood, predictions = made(20_000, 4)
    rng, seen = np.random.default_rng(5), []
    for sweep in range(600):
        likelihood.draw(predictions, np.ones(20_000), rng)
        if sweep >= 200:
            seen.append(likelihood.thresholds)
    np.testing.assert_allclose(np.mean(seen, axis=0), THRESHOLDS, atol=0.05)
    assert np.std(seen, axis=0).min() > 1e-3  # they do move


def test_too_many_or_too_few_levels_are_refused():
    with pytest.raises(SettingError, match="these have 1"):
        Ordinal.of(np.full(10, 3, np.float32))
    with pytest.raises(SettingError, match="these have 100"):
        Ordinal.of(np.arange(100, dtype=np.float32))


def test_a_chain_with_ordered_categories_predicts_held_out_ratings():
    ratings, _ = db.simulate(n_users=200, n_items=100, n_ratings=8000, n_factors=2, seed=0)
    train, test = ratings.split(0.2, seed=1)
    solver = Gibbs(n_samples=60, burn_in=20, n_factors=3, histories=False, likelihood="ordinal")
    posterior, _ = solver.sample(train, seed=0)
    users = train.user_vocabulary.indices(test.user_vocabulary.ids)[test.user_indices]
    items = train.item_vocabulary.indices(test.item_vocabulary.ids)[test.item_indices]
    mean, std = posterior.predict(users, items)
    error = float(np.sqrt(np.mean((mean - test.values) ** 2)))
    normal, _ = replace(solver, likelihood="normal").sample(train, seed=0)
    theirs = float(np.sqrt(np.mean((normal.predict(users, items)[0] - test.values) ** 2)))
    assert error < 1.03 * theirs
    assert 0.85 < np.mean(np.abs(mean - test.values) <= 1.645 * std) < 0.97


def test_fit_refuses_what_no_dot_bias_can_hold():
    ratings, _ = db.simulate(n_users=20, n_items=10, n_ratings=100, seed=0)
    with pytest.raises(SettingError, match="sample"):
        Gibbs(likelihood="ordinal").fit(db.DotBias(), ratings)
