"""Errors against plain Python, on generated ratings."""

import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotbias.errors import DataError, SettingError
from dotbias.evaluation.metrics import COUNT_EDGES, mae, rmse, rmse_by_count

stars = st.floats(-10, 10, width=32)
rows = st.lists(st.tuples(stars, stars, st.integers(0, 1000)), min_size=1, max_size=40)
edge_lists = st.sets(st.integers(2, 900), max_size=5).map(lambda more: [1, *sorted(more)])


def columns(table):
    prediction, rating, counts = zip(*table, strict=True)
    return np.array(prediction, np.float32), np.array(rating, np.float32), np.array(counts)


def slow_rmse(prediction, rating):
    return math.sqrt(
        sum((float(p) - float(r)) ** 2 for p, r in zip(prediction, rating, strict=True))
        / len(rating)
    )


@given(rows)
def test_errors_equal_plain_python(table):
    prediction, rating, _ = columns(table)
    plain = [abs(float(p) - float(r)) for p, r, _ in table]
    assert rmse(prediction, rating) == pytest.approx(slow_rmse(prediction, rating), rel=1e-12)
    assert mae(prediction, rating) == pytest.approx(sum(plain) / len(plain), rel=1e-12)


@given(rows)
def test_errors_are_ordered_and_symmetric(table):
    prediction, rating, _ = columns(table)
    assert 0 <= mae(prediction, rating) <= rmse(prediction, rating) * (1 + 1e-12)
    assert rmse(prediction, rating) == rmse(rating, prediction)
    assert rmse(rating, rating) == mae(rating, rating) == 0


def test_known_values():
    assert rmse([1, 2, 3, 4], [1, 4, 3, 8]) == math.sqrt(20 / 4)
    assert mae([1, 2, 3, 4], [1, 4, 3, 8]) == 1.5
    assert rmse([0.1], [0.1]) == 0  # neither side is rounded to float32


def test_sums_are_taken_in_float64():
    """In float32 the mean of so many equal squares drifts in the fourth digit."""
    n = 3_000_001
    error = rmse(np.full(n, 3.1, np.float32), np.full(n, 3, np.float32))
    assert error == pytest.approx(float(np.float32(3.1)) - 3, rel=1e-12)


@pytest.mark.parametrize("metric", [rmse, mae])
@pytest.mark.parametrize(
    ("prediction", "rating", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0, 3.0], r"predictions of shape \(2,\) for ratings of shape \(3,\)"),
        ([[1.0], [2.0]], [1.0, 2.0], r"predictions of shape \(2, 1\)"),  # would broadcast to (2, 2)
        ([[1.0, 2.0]], [[1.0, 2.0]], r"not \(1, 2\)"),
        ([], [], r"n > 0"),
        (1.0, 1.0, r"not \(\)"),
    ],
)
def test_shapes_that_do_not_belong_together_are_refused(metric, prediction, rating, message):
    with pytest.raises(DataError, match=message):
        metric(prediction, rating)


# -- by count --------------------------------------------------------------------------------------


def slow_group(count, edges):
    """Name of a count's group, by walking the edges."""
    if count < 1:
        return "0 (cold)"
    for first, after in zip(edges, [*edges[1:], None], strict=True):
        if after is None:
            return f"{first}+"
        if first <= count < after:
            return f"{first}-{after - 1}" if after - first > 1 else f"{first}"
    raise AssertionError


@given(rows, edge_lists)
def test_groups_equal_plain_python(table, edges):
    prediction, rating, counts = columns(table)
    groups = {}
    for p, r, count in zip(prediction, rating, counts.tolist(), strict=True):
        groups.setdefault(slow_group(count, edges), []).append((p, r))
    frame = rmse_by_count(prediction, rating, counts, edges)
    assert dict(frame.select("group", "n_rows").iter_rows()) == {
        n: len(g) for n, g in groups.items()
    }
    for name, _, error in frame.iter_rows():
        assert error == pytest.approx(slow_rmse(*zip(*groups[name], strict=True)), rel=1e-12, abs=0)


@given(rows)
def test_groups_make_up_the_whole(table):
    prediction, rating, counts = columns(table)
    frame = rmse_by_count(prediction, rating, counts)
    whole = (frame["n_rows"] * frame["rmse"] ** 2).sum() / frame["n_rows"].sum()
    assert frame["n_rows"].sum() == len(table)
    assert math.sqrt(whole) == pytest.approx(rmse(prediction, rating), rel=1e-12)


def test_every_group_by_name_in_order():
    counts = [500, 499, 100, 99, 20, 19, 5, 4, 1, 0, 10_000]
    frame = rmse_by_count(range(11), [0] * 11, counts)
    assert frame.columns == ["group", "n_rows", "rmse"]
    assert frame["group"].to_list() == ["0 (cold)", "1-4", "5-19", "20-99", "100-499", "500+"]
    assert frame["n_rows"].to_list() == [1, 2, 2, 2, 2, 2]
    assert frame["rmse"].to_list() == [
        9,
        *(math.sqrt((a * a + b * b) / 2) for a, b in ((7, 8), (5, 6), (3, 4), (1, 2), (0, 10))),
    ]


def test_groups_without_rows_are_left_out_and_one_count_is_named_alone():
    frame = rmse_by_count([1, 1], [1, 2], [1, 7], edges=(1, 2, 5))
    assert frame.rows() == [("1", 1, 0.0), ("5+", 1, 1.0)]
    assert frame.schema == {"group": pl.String, "n_rows": pl.Int64, "rmse": pl.Float64}
    assert pl.DataFrame(json.loads(json.dumps(frame.to_dicts()))).equals(frame)


@pytest.mark.parametrize("edges", [(), (0, 5), (2, 5), (1, 5, 5), (1, 20, 5)])
def test_edges_that_leave_gaps_are_refused(edges):
    with pytest.raises(SettingError, match="start at 1 and ascend"):
        rmse_by_count([1], [1], [1], edges=edges)


def test_counts_of_another_shape_are_refused():
    with pytest.raises(DataError, match=r"counts of shape \(1,\) for ratings of shape \(2,\)"):
        rmse_by_count([1, 2], [1, 2], [1])


def test_default_edges_are_the_documented_ones():
    assert COUNT_EDGES == (1, 5, 20, 100, 500)
