"""The stability of neighbours against lists that are compared in plain Python."""

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dotbias as db
from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError, UnknownIdError
from dotbias.insight import neighbours as module
from dotbias.insight.neighbours import neighbour_stability, overlap
from dotbias.recommender.facts import Facts
from dotbias.recommender.recommender import Recommender
from dotbias.solvers.base import Epoch, History, Solver
from tests.ratings import random_ratings

MODEL = db.DotBias(n_factors=4)
QUICK = db.GradientDescent(n_epochs=5, n_threads=1)


def sorted_ratings(n_users: int = 60, n_items: int = 40, n: int = 900) -> Ratings:
    """Ratings in the order in which a recommender keeps them."""
    ratings = random_ratings(n_users, n_items, n, seed=3)
    return ratings.rows(np.lexsort((ratings.item_indices, ratings.user_indices)))


@dataclass(frozen=True, kw_only=True)
class Drawn(Solver):
    """Leaves the embeddings where the seed has put them."""

    always: int | None = None
    stops: bool = False

    def fit(self, model, ratings, *, seed=0, on_epoch=None):  # noqa: ARG002
        rng = np.random.default_rng(seed if self.always is None else self.always)
        history = History([Epoch(1, 1, 0.0, 1.0, None, 0.0, 0.0)], best_epoch=1)
        history.stopped = "interrupted" if self.stops else "finished"
        return model.initialise(ratings, rng), history


@pytest.fixture(scope="module")
def ratings():
    return sorted_ratings()


@pytest.fixture(scope="module")
def rec(ratings):
    return db.fit(ratings, MODEL, QUICK, seed=7)


def mean_overlap(lists):
    """The definition: the mean over pairs of ``|N_a ∩ N_b| / k``."""
    return np.mean([len(set(a) & set(b)) / len(a) for a, b in combinations(lists, 2)])


# -- the definition ------------------------------------------------------------------------------


@given(st.data(), st.integers(2, 5), st.integers(1, 4), st.integers(1, 6))
def test_the_overlap_is_the_mean_over_all_pairs_of_fits(data, n_fits, n_lists, k):
    one = st.lists(st.integers(0, 9), min_size=k, max_size=k, unique=True)
    lists = [[data.draw(one) for _ in range(n_lists)] for _ in range(n_fits)]
    expected = [mean_overlap([fit[row] for fit in lists]) for row in range(n_lists)]
    np.testing.assert_allclose(overlap(np.array(lists)), expected)


@pytest.mark.parametrize(("item", "least"), [(5, 5), ("5", 23)])
def test_one_item_is_that_of_the_lists_of_five_fits(rec, ratings, item, least):
    fits = [rec, *(db.fit(ratings, MODEL, QUICK, seed=seed) for seed in (8, 9, 10, 11))]
    lists = [fit.similar(5, 6, min_ratings=least)["item"].to_list() for fit in fits]
    found = neighbour_stability(rec, item, k=6, n_fits=4, min_ratings=least)
    assert found.seeds == (8, 9, 10, 11)
    assert found.share == pytest.approx(mean_overlap(lists))
    assert 0 < found.share < 1
    own, *others = lists
    assert found.frame()["in_fits"].to_list() == [np.mean([i in o for o in others]) for i in own]
    listed = rec.similar(5, 6, min_ratings=least).drop("basis")
    assert found.frame().drop("in_fits").equals(listed)
    assert found.frame()["n_ratings"].min() >= least


def test_the_whole_is_the_mean_over_items_that_are_compared_with_each_other(rec, ratings):
    least = int(np.median(rec.item_counts))
    fits = [rec, *(db.fit(ratings, MODEL, QUICK, seed=seed) for seed in (8, 9))]
    items = [i for i in range(40) if rec.item_counts[i] >= least]
    expected = {}
    for i in items:
        raw = rec.item_vocabulary.raw(i)
        lists = [fit.similar(raw, 3, min_ratings=least)["item"].to_list() for fit in fits]
        expected[raw] = mean_overlap(lists)
    found = neighbour_stability(rec, k=3, n_fits=2, min_ratings=least)
    assert found.share == pytest.approx(np.mean(list(expected.values())))
    assert found.chance == pytest.approx(3 / (len(items) - 1))
    table = found.frame()
    assert dict(table.select("item", "share").rows()) == pytest.approx(expected)
    assert table["n_ratings"].is_sorted(descending=True)


# -- what it says about fits ---------------------------------------------------------------------


