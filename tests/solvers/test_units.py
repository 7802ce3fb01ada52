"""The unit of the ratings does not matter: ratings ``a r + b`` give predictions ``a p + b``.

In units of the ratings' standard deviation, single precision rounds predictions by some 1e-6 on the way.
Ratings far from zero against how much they differ are rounded by themselves, to 24 bits.
"""

from functools import cache

import numpy as np
import pytest

import dotbias as db
from dotbias.data.ratings import LARGEST, Ratings
from tests.ratings import random_ratings

PLAIN = random_ratings(n_users=50, n_items=30, n=800, seed=4)
# Whoever joins later: a user and an item of four ratings each, and what they have given and got.
OTHERS, GIVEN = [1, 2, 3, 4], np.array([5.0, 1.0, 4.0, 3.0])
JOINING = Ratings.from_columns([1, 2, 99, 99], [3, 99, 5, 6], GIVEN, scale=(1, 5))


def dot_bias(_unit, **settings):
    return db.DotBias(n_factors=6, **settings)


def stretched(unit):
    return db.DotBias(n_factors=6, output="sigmoid", margin=0.5 * unit)


def network(unit):
    pytest.importorskip("torch")
    return db.EmbeddingNet(n_factors=4, hidden=(10,), margin=0.5 * unit)


# What makes the model for a unit (a margin is in rating units), and what fits it.
FITS = {
    "one at a time": (dot_bias, db.GradientDescent(n_epochs=8)),
    "batches": (dot_bias, db.GradientDescent(db.Adam(), batch_size=64, n_epochs=5)),
    "sigmoid": (stretched, db.GradientDescent(n_epochs=8)),
    "als": (dot_bias, db.ALS(n_iterations=4)),
    "als of rows": (dot_bias, db.ALS(n_iterations=4, weight_decay=0.5, weighting="rows")),
    "als of factors": (dot_bias, db.ALS(n_iterations=4, biases="held")),
    "gibbs": (dot_bias, db.Gibbs(n_samples=15, burn_in=5, n_factors=7, keep_samples=5)),
    "closed form": (lambda _: db.Baseline(), db.ClosedForm()),
    "network": (
        network,
        db.GradientDescent(db.Adam(lr=0.01), batch_size=64, n_epochs=3),
    ),
}


def changed(ratings: Ratings, a: float, b: float) -> Ratings:
    """The same ratings in another unit."""
    frame = ratings.to_frame()
    return Ratings.from_columns(frame["user"], frame["item"], a * ratings.values.astype(float) + b)


@cache
def everything_predicted(name: str, a: float, b: float) -> dict[str, np.ndarray]:
    """All ways to predict, after a fit to ratings in a unit; back in the plain unit."""
    make, solver = FITS[name]
    users, items = list(range(PLAIN.n_users)), list(range(PLAIN.n_items))
    rec = db.fit(changed(PLAIN, a, b), make(a), solver, seed=3)
    found = {"fit": rec.predict(PLAIN.user_indices, PLAIN.item_indices)}
    if name != "network":
        given = dict(zip(OTHERS, (a * GIVEN + b).astype(np.float32).tolist(), strict=True))
        grown = rec.partial_fit(changed(JOINING, a, b))
        found["user"] = rec.fold_in_user(given).predict(items)
        found["item"] = rec.fold_in_item(given).predict(users)
        found["grown"] = grown.predict([99, 1, 2, 2, 3] * 2, [1, 3, 3, 99, 99, 3, 3, 3, 3, 3])
        found["explained"] = b + rec.explain(1, 2).frame()["contribution"].to_numpy()[1:]
    if name == "gibbs":
        found["std"] = b + rec.predict(users[:30], items, with_std=True)[1]
    return {way: (np.asarray(p, np.float64) - b) / a for way, p in found.items()}


def furthest(name: str, a: float, b: float) -> float:
    """The largest difference to the plain unit, in standard deviations of the ratings."""
    plain, other = everything_predicted(name, 1, 0), everything_predicted(name, a, b)
    return max(float(np.abs(plain[way] - other[way]).max()) for way in plain) / PLAIN.std


@pytest.mark.parametrize("a", [1e-6, 1e6])
@pytest.mark.parametrize("name", FITS)
def test_another_unit_gives_the_same_predictions(name, a):
    """ALS was off by 2 standard deviations, a user folded into a Gibbs model by 1.7."""
    assert furthest(name, a, -4 * a) < 1e-5


@pytest.mark.parametrize("name", FITS)
def test_a_unit_of_a_power_of_four_gives_the_same_bits(name):
    """Four, since embeddings take the root of the unit."""
    assert furthest(name, 4.0**9, 0) == furthest(name, 4.0**-9, 0) == 0


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("a", [LARGEST / 5, 1 / LARGEST])
def test_the_largest_and_the_smallest_ratings_are_like_any(name, a):
    """Squares of ratings of 1e30 overflowed, and the model was one of NaN."""
    assert furthest(name, a, 0) < 1e-5


@pytest.mark.parametrize("name", FITS)
def test_far_from_zero_predictions_are_as_exact_as_the_ratings(name):
    """Such as years: single precision keeps 2000 to 1/8192."""
    assert furthest(name, 1, 2000) < 8 / 8192
