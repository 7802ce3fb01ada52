"""Weight decay: its amounts, its two forms, and the minimum that it leads to."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models import DotBias
from dotbias.models.base import Parameters
from dotbias.solvers.decay import DEFAULT_DECAY, WeightDecay
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.rules import SGD, Adam, AdamW
from tests.ratings import random_ratings

GROUPS = DotBias.groups
MODEL = DotBias(n_factors=4, init_std=0.3)

COUNTS = dict(
    zip(GROUPS, map(np.array, ([1, 2, 6], [4, 5], [1, 2, 6], [4, 5])), strict=True)
)  # three users and two items with nine ratings

amounts = st.floats(0, 100)
some_amounts = st.none() | amounts | st.dictionaries(st.sampled_from(GROUPS), amounts)


def fitted(solver: GradientDescent, ratings: Ratings) -> Parameters:
    return solver.fit(MODEL, ratings, seed=1)[0]


def assert_close(a: Parameters, b: Parameters, rtol: float = 1e-4) -> None:
    for name in GROUPS:
        np.testing.assert_allclose(a[name], b[name], rtol=rtol, atol=rtol * np.abs(b[name]).max())


def far_apart(a: Parameters, b: Parameters) -> bool:
    return any(
        np.linalg.norm(a[name] - b[name]) > 0.02 * np.linalg.norm(b[name]) for name in GROUPS
    )


# Amounts.


def test_without_an_amount_the_defaults_hold() -> None:
    assert WeightDecay().table(COUNTS) == dict(DEFAULT_DECAY)
    assert GradientDescent().decay == WeightDecay()
    # Nine ratings: three for each user, four and a half for each item.
    assert WeightDecay(per="row").table(COUNTS) == pytest.approx(
        {
            "user_factors": 3 * DEFAULT_DECAY["user_factors"],
            "item_factors": 4.5 * DEFAULT_DECAY["item_factors"],
            "user_bias": 3 * DEFAULT_DECAY["user_bias"],
            "item_bias": 4.5 * DEFAULT_DECAY["item_bias"],
        }
    )


def test_one_amount_is_that_of_all_groups_and_a_mapping_names_some() -> None:
    assert WeightDecay(0.5).table(COUNTS) == dict.fromkeys(GROUPS, 0.5)
    some = WeightDecay({"user_bias": 7.0, "item_factors": 0.0}).table(COUNTS)
    assert some == dict(DEFAULT_DECAY) | {"user_bias": 7.0, "item_factors": 0.0}
    assert GradientDescent(weight_decay={"user_bias": 7.0}).decay.table(COUNTS)["user_bias"] == 7


@given(amount=some_amounts)
def test_an_amount_per_rating_counts_once_for_each_rating_of_a_row(amount: Any) -> None:
    decay = WeightDecay(amount)
    per_rating, of_rows = decay.table(COUNTS), decay.of_rows(COUNTS)
    for name, counts in COUNTS.items():
        expected = [n * per_rating[name] for n in counts.tolist()]
        np.testing.assert_allclose(of_rows[name], expected)


@given(amount=some_amounts)
def test_an_amount_per_row_is_the_same_for_every_row(amount: Any) -> None:
    decay = WeightDecay(amount, per="row")
    per_row, of_rows = decay.table(COUNTS), decay.of_rows(COUNTS)
    for name, counts in COUNTS.items():
        assert of_rows[name].tolist() == [per_row[name]] * len(counts)


@given(per=st.sampled_from(["rating", "row"]))
def test_both_forms_of_the_default_weigh_as_much_in_all(per: Any) -> None:
    """Summed over rows, the default amounts of both forms are the same."""
    total = {name: a.sum() for name, a in WeightDecay(per=per).of_rows(COUNTS).items()}
    assert total == pytest.approx({name: 9 * value for name, value in DEFAULT_DECAY.items()})


@pytest.mark.parametrize(
    ("amount", "message"),
    [
        (-0.1, r"weight_decay must be at least 0, not -0\.1"),
        (float("nan"), "weight_decay must be at least 0, not nan"),
        (float("inf"), "weight_decay must be .*not inf"),
        (True, "weight_decay must be .*not True"),
        ("much", "weight_decay must be at least 0, not 'much'"),
        ({"user_bias": -1.0}, r"weight_decay of user_bias must be at least 0, not -1\.0"),
        ({"item_bias": float("nan")}, "weight_decay of item_bias must be at least 0, not nan"),
        ({"item_bias": None}, "weight_decay of item_bias must be at least 0, not None"),
        ({"users": 0.1}, "names no group 'users': the groups are user_factors, item_factors, u"),
        ({"": 0.1}, "names no group '': the groups are user_factors"),
    ],
)
@pytest.mark.parametrize("make", [WeightDecay, lambda a: GradientDescent(weight_decay=a)])
def test_a_bad_amount_is_refused(
    make: Callable[[Any], object], amount: object, message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        make(amount)


def test_what_an_amount_counts_for_is_one_of_two_things() -> None:
    with pytest.raises(SettingError, match="per must be one of 'rating', 'row'"):
        WeightDecay(0.1, per="user")  # type: ignore[arg-type]


# Where it leads.

FORMS = {
    "one at a time": {"rule": SGD(lr=0.02), "batch_size": 1},
    "lazy batches": {"rule": SGD(lr=0.5), "batch_size": 32},
    "dense batches": {"rule": SGD(lr=0.5), "batch_size": 32, "semantics": "dense"},
    "full batch": {"rule": SGD(lr=5.0), "batch_size": None},
}


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(n_users=40, n_items=30, n=600, seed=0)


@pytest.fixture(scope="module")
def regular() -> Ratings:
    """Forty users and forty items: every one of them has twelve ratings."""
    pairs = [(u, (u + j) % 40) for u in range(40) for j in range(12)]
    values = random_ratings(40, 40, len(pairs), seed=3).values
    return Ratings.from_columns(*zip(*pairs, strict=True), values)


@pytest.mark.parametrize("form", FORMS)
def test_a_row_of_n_ratings_decays_by_n_times_as_much(regular: Ratings, form: str) -> None:
    settings: dict[str, Any] = FORMS[form]
    amount = {"user_factors": 0.2, "item_factors": 0.1, "user_bias": 0.3, "item_bias": 0.4}
    per_row = {name: 12 * value for name, value in amount.items()}
    a, b, none = (
        fitted(GradientDescent(n_epochs=8, weight_decay=decay, **settings), regular)
        for decay in (WeightDecay(amount), WeightDecay(per_row, per="row"), WeightDecay(0.0))
    )
    assert_close(a, b)
    assert far_apart(a, none)


@pytest.mark.parametrize("form", FORMS)
def test_on_uneven_rows_the_two_forms_differ(ratings: Ratings, form: str) -> None:
    settings: dict[str, Any] = FORMS[form]
    per_row = {"user_factors": 7.5, "item_factors": 10.0, "user_bias": 7.5, "item_bias": 10.0}
    a, b = (
        fitted(GradientDescent(n_epochs=8, weight_decay=decay, **settings), ratings)
        for decay in (WeightDecay(0.5), WeightDecay(per_row, per="row"))
    )
    assert far_apart(a, b)


@pytest.mark.parametrize("semantics", ["lazy", "dense"])
@pytest.mark.parametrize("per", ["rating", "row"])
def test_user_biases_alone_are_ridge_means(ratings: Ratings, per: Any, semantics: Any) -> None:
    """Of all groups but one frozen, the minimum is known: ``b_u = Σ (r - μ) / (n_u + Λ_u)``."""
    amount = {"rating": 0.25, "row": 4.0}[per]
    solver = GradientDescent(
        SGD(lr=20.0),
        batch_size=None,
        n_epochs=500,
        schedule="constant",
        semantics=semantics,
        weight_decay=WeightDecay(amount, per=per),
        frozen=("user_factors", "item_factors", "item_bias"),
    )
    parameters, _ = solver.fit(replace(MODEL, init_std=0.0), ratings)
    centred = ratings.values - ratings.values.mean(dtype=np.float64)
    for user in range(ratings.n_users):
        own = centred[ratings.user_indices == user]
        shrink = amount * len(own) if per == "rating" else amount
        expected = own.sum() / (len(own) + shrink)
        assert parameters["user_bias"][user] == pytest.approx(expected, abs=1e-5)


# Coupled and decoupled.


@pytest.mark.parametrize("form", FORMS)
def test_for_plain_descent_decoupling_changes_next_to_nothing(ratings: Ratings, form: str) -> None:
    settings: dict[str, Any] = FORMS[form]
    coupled, decoupled, none = (
        fitted(GradientDescent(n_epochs=4, weight_decay=decay, **settings), ratings)
        for decay in (
            WeightDecay(0.3, decoupled=False),
            WeightDecay(0.3, decoupled=True),
            WeightDecay(0.0),
        )
    )
    assert_close(coupled, decoupled, rtol=1e-3)
    assert far_apart(coupled, none)


def test_for_plain_descent_the_gradient_holds_the_decay_by_default(ratings: Ratings) -> None:
    solver = GradientDescent(SGD(lr=0.5), batch_size=32, n_epochs=2, weight_decay=0.3)
    coupled = replace(solver, weight_decay=WeightDecay(0.3, decoupled=False))
    for name, array in fitted(solver, ratings).items():
        np.testing.assert_array_equal(array, fitted(coupled, ratings)[name])


def test_adamw_is_adam_with_decoupled_decay(ratings: Ratings) -> None:
    decay = WeightDecay(0.3)

    def run(rule: Adam, decoupled: bool | None) -> Parameters:
        return fitted(
            GradientDescent(
                rule,
                batch_size=32,
                n_epochs=3,
                weight_decay=replace(decay, decoupled=decoupled),
            ),
            ratings,
        )

    adamw, decoupled = run(AdamW(lr=0.02), None), run(Adam(lr=0.02), True)
    adam, coupled = run(Adam(lr=0.02), None), run(AdamW(lr=0.02), False)
    for name in GROUPS:
        np.testing.assert_array_equal(adamw[name], decoupled[name])
        np.testing.assert_array_equal(adam[name], coupled[name])
    assert far_apart(adamw, adam)


def test_decoupled_decay_shrinks_beside_the_step(ratings: Ratings) -> None:
    """A first full step of Adam has the length of the rate; the decay of all rows comes on top."""
    model, lr, amount = replace(MODEL, n_factors=2), 0.01, 40.0

    def moved(value: float) -> list[Any]:
        decay = WeightDecay(value, per="row")
        solver = GradientDescent(
            AdamW(lr=lr), batch_size=None, semantics="dense", weight_decay=decay
        )
        training = solver.start(model, ratings, seed=1)
        before = [table.copy() for table in training.tables.values]
        training.step(np.ones(1))
        pairs = zip(training.tables.values, before, strict=True)
        # The objective of a step is a mean over its 600 ratings, and so is the decay.
        return [(now, then, lr * value / 600) for now, then in pairs]

    for (plain, then, _), (decayed, _, share) in zip(moved(0.0), moved(amount), strict=True):
        np.testing.assert_allclose(np.abs(plain - then), lr, rtol=1e-3)
        np.testing.assert_allclose(plain - decayed, share * then, rtol=1e-2, atol=1e-6)
