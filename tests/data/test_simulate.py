"""Simulated ratings: their shape, and that they are what the truth says they are."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from dotbias.data.invented_titles import invented_titles
from dotbias.data.ratings import Ratings
from dotbias.data.simulate import (
    Simulation,
    Truth,
    _draw_items,
    _highest,
    _power_law,
    _spread,
    _sum_tree,
    simulate,
)
from dotbias.errors import DataError, SettingError


def pairs(ratings: Ratings) -> set[tuple[int, int]]:
    return set(zip(ratings.user_indices.tolist(), ratings.item_indices.tolist(), strict=True))


@settings(deadline=None)  # the first example waits for the compiler
@given(st.data(), st.integers(1, 12), st.integers(1, 12), st.integers(0, 3))
def test_any_possible_number_of_different_pairs(
    data: st.DataObject, n_users: int, n_items: int, n_factors: int
) -> None:
    n_ratings = data.draw(st.integers(1, n_users * n_items))
    popularity = data.draw(st.sampled_from([0.0, 1.0, 2.0, 300.0]))
    ratings, truth = simulate(
        n_users, n_items, n_ratings, n_factors=n_factors, popularity=popularity, seed=1
    )
    assert len(ratings) == len(pairs(ratings)) == n_ratings
    users, items = ratings.user_vocabulary.ids, ratings.item_vocabulary.ids
    assert 1 <= users.min() <= users.max() <= n_users
    assert 1 <= items.min() <= items.max() <= n_items
    assert n_ratings < n_users or len(users) == n_users
    assert ratings.user_counts.min() >= min(5, n_ratings // n_users)
    assert ratings.item_vocabulary.label(0) == f"Item {ratings.item_vocabulary.raw(0)}"
    assert truth.user_factors.shape == (n_users, n_factors)
    assert truth.item_factors.shape == (n_items, n_factors)


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 3), st.data())
def test_counts_follow_the_weights_within_bounds(
    n: int, most: int, exponent: float, data: st.DataObject
) -> None:
    total = data.draw(st.integers(0, n * most))
    weights = _power_law(n, exponent)
    counts = _spread(total, weights, most)
    least = min(5, total // n)
    assert counts.sum() == total
    assert counts.min() >= least
    assert counts.max() <= most
    # Those that are not full have the same rate per weight, to rounding.
    open_ = counts < most
    if open_.any():
        rate = (counts[open_] - least).sum() / weights[open_].sum()
        assert np.abs(counts[open_] - least - rate * weights[open_]).max() <= 2


def test_full_counts_survive_rounding() -> None:
    # The last weight's rate times the weight is above the bound by rounding in 1 of 25 cases.
    for n in range(1, 40):
        for most in range(1, 60):
            counts = _spread(n * most, _power_law(n, 1.5), most)
            assert counts.tolist() == [most] * n


def test_items_are_drawn_one_after_the_other_by_the_weights_left() -> None:
    weights = np.array([5.0, 3.0, 1.0])
    n_users = 40_000
    tree = _sum_tree(weights)
    before = tree.copy()
    uniforms = np.random.default_rng(0).random(2 * n_users)
    drawn = _draw_items(np.full(n_users, 2), tree, uniforms).reshape(-1, 2)
    np.testing.assert_array_equal(tree, before)
    for first in range(3):
        for second in {0, 1, 2} - {first}:
            share = weights[first] / 9 * weights[second] / (9 - weights[first])
            count = np.count_nonzero((drawn == (first, second)).all(1))
            spread = math.sqrt(n_users * share * (1 - share))
            assert abs(count - n_users * share) < 5 * spread


def test_it_looks_like_movielens() -> None:
    ratings, truth = simulate(5000, 3000, 500_000, seed=3)
    assert ratings.values.std() == pytest.approx(1.0, abs=0.1)
    assert ratings.global_mean == pytest.approx(3.5, abs=0.1)
    for bias in (truth.user_bias, truth.item_bias):
        assert bias.std() == pytest.approx(0.45, rel=0.05)
    dots = np.einsum("uk,uk->u", truth.user_factors[:3000], truth.item_factors)
    assert dots.std() == pytest.approx(0.54, rel=0.05)
    # MovieLens 1M: users 5.5, 2.4 and 0.58 times the mean; items 6.6, 2.7 and 0.46 times.
    shares = [0.01, 0.1, 0.5]
    for counts, wanted in (
        (ratings.user_counts, [5.9, 2.5, 0.54]),
        (ratings.item_counts, [6.8, 2.7, 0.36]),
    ):
        at = (np.array(shares) * len(counts)).astype(int)
        got = np.sort(counts)[::-1][at] / counts.mean()
        np.testing.assert_allclose(got, wanted, rtol=0.1)
    ids = np.arange(ratings.n_items)  # an id says nothing about the popularity
    assert abs(np.corrcoef(ids, ratings.item_counts)[0, 1]) < 5 / math.sqrt(ratings.n_items)


def test_the_exponent_sets_how_unequal_items_are() -> None:
    flat, steep = (
        simulate(1000, 500, 20_000, popularity=popularity).ratings for popularity in (0.0, 3.0)
    )
    assert flat.item_counts.max() < 40 + 5 * math.sqrt(40)
    assert steep.item_counts.max() > 300


@pytest.mark.parametrize(
    ("scale", "step"), [((0.5, 5), 0.5), ((1, 5), 1), ((0, 10), 0.1), ((-1, 1), 2)]
)
def test_every_step_of_the_scale_occurs_and_nothing_else(
    scale: tuple[float, float], step: float
) -> None:
    ratings, _ = simulate(300, 300, 20_000, scale=scale, step=step, noise=0.4 * scale[1])
    n_steps = round((scale[1] - scale[0]) / step)
    levels = np.linspace(*scale, n_steps + 1).astype(np.float32)
    np.testing.assert_array_equal(np.unique(ratings.values), levels)
    assert ratings.scale == scale


def test_without_noise_ratings_are_the_rounded_scores() -> None:
    ratings, truth = simulate(60, 50, 2000, n_factors=3, noise=0, scale=(1, 5), step=1)
    users, items, values = ratings.to_frame().to_numpy().T
    u, i = users.astype(int) - 1, items.astype(int) - 1
    dots = (truth.user_factors[u].astype(float) * truth.item_factors[i]).sum(1)
    scores = truth.global_mean + truth.user_bias[u] + truth.item_bias[i] + dots
    sure = np.abs(scores % 1 - 0.5) > 1e-5
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(values[sure], np.clip(np.rint(scores), 1, 5)[sure])
    np.testing.assert_allclose(truth.expected(ratings)[sure], values[sure])
    assert truth.noise_floor(ratings) < 1e-3


def test_expected_and_floor_are_the_sums_over_the_scale() -> None:
    ratings, truth = simulate(30, 20, 200, n_factors=2, noise=0.8, scale=(1, 5), step=0.5)
    means, variances = [], []
    for user, item in ratings.to_frame().select("user", "item").rows():
        u, i = user - 1, item - 1
        score = truth.global_mean + float(truth.user_bias[u]) + float(truth.item_bias[i])
        score += float(truth.user_factors[u] @ truth.item_factors[i])
        levels = np.arange(1, 5.5, 0.5)
        edges = np.concatenate([[-np.inf], levels[1:] - 0.25, [np.inf]])
        chances = np.diff(norm.cdf(edges, score, 0.8))
        means.append(levels @ chances)
        variances.append((levels - means[-1]) ** 2 @ chances)
    np.testing.assert_allclose(truth.expected(ratings), means, atol=1e-5)
    assert truth.noise_floor(ratings) == pytest.approx(math.sqrt(np.mean(variances)), abs=1e-5)


@pytest.mark.parametrize("noise", [0.25, 1.0])
def test_the_floor_is_the_rmse_of_expected_and_no_shift_is_better(noise: float) -> None:
    ratings, truth = simulate(2000, 500, 200_000, noise=noise, seed=5)
    errors = truth.expected(ratings) - ratings.values
    spread = np.std(errors**2) / math.sqrt(len(errors))  # of the mean squared error
    floor = truth.noise_floor(ratings)
    assert abs(np.mean(errors**2) - floor**2) < 5 * spread
    assert spread < 0.01 * floor**2
    # The mean given the truth: errors average to zero where low and where high is expected.
    for part in np.array_split(np.argsort(truth.expected(ratings)), 5):
        assert abs(errors[part].mean()) < 5 * errors[part].std() / math.sqrt(len(part))


def test_expected_is_the_mean_of_fresh_draws() -> None:
    # One user and many items without biases or factors: every rating has the same distribution.
    truth = Truth(
        global_mean=4.3,
        user_bias=np.zeros(1, np.float32),
        item_bias=np.zeros(1, np.float32),
        user_factors=np.zeros((1, 2), np.float32),
        item_factors=np.zeros((1, 2), np.float32),
        noise=1.0,
        scale=simulate(2, 2, 2).truth.scale,
        step=0.5,
    )
    row = Ratings.from_columns([1], [1], [4.0])
    drawn = 4.3 + np.random.default_rng(0).standard_normal(100_000)
    drawn = np.clip(np.rint(drawn * 2) / 2, 0.5, 5)
    assert truth.expected(row)[0] == pytest.approx(drawn.mean(), abs=0.015)
    assert truth.noise_floor(row) == pytest.approx(drawn.std(), abs=0.015)


def test_biases_are_recovered_from_every_pair() -> None:
    n_users, n_items = 300, 200
    ratings, truth = simulate(n_users, n_items, n_users * n_items, n_factors=0, noise=0.3)
    rated, expected = np.empty((2, n_users, n_items))
    rated[ratings.user_indices, ratings.item_indices] = ratings.values
    expected[ratings.user_indices, ratings.item_indices] = truth.expected(ratings)
    for axis, bias in ((1, truth.user_bias), (0, truth.item_bias)):
        means = rated.mean(axis)
        error = truth.noise_floor(ratings) / math.sqrt(rated.shape[axis])
        assert np.abs(means - expected.mean(axis)).max() < 5 * error
        slope, _ = np.polyfit(bias, means, 1)
        assert np.corrcoef(bias, means)[0, 1] > 0.99
        assert slope == pytest.approx(1, abs=0.05)  # below 1 as the scale cuts the highest


def test_a_seed_repeats_and_another_differs() -> None:
    first, again, other = (simulate(100, 80, 1000, seed=seed) for seed in (7, 7, 8))
    assert first.ratings.to_frame().equals(again.ratings.to_frame())
    assert not first.ratings.to_frame().equals(other.ratings.to_frame())
    for field in dataclasses.fields(Truth):
        np.testing.assert_array_equal(
            getattr(first.truth, field.name), getattr(again.truth, field.name)
        )
    assert not np.array_equal(first.truth.user_bias, other.truth.user_bias)


def test_parts_keep_their_truth() -> None:
    ratings, truth = simulate(200, 150, 1000, seed=2)
    whole = truth.expected(ratings)
    rows = np.arange(0, 1000, 7)
    part = ratings.take(rows)
    assert part.n_users < ratings.n_users
    np.testing.assert_array_equal(truth.expected(part), whole[rows])
    text = Ratings.from_columns(
        part.to_frame()["user"].cast(str), part.to_frame()["item"].cast(str), part.values
    )
    np.testing.assert_array_equal(truth.expected(text), whole[rows])


def test_strangers_are_refused() -> None:
    truth = simulate(20, 10, 50).truth
    with pytest.raises(DataError, match="user 21 was not simulated: the user ids are 1 to 20"):
        truth.expected(Ratings.from_columns([1, 21], [1, 1], [3.0, 4.0]))
    with pytest.raises(DataError, match="item 0 was not simulated: the item ids are 1 to 10"):
        truth.noise_floor(Ratings.from_columns([1, 2], [1, 0], [3.0, 4.0]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_users": 0}, r"simulate\(n_users=0\): n_users must be a whole number at least 1"),
        ({"n_items": 2.5}, "n_items must be a whole number at least 1"),
        ({"n_factors": -1}, "n_factors must be a whole number at least 0"),
        ({"seed": -1}, "seed must be a whole number at least 0"),
        (
            {"n_users": 1000, "n_items": 20, "n_ratings": 20_001},
            r"n_ratings=20001.* at most 1,000 users x 20 items = 20,000",
        ),
        ({"noise": -0.1}, "noise must be a number at least 0"),
        ({"noise": "loud"}, "noise must be a number at least 0"),
        ({"noise": math.nan}, "noise must be a number at least 0"),
        ({"popularity": math.inf}, "popularity must be a number at least 0"),
        ({"scale": (5, 1)}, r"scale=\(5, 1\): scale must be \(lowest, highest\) possible rating"),
        ({"scale": (1, math.nan)}, r"\(lowest, highest\) possible rating"),
        ({"step": 0}, "step must be above 0 and at most 4.5, the scale's width"),
        ({"step": 0.4}, "step must be a whole fraction of 4.5, the scale's width"),
    ],
)
def test_settings_outside_their_range_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        simulate(**wrong)  # type: ignore[arg-type]


def test_the_result_has_names_and_unpacks() -> None:
    simulation = simulate(10, 10, 50)
    assert isinstance(simulation, Simulation)
    ratings, truth = simulation
    assert ratings is simulation.ratings
    assert truth is simulation.truth


@settings(max_examples=30)
@given(st.data(), st.integers(1, 12), st.integers(1, 12), st.sampled_from(["counts", "events"]))
def test_any_possible_number_of_choices(
    data: st.DataObject, n_users: int, n_items: int, kind: Any
) -> None:
    n = data.draw(st.integers(1, n_users * n_items))
    ratings, _ = simulate(n_users, n_items, n, n_factors=2, kind=kind, seed=1)
    assert ratings.kind == kind
    assert len(ratings) == len(pairs(ratings)) == n
    assert (ratings.values == np.floor(ratings.values)).all()


def test_choices_go_by_popularity_and_by_preference() -> None:
    """Among equally popular items people choose what they like, and more of what they like more."""
    ratings, truth = simulate(200, 100, 4000, kind="counts", popularity=0, noise=0.1, seed=1)
    # What each user thinks of an item, beside what that user thinks of all.
    taste = truth.item_bias + truth.user_factors @ truth.item_factors.T
    taste -= taste.mean(1, keepdims=True)
    users = ratings.user_vocabulary.ids.to_numpy()[ratings.user_indices] - 1
    items = ratings.item_vocabulary.ids.to_numpy()[ratings.item_indices] - 1
    # The top quarter of a normal distribution is 1.27 standard deviations above its mean on average;
    # the busiest choose more than a quarter of all that there is.
    quarter = ratings.user_counts[ratings.user_indices] <= 25
    assert 1.1 < (taste[users, items] / taste.std(1)[users])[quarter].mean() < 1.3
    liked = truth.expected(ratings)
    assert np.corrcoef(np.log(ratings.values), liked)[0, 1] > 0.8
    popular = simulate(200, 100, 4000, kind="events", popularity=2, seed=1).ratings
    even = simulate(200, 100, 4000, kind="events", popularity=0, seed=1).ratings
    assert popular.item_counts.max() > even.item_counts.max() + 20


def test_the_most_liked_of_what_each_user_has_seen_are_chosen() -> None:
    scores = np.array([3, 1, 2, 9, 8, 5, 7, 6], np.float32)
    rows = _highest(scores, np.array([3, 0, 1, 4]), np.array([2, 0, 1, 2]))
    assert rows.tolist() == [0, 2, 3, 4, 6]


def test_people_who_know_everything_and_a_noise_that_knows_no_bounds() -> None:
    ratings, _ = simulate(3, 4, 12, kind="counts", noise=1e6, seed=1)
    assert len(pairs(ratings)) == 12
    assert 1 <= ratings.values.min() <= ratings.values.max() < 1e5
    with pytest.raises(
        SettingError, match=r"simulate\(kind='stars'\): kind must be one of ratings, c"
    ):
        simulate(kind="stars")


def test_people_who_choose_by_taste_rate_what_they_like_and_no_more_than_that_is_known() -> None:
    plain, tasteful = (
        simulate(300, 200, 9_000, by_taste=chosen, seed=4) for chosen in (False, True)
    )
    likings = []
    for ratings, truth in (plain, tasteful):
        u, i = np.array(ratings.to_frame().to_numpy()[:, :2], int).T - 1
        assert len(pairs(ratings)) == 9_000
        likings.append((truth.user_factors[u] * truth.item_factors[i]).sum(1).mean())
        # The truth holds for rows that were chosen too: noise is not what they were chosen by.
        error = ratings.values - truth.expected(ratings)
        assert abs(error.mean()) < 4 * error.std() / math.sqrt(len(ratings))
        assert truth.noise_floor(ratings) == pytest.approx(math.sqrt((error**2).mean()), rel=0.03)
    assert abs(likings[0]) < 0.05
    assert likings[1] > 0.3


@pytest.mark.parametrize("n_factors", [0, 1, 2, 20])
def test_invented_titles_tell_items_apart_and_genres_follow_the_factors(n_factors: int) -> None:
    truth = simulate(10, 1500, 2000, n_factors=n_factors, seed=1).truth
    table = invented_titles(truth)
    assert table["id"].to_list() == list(range(1, 1501))
    assert table["title"].n_unique() == 1500
    assert table["genres"].null_count() == (1500 if n_factors == 0 else 0)
    for k in range(n_factors if n_factors < 8 else 0):
        first = table["genres"].str.split("|").list.first()
        ends = [truth.item_factors[(first == genre).to_numpy(), k] for genre in first.unique()]
        assert any((end > 0).all() for end in ends)
        assert any((end < 0).all() for end in ends)
