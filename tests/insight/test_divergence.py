"""The rate from which descent diverges, where it is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotbias.insight.divergence import divergence_rate


@given(st.floats(0.02, 50))
def test_the_bisection_finds_the_rate_of_a_parabola(ratio):
    """``w ← w (1 - η λ)`` grows from ``η = 2 / λ`` on; the guess is off by some factor."""
    curvature = 3.0

    def descend(rate):
        w = 1.0
        while True:
            yield w**2
            w *= 1 - rate * curvature

    found = divergence_rate(descend, ratio * 2 / curvature, n_steps=200)
    assert 2 / curvature < found < 1.03 * 2 / curvature


@pytest.mark.parametrize("losses", [[1.0, 1.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_where_all_rates_do_the_same_there_is_none_to_find(losses):
    assert divergence_rate(lambda _rate: iter(losses), 1.0) is None
