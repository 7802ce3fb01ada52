"""Features: what each kind of column becomes, and that they stay with their users and items."""

import datetime
import logging
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotbias.data.features import (
    FeatureColumn,
    FeatureEncoder,
    codes,
    encode,
    told_by_titles,
)
from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Vocabulary
from dotbias.errors import DataError, SettingError

ABC = Vocabulary(pl.Series(["ann", "bob", "cem"]))


def encoded(column: list[Any] | pl.Series, ids: tuple[str, ...] = ("ann", "bob", "cem")) -> Any:
    """The dense table of one feature column, and its names."""
    table, encoder = encode(pl.DataFrame({"id": ids, "x": column}), ABC, "user")
    assert table.dtype == np.float32
    return table.toarray(), encoder.names


# What a column becomes.


def test_text_becomes_one_feature_for_each_value():
    table, names = encoded(["cook", "artist", "cook"])
    assert names == ("x=artist", "x=cook")
    np.testing.assert_array_equal(table, [[0, 1], [1, 0], [0, 1]])


def test_values_between_bars_share_a_sum_of_squares_of_1():
    table, names = encoded(["a|b", "c", "a|b|c"])
    assert names == ("x=a", "x=b", "x=c")
    two, three = 1 / np.sqrt([2, 3])
    np.testing.assert_allclose(table, [[two, two, 0], [0, 0, 1], [three] * 3], rtol=1e-6)


def test_a_value_that_is_named_twice_counts_once():
    table, _ = encoded(["a|a", "a|b", "b"])
    np.testing.assert_allclose(table, [[1, 0], [0.5**0.5, 0.5**0.5], [0, 1]], rtol=1e-6)


def test_missing_text_and_nothing_between_bars_are_zero():
    table, names = encoded([None, "", "a||"])
    assert names == ("x=a",)
    np.testing.assert_array_equal(table, [[0], [0], [1]])


def test_numbers_are_centred_and_divided_by_their_deviation():
    table, names = encoded([10, 20, 60])
    assert names == ("x",)
    x = np.array([10, 20, 60])
    np.testing.assert_allclose(table[:, 0], (x - 30) / x.std(), rtol=1e-6)


@pytest.mark.parametrize("missing", [None, float("nan"), float("inf")])
def test_a_missing_number_is_an_average_one(missing):
    table, _ = encoded([10.0, missing, 30.0])
    np.testing.assert_allclose(table[:, 0], [-1, 0, 1], rtol=1e-6)


@pytest.mark.parametrize(
    "same", [[7, 7, 7], [None, 7.5, None], pl.Series([None] * 3, dtype=pl.Int8)]
)
def test_a_number_that_never_varies_is_zero(same):
    table, _ = encoded(same)
    np.testing.assert_array_equal(table, np.zeros((3, 1)))


def test_booleans_become_0_and_1_and_missing_ones_0():
    table, names = encoded([True, False, None])
    assert names == ("x",)
    np.testing.assert_array_equal(table, [[1], [0], [0]])


def test_several_columns_stand_side_by_side():
    frame = pl.DataFrame({"id": ["ann", "bob"], "job": ["cook", "bard"], "old": [True, False]})
    table, encoder = encode(frame, ABC, "user")
    assert encoder.names == ("job=bard", "job=cook", "old")
    np.testing.assert_array_equal(table.toarray(), [[0, 1, 1], [1, 0, 0], [0, 0, 0]])


# Whose features they are.


def test_rows_go_to_their_ids_and_who_has_none_gets_zeros():
    table, _ = encoded(["cook", "bard"], ids=("cem", "ann"))
    np.testing.assert_array_equal(table, [[1, 0], [0, 0], [0, 1]])


def test_ids_without_ratings_leave_no_trace():
    """Neither a feature of theirs nor a share in the mean of a number."""
    table, names = encoded(["cook", "spy", "bard"], ids=("ann", "eve", "bob"))
    assert names == ("x=bard", "x=cook")
    np.testing.assert_array_equal(table, [[0, 1], [1, 0], [0, 0]])
    table, _ = encoded([1, 1000, 3], ids=("ann", "eve", "bob"))
    np.testing.assert_allclose(table[:, 0], [-1, 1, 0], rtol=1e-6)


def test_an_id_with_features_twice_is_named():
    """Not the stranger that is repeated too."""
    frame = pl.DataFrame({"id": ["eve", "eve", "bob", "bob"], "x": [1, 2, 3, 4]})
    with pytest.raises(DataError, match="user 'bob' has features twice"):
        encode(frame, ABC, "user")


