"""The map of an embedding: what is on it, what it says of itself, what it refuses."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import dotbias as db
from dotbias.errors import DataError, SettingError

N_USERS, N_ITEMS = 80, 60
GENRES = ["Drama", "Drama|War", "Comedy", None]
TITLES = ["<script>alert(1)</script>", "Twice", "Twice", None, "$x$ & \u2028 “quoted”", ""]


@pytest.fixture(scope="module")
def ratings():
    rng = np.random.default_rng(5)
    pairs = rng.choice(N_USERS * N_ITEMS, 1_500, replace=False)
    user, item = pairs // N_ITEMS, pairs % N_ITEMS
    few = (item >= 50) & (user > 8)  # items that hardly anyone has rated
    user, item = user[~few], item[~few]
    p, q = rng.normal(0, 0.8, (N_USERS, 3)), rng.normal(0, 0.8, (N_ITEMS, 3))
    titles = pl.DataFrame(
        {
            "id": np.arange(N_ITEMS),
            "title": [*TITLES, *(f"Film {n}" for n in range(len(TITLES), N_ITEMS))],
            "genres": [GENRES[n % 4] for n in range(N_ITEMS)],
        }
    )
    values = np.clip(3 + (p[user] * q[item]).sum(1), 1, 5)
    return db.Ratings.from_columns(user.tolist(), item.tolist(), values, titles=titles)


@pytest.fixture(scope="module")
def rec(ratings):
    return db.fit(ratings, db.DotBias(n_factors=6), db.GradientDescent(n_epochs=10))


@pytest.fixture(scope="module")
def world(rec):
    return db.embedding_map(rec, method="pca")


def with_factors(rec, factors):
    users = np.zeros((len(rec.user_vocabulary), factors.shape[1]), np.float32)
    changed = {"user_factors": users, "item_factors": factors.astype(np.float32)}
    return replace(rec, parameters=rec.parameters | changed)


def test_the_table_says_what_is_known_of_each_item(rec, ratings, world):
    assert world.table.columns == [
        *("item", "title", "x", "y", "n_ratings", "bias", "genres", "cluster")
    ]
    counts = dict(zip(range(N_ITEMS), ratings.item_counts.tolist(), strict=True))
    for row in world.table.iter_rows(named=True):
        at = rec.item_vocabulary.find(row["item"])
        assert row["n_ratings"] == counts[row["item"]]
        assert row["bias"] == rec.parameters["item_bias"][at]
        assert row["genres"] == GENRES[row["item"] % 4]


def test_items_with_few_ratings_are_left_out_and_that_is_said(rec, world):
    shown = int((rec.item_counts >= 5).sum())
    assert 0 < shown < N_ITEMS
    assert world.table.height == shown
    assert f"{N_ITEMS - shown} items with fewer than 5 ratings are left out." in world.note
    every = db.embedding_map(rec, method="pca", min_ratings=0)
    assert every.table.height == N_ITEMS
    assert "left out" not in every.note


def test_of_too_many_the_best_known_are_placed(rec):
    some = db.embedding_map(rec, method="pca", max_points=20)
    best = np.sort(rec.item_counts)[-20:]
    assert sorted(some.table["n_ratings"]) == best.tolist()
    assert "the 20 with the most ratings are shown" in some.note


def test_neighbours_on_the_map_are_those_that_similar_names(rec, world):
    for row in range(0, world.table.height, 7):
        similar = rec.similar(world.table["item"][row], 10)
        near = world.table["item"].gather(world.neighbours[row])
        assert near.to_list() == similar["item"].to_list()
        np.testing.assert_allclose(world.similarities[row], similar["similarity"], atol=1e-6)


def test_users_can_be_mapped_too(rec):
    users = db.embedding_map(rec, "users", method="pca")
    assert users.table.columns == ["user", "x", "y", "n_ratings", "bias", "cluster"]
    counts = np.diff(rec.rated.indptr)
    assert users.table["n_ratings"].to_list() == counts[counts >= 5].tolist()
    assert users.labels()[0] == f"user {users.table['user'][0]}"


def test_labels_are_titles_as_they_are_or_ids(world):
    labels = dict(zip(world.table["item"], world.labels(), strict=True))
    assert [labels[n] for n in range(6)] == [
        "<script>alert(1)</script>",
        "Twice",
        "Twice",
        "3",
        *TITLES[4:],
    ]


def test_the_note_says_how_points_were_placed_and_what_the_axes_are(rec, world):
    assert "placed by principal components (the first two) from the cosines" in world.note
    assert "From left to right is the first component" in world.note
    pytest.importorskip("openTSNE")
    tsne = db.embedding_map(rec, perplexity=7, seed=2)
    assert "placed by t-SNE (perplexity 7, seed 2)" in tsne.note
    assert "mean nothing" in tsne.note


def test_the_same_seed_gives_the_same_map(rec):
    pytest.importorskip("openTSNE")
    one, two = (db.embedding_map(rec, seed=3) for _ in range(2))
    assert one.table.equals(two.table)
    other = db.embedding_map(rec, seed=4)
    assert one.settings != other.settings


def test_of_few_points_the_perplexity_is_lowered_and_a_higher_one_is_refused(rec):
    pytest.importorskip("openTSNE")
    few = db.embedding_map(rec, max_points=10)
    assert few.settings == "perplexity 3, seed 0"
    with pytest.raises(SettingError, match="perplexity must be from 1 to 3 for 10 points"):
        db.embedding_map(rec, max_points=10, perplexity=30)


def test_the_fewest_points_have_a_map_with_figures(rec):
    pytest.importorskip("openTSNE")
    least = db.embedding_map(rec, max_points=5)
    assert least.neighbours.shape == (5, 4)
    assert 0 <= least.quality.trustworthiness <= 1


def test_fewer_are_an_error_that_says_what_to_do(rec):
    with pytest.raises(DataError, match=r"0 of 60 items have at least 999 ratings.*--min-ratings"):
        db.embedding_map(rec, min_ratings=999)


def test_one_factor_and_no_factors_make_no_map(ratings):
    line = db.fit(ratings, db.DotBias(n_factors=1), db.GradientDescent(n_epochs=2))
    with pytest.raises(SettingError, match="one factor"):
        db.embedding_map(line)
    with pytest.raises(SettingError, match="Baseline has no embeddings"):
        db.embedding_map(db.fit(ratings, db.Baseline()))


def test_vectors_that_all_point_the_same_way_make_no_map(rec):
    same = with_factors(rec, np.ones((N_ITEMS, 6)))
    with pytest.raises(DataError, match="point the same way"):
        db.embedding_map(same)


def test_a_vector_of_zeros_has_a_place(rec):
    factors = rec.parameters["item_factors"].copy()
    factors[:3] = 0
    world = db.embedding_map(with_factors(rec, factors), method="pca")
    assert world.table.select(pl.col("x", "y").is_finite().all()).row(0) == (True, True)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"of": "films"}, "of='films': of must be 'items' or 'users'"),
        ({"method": "tsne"}, "method='tsne': method must be one of t-sne, pca, umap"),
        ({"min_ratings": -1}, "min_ratings=-1: min_ratings must be at least 0"),
        ({"max_points": 4}, "max_points=4: max_points must be at least 5"),
        ({"n_threads": 0}, "n_threads=0: n_threads must be at least 1"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_legal(rec, wrong, message):
    with pytest.raises(SettingError) as caught:
        db.embedding_map(rec, **wrong)
    assert str(caught.value) == message


def test_a_poor_map_says_so(rec):
    noise = np.random.default_rng(0).standard_normal((N_ITEMS, 50))
    poor = db.embedding_map(with_factors(rec, noise), method="pca")
    assert poor.quality.trustworthiness < 0.85
    assert "This map is poor: trustworthiness" in str(poor)
    plane = np.random.default_rng(0).standard_normal((N_ITEMS, 2))
    assert db.embedding_map(with_factors(rec, plane), method="pca").warning == ""


def test_genres_among_the_neighbours_by_hand(world):
    own = world.table["genres"].fill_null("").str.split("|").to_list()
    found = {row["genre"]: row for row in world.genres().iter_rows(named=True)}
    assert set(found) == {"Drama", "War", "Comedy"}
    for genre, row in found.items():
        has = [genre in genres for genres in own]
        near = [has[j] for i in range(len(own)) if has[i] for j in world.neighbours[i]]
        assert row["n_items"] == sum(has)
        assert row["share"] == pytest.approx(np.mean(has))
        assert row["among_neighbours"] == pytest.approx(np.mean(near))
        assert row["excess"] == pytest.approx(np.mean(near) - np.mean(has))


def test_of_very_many_genres_the_commonest_count(world):
    n = world.table.height
    names = [f"everyone's|{'half|' * (i % 2)}own {i}" for i in range(n)]
    many = replace(world, table=world.table.with_columns(genres=pl.Series(names)))
    genres = dict(many.genres().select("genre", "n_items").rows())
    assert len(genres) == 50 < n
    assert (genres["everyone's"], genres["half"], genres["own 0"]) == (n, n // 2, 1)


def test_the_largest_genres_have_colours(world):
    n = world.table.height
    # Of 12 genres the largest are not those that come first by name, nor those kept together most.
    names = pl.Series([f"genre {min(12 * 12 // (row + 12), 11):02}" for row in range(n)])
    many = replace(world, table=world.table.with_columns(genres=names))
    genre = many.picture().colourings[0]
    counts = dict(names.value_counts().rows())
    sizes = [counts[name] for name in genre.names]
    assert len(sizes) > 8
    assert sizes == sorted(sizes, reverse=True)


def test_a_point_has_the_colour_of_its_rarest_genre(world):
    genre = world.picture().colourings[0]
    assert genre.name == "genre"
    for own, place, members in zip(
        world.table["genres"], genre.of_point, genre.members, strict=True
    ):
        expected = {None: -1, "Drama|War": "War"}.get(own, own)
        assert expected == (-1 if place < 0 else genre.names[place])
        assert {genre.names[m] for m in members} == set((own or "").split("|")) - {""}


def test_the_picture_says_which_item_a_title_is_of(rec, world):
    picture = world.picture()
    ids = dict(zip(picture.facts["id"], picture.labels, strict=True))
    assert [ids[item] for item in (1, 2)] == ["Twice", "Twice"]
    assert "id" not in db.embedding_map(rec, "users", method="pca").picture().facts
    assert [colours.name for colours in picture.colourings] == [
        *("genre", "cluster", "bias", "number of ratings")
    ]


def test_clusters_are_named_after_their_best_known_titles(world):
    (name,) = world.table.sort("n_ratings", descending=True).head(1)["cluster"]
    best = world.table.sort("n_ratings", "item", descending=[True, False])
    own = best.filter(pl.col("cluster") == name).with_columns(
        pl.col("title").fill_null(pl.col("item").cast(pl.String))
    )
    assert name.split(": ", 1)[1] == ", ".join(own["title"].head(3))
    sizes = world.table["cluster"].value_counts(sort=True)
    assert world.picture().colourings[1].names[0] in sizes["cluster"].to_list()


@pytest.mark.parametrize("ending", ["html", "png"])
@pytest.mark.parametrize("of", ["items", "users"])
def test_it_can_be_drawn(rec, tmp_path, of, ending):
    placed = db.embedding_map(rec, of, method="pca")
    path = placed.save(tmp_path / f"map.{ending}")
    assert path.stat().st_size > 10_000
    if ending == "html":
        assert "<script>alert(1)</script>" not in path.read_text("utf-8")


def test_both_exports_hold_the_map(world, tmp_path):
    folder = world.export_projector(tmp_path / "projector")
    assert len((folder / "vectors.tsv").read_text("utf-8").splitlines()) == world.table.height
    table = pl.read_parquet(world.export_parquet(tmp_path / "map.parquet"))
    assert table["projection_x"].to_list() == world.table["x"].to_list()


def test_a_network_has_a_map_too(ratings):
    pytest.importorskip("torch")
    net = db.fit(
        ratings, db.EmbeddingNet(n_factors=4), db.GradientDescent(n_epochs=1, batch_size=64)
    )
    for of in ("items", "users"):
        placed = db.embedding_map(net, of, method="pca")
        assert "bias" not in placed.table.columns
        assert placed.vectors.shape[1] == 4


def test_the_map_of_real_films_can_be_trusted(data_dir):
    pytest.importorskip("openTSNE")
    films = db.read_ratings(data_dir / "ml-latest-small.zip")
    world = db.embedding_map(db.fit(films, solver=db.GradientDescent()), min_ratings=20)
    assert world.table.height == (films.item_counts >= 20).sum() == 1297
    assert world.quality.trustworthiness >= 0.85
    assert world.warning == ""
    excess = dict(world.genres().select("genre", "excess").rows())
    assert min(excess["Animation"], excess["Horror"], excess["Sci-Fi"]) > 0.05
