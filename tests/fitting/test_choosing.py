"""The choice of a solver against its stated rule, by numbers worked out here."""

from functools import partial

import numba
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dotbias as db
from dotbias.data.vocabulary import Vocabulary
from dotbias.fitting import choosing
from dotbias.fitting.choosing import choose_solver
from dotbias.fitting.preference import expected_seconds

# Of ratings alone: what lists take beside them has a test of its own.
choose = partial(choose_solver, lists=False)


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
    gibbs, descent, als = choose(middling, budget=1000, n_threads=1).candidates
    assert gibbs.seconds == pytest.approx(0.5 + 200 * (150_000 * 250e-9 + 4000 * 12e-6))
    assert descent.seconds == pytest.approx(0.5 + 40 * (150_000 * 120e-9 + 4000 * 1.1e-6))
    assert als.seconds == pytest.approx(0.5 + 15 * (150_000 * 310e-9 + 4000 * 42e-6))


def test_with_time_enough_it_is_the_default_sampler_with_histories(middling):
    choice = choose(middling, budget=1000, n_threads=1)
    assert choice.solver == db.Gibbs(n_threads=1)
    assert choice.solver.histories
    assert choice.model == db.DotBias()
    assert choice.reason.startswith("Next best: sgd, 40 epochs, about ")


def test_less_time_buys_fewer_samples_and_the_same_share_of_burn_in(middling):
    once = per_step(middling, choosing.GIBBS_COST)
    choice = choose(middling, budget=0.5 + 100.5 * once, n_threads=1)
    assert (choice.solver.n_samples, choice.solver.burn_in) == (100, 20)
    assert choice.seconds == pytest.approx(0.5 + 100 * once)


def test_what_lists_take_comes_off_the_budget(middling):
    budget = 0.5 + 100.5 * per_step(middling, choosing.GIBBS_COST)
    lists = expected_seconds(len(middling), 60.0)
    assert 0 < lists < 15
    more = budget + expected_seconds(len(middling), budget)
    alone, both = (
        choose(middling, budget=budget, n_threads=1),
        choose_solver(middling, budget=more, n_threads=1),
    )
    assert both.budget == more
    assert abs(both.solver.n_samples - alone.solver.n_samples) <= 1


def test_below_60_samples_it_is_gradient_descent_and_the_reason_names_what_was_too_slow(middling):
    once = per_step(middling, choosing.GIBBS_COST)
    assert choose(middling, budget=0.5 + 60.1 * once, n_threads=1).solver.n_samples == 60
    choice = choose(middling, budget=0.5 + 59.9 * once, n_threads=1)
    assert choice.solver == db.GradientDescent(n_threads=1)
    assert choice.reason == (
        "More accurate, but too slow: gibbs with histories, 60 samples, about 5.6 s."
    )


def test_a_solver_that_takes_the_whole_budget_fits(middling):
    descent = choose(middling, budget=1000, n_threads=1).candidates[1]
    choice = choose(middling, budget=descent.seconds, n_threads=1)
    assert choice.solver == descent.solver
    assert choice.reason.startswith("More accurate, but too slow: gibbs")


def test_where_nothing_fits_it_is_the_fastest(middling):
    choice = choose(middling, budget=0.01, n_threads=1)
    assert choice.seconds == min(c.seconds for c in choice.candidates) > 0.01
    assert choice.reason == "None is expected to end in time, and this is the fastest."


def test_where_ratings_are_many_and_rows_few_als_is_the_fastest():
    """15 · 310 ns of a rating are less than 40 · 120 ns, and rows hardly count here."""
    ratings = of_size(1_000_000, 30, 40)
    choice = choose(ratings, budget=0.01, n_threads=1)
    assert choice.solver == db.ALS(n_threads=1)
    assert choice.model == db.DotBias(n_factors=64)


def test_factors_are_those_of_the_embeddings_that_the_solver_has(middling):
    gibbs, descent, als = choose(middling, n_factors=8, n_threads=1).candidates
    assert gibbs.solver.n_factors == 8
    assert gibbs.model == db.DotBias()
    assert descent.model == als.model == db.DotBias(n_factors=8)


def test_more_factors_take_longer_and_fewer_as_long(middling):
    def seconds(n_factors):
        found = choose(middling, budget=1e6, n_threads=1, n_factors=n_factors)
        return np.array([c.seconds for c in found.candidates])

    assert (seconds(4) == seconds(None)).all()
    assert (seconds(512) > 1.9 * seconds(None) - 1).all()


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="this machine has one core")
def test_more_threads_take_less_time_but_not_in_proportion():
    ratings = of_size(400_000, 2000, 1000)
    one, two = (choose(ratings, budget=1e6, n_threads=n).seconds - 0.5 for n in (1, 2))
    assert one / two == pytest.approx(2 / 1.3)


@given(
    st.integers(1, 400),
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(0.01, 100),
)
def test_the_choice_follows_from_size_budget_and_threads_alone(n, n_users, n_items, budget):
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
    once = per_step(middling, choosing.GIBBS_COST)
    assert str(choose(middling, n_threads=1)) == (
        f"gibbs with histories, 200 samples (about {0.5 + 200 * once:.0f} s of a budget of 30 s). "
        "Next best: sgd, 40 epochs, about 1.4 s."
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


def test_threads_and_factors_outside_their_range_are_refused(middling):
    with pytest.raises(db.SettingError, match="n_threads=100000: this machine offers"):
        choose(middling, n_threads=100_000)
    with pytest.raises(db.SettingError, match="n_factors must be at least 1"):
        choose(middling, n_factors=0)
