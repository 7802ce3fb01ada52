"""Explanations in the user's own ids: sums that are right, words that say what they are sums of."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

import dotbias as db
from dotbias.errors import ModelFileError, SettingError, UnknownIdError
from dotbias.recommender.explanation import RATED, Explanation
from dotbias.recommender.recommender import Recommender
from tests.ratings import random_ratings

N_USERS, N_ITEMS = 60, 50
TITLES = pl.DataFrame({"id": [0, 1, 2], "title": ["Heat (1995)", "Ran (1985)", "Ran away"]})
FIXED = ["global mean", "user bias", "item bias", "what the fit left"]

LINEAR = db.DotBias(n_factors=4)
SIGMOID = db.DotBias(n_factors=4, output="sigmoid")
FITS: dict[str, tuple[Any, Any]] = {
    "baseline": (db.Baseline(), db.ClosedForm()),
    "als": (LINEAR, db.ALS(n_iterations=3)),
    "gradient": (LINEAR, db.GradientDescent(n_epochs=5)),
    "gradient, sigmoid": (SIGMOID, db.GradientDescent(n_epochs=5)),
    "gibbs": (LINEAR, db.Gibbs(n_samples=10, burn_in=5)),
}


@pytest.fixture(scope="module")
def ratings() -> db.Ratings:
    plain = random_ratings(N_USERS, N_ITEMS, 1200, seed=0).to_frame()
    return db.Ratings.from_columns(plain["user"], plain["item"], plain["rating"], titles=TITLES)


@pytest.fixture(scope="module")
def recs(ratings: db.Ratings) -> dict[str, Recommender]:
    return {name: db.fit(ratings, *how, seed=0) for name, how in FITS.items()}


@pytest.fixture(scope="module")
def rec(recs: dict[str, Recommender]) -> Recommender:
    return recs["als"]


@pytest.fixture(scope="module")
def converged(ratings: db.Ratings) -> Recommender:
    return db.fit(ratings, LINEAR, db.ALS(n_iterations=300))


def total(table: pl.DataFrame) -> float:
    return float(table["contribution"].sum())


def of_user(rec: Recommender, user: int) -> dict[int, float]:
    row = rec.rated[[user]]
    return dict(zip(row.indices.tolist(), row.data.tolist(), strict=True))


def value_of(found: Explanation, part: str) -> float:
    return float(found.frame().filter(pl.col("part") == part)["contribution"].sum())


@pytest.mark.parametrize("name", FITS)
def test_parts_add_up_to_the_prediction(name: str) -> None:
    ratings, _ = db.simulate(n_users=300, n_items=200, n_ratings=10_000, seed=1)
    rec = db.fit(ratings, *FITS[name], seed=0)
    rng = np.random.default_rng(0)
    pairs = zip(rng.integers(0, 300, 200), rng.integers(0, 200, 200), strict=True)
    for u, i in pairs:
        user, item = rec.user_vocabulary.raw(u), rec.item_vocabulary.raw(i)
        found = rec.explain(user, item)
        predicted = rec.predict(user, item)
        assert found.prediction == predicted
        assert total(found.frame()) == pytest.approx(predicted, abs=1e-5)
        assert total(found.summary(3)) == pytest.approx(predicted, abs=1e-5)


@pytest.mark.parametrize("name", FITS)
def test_the_folded_in_prediction_is_that_of_folding_in(recs, name: str) -> None:
    rec = recs[name]
    for user, item in ((3, 7), (11, 0), (40, 49)):
        found = rec.explain(user, item)
        low, high = rec.parameters["scale"]
        folded = rec.fold_in_user(of_user(rec, user)).predict(item)
        assert np.clip(found.folded_in, low, high) == pytest.approx(folded, abs=2e-5)
        uncut = found.folded_in + found.difference
        assert np.clip(uncut, low, high) == pytest.approx(found.prediction, abs=1e-5)
        assert found.difference == pytest.approx(value_of(found, "what the fit left"))


def test_alternating_least_squares_that_has_converged_is_explained_exactly(converged) -> None:
    found = [converged.explain(u, i) for u in range(0, N_USERS, 7) for i in range(0, N_ITEMS, 7)]
    assert max(abs(one.difference) for one in found) < 1e-3
    assert all(one.exact for one in found)
    assert found[0].sentence == (
        "The parts are exact: the user's vector is what their ratings give by regression."
    )


def test_a_baseline_fitted_in_closed_form_is_mean_and_biases(recs) -> None:
    rec = recs["baseline"]
    found = rec.explain(3, 7)
    assert found.frame()["part"].to_list() == FIXED
    assert found.exact
    assert value_of(found, "user bias") == pytest.approx(rec.parameters["user_bias"][3], abs=1e-4)
    assert value_of(found, "item bias") == pytest.approx(rec.parameters["item_bias"][7], abs=1e-6)
    assert total(found.frame()) == pytest.approx(rec.predict(3, 7), abs=1e-9)
    assert len(found.picture().bars) >= 2


def test_the_frame_lists_fixed_parts_and_then_what_was_rated_by_size(rec) -> None:
    found = rec.explain(3, 7)
    table = found.frame()
    assert table.columns == ["part", "item", "title", "rating", "similarity", "contribution"]
    fixed, rated = table.filter(pl.col("part") != RATED), table.filter(pl.col("part") == RATED)
    assert fixed["part"].to_list()[:4] == FIXED
    assert table["part"].to_list() == fixed["part"].to_list() + rated["part"].to_list()
    assert fixed["item"].null_count() == fixed.height
    assert dict(zip(rated["item"], rated["rating"], strict=True)) == of_user(rec, 3)
    sizes = rated["contribution"].abs().to_list()
    assert sizes == sorted(sizes, reverse=True)
    for row in rated.iter_rows(named=True):
        assert row["similarity"] == pytest.approx(rec.similarity(row["item"], 7), abs=1e-5)
    named = {0: "Heat (1995)", 1: "Ran (1985)", 2: "Ran away"}
    assert all(row["title"] == named.get(row["item"]) for row in rated.iter_rows(named=True))


def test_the_summary_keeps_the_largest_and_joins_the_others(rec) -> None:
    found = rec.explain(3, 7)
    table, n = found.frame(), len(of_user(rec, 3))
    n_fixed = table.height - n
    short = found.summary(4)
    assert short.columns == table.columns
    assert short[: n_fixed + 4].equals(table[: n_fixed + 4])
    assert short["part"].to_list()[n_fixed + 4 :] == [f"the other {n - 4} rated items"]
    assert total(short) == pytest.approx(total(table), abs=1e-12)
    assert found.summary(n - 1)["part"][-1] == "the other rated item"
    assert found.summary(n).equals(table)
    with pytest.raises(SettingError, match="k=0"):
        found.summary(0)


def test_what_is_shown_leaves_out_only_fixed_parts_that_are_next_to_nothing(converged) -> None:
    found = converged.explain(3, 7)
    short = found.summary(4)
    assert abs(value_of(found, "what the fit left")) < 5e-4
    kept = short.filter(pl.col("part") != "what the fit left")
    assert found.shown(4)["contribution"].to_list() == kept["contribution"].to_list()
    apart = found.shown(4)["part"].to_list()
    assert apart[:3] == ["global mean", "user bias", "item bias"]
    assert apart[-1].startswith("the other ")


def test_a_rating_of_the_item_itself_is_marked(rec) -> None:
    item = next(iter(of_user(rec, 3)))
    name = rec.item_vocabulary.label(item)
    assert f"this item itself: {name}" in rec.explain(3, item).shown(100)["part"]
    other = next(i for i in range(3, N_ITEMS) if i not in of_user(rec, 3))
    assert "itself" not in str(rec.explain(3, other))


def test_the_part_of_an_items_own_rating_rises_with_it(rec) -> None:
    low, high = (rec.fold_in_user({5: rating, 8: 3.0}).explain(5) for rating in (2.0, 4.0))
    of_item = pl.col("item") == 5
    parts = [one.frame().filter(of_item)["contribution"].item() for one in (low, high)]
    assert parts[1] > parts[0]


@pytest.mark.parametrize("name", FITS)
def test_a_folded_user_is_explained_exactly(recs, name: str) -> None:
    rec = recs[name]
    user = rec.fold_in_user({0: 5.0, 4: 1.0, 9: 4.0})
    for item in (2, 4, 20):
        found = user.explain(item)
        assert found.user is None
        assert found.exact
        assert found.prediction == user.predict(item)
        assert total(found.frame()) == pytest.approx(found.prediction, abs=1e-5)
    rated = found.frame().filter(pl.col("part") == RATED)
    assert set(rated["item"]) == (set() if name == "baseline" else {0, 4, 9})


def test_a_folded_user_without_ratings_gets_what_is_known_without_them(rec) -> None:
    found = rec.fold_in_user({}).explain(7)
    assert RATED not in found.frame()["part"]
    assert total(found.frame()) == pytest.approx(rec.predict([10_000], 7)[0], abs=1e-5)


def test_what_is_assumed_of_everyone_is_a_part_where_it_is_not_zero(rec) -> None:
    assert "assumed of everyone" not in rec.explain(3, 7).frame()["part"]
    mean = np.full(5, 0.3, np.float32)
    other = Recommender(
        rec.model,
        rec.parameters | {"user_prior_mean": mean},
        rec.user_vocabulary,
        rec.item_vocabulary,
        rec.rated,
    )
    found = other.fold_in_user({}).explain(7)
    expected = mean[1:] @ rec.parameters["item_factors"][7]
    assert value_of(found, "assumed of everyone") == pytest.approx(expected, abs=1e-6)
    assert value_of(found, "user bias") == pytest.approx(0.3, abs=1e-6)


def test_users_and_ratings_that_joined_later_are_explained(rec) -> None:
    new = db.Ratings.from_columns([900, 900, 3], [0, 5, 7], [5.0, 1.0, 4.0])
    grown = rec.partial_fit(new)
    for user in (900, 3, 8):
        found = grown.explain(user, 12)
        assert "last step" not in found.left_by
        assert total(found.frame()) == pytest.approx(grown.predict(user, 12), abs=1e-5)
    assert set(grown.explain(900, 12).frame()["item"].drop_nulls()) == {0, 5}


def test_unknown_users_and_items_are_named(rec) -> None:
    with pytest.raises(UnknownIdError, match="unknown user 999"):
        rec.explain(999, 7, strict=True)
    with pytest.raises(UnknownIdError, match="unknown item 999"):
        rec.explain(3, 999, strict=True)
    with pytest.raises(UnknownIdError, match="'Ra' matches 2 titles"):
        rec.explain(3, "Ra")
    assert rec.explain("3", "Heat").item == 0


def test_networks_and_models_of_older_versions_are_refused(rec, ratings) -> None:
    old = {name: array for name, array in rec.parameters.items() if "prior" not in name}
    older = Recommender(rec.model, old, rec.user_vocabulary, rec.item_vocabulary, rec.rated)
    with pytest.raises(ModelFileError, match="fit it again"):
        older.explain(3, 7)
    pytest.importorskip("torch")
    net = db.fit(ratings, db.EmbeddingNet(n_factors=2), db.GradientDescent(n_epochs=1))
    with pytest.raises(
        SettingError, match=r"EmbeddingNet .* predictions explained, .* linear in each"
    ):
        net.explain(3, 7)


# Words and pictures


def test_the_text_says_what_is_explained_and_by_how_much_it_differs(recs) -> None:
    for name, words in (
        ("gibbs", "is a mean of samples"),
        ("gradient", "was left by gradient descent after 5 epochs"),
        ("als", "was solved before the last step of the items"),
    ):
        found = next(
            one
            for one in (recs[name].explain(u, 7) for u in range(N_USERS))
            if not one.exact and "cut off" not in one.frame()["part"]
        )
        assert f"The model's vector of the user {words}." in found.sentence
        numbers = f"predicts {found.folded_in:.3f} instead of {found.prediction:.3f}"
        assert found.sentence.endswith(f'{numbers}: that is "what the fit left".')
        assert str(found).endswith(found.sentence)


def test_the_text_has_the_prediction_on_top_and_numbers_in_columns(rec) -> None:
    found = rec.explain(3, "Heat")
    heading, *lines, _ = str(found).splitlines()
    assert heading == f"{rec.predict(3, 0):.3f} is predicted for user 3 and Heat (1995)"
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split() == ["global", "mean", f"{rec.parameters['global_mean'][0]:+.3f}"]
    shown = [float(line.split()[-1]) for line in lines[1:]]
    assert sum(shown) == pytest.approx(found.prediction, abs=0.01)


def test_a_prediction_beyond_the_scale_says_so(rec) -> None:
    pairs = ((u, i) for u in range(N_USERS) for i in range(N_ITEMS))
    found = next(f for f in (rec.explain(*p) for p in pairs) if value_of(f, "cut off") < -0.05)
    assert found.prediction == 5
    assert found.folded_in + found.difference > 5.05
    assert total(found.frame()) == pytest.approx(5, abs=1e-9)
    if not found.exact:
        assert found.sentence.endswith(
            ', before they are cut off at the end of the scale: that is "what the fit left".'
        )
    assert "cut off" in str(found)


def test_it_becomes_plain_data(rec) -> None:
    found = rec.explain(3, 7)
    data = json.loads(json.dumps(found.to_dict()))
    assert data["parts"] == found.frame().to_dicts()
    assert (data["user"], data["item"], data["title"]) == (3, 7, "7")
    assert data["prediction"] == found.prediction
    assert data["explains"] == found.sentence


def test_the_picture_has_a_bar_for_all_but_the_global_mean(rec) -> None:
    found = rec.explain(3, 7)
    picture = found.picture(k=4)
    assert picture.title == found.heading
    assert f"{rec.parameters['global_mean'][0]:.3f}" in picture.x_label
    values = [bar.value for bar in picture.bars]
    assert values == found.shown(4)["contribution"].to_list()[1:]
    assert found.sentence in picture.note
    first = found.frame().filter(pl.col("part") == RATED).row(0, named=True)
    label = rec.item_vocabulary.label(first["item"])
    bar = next(bar for bar in picture.bars if bar.value == first["contribution"])
    assert bar.name == f"{first['rating']:g} for {label}"
    assert bar.label == f"{first['contribution']:+.3f}"


def test_a_loaded_model_explains_the_same(rec, tmp_path) -> None:
    rec.save(tmp_path / "m.dotbias")
    loaded = Recommender.load(tmp_path / "m.dotbias").explain(3, 7)
    assert str(loaded) == str(rec.explain(3, 7))


def test_ids_of_text() -> None:
    ratings, _ = db.simulate(n_users=30, n_items=20, n_ratings=300, seed=1)
    plain = ratings.to_frame()
    text = db.Ratings.from_columns(
        plain["user"].cast(pl.String), "i" + plain["item"].cast(pl.String), plain["rating"]
    )
    rec = db.fit(text, LINEAR, db.ALS(n_iterations=3))
    user, item = rec.user_vocabulary.raw(4), rec.item_vocabulary.raw(2)
    found = rec.explain(user, item)
    assert (found.user, found.item) == (user, item)
    assert all(name.startswith("i") for name in found.frame()["item"].drop_nulls())


def test_movielens_small(data_dir) -> None:
    ratings = db.read_ratings(data_dir / "ml-latest-small.zip")
    rng = np.random.default_rng(0)
    for solver in (db.ALS(n_iterations=4), db.GradientDescent(n_epochs=4)):
        rec = db.fit(ratings, db.DotBias(n_factors=16), solver)
        busiest = int(np.diff(rec.rated.indptr).argmax())
        users, items = rng.integers(0, 610, 500), rng.integers(0, 9724, 500)
        for u, i in [(busiest, 0), *zip(users, items, strict=True)]:
            user, item = rec.user_vocabulary.raw(u), rec.item_vocabulary.raw(i)
            table = rec.explain(user, item).frame()
            assert total(table) == pytest.approx(rec.predict(user, item), abs=1e-5)
            assert (table["part"] == RATED).sum() == rec.rated[[u]].nnz
