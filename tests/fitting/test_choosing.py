"""The choice of a solver against its stated rule, by numbers worked out here."""

from dataclasses import replace

import numba
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dotbias as db
from dotbias.data.vocabulary import Vocabulary
from dotbias.fitting import choosing
from dotbias.fitting.choosing import choose_solver as choose


def table(users: np.ndarray, items: np.ndarray, values: np.ndarray) -> db.Ratings:
    """Ratings of which only the size counts: pairs may occur twice."""
    (user_ids, u), (item_ids, i) = (Vocabulary.encode(pl.Series(ids)) for ids in (users, items))
    return db.Ratings(u, i, values, user_ids, item_ids)


def of_size(n_ratings: int, n_users: int, n_items: int) -> db.Ratings:
    """Ratings of exactly so many users and items, any values."""
    n = np.arange(n_ratings)
    return table(n % n_users, (n // n_users + n) % n_items, n % 5)


def per_step(ratings: db.Ratings, cost: tuple[float, float]) -> float:
    return 1e-9 * (len(ratings) * cost[0] + (ratings.n_users + ratings.n_items) * cost[1])


@pytest.fixture(scope="module")
def middling():
    ratings = of_size(150_000, 3000, 1000)
    assert (len(ratings), ratings.n_users, ratings.n_items) == (150_000, 3000, 1000)
    return ratings


def test_the_estimates_are_those_of_the_stated_rule(middling):
    gibbs, descent = choose(middling, budget=1000, n_threads=1).candidates
    assert gibbs.seconds == pytest.approx(0.5 + 200 * (150_000 * 70e-9 + 4000 * 8e-6))
    assert descent.seconds == pytest.approx(0.5 + 40 * (150_000 * 75e-9 + 4000 * 0.6e-6))


def test_with_time_enough_it_is_the_default_sampler_with_histories(middling):
    choice = choose(middling, budget=1000, n_threads=1)
    assert choice.solver == db.Gibbs(n_factors=15, n_threads=1)
    assert choice.solver.histories
    assert choice.model == db.DotBias()
    assert choice.reason.startswith("Next best: sgd, 40 epochs, ")


def test_less_time_buys_fewer_samples_and_the_same_share_of_burn_in(middling):
    once = per_step(middling, choosing.GIBBS_COST)
    for budget, n in ((200.1, 200), (199.9, 100), (100.1, 100), (99.9, 60)):
        choice = choose(middling, budget=0.5 + budget * once, n_threads=1)
        assert (choice.solver.n_samples, choice.solver.burn_in) == (n, n // 5)
        assert choice.seconds == pytest.approx(0.5 + n * once)


@pytest.mark.parametrize(("n", "n_factors"), [(299_999, 15), (300_000, 31)])
def test_the_factors_suit_the_whole_of_which_a_part_may_be_fitted(n, n_factors):
    assert choose(of_size(n, 50, 40)).solver.n_factors == n_factors


def test_below_60_samples_it_is_gradient_descent_and_the_reason_names_what_was_too_slow(middling):
    once = per_step(middling, choosing.GIBBS_COST)
    assert choose(middling, budget=0.5 + 60.1 * once, n_threads=1).solver.n_samples == 60
    choice = choose(middling, budget=0.5 + 59.9 * once, n_threads=1)
    usual = db.GradientDescent(n_threads=1)
    assert choice.solver == usual.settled(choice.model, middling)
    assert choice.reason == "More accurate, but too slow: gibbs with histories, 60 samples, 3.1 s."


def test_a_solver_that_takes_the_whole_budget_fits(middling):
    descent = choose(middling, budget=1000, n_threads=1).candidates[1]
    choice = choose(middling, budget=descent.seconds, n_threads=1)
    assert choice.solver == descent.solver
    assert choice.reason.startswith("More accurate, but too slow: gibbs")


def test_where_nothing_fits_it_is_the_fastest(middling):
    choice = choose(middling, budget=0.01, n_threads=1)
    assert choice.seconds == min(c.seconds for c in choice.candidates) > 0.01
    assert choice.reason == "None is expected to end in time, and this is the fastest."


def test_factors_are_those_of_the_embeddings_that_the_solver_has(middling):
    gibbs, descent = choose(middling, n_factors=8, n_threads=1).candidates
    assert gibbs.solver.n_factors == 8
    assert gibbs.model == db.DotBias()
    assert descent.model == db.DotBias(n_factors=8)


def test_more_factors_take_longer_and_fewer_as_long(middling):
    def seconds(n_factors):
        found = choose(middling, budget=1e6, n_threads=1, n_factors=n_factors)
        return np.array([c.seconds for c in found.candidates])

    assert (seconds(4) == seconds(None)).all()
    assert (seconds(512) > 1.9 * seconds(None) - 1).all()


def test_neither_threads_nor_cores_have_a_say(monkeypatch):
    ratings = of_size(1_000_000, 6000, 3700)
    choices = []
    for cores in (1, 2, 64):
        monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", cores)
        choices += [choose(ratings, n_threads=n) for n in (None, 1, 2)]
    assert len({str(choice) for choice in choices}) == 1
    assert {choice.model for choice in choices} == {choices[0].model}
    assert {replace(c.solver, n_threads=None) for c in choices} == {choices[0].solver}


@given(
    st.integers(1, 400),
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(0.01, 100),
)
def test_the_choice_follows_from_size_and_budget_alone(n, n_users, n_items, budget):
    rng = np.random.default_rng(n)
    users, items = rng.integers(0, n_users, n), rng.integers(0, n_items, n)
    one = table(users, items, rng.random(n))
    other = table(users, items, rng.random(n) * 100)
    choices = [choose(r, budget=budget, n_threads=1) for r in (one, other, one)]
    assert choices[0] == choices[1] == choices[2]
    chosen, candidates = choices[0].chosen, choices[0].candidates
    better = candidates[: candidates.index(chosen)]
    fits = [c.seconds <= budget for c in candidates]
    assert (chosen.seconds <= budget) == any(fits)
    if any(fits):
        assert all(c.seconds > budget for c in better)


def test_it_is_said_in_one_line(middling):
    assert str(choose(middling, n_threads=1)) == (
        "gibbs with histories, 200 samples (9 s of a budget of 30 s on the reference machine). Next "
        "best: sgd, 40 epochs, 1 s."
    )


def test_the_summary_is_plain_data_with_every_candidate(middling):
    choice = choose(middling, n_threads=1)
    summary = choice.summary()
    assert summary["solver"] == choice.chosen.name
    assert [c["solver"] for c in summary["candidates"]] == [c.name for c in choice.candidates]
    assert [c["seconds"] for c in summary["candidates"]] == [c.seconds for c in choice.candidates]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_what_is_chosen_fits_a_handful_of_ratings(n):
    ratings = db.Ratings.from_columns(range(n), range(n), [3.0 + k % 2 for k in range(n)])
    rec = db.fit(ratings)
    assert rec.facts["choice"]["solver"] == "gibbs with histories, 200 samples"
    predicted = rec.predict(list(range(n)), list(range(n)))
    assert np.isfinite(predicted).all()
    assert ((predicted >= 3) & (predicted <= 4)).all()


@pytest.mark.parametrize("budget", [0, -1, float("nan"), float("inf"), "30", None, True])
def test_a_budget_that_is_no_time_is_refused(middling, budget):
    with pytest.raises(db.SettingError, match="budget must be a number of seconds above 0"):
        choose(middling, budget=budget)


def test_factors_outside_their_range_are_refused(middling):
    with pytest.raises(db.SettingError, match="n_factors must be at least 1"):
        choose(middling, n_factors=0)
