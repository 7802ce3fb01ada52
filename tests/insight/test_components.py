"""Principal components against the eigenvectors of the covariance, and against planted ones."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dotbias as db
from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.insight.components import principal_components
from dotbias.recommender.recommender import Recommender

N_ITEMS = 30


def with_vectors(vectors, counts=None, titles=None):
    """A recommender whose items have these embeddings, and so many ratings (1 each by default)."""
    counts = [1] * len(vectors) if counts is None else counts
    items = np.repeat(np.arange(len(vectors)), counts)
    users = np.concatenate([np.arange(n) for n in counts])
    ratings = Ratings.from_columns(users.tolist(), items.tolist(), 1 + items % 5, titles=titles)
    vectors = np.asarray(vectors, np.float32)
    model = db.DotBias(n_factors=vectors.shape[1])
    parameters = model.initialise(ratings, np.random.default_rng(0))
    return Recommender.of(model, parameters | {"item_factors": vectors}, ratings)


def some_vectors(n_factors=4, seed=0):
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((N_ITEMS, n_factors)) * (2.0 ** -np.arange(n_factors))
    return mixed @ np.linalg.qr(rng.standard_normal((n_factors, n_factors)))[0] + 3


def ends_of(found, component, end):
    chosen = (pl.col("component") == component) & (pl.col("end") == end)
    return found.frame().filter(chosen)


# -- against what is known -----------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(0, 50))
def test_they_are_the_eigenvectors_of_the_covariance(n_factors, seed):
    vectors = some_vectors(n_factors, seed)
    found = principal_components(with_vectors(vectors), n_factors)
    values, axes = np.linalg.eigh(np.cov(vectors.T).reshape(n_factors, n_factors))
    values, axes = values[::-1], axes.T[::-1]
    np.testing.assert_allclose(found.shares, values / values.sum(), atol=1e-5)
    np.testing.assert_allclose(found.mean, vectors.mean(0), rtol=1e-5)
    scores = (vectors - vectors.mean(0)) @ found.directions.T
    np.testing.assert_allclose(
        np.cov(scores.T).reshape(values.shape * 2), np.diag(values), atol=1e-4
    )
    apart = values[:-1] - values[1:] > 0.01
    if apart.all():  # else a pair of them may turn in its plane
        np.testing.assert_allclose(np.abs(found.directions @ axes.T), np.eye(n_factors), atol=1e-2)


def test_the_ends_are_those_of_the_scores():
    vectors = some_vectors()
    counts = 1 + np.arange(N_ITEMS) % 7
    found = principal_components(with_vectors(vectors, counts), 3, k=4)
    scores = (vectors - vectors.mean(0)) @ found.directions.T
    assert found.frame().columns == [
        "component", "share", "end", "rank", "item", "title", "score", "n_ratings"
    ]  # fmt: skip
    assert found.frame().height == 3 * 2 * 4
    for component in (1, 2, 3):
        own = scores[:, component - 1]
        for end, order in (("low", np.argsort(own)), ("high", np.argsort(-own))):
            table = ends_of(found, component, end)
            assert table["item"].to_list() == order[:4].tolist()
            assert table["rank"].to_list() == [1, 2, 3, 4]
            np.testing.assert_allclose(table["score"], own[order[:4]], atol=1e-5)
            assert table["n_ratings"].to_list() == counts[order[:4]].tolist()
            assert set(table["share"]) == {found.shares[component - 1]}


def test_planted_directions_are_found_in_their_order():
    """Items lie on a cross: half along one direction, half along another, half as long."""
    long, short = [0.6, 0.8, 0.0], [-0.8, 0.6, 0.0]
    steps = np.linspace(-1, 1, N_ITEMS // 2)
    vectors = np.concatenate([np.outer(2 * steps, long), np.outer(steps, short)])
    found = principal_components(with_vectors(5 + vectors), 5)
    np.testing.assert_allclose(found.shares, [0.8, 0.2], atol=1e-6)
    np.testing.assert_allclose(
        np.abs(found.directions @ np.array([long, short]).T), np.eye(2), atol=1e-6
    )
    lows, highs = (set(ends_of(found, 1, end)["item"]) for end in ("low", "high"))
    assert {frozenset(lows), frozenset(highs)} == {frozenset(range(5)), frozenset(range(10, 15))}


def test_a_rotation_of_the_embeddings_changes_nothing():
    vectors = some_vectors()
    turned = vectors @ np.linalg.qr(np.random.default_rng(9).standard_normal((4, 4)))[0]
    one, other = (principal_components(with_vectors(v), 4) for v in (vectors, turned))
    np.testing.assert_allclose(one.shares, other.shares, atol=1e-6)
    assert one.frame()["item"].equals(other.frame()["item"])
    np.testing.assert_allclose(one.frame()["score"], other.frame()["score"], atol=1e-5)


@given(st.integers(0, 50))
def test_the_item_farthest_out_is_at_the_high_end(seed):
    """Whatever the signs of the embeddings: with all of them turned round, the same tables."""
    vectors = some_vectors(3, seed)
    found = principal_components(with_vectors(vectors), 3, k=1)
    for component in (1, 2, 3):
        low, high = (ends_of(found, component, end)["score"].item() for end in ("low", "high"))
        assert low < 0 < -low <= high
    assert principal_components(with_vectors(-vectors), 3, k=1).frame().equals(found.frame())


def test_a_share_is_one_of_the_whole_variance_however_few_are_asked_for():
    rec = with_vectors(some_vectors())
    one, all_four = (principal_components(rec, n) for n in (1, 4))
    assert one.shares.tolist() == all_four.shares[:1].tolist()
    assert all_four.shares.sum() == pytest.approx(1)


def test_biases_play_no_part():
    rec = with_vectors(some_vectors())
    moved = replace(rec, parameters=rec.parameters | {"item_bias": np.arange(30, dtype=np.float32)})
    assert principal_components(moved).frame().equals(principal_components(rec).frame())


# -- which items ---------------------------------------------------------------------------------


def test_only_the_most_rated_are_looked_at():
    """The ten that are rated most lie on a line, along which the others do not spread."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((N_ITEMS, 2)) * [0.1, 10]
    popular = rng.permutation(N_ITEMS)[:10]
    vectors[popular] = np.outer(np.arange(10), [1, 0])
    counts = np.where(np.isin(np.arange(N_ITEMS), popular), 3, 2)
    rec = with_vectors(vectors, counts)
    few, every = (principal_components(rec, 2, most_rated=n) for n in (10, None))
    assert few.n_items == 10
    np.testing.assert_allclose(np.abs(few.directions), [[1, 0]], atol=1e-6)
    assert set(few.frame()["item"]) == set(popular.tolist())
    assert every.n_items == N_ITEMS
    assert abs(every.directions[0, 1]) > 0.99
    assert principal_components(rec, 2, most_rated=1000).frame().equals(every.frame())


