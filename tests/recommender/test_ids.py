"""Ids as they are handed over, wherever an id is asked for, and as they come back."""

import logging
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

import dotbias as db
from dotbias.errors import DataError, UnknownIdError
from dotbias.insight.neighbours import neighbour_stability
from dotbias.recommender.recommender import Recommender

USER, ITEM = 7, 3


def _model(as_raw: Callable[[int], Any]) -> Recommender:
    rng = np.random.default_rng(0)
    rows = [(u, i) for u in range(1, 21) for i in range(1, 16) if rng.random() < 0.6]
    users, items = ([as_raw(one) for one in side] for side in zip(*rows, strict=True))
    ratings = db.Ratings.from_columns(users, items, rng.integers(1, 6, len(rows)))
    # ALS: a fit of milliseconds, whose model can be folded into, grown and explained.
    return db.fit(ratings, db.DotBias(n_factors=2), db.ALS(n_iterations=2))


@pytest.fixture(scope="module")
def models() -> dict[str, Recommender]:
    return {"integers": _model(int), "text": _model(str)}


def _told(answer: Any) -> Any:
    """What an answer says, to compare it with another."""
    if isinstance(answer, pl.DataFrame):
        return answer.rows()
    return answer.tolist() if isinstance(answer, np.ndarray) else answer


def _explained(found: Any) -> Any:
    return found.user, found.item, found.prediction, found.frame().rows()


# Every public method that takes ids, asked with one user or one item, alone and among several.
BY_USER: dict[str, Callable[[Recommender, Any], Any]] = {
    "predict": lambda rec, u: rec.predict(u, ITEM),
    "predict many": lambda rec, u: rec.predict([u, u], [ITEM, ITEM]),
    "predict many items": lambda rec, u: rec.predict(u, [ITEM, 4]),
    "predict_pair": lambda rec, u: rec.predict_pair(u, ITEM),
    "predict_table": lambda rec, u: rec.predict_table(_pairs([u], [ITEM])),
    "recommend": lambda rec, u: rec.recommend(u, 3),
    "recommend many": lambda rec, u: rec.recommend([u, u], 3),
    "explain": lambda rec, u: _explained(rec.explain(u, ITEM)),
    "fold_in_item": lambda rec, u: rec.fold_in_item({u: 4.0}).predict(USER),
    "fold_in_item pairs": lambda rec, u: rec.fold_in_item([(u, 4.0)]).predict(USER),
    "FoldedItem.predict": lambda rec, u: rec.fold_in_item({USER: 4.0}).predict(u),
    "FoldedItem.predict many": lambda rec, u: rec.fold_in_item({USER: 4.0}).predict([u]),
    "Ratings.from_columns": lambda rec, u: _grown(rec, u, ITEM),
}
BY_ITEM: dict[str, Callable[[Recommender, Any], Any]] = {
    "predict": lambda rec, i: rec.predict(USER, i),
    "predict many": lambda rec, i: rec.predict([USER, USER], [i, i]),
    "predict many users": lambda rec, i: rec.predict([USER, 8], i),
    "predict_pair": lambda rec, i: rec.predict_pair(USER, i),
    "predict_table": lambda rec, i: rec.predict_table(_pairs([USER], [i])),
    "candidates": lambda rec, i: rec.recommend(USER, candidates=[i], include_rated=True),
    "exclude": lambda rec, i: rec.recommend(USER, exclude=[i]),
    "explain": lambda rec, i: _explained(rec.explain(USER, i)),
    "similar": lambda rec, i: rec.similar(i, 3),
    "similarity": lambda rec, i: (rec.similarity(i, 4), rec.similarity(4, i)),
    "fold_in_user": lambda rec, i: rec.fold_in_user({i: 4.0}).recommend(3),
    "fold_in_user pairs": lambda rec, i: rec.fold_in_user([(i, 4.0)]).recommend(3),
    "not_interested": lambda rec, i: rec.fold_in_user({4: 4.0}, not_interested=[i]).recommend(99),
    "FoldedUser.predict": lambda rec, i: rec.fold_in_user({4: 4.0}).predict(i),
    "FoldedUser.predict many": lambda rec, i: rec.fold_in_user({4: 4.0}).predict([i]),
    "FoldedUser.exclude": lambda rec, i: rec.fold_in_user({4: 4.0}).recommend(exclude=[i]),
    "FoldedUser.explain": lambda rec, i: _explained(rec.fold_in_user({4: 4.0}).explain(i)),
    "Ratings.from_columns": lambda rec, i: _grown(rec, USER, i),
}
ASKED = [
    *(pytest.param(ask, USER, id=f"user, {name}") for name, ask in BY_USER.items()),
    *(pytest.param(ask, ITEM, id=f"item, {name}") for name, ask in BY_ITEM.items()),
]