@pytest.mark.parametrize("item", [None, 5])
def test_a_fit_that_ignores_its_seed_is_stable(ratings, item):
    rec = db.fit(ratings, MODEL, Drawn(always=1))
    found = neighbour_stability(rec, item, k=5, n_fits=3, solver=Drawn(always=1))
    assert found.share == 1
    if item:
        assert found.frame()["in_fits"].to_list() == [1.0] * 5


def test_embeddings_of_noise_agree_as_often_as_lists_drawn_at_random():
    """400 items with 400 lists each: the standard error of the share is below 0.001."""
    ratings = sorted_ratings(100, 400, 12_000)
    rec = db.fit(ratings, db.DotBias(n_factors=30), Drawn())
    found = neighbour_stability(rec, k=10, n_fits=4, min_ratings=1, solver=Drawn())
    assert found.chance == pytest.approx(10 / 399)
    assert found.share == pytest.approx(found.chance, abs=0.003)


def test_neighbours_in_planted_clusters_are_found_again():
    """Five kinds of items; users love one kind and not the others: 7 others of an item's own kind."""
    rng = np.random.default_rng(0)
    users, items = np.repeat(np.arange(200), 40), np.tile(np.arange(40), 200)
    love = rng.integers(0, 5, 200)
    values = np.where(items % 5 == love[users], 5, 2) + rng.normal(0, 0.3, len(users))
    planted = Ratings.from_columns(users.tolist(), items.tolist(), values)
    rec = db.fit(planted, db.DotBias(n_factors=5), db.GradientDescent(n_threads=1))
    found = neighbour_stability(rec, k=7, n_fits=2)
    assert found.share > 0.99
    assert found.chance == pytest.approx(7 / 39)
    assert set(neighbour_stability(rec, 3, k=7, n_fits=1).frame()["item"]) == set(
        range(3, 40, 5)
    ) - {3}


# -- how the other fits are made -----------------------------------------------------------------