# -- where there is little to see ----------------------------------------------------------------


def test_there_are_no_more_components_than_directions(caplog):
    caplog.set_level("INFO", "dotbias")
    line = np.outer(np.arange(N_ITEMS), [1.0, 2.0, -1.0])
    for vectors in (line, line[:, :1]):
        caplog.clear()
        found = principal_components(with_vectors(vectors), 5)
        assert found.shares.tolist() == pytest.approx([1.0])
        assert found.directions.shape == (1, vectors.shape[1])
        assert caplog.messages == ["n=5: the embeddings have no more components than 1."]
    caplog.clear()
    assert principal_components(with_vectors(line), 1).frame()["component"].unique().to_list() == [
        1
    ]
    assert not caplog.messages


@pytest.mark.parametrize("vector", [[0.0, 0.0], [0.1, 1e6]])
def test_embeddings_that_are_all_the_same_have_none(vector):
    with pytest.raises(SettingError, match="embeddings of the 30 items are all the same"):
        principal_components(with_vectors([vector] * N_ITEMS))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "n=0: n must be at least 1"),
        ({"k": 0}, "k=0"),
        ({"k": 16}, "k=16: the two ends of 30 items have room for at most 15 each"),
        ({"k": 2, "most_rated": 3}, "k=2: the two ends of 3 items have room for at most 1 each"),
        ({"most_rated": 1}, "most_rated=1: most_rated must be at least 2, or None for all items"),
    ],
)
def test_a_setting_outside_its_range_is_named(settings, message):
    with pytest.raises(SettingError, match=message):
        principal_components(with_vectors(some_vectors()), **settings)


def test_a_model_without_embeddings_has_none():
    ratings, _ = db.simulate(n_users=50, n_items=40, n_ratings=500, seed=1)
    with pytest.raises(SettingError, match="Baseline has no embeddings"):
        principal_components(db.fit(ratings, db.Baseline()))


# -- for people ----------------------------------------------------------------------------------


def test_the_text_shows_both_ends_side_by_side():
    titles = pl.DataFrame({"id": range(3), "title": ["Heat", "Up", "Amélie"]})
    found = principal_components(
        with_vectors([[-1.0, 0], [0, 1.0], [0, -1.0], [3.0, 0]], titles=titles), 2, k=2
    )
    # Squares about the mean (0.5, 0): 9 along the first axis, 2 along the second.
    first = "Component 1: 81.8 % of the variance\nlow end  high end\nHeat     3\nUp       Amélie\n"
    assert str(found).startswith(first)
    assert "\n\nComponent 2: 18.2 % of the variance\nlow end  high end\n" in str(found)
    (_, ends), _ = found.side_by_side()
    assert ends.to_dict(as_series=False) == {
        "low end": ["Heat", "Up"], "high end": ["3", "Amélie"]
    }  # fmt: skip