def _pairs(users: list[Any], items: list[Any]) -> pl.DataFrame:
    return pl.DataFrame({"user": users, "item": items}, strict=True)


def _grown(rec: Recommender, user: Any, item: Any) -> Any:
    """What the model predicts that has one more rating."""
    new = db.Ratings.from_columns([user], [item], [5.0])
    return rec.partial_fit(new).predict(USER, ITEM)


@pytest.mark.parametrize(("ask", "known"), ASKED)
@pytest.mark.parametrize("kind", ["integers", "text"])
def test_an_id_is_the_same_in_every_form_and_every_method(models, ask, known, kind):
    rec = models[kind]
    expected = _told(ask(rec, known))
    forms = float(known), np.int64(known), np.uint8(known), np.float32(known)
    for form in (*forms, str(known), np.str_(known)):
        assert _told(ask(rec, form)) == expected, repr(form)


def test_stability_knows_ids_too(models):
    """Of no item, None, it is the mean over all."""
    rec = models["integers"]
    expected = neighbour_stability(rec, ITEM, 3, n_fits=1).frame()
    assert neighbour_stability(rec, float(ITEM), 3, n_fits=1).frame().equals(expected)
    with pytest.raises(DataError, match=r"1\.5 is no item id"):
        neighbour_stability(rec, 1.5, 3, n_fits=1)


@pytest.mark.parametrize("ask", [*BY_USER.values(), *BY_ITEM.values()], ids=[p.id for p in ASKED])
@pytest.mark.parametrize(
    "wrong", [1.5, None, float("nan"), float("inf"), True, b"3", Decimal("1.5")], ids=repr
)
def test_what_is_no_id_is_refused_in_every_method(models, ask, wrong):
    with pytest.raises(DataError, match=r"id|ids|not_interested"):
        ask(models["integers"], wrong)


def test_ids_come_back_in_their_own_type(models):
    """A text of the command line made the users of a list text, which met no number of a prediction."""
    for rec, own in ((models["integers"], int), (models["text"], str)):
        for given in (USER, str(USER)):
            tables = [
                rec.recommend(given, 2),
                rec.recommend([given], 2),
                rec.predict_pair(given, str(ITEM)),
                rec.predict_table(_pairs([given], [str(ITEM)])),
            ]
            for table in tables:
                assert {type(u) for u in table["user"]} == {own}
                assert {type(i) for i in table["item"]} == {own}
            found = rec.explain(given, str(ITEM))
            assert (type(found.user), type(found.item)) == (own, own)
        assert own is str or type(rec.recommend("99", 1)["user"][0]) is int


# -- whom the model does not know -------------------------------------------------------------------


def test_one_policy_for_one_and_for_many_unknown_users(models, caplog):
    rec = models["integers"]
    one, many = rec.recommend(99, 4), rec.recommend([99], 4)
    assert one.equals(many)
    assert one["item"].to_list() == rec.item_bias_ranking(4)["item"].to_list()
    assert one["basis"].unique().to_list() == ["item"]
    assert rec.recommend(USER)["basis"].unique().to_list() == ["both"]
    assert rec.predict(99, ITEM) == rec.predict([99], [ITEM])[0]
    assert rec.predict_pair(99, ITEM)["basis"].to_list() == ["item"]
    assert rec.predict_pair(USER, 99)["basis"].to_list() == ["user"]
    assert rec.predict_pair(98, 99)["basis"].to_list() == ["neither"]
    caplog.clear()
    with caplog.at_level(logging.WARNING, "dotbias"):
        rec.predict(99, ITEM)
        rec.predict([99, USER, 98], [ITEM] * 3)
    assert "unknown user 99" in caplog.messages[0]
    assert "2 of 3 users are unknown: 99, 98." in caplog.messages[1]


def test_what_is_like_an_unknown_item_nobody_knows(models):
    rec = models["integers"]
    table = rec.similar("no such film", 4)
    assert table["similarity"].null_count() == 4
    assert table["n_ratings"].is_sorted(descending=True)
    assert table["basis"].unique().to_list() == ["neither"]
    assert rec.similar(ITEM, 4)["basis"].unique().to_list() == ["item"]
    assert table.schema == rec.similar(ITEM, 4).schema


