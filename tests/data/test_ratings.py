"""Ratings: columns in, the same columns out, and what is derived from them."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotbias.data.ratings import Ratings, Scale, k_fold
from dotbias.errors import DataError, SettingError

row = st.tuples(st.integers(1, 5), st.sampled_from("abcdef"), st.integers(1, 9), st.integers(0, 99))
tables = st.lists(row, min_size=1, max_size=30, unique_by=lambda r: r[:2])


def ratings_of(table: list[tuple[Any, ...]], **options: Any) -> Ratings:
    users, items, values, times = zip(*table, strict=True)
    return Ratings.from_columns(users, items, values, times=np.array(times, np.int64), **options)


@given(tables)
def test_columns_come_back_as_they_were(table: list[tuple[Any, ...]]) -> None:
    frame = ratings_of(table).to_frame()
    assert frame.rows() == table
    assert frame.columns == ["user", "item", "rating", "timestamp"]
    assert frame["rating"].dtype == pl.Float32
    untimed = Ratings.from_columns(*list(zip(*table, strict=True))[:3])
    assert untimed.to_frame().equals(frame.drop("timestamp"))


@given(tables)
def test_what_is_derived(table: list[tuple[Any, ...]]) -> None:
    ratings = ratings_of(table)
    users, items, values, _ = zip(*table, strict=True)
    assert len(ratings) == len(table)
    assert (ratings.n_users, ratings.n_items) == (len(set(users)), len(set(items)))
    assert ratings.user_counts.tolist() == [users.count(u) for u in sorted(set(users))]
    assert ratings.item_counts.tolist() == [items.count(i) for i in sorted(set(items))]
    assert ratings.global_mean == pytest.approx(np.mean(values))
    assert ratings.spread == ratings.std
    assert ratings.scale == (min(values), max(values))


@given(tables, st.data())
def test_a_part_forgets_the_ids_it_does_not_have(
    table: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    numbers = st.lists(st.integers(0, len(table) - 1), min_size=1, max_size=40)
    chosen = data.draw(numbers)
    titles = pl.DataFrame({"id": ["a", "c"], "title": ["Ada", "Cleo"]})
    part = ratings_of(table, titles=titles).take(np.array(chosen))
    assert part.to_frame().rows() == [table[k] for k in chosen]
    assert part.user_vocabulary.ids.to_list() == sorted({table[k][0] for k in chosen})
    assert part.item_vocabulary.ids.to_list() == sorted({table[k][1] for k in chosen})
    labels = {"a": "Ada", "c": "Cleo"}
    for k, id in enumerate(part.item_vocabulary.ids):
        assert part.item_vocabulary.label(k) == labels.get(id, id)


def test_a_part_by_mask() -> None:
    ratings = Ratings.from_columns([1, 2, 3], [7, 7, 8], [1, 2, 3])
    assert ratings.take(ratings.values > 1).to_frame().rows() == [(2, 7, 2.0), (3, 8, 3.0)]


def test_a_part_learns_its_scale_from_its_own_rows() -> None:
    """A scale read from all rows would tell the training part about held-out ratings."""
    columns = [1, 1, 1], [1, 2, 3], [1.0, 3.0, 5.0]
    assert Ratings.from_columns(*columns).take(np.array([0, 1])).scale == (1, 3)
    declared = Ratings.from_columns(*columns, scale=(0, 6))
    assert declared.take(np.array([0, 1])).scale == Scale(0, 6)


def test_columns_cannot_be_written() -> None:
    ratings = ratings_of([(1, "a", 3, 4)])
    for column in (ratings.user_indices, ratings.item_indices, ratings.values, ratings.times):
        assert column is not None
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([], [], []), "there are no ratings"),
        (([1, 2], [1], [1, 2]), "equally long"),
        (([1, 2], [1, 2], [1.0]), "equally long"),
        (([1, 2], [1, 2], [1.0, np.nan]), "rating 1 is not a finite number"),
        (([1, 2], [1, 2], [np.inf, 1.0]), "rating 0 is not a finite number"),
        (([1, None], [1, 2], [1.0, 2.0]), "id is missing"),
        (([1, 2], [0.5, 2], [1.0, 2.0]), "id 0, 0.5, is no whole number"),
    ],
)
def test_columns_that_cannot_be_used(columns: Any, message: str) -> None:
    users, items, values = (
        pl.Series(c, dtype=pl.Int64) if c == [] else pl.Series(c) for c in columns
    )
    with pytest.raises(DataError, match=message):
        Ratings.from_columns(users, items, values)


def test_repr() -> None:
    ratings = Ratings.from_columns(range(1500), [1] * 1500, [0.5, 5] * 750)
    assert repr(ratings) == "Ratings(1,500 ratings, 1,500 users, 1 items, scale 0.5-5)"


def test_columns_are_read_only_and_the_callers_arrays_are_not() -> None:
    """Making ratings used to turn the caller's own float32 array read-only."""
    values = np.array([1, 2, 3], np.float32)
    ratings = Ratings.from_columns([1, 2, 3], [4, 5, 6], values)
    values[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        ratings.values[0] = 5
    with pytest.raises(ValueError, match="read-only"):
        ratings.user_indices[0] = 5


COUNTS = Ratings.from_columns(["a", "a", "b"], [1, 2, 1], [3, 0.5, 12], kind="counts")
EVENTS = Ratings.from_columns(["a", "a", "b"], [1, 2, 1], times=[30, 20, 10])


def test_the_kind_of_the_values_is_shown_and_has_a_column_of_its_own() -> None:
    assert repr(COUNTS) == "Ratings(3 interactions, 2 users, 2 items, counts 0.5-12)"
    assert repr(EVENTS) == "Ratings(3 interactions, 2 users, 2 items, events)"
    assert COUNTS.to_frame().columns == ["user", "item", "count"]
    assert EVENTS.to_frame().columns == ["user", "item", "timestamp"]
    assert EVENTS.values.tolist() == [1, 1, 1]
    ones = Ratings.from_columns(["a", "b"], [1, 1], [1, 1])
    assert ones.kind == "ratings"
    assert ones.to_frame().columns == ["user", "item", "rating"]


@pytest.mark.parametrize("table", [COUNTS, EVENTS], ids=["counts", "events"])
def test_parts_keep_the_kind(table: Ratings) -> None:
    parts = [table.take(np.array([0, 2])), table.rows(np.array([1])), *table.split(1)]
    parts += [part for fold in k_fold(table, 3) for part in fold]
    assert {part.kind for part in parts} == {table.kind}
    assert table.with_features(ratings={"month": [1, 1, 2]}).kind == table.kind


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1, 0, 3], {"kind": "counts"}, "count 1, 0, is not above 0: leave out"),
        ([1, 2, -3], {"kind": "counts"}, "count 2, -3, is not above 0"),
        ([1, 2, 1e-60], {"kind": "counts"}, "count 2, 1e-60, is not above 0"),
        ([1, np.nan, 2], {"kind": "counts"}, "count 1 is not a finite number"),
        ([1, 1, 2], {"kind": "events"}, "event 2, 2, is not 1: pass kind='counts'"),
        (None, {"kind": "counts"}, "kind='counts': there are no values"),
        (None, {"kind": "ratings"}, "kind='ratings': there are no values"),
        ([1, 1, 1], {"kind": "stars"}, "kind='stars': kind must be one of ratings, counts, events"),
        (
            [1, 2, 3],
            {"kind": "counts", "scale": (0, 9)},
            "only ratings have a scale, .* are counts",
        ),
        (None, {"scale": (0, 9)}, "only ratings have a scale, and these are events"),
    ],
)
def test_values_that_are_not_of_the_kind(values: Any, options: Any, message: str) -> None:
    with pytest.raises((DataError, SettingError), match=message):
        Ratings.from_columns([1, 2, 3], [1, 2, 3], values, **options)


def test_events_that_repeat_are_refused_by_name() -> None:
    with pytest.raises(DataError, match="events 0 and 2 are both of user 'a' and item 1"):
        Ratings.from_columns(["a", "b", "a"], [1, 1, 1])
