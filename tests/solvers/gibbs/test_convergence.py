"""R-hat and effective sample sizes against closed forms, and the chains behind them."""

import math

import numpy as np
import pytest

import dotbias as db
from dotbias.solvers.gibbs.convergence import (
    Convergence,
    convergence,
    effective_sample_size,
    split_r_hat,
)
from dotbias.solvers.gibbs.gibbs import Gibbs


def autoregressive(rho: float, n_chains: int, n: int, seed: int = 0) -> np.ndarray:
    """Chains with the correlation rho between neighbours, from their own distribution on."""
    rng = np.random.default_rng(seed)
    out = np.empty((n_chains, n))
    out[:, 0] = rng.standard_normal(n_chains)
    for t in range(1, n):
        out[:, t] = rho * out[:, t - 1] + math.sqrt(1 - rho**2) * rng.standard_normal(n_chains)
    return out


def test_independent_draws_agree_and_count_in_full():
    traces = autoregressive(0.0, 4, 5000)
    assert split_r_hat(traces) == pytest.approx(1, abs=0.002)
    assert effective_sample_size(traces) == pytest.approx(20_000, rel=0.06)


@pytest.mark.parametrize("rho", [-0.4, 0.3, 0.7, 0.9])
def test_correlated_draws_count_as_their_closed_form_says(rho):
    traces = autoregressive(rho, 4, 20_000)
    expected = traces.size * (1 - rho) / (1 + rho)
    assert effective_sample_size(traces) == pytest.approx(expected, rel=0.1)
    assert split_r_hat(traces) < 1.01


def test_chains_in_different_places_disagree():
    traces = autoregressive(0.0, 2, 1000)
    traces[1] += 2
    # The mean variance within is 1, the variance of the four halves' means 4/3.
    assert split_r_hat(traces) == pytest.approx(math.sqrt(1 + 4 / 3), rel=0.02)
    assert effective_sample_size(traces) < 10


def test_one_chain_that_drifts_disagrees_with_itself():
    assert split_r_hat(autoregressive(0.0, 1, 1000) + np.linspace(0, 3, 1000)) > 1.1


def test_r_hat_of_four_numbers_by_hand():
    """Halves (1, 3) and (2, 6): within (2 + 8) / 2, means 2 and 4, so √((5 / 2 + 2) / 5)."""
    assert split_r_hat(np.array([[1.0, 3.0, 2.0, 6.0]])) == pytest.approx(math.sqrt(4.5 / 5))


def test_of_an_odd_number_the_middle_sample_is_left_out():
    with_middle = np.array([[1.0, 3.0, 99.0, 2.0, 6.0]])
    assert split_r_hat(with_middle) == split_r_hat(np.delete(with_middle, 2, axis=1))


def test_neither_figure_depends_on_the_unit():
    traces = autoregressive(0.5, 2, 500)
    moved = 3 - 1000 * traces
    assert split_r_hat(moved) == pytest.approx(split_r_hat(traces))
    assert effective_sample_size(moved) == pytest.approx(effective_sample_size(traces))


def test_traces_that_never_move():
    still = np.ones((2, 10))
    assert split_r_hat(still) == 1
    assert effective_sample_size(still) == 20
    assert split_r_hat(still + np.array([[0.0], [1.0]])) == math.inf


@pytest.fixture(scope="module")
def ratings():
    return db.simulate(100, 60, 3000, seed=0).ratings


def test_the_first_chain_is_that_of_the_solver(ratings):
    """Its noise is that of the solver's own samples, and so is the error of the first kept one."""
    solver = Gibbs(n_samples=12, burn_in=4, validation_size=0.2)
    _, history = solver.sample(ratings, seed=5)
    told = convergence(solver, ratings, seed=5)
    np.testing.assert_array_equal(told.noise[0], [e.noise for e in history.epochs[4:]])
    assert told.rmse[0, 0] == history.epochs[4].validation_rmse


def test_chains_differ_and_a_seed_repeats_them(ratings):
    solver = Gibbs(n_samples=10, burn_in=2)
    first, again = (convergence(solver, ratings, n_chains=3, seed=1) for _ in range(2))
    np.testing.assert_array_equal(first.rmse, again.rmse)
    assert first.rmse.shape == (3, 8)
    assert len(np.unique(first.noise[:, -1])) == 3


def test_long_chains_of_an_easy_set_agree():
    easy = db.simulate(60, 40, 2400, n_factors=1, seed=0).ratings
    told = convergence(Gibbs(n_samples=1600, burn_in=200, n_factors=1, histories=False), easy)
    assert told.rmse_r_hat < 1.05
    assert told.noise_r_hat < 1.05
    assert told.rmse_size > 50


def test_it_is_said_in_words_and_as_plain_data():
    told = Convergence(autoregressive(0.2, 2, 100), autoregressive(0.2, 2, 100, seed=1))
    data = told.to_dict()
    assert data["rmse"]["r_hat"] == split_r_hat(told.rmse)
    assert data["noise"]["effective_size"] == effective_sample_size(told.noise)
    assert np.array_equal(data["rmse"]["traces"], told.rmse)
    assert str(told).startswith(
        "2 chains of 100 samples after the burn-in. validation RMSE: R-hat "
        f"{told.rmse_r_hat:.3f}, effective sample size {told.rmse_size:.0f}; noise: R-hat"
    )


def test_too_few_samples_or_chains_are_refused(ratings):
    with pytest.raises(db.SettingError, match="at least 4 samples after the burn-in"):
        convergence(Gibbs(n_samples=5, burn_in=2), ratings)
    with pytest.raises(db.SettingError, match="n_chains must be at least 1"):
        convergence(Gibbs(), ratings, n_chains=0)