WAYS = {
    "descent": (MODEL, QUICK),
    "sigmoid": (
        db.DotBias(n_factors=3, output="sigmoid"),
        db.GradientDescent(
            db.Adam(lr={"user_factors": 0.01}), n_epochs=3, batch_size=16, schedule=db.OneCycle()
        ),
    ),
    "als": (MODEL, db.ALS(n_iterations=3, weight_decay={"item_factors": 0.2}, n_threads=1)),
    "gibbs": (MODEL, db.Gibbs(n_samples=6, burn_in=2, n_factors=6, n_threads=1)),
    "net": (
        db.EmbeddingNet(n_factors=3, hidden=(4,)),
        db.GradientDescent(n_epochs=2, batch_size=64),
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_with_the_same_seed_the_fit_is_the_same_to_the_bit(way, ratings, tmp_path):
    """From a file: what it keeps is enough."""
    if way == "net":
        pytest.importorskip("torch")
    model, solver = WAYS[way]
    db.fit(ratings, model, solver, seed=4).save(tmp_path / "model.dotbias")
    rec = Recommender.load(tmp_path / "model.dotbias")
    solver = module.solver_from_plain(rec.facts.solver)
    (again,) = module._other_fits(rec, solver, (4,))
    assert again.parameters.keys() == rec.parameters.keys()
    for name, array in rec.parameters.items():
        np.testing.assert_array_equal(again.parameters[name], array, err_msg=name)
    assert neighbour_stability(rec, 5, k=4, n_fits=1, seed=4).share == 1


def test_a_network_of_ones_own_is_fitted_again(ratings):
    pytest.importorskip("torch")
    from torch import nn

    class Dots(nn.Module):
        def __init__(self, n_users, n_items):
            super().__init__()
            self.user_factors, self.item_factors = (
                nn.Embedding(n_users, 3),
                nn.Embedding(n_items, 3),
            )

        def forward(self, user, item):
            return 3 + (self.user_factors(user) * self.item_factors(item)).sum(1)

    solver = db.GradientDescent(db.Adam(lr=0.02), n_epochs=2, batch_size=64)
    rec = db.fit(ratings, db.Network(Dots), solver)
    assert neighbour_stability(rec, 5, k=4, n_fits=1, seed=0).share == 1
    assert neighbour_stability(rec, 5, k=4, n_fits=2).share < 1


def test_a_grown_model_is_compared_with_fits_to_all_its_ratings(rec):
    """The new item takes part, so the fits must have seen its ratings."""
    users = list(range(10))
    grown = rec.partial_fit(Ratings.from_columns(users, [999] * 10, [1.0, 5.0] * 5))
    found = neighbour_stability(grown, 999, k=5, n_fits=2)
    assert found.frame().height == 5
    assert found.chance == pytest.approx(5 / 40)


def test_another_solver_can_be_given(rec):
    fits = neighbour_stability(rec, 5, k=6, n_fits=3, solver=Drawn(always=1), seed=100)
    assert fits.seeds == (100, 101, 102)
    counts = set(fits.frame()["in_fits"])
    assert counts <= {0.0, 1.0}  # the three others are the same, and unlike the first


def test_a_solver_that_nobody_knows_must_be_given(rec):
    unknown = replace(rec, facts=replace(rec.facts, solver={"Mine": {"lr": 0.1}}))
    with pytest.raises(SettingError, match=r"Mine is none of this version.*give it as solver="):
        neighbour_stability(unknown, 5)
    untold = replace(rec, facts=Facts())
    with pytest.raises(SettingError, match="does not say how it was fitted"):
        neighbour_stability(untold, 5)
    assert neighbour_stability(untold, 5, k=2, n_fits=1, solver=QUICK).seeds == (1,)


def test_ctrl_c_ends_all_fits(rec):
    with pytest.raises(KeyboardInterrupt):
        neighbour_stability(rec, 5, solver=Drawn(stops=True))


# -- what is said, and what is refused -----------------------------------------------------------


def test_the_sentence_and_the_table_in_words(rec):
    found = replace(neighbour_stability(rec, 5, k=3, n_fits=4), share=0.618, chance=0.0027)
    assert found.verdict == (
        "Stability: 62 % of the 3 nearest are the same in another fit (4 fits with other seeds; by "
        "chance 0.3 %)."
    )
    head, *rows, last = str(found).splitlines()
    assert head.split() == ["similar", "to", "5", "similarity", "in", "fits"]
    assert [row.split()[0] for row in rows] == [str(i) for i in found.frame()["item"]]
    shares = [int(row.split()[-3]) / 4 for row in rows]  # "3 of 4"
    assert shares == found.frame()["in_fits"].to_list()
    assert last == found.verdict
    whole = replace(neighbour_stability(rec, k=3, n_fits=1), share=1.0, chance=0.5)
    assert str(whole) == (
        "Stability: 100 % of an item's 3 nearest are the same in another fit (1 fit with another "
        "seed, mean over 40 items; by chance 50 %)."
    )


def test_the_plain_data_holds_all(rec):
    found = neighbour_stability(rec, 5, k=3, n_fits=2)
    facts = found.to_dict()
    assert facts.pop("neighbours") == found.frame().to_dicts()
    assert facts == {
        "item": "5", "k": 3, "seeds": [8, 9], "share": found.share, "chance": found.chance
    }  # fmt: skip
    whole = neighbour_stability(rec, k=3, n_fits=2).to_dict()
    assert whole["item"] is None
    assert len(whole["items"]) == 40


def test_items_with_few_ratings_are_nobodys_neighbours(rec):
    """Only the item itself is below the limit, or above it."""
    rare = int(np.argmin(rec.item_counts))
    least = int(np.sort(rec.item_counts)[-4])
    assert neighbour_stability(rec, rare, k=3, n_fits=1, min_ratings=least).chance <= 3 / 4
    with pytest.raises(SettingError, match=r"k=41: k must be at most 39"):
        neighbour_stability(rec, 5, k=41)
    often = int(np.argmax(rec.item_counts))
    n_often = int((rec.item_counts >= least).sum())
    with pytest.raises(SettingError, match=rf"at most {n_often - 1}, the .* {least} training"):
        neighbour_stability(rec, often, k=n_often, min_ratings=least)
    with pytest.raises(SettingError, match=r"k must be at most 0"):
        neighbour_stability(rec, k=1, min_ratings=10_000)


def test_mistakes_are_named_before_anything_is_fitted(rec, ratings):
    never = Drawn(stops=True)
    with pytest.raises(UnknownIdError, match="unknown item 77"):
        neighbour_stability(rec, 77, solver=never)
    with pytest.raises(SettingError, match="n_fits=0: n_fits must be at least 1"):
        neighbour_stability(rec, 5, n_fits=0, solver=never)
    with pytest.raises(SettingError, match="k=0"):
        neighbour_stability(rec, 5, k=0, solver=never)
    baseline = db.fit(ratings, db.Baseline())
    for item in (5, None):
        with pytest.raises(SettingError, match="Baseline has no embeddings"):
            neighbour_stability(baseline, item, solver=never)