@pytest.mark.parametrize(
    ("user", "item", "basis"), [(99, ITEM, "item"), (USER, 99, "user"), (98, 99, "neither")]
)
def test_predictions_from_little_are_explained(models, user, item, basis):
    rec = models["integers"]
    found = rec.explain(user, item)
    assert found.basis == basis
    assert found.prediction == rec.predict(user, item)
    assert found.frame()["contribution"].sum() == pytest.approx(found.prediction, abs=1e-5)
    assert "Nothing is known of" in found.sentence
    assert (found.user, found.item) == (user, item)
    assert str(found)


STRICT: dict[str, Callable[[Recommender], Any]] = {
    "predict": lambda rec: rec.predict(99, ITEM, strict=True),
    "predict item": lambda rec: rec.predict(USER, 99, strict=True),
    "predict many": lambda rec: rec.predict([USER, 99], [ITEM, ITEM], strict=True),
    "predict_pair": lambda rec: rec.predict_pair(USER, "x", strict=True),
    "predict_table": lambda rec: rec.predict_table(_pairs([99], [ITEM]), strict=True),
    "recommend": lambda rec: rec.recommend(99, strict=True),
    "recommend many": lambda rec: rec.recommend([USER, 99], strict=True),
    "explain": lambda rec: rec.explain(99, ITEM, strict=True),
    "explain item": lambda rec: rec.explain(USER, 99, strict=True),
    "similar": lambda rec: rec.similar(99, strict=True),
    "FoldedUser.predict": lambda rec: rec.fold_in_user({4: 4.0}).predict(99, strict=True),
    "FoldedUser.explain": lambda rec: rec.fold_in_user({4: 4.0}).explain(99, strict=True),
    "FoldedItem.predict": lambda rec: rec.fold_in_item({4: 4.0}).predict([99], strict=True),
    "candidates": lambda rec: rec.recommend(USER, candidates=[99], strict=True),
    "exclude": lambda rec: rec.recommend(USER, exclude=[99], strict=True),
    "FoldedUser.recommend": lambda rec: rec.fold_in_user({}).recommend(exclude=[99], strict=True),
    "fold_in_user": lambda rec: rec.fold_in_user({99: 4.0}, strict=True),
    "fold_in_item": lambda rec: rec.fold_in_item({99: 4.0}, strict=True),
    "not_interested": lambda rec: rec.fold_in_user({}, not_interested=[99], strict=True),
    # There is nothing to fall back on.
    "similarity": lambda rec: rec.similarity(99, ITEM),
}


@pytest.mark.parametrize("ask", STRICT.values(), ids=STRICT)
def test_the_strict_refuse_whom_they_do_not_know(models, ask):
    with pytest.raises(UnknownIdError, match=r"unknown (user|item) (99|'x')|unknown: 99"):
        ask(models["integers"])


# -- empty lists -----------------------------------------------------------------------------------


def test_an_empty_list_says_why(models, caplog):
    rec = models["integers"]
    grown = rec.partial_fit(
        db.Ratings.from_columns([500] * 15, list(range(1, 16)), [3.0, 4.0, 5.0] * 5)
    )
    every = dict.fromkeys(range(1, 16), 4.0)
    for ask, why in (
        (lambda: grown.recommend(500), "all 15 items have been rated or chosen already"),
        (
            lambda: rec.recommend(USER, candidates=[]),
            "with candidates there is none to choose from",
        ),
        (
            lambda: rec.recommend(USER, candidates=[3, 4], exclude=[3, 4]),
            "with candidates and exclude there is none to choose from",
        ),
        (
            lambda: grown.recommend(500, candidates=[3, 4]),
            "all 2 items to choose from with candidates have been rated",
        ),
        (lambda: rec.fold_in_user(every).recommend(), "all 15 items have been rated"),
        (
            lambda: rec.fold_in_user({}, not_interested=[3]).recommend(candidates=[3]),
            "with candidates and not_interested there is none to choose from",
        ),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "dotbias"):
            table = ask()
        assert table.height == 0
        (message,) = caplog.messages
        assert message.startswith("No item is left for the list: ")
        assert why in message
    assert grown.recommend(500).schema == grown.recommend(USER).schema
    caplog.clear()
    with caplog.at_level(logging.WARNING, "dotbias"):
        assert grown.recommend([500, USER], 1).height == 1
    assert "No item is left for the lists of 1 users" in caplog.text
