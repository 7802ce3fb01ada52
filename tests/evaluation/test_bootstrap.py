"""Bootstrap intervals against plain Python, and against what is known of means."""

import random
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dotbias.evaluation.bootstrap import bootstrap_interval

columns = st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=30)


@settings(max_examples=50, deadline=None)
@given(columns)
def test_a_mean_lies_between_the_ends_of_what_was_drawn(values):
    column = np.array(values, np.float64)[:, None]
    low, high = bootstrap_interval(column, n_resamples=50)[:, 0]
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


def test_ends_are_those_of_plain_python():
    """Other draws of so many means, so equal to the error of quantiles alone."""
    values = [random.Random(1).gauss(0.3, 2) for _ in range(80)]
    rng = random.Random(2)
    means = sorted(statistics.fmean(rng.choices(values, k=80)) for _ in range(20_000))
    found = bootstrap_interval(np.array(values)[:, None], n_resamples=20_000)[:, 0]
    assert found == pytest.approx([means[500], means[19_500]], abs=0.02)


def test_intervals_hold_the_true_mean_as_often_as_they_say():
    rng = np.random.default_rng(0)
    samples = rng.normal(1, 3, (100, 300))  # 300 samples of 100, all drawn together
    low, high = bootstrap_interval(samples)
    inside = np.mean((low <= 1) & (high >= 1))
    assert 0.91 <= inside <= 0.98
    # The normal interval of a mean.
    assert np.mean(high - low) == pytest.approx(2 * 1.96 * 3 / 10, rel=0.05)


def test_columns_are_drawn_together():
    """A column less itself is zero in every draw; and a column has the interval that it has alone."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(50, 2))
    both = bootstrap_interval(np.column_stack([values, values.sum(axis=1)]))
    assert np.array_equal(both[:, :1], bootstrap_interval(values[:, :1]))
    shifted = bootstrap_interval(np.column_stack([values[:, 0], values[:, 0] + 1]))
    assert shifted[:, 1] == pytest.approx(shifted[:, 0] + 1)


def test_draws_in_parts_are_the_same_for_a_seed():
    """So many rows that a part holds but a few of the draws."""
    values = np.random.default_rng(2).normal(size=(300_000, 1))
    first, again, other = (bootstrap_interval(values, n_resamples=20, seed=s) for s in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.abs(first - values.mean()).max() < 5 / 300_000**0.5
