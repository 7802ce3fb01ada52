"""Users and items as frames, and what tab completion offers."""

import numpy as np
import polars as pl
import pytest

import dotbias as db

RATINGS = db.simulate(n_users=60, n_items=40, n_ratings=1500, seed=1)[0]
TITLES = pl.DataFrame({"id": [1, 2], "title": ["Heat", "Ran"], "genres": ["Crime", None]})
NAMED = db.Ratings.from_columns(
    RATINGS.to_frame()["user"], RATINGS.to_frame()["item"], RATINGS.values, titles=TITLES
)
BRIEF = db.ALS(n_iterations=1)


@pytest.fixture(scope="module")
def rec() -> db.Recommender:
    how = {"purpose": "both", "preference": db.ImplicitALS(n_iterations=1)}
    return db.fit(NAMED, db.DotBias(n_factors=3), BRIEF, **how)


@pytest.mark.parametrize("side", ["user", "item"])
def test_counts_means_and_biases_are_those_of_the_ratings(rec, side):
    table = rec.users() if side == "user" else rec.items()
    frame = NAMED.to_frame().group_by(side).agg(n=pl.len(), mean=pl.col("rating").mean()).sort(side)
    assert table[side].to_list() == frame[side].to_list()
    assert table["n_ratings"].to_list() == frame["n"].to_list()
    assert table["mean_rating"].to_numpy() == pytest.approx(frame["mean"].to_numpy(), abs=1e-6)
    assert np.array_equal(table["bias"], rec.parameters[f"{side}_bias"])
    if side == "item":
        assert table.columns[:3] == ["item", "title", "genres"]
        assert table.row(0, named=True)["title"] == "Heat"
        top = rec.item_bias_ranking(1).row(0, named=True)
        assert table.sort("bias", descending=True)["item"][0] == top["item"]


def test_cosines_of_the_vectors_are_the_similarities(rec):
    for by in ("rating", "preference"):
        table = rec.item_embeddings(by=by)
        vectors = table["vector"].to_numpy().astype(float)
        assert table.columns == ["item", "title", "vector"]
        a, b = vectors[4], vectors[9]
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert cosine == pytest.approx(rec.similarity(table["item"][4], table["item"][9], by=by))
    users = rec.user_embeddings(by="rating")
    assert users.columns == ["user", "vector"]
    assert np.array_equal(users["vector"].to_numpy(), rec.parameters["user_factors"])


def test_what_there_is_not_is_left_out():
    plays, _ = db.simulate(n_users=50, n_items=30, n_ratings=900, kind="counts", seed=1)
    rec = db.fit(plays, solver=db.ImplicitALS(weight_decay=1, n_iterations=1))
    assert rec.items().columns == ["item", "title", "n_ratings"]
    with pytest.raises(db.SettingError, match="Baseline has no embeddings"):
        db.fit(RATINGS, "baseline").item_embeddings()


def test_tab_completion_is_a_table_of_contents(rec):
    shown = dir(rec)
    assert all(hasattr(rec, name) for name in shown)
    assert {"predict", "recommend", "similar", "items", "save"} <= {*shown}
    # What is public and not listed is for other modules: whatever joins must be one or the other.
    inside = (
        "basis catalogue compared_by for_all in_own_type indices interrupted item_counts known_items "
        "mean_ratings most_rated named nearest nearest_items of preference ranked_by rare rated "
        "rated_by scored top_items unit_vectors user_priors vocabulary"
    )
    public = {name for name in object.__dir__(rec) if not name.startswith("_")}
    assert public - {*shown} == {*inside.split()}