def test_strangers_may_be_repeated():
    table, _ = encoded([1, 2, 3], ids=("eve", "eve", "bob"))
    assert table.shape == (3, 1)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"id": ["ann"]}, "item features need a column of ids and at least one more"),
        ({"id": ["ann"], "title": ["Ann"]}, "item features are nothing but ids and titles"),
        ({"name": ["eve"], "x": [1]}, "no id in column 'name' is that of any item with ratings"),
        ({"id": ["ann"], "x": [[1, 2]]}, "feature 'x' is List"),
        ({"id": ["ann"], "x": pl.Series([None], dtype=pl.Null)}, "feature 'x' is Null"),
        ({"id": ["ann"], "x": pl.Series([0]).cast(pl.Date)}, "feature 'x' is Date: give text"),
        ({"id": ["ann"], "x": [""], "y": ["|"]}, "no item has any of the features 'x', 'y'"),
    ],
)
def test_frames_that_say_nothing_are_refused(frame, message):
    with pytest.raises(DataError, match=message):
        encode(pl.DataFrame(frame), ABC, "item")


# What comes later.

texts = st.lists(st.sampled_from(["a", "b", "a|b", "c d", "", "a||c d", None]), min_size=1)
numbers = st.one_of(
    st.none(),
    st.integers(-(10**9), 10**9),
    st.floats(-1e18, 1e18, allow_nan=False),
    st.just(np.nan),
)


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    """Ids, and a column of each kind; at least one text that names something."""
    text = [*draw(texts), "a"]
    columns = {
        "job": pl.Series(text, dtype=pl.String),
        "age": pl.Series([draw(numbers) for _ in text], dtype=pl.Float64, strict=False),
        "old": pl.Series(
            [draw(st.sampled_from([True, False, None])) for _ in text], dtype=pl.Boolean
        ),
    }
    return pl.DataFrame({"id": range(len(text)), **columns})


@given(frames(), st.randoms())
def test_a_frame_is_read_later_as_it_was_at_training(frame: pl.DataFrame, random: Any) -> None:
    """In any order of rows and columns, row by row, and with columns that are no features."""
    n = frame.height
    table, encoder = encode(frame, Vocabulary(pl.Series(range(n))), "user")
    dense = table.toarray()
    assert np.isfinite(dense).all()
    order = random.sample(range(n), n)
    later = frame[order].select("old", pl.lit("x").alias("mood"), "age", "job", "id")
    np.testing.assert_array_equal(encoder.table(later, "user").toarray(), dense[order])
    at = order[0]
    alone = encoder.row(frame.drop("id").row(at, named=True), "user")
    np.testing.assert_array_equal(alone.toarray(), dense[[at]])


LEARNED = FeatureEncoder(
    (
        FeatureColumn("job", "text", ("12", "bard", "cook", "true")),
        FeatureColumn("age", "number", (), 40.0, 10.0),
        FeatureColumn("old", "boolean"),
    )
)


def later(**columns: Any) -> list[list[float]]:
    return LEARNED.table(pl.DataFrame(columns), "user").toarray().tolist()


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"job": ["cook"]}, [0, 0, 1, 0, 0, 0]),  # columns that lack are missing
        ({"job": [12], "mood": ["good"]}, [1, 0, 0, 0, 0, 0]),  # numbers where text had some
        ({"job": pl.Series([12.0, None])}, [1, 0, 0, 0, 0, 0]),  # as a missing one makes them
        ({"job": [True]}, [0, 0, 0, 1, 0, 0]),
        ({"job": pl.Series(["bard"], dtype=pl.Categorical)}, [0, 1, 0, 0, 0, 0]),
        ({"job": [float("nan")], "age": [50]}, [0, 0, 0, 0, 1, 0]),
        ({"job": [None], "age": [None], "old": [None]}, [0, 0, 0, 0, 0, 0]),
        ({"age": [float("inf")], "old": [float("nan")]}, [0, 0, 0, 0, 0, 0]),
        ({"age": [np.float32(30)], "old": [1]}, [0, 0, 0, 0, -1, 1]),
    ],
)
def test_what_stands_for_what_training_had(columns, expected, caplog):
    with caplog.at_level(logging.WARNING, "dotbias"):
        assert later(**columns)[0] == expected
    assert caplog.text == ""


