"""Dot products of pairs."""

import numpy as np
import pytest

from dotbias.models.pairs import dot_products
from dotbias.models.scoring import LANES


def by_the_definition(x, y):
    """Eight sums side by side in single precision, folded in half; then the rest one by one."""
    products = x * y
    whole = len(products) - len(products) % LANES
    sums = np.zeros(LANES, np.float32)
    for start in range(0, whole, LANES):
        sums += products[start : start + LANES]
    while len(sums) > 1:
        sums = sums[: len(sums) // 2] + sums[len(sums) // 2 :]
    for product in products[whole:]:
        sums += product
    return sums[0]


@pytest.mark.parametrize("width", [0, 1, 7, 8, 9, 16, 31, 64, 257])
def test_sums_are_taken_in_the_order_that_is_stated(width):
    rng = np.random.default_rng(width)
    x, y = ((rng.normal(size=(n, width)) * 10 ** rng.uniform(-3, 3)).astype("f4") for n in (30, 20))
    rows, partners = (rng.integers(-1, n, 200).astype(np.int32) for n in (30, 20))
    expected = [
        by_the_definition(x[row], y[partner]) if min(row, partner) >= 0 else 0.0
        for row, partner in zip(rows, partners, strict=True)
    ]
    assert dot_products(x, y, rows, partners).tolist() == expected
    turned = np.asfortranarray(x), y[:, ::-1].copy()[:, ::-1]
    assert dot_products(*turned, rows, partners).tolist() == expected
    one = (
        np.broadcast_to(rows[:1], len(rows)),
        np.broadcast_to(partners[:1].astype("i8"), len(rows)),
    )
    assert dot_products(x, y, *one).tolist() == expected[:1] * len(rows)


def test_biases_are_added_after_the_product_those_of_partners_first():
    rng = np.random.default_rng(3)
    x, y = (rng.normal(size=(n, 5)).astype("f4") for n in (4, 6))
    own, held = (rng.normal(size=n).astype("f4") * 1e3 for n in (4, 6))
    rows, partners = np.array([0, 3, -1, 2, -1], "i4"), np.array([5, 0, 1, -1, -1], "i4")
    found = dot_products(x, y, rows, partners, own_bias=own, held_bias=held)
    alone = dot_products(x, y, rows, partners)
    expected = [(alone[0] + held[5]) + own[0], (alone[1] + held[0]) + own[3], held[1], own[2], 0]
    assert found.tolist() == [float(value) for value in expected]
    with pytest.raises(IndexError, match="3 biases of 4 rows"):
        dot_products(x, y, rows, partners, own_bias=own[:3])


@pytest.mark.parametrize(("row", "partner"), [(3, 0), (0, 2), (2**31 - 1, -1)])
def test_an_index_beyond_the_end_is_refused(row, partner):
    x, y = np.ones((3, 5), np.float32), np.ones((2, 5), np.float32)
    rows, partners = np.array([0, row], np.int32), np.array([1, partner], np.int32)
    with pytest.raises(IndexError, match="pair 1"):
        dot_products(x, y, rows, partners)