def test_values_that_training_had_not_are_named_and_count_among_the_others(caplog):
    with caplog.at_level(logging.WARNING, "dotbias"):
        table = later(job=["cook|spy", "monk", "cook"])
    assert "Of feature 'job' training had no 'monk', 'spy': nothing is known of it." in caplog.text
    np.testing.assert_allclose([row[2] for row in table], [0.5**0.5, 0, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"age": "24"}, "feature 'age' is String: the model was fitted to numbers there"),
        ({"age": True}, "feature 'age' is Boolean: the model was fitted to numbers there"),
        ({"age": 1e300}, r"feature 'age' has 1e\+300: numbers may be up to 1e\+18 in size"),
        ({"age": 10**400}, "user features are no text, numbers or booleans: int value too large"),
        ({"age": [1, 2]}, r"feature 'age' is List\(Int64\)"),
        ({"job": ["cook"]}, r"feature 'job' is List\(String\): the model was fitted to text there"),
        ({"job": b"cook"}, "feature 'job' is Binary"),
        ({"job": datetime.date(2020, 1, 1)}, "feature 'job' is Date"),
        ({"old": 2}, "feature 'old' is Int64: the model was fitted to true and false there"),
        ({"old": "true"}, "feature 'old' is String"),
        (
            {"mood": 1},
            "user feature 'mood' is none of those that the model was fitted to: 'job', 'age'",
        ),
    ],
)
def test_what_is_no_such_feature_is_named(values, message):
    with pytest.raises(DataError, match=message):
        LEARNED.row(values, "user")


def test_a_frame_without_any_of_the_features_is_another():
    with pytest.raises(DataError, match=r"user features have none of the columns .* 'job', 'age'"):
        later(mood=["good"])


def test_numbers_that_no_mean_is_taken_of_are_refused_at_training():
    with pytest.raises(DataError, match=r"feature 'x' has -1e\+300"):
        encoded([1.0, -1e300, 3.0])


@pytest.mark.parametrize(
    "column",
    [
        {"kind": "text", "values": ("a", "b", "a")},
        {"kind": "number", "std": 0.0},
        {"kind": "number", "std": -1.0},
        {"kind": "number", "mean": 1e19},
    ],
)
def test_columns_that_nothing_leads_to_are_refused(column):
    with pytest.raises(SettingError, match="feature 'x' has"):
        FeatureColumn("x", **column)


def test_a_title_is_no_feature_of_an_item_and_one_of_a_user():
    frame = pl.DataFrame({"id": ["ann"], "title": ["Dr"], "x": [1]})
    assert encode(frame, ABC, "item")[1].names == ("x",)
    assert encode(frame, ABC, "user")[1].names == ("title=Dr", "x")


# Categories of single ratings.


@given(st.lists(st.sampled_from(["x", "y", "z", "zz"]), min_size=1, max_size=30))
def test_equal_values_get_equal_codes_in_the_order_of_the_values(column: list[str]) -> None:
    order = sorted(set(column))
    result = codes(column, len(column), "month")
    assert result.dtype == np.int32
    assert result.tolist() == [order.index(value) for value in column]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1, 2], "rating feature 'month' has 2 values for 3 ratings"),
        ([1, None, 2], "rating feature 'month' is missing in row 1"),
        ([[1], [2], [3]], "rating feature 'month' is List"),
        ([object(), object(), object()], "rating feature 'month' is Object"),
    ],
)
def test_columns_that_are_no_categories_are_refused(column, message):
    with pytest.raises(DataError, match=message):
        codes(column, 3, "month")


# With ratings.

row = st.tuples(st.integers(1, 6), st.sampled_from("abcdef"), st.integers(0, 3))


@st.composite
def rated(draw: st.DrawFn) -> Ratings:
    """Ratings whose features repeat their ids: a user's number, an item's letter, a category."""
    different = st.lists(row, min_size=2, max_size=30, unique_by=lambda r: r[:2])
    users, items, month = zip(*draw(different), strict=True)
    ratings = Ratings.from_columns(users, items, np.arange(len(users)))
    # All of them, so that the columns are the same whatever ids occur.
    frame = pl.DataFrame({"id": range(1, 7), "is": [f"{n}" for n in range(1, 7)]})
    genres = pl.DataFrame({"id": list("abcdef"), "is": list("abcdef")})
    return ratings.with_features(users=frame, items=genres, ratings={"month": list(month)})


def assert_aligned(part: Ratings, whole: Ratings) -> None:
    features = part.features
    names, letters = whole.features.names
    for table, columns, ids in (
        (features.users, names, part.user_vocabulary.ids),
        (features.items, letters, part.item_vocabulary.ids),
    ):
        assert features.names == whole.features.names
        assert table.shape == (len(ids), len(columns))
        expected = [[float(name == f"is={raw}") for name in columns] for raw in ids]
        np.testing.assert_array_equal(table.toarray(), expected)
    rows = part.values.astype(int)
    np.testing.assert_array_equal(features.ratings["month"], whole.features.ratings["month"][rows])


@given(rated(), st.data())
def test_parts_keep_the_features_of_their_ids(ratings: Ratings, data: st.DataObject) -> None:
    rows = st.lists(st.integers(0, len(ratings) - 1), min_size=1, max_size=20)
    assert_aligned(ratings, ratings)
    assert_aligned(ratings.take(np.array(data.draw(rows))), ratings)
    assert_aligned(ratings.rows(np.array(data.draw(rows))), ratings)
    mask = np.zeros(len(ratings), np.bool_)
    mask[data.draw(rows)] = True
    assert_aligned(ratings.take(mask), ratings)


@given(rated(), st.sampled_from([0.2, 0.5]), st.integers(0, 3))
def test_a_split_keeps_the_features_on_both_sides(
    ratings: Ratings, test_size: float, seed: int
) -> None:
    if not 0 < round(len(ratings) * test_size) < len(ratings):
        return
    for part in ratings.split(test_size, seed=seed):
        assert_aligned(part, ratings)


def test_ratings_as_they_were_have_no_features():
    ratings = Ratings.from_columns(["ann"], [7], [4.0])
    ratings.with_features(ratings={"month": [1]})
    assert ratings.features is None


def test_features_that_are_not_given_are_none():
    ratings = Ratings.from_columns(["ann"], [7], [4.0]).with_features(ratings={"month": [1]})
    assert ratings.features.users is None
    assert ratings.features.items is None
    part = ratings.take(np.array([0]))
    assert part.features.users is None


# What titles and genres say without being asked.

TITLES = pl.DataFrame(
    {
        "id": [7, 8, 9, 10],
        "title": ["Heat (1995)", "Ran (1985)", "Alien", None],
        "genres": ["Crime|Drama", "Drama|War", "War", "Crime"],
    }
)


def titled(titles: pl.DataFrame = TITLES) -> Ratings:
    users = ["ann", "bob", "ann", "bob"]
    return Ratings.from_columns(users, [7, 8, 9, 10], [4.0, 5.0, 3.0, 2.0], titles=titles)


def test_genres_and_years_are_known_without_being_handed_over():
    ratings = titled()
    items = ratings.features.items.toarray()
    names = ("genres=Crime", "genres=Drama", "genres=War", "year")
    assert ratings.features.names == ((), names)
    root = np.float32(np.sqrt(0.5))
    np.testing.assert_allclose(
        items[:, :3], [[root, root, 0], [0, root, root], [0, 0, 1], [1, 0, 0]]
    )
    np.testing.assert_allclose(items[:, 3], [1, -1, 0, 0])


def test_what_tells_nothing_of_another_item_is_no_feature():
    own = TITLES.with_columns(genres=pl.Series(["a", "b", "c", "d"]))
    assert titled(own).features.names == ((), ("year",))
    same = own.with_columns(title=pl.Series(["Heat (1995)", "Ran (1995)", None, "Alien"]))
    assert titled(same).features is None
    assert told_by_titles(titled(same).item_vocabulary, few=True).columns == [
        "id",
        "genres",
        "year",
    ]
    assert titled(TITLES.select("id")).features is None
    blank = TITLES.select("id", genres=pl.Series(["", "|", "||", ""]))
    assert titled(blank).features is None


def test_features_that_are_not_given_stay_as_they_are_known():
    users = pl.DataFrame({"id": ["ann", "bob"], "age": [20, 40]})
    beside = (
        titled().with_features(users=users).with_features(ratings={"month": [1, 1, 2, 2]}).features
    )
    assert beside.names[0] == ("age",)
    assert beside.names[1][-1] == "year"
    assert beside.ratings["month"].tolist() == [0, 0, 1, 1]
    instead = titled().with_features(items=pl.DataFrame({"id": [7, 8], "length": [1, 2]})).features
    assert instead.names == ((), ("length",))
    nothing = titled().without_features()
    assert nothing.features is None
    assert nothing.with_features(users=users).features.names == (("age",), ())
    assert nothing.item_vocabulary.label(0) == "Heat (1995)"


def test_ratings_with_titles_are_other_ratings_to_a_fit():
    assert titled().digest != titled(TITLES.select("id")).digest
    assert titled().digest == titled(TITLES.reverse()).digest
