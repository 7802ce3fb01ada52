"""The evaluation of a recommender against plain Python, and what it says about itself."""

import dataclasses
import json
import math
import re
import zipfile
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from dotbias.data.ratings import Ratings
from dotbias.data.simulate import simulate
from dotbias.errors import DataError, SettingError
from dotbias.evaluation.evaluate import Evaluation, evaluate, text_table
from dotbias.evaluation.ranking import Audience, rank
from dotbias.evaluation.rows import Rows
from dotbias.fitting.fit import fit
from dotbias.models import Baseline, DotBias, DotProduct
from dotbias.recommender.recommender import Recommender
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.least_squares.implicit_als import ImplicitALS
from tests.pairs import with_preference


@pytest.fixture(scope="module")
def world():
    """Simulated ratings, split, with a few strangers among the held-out rows, and a small fit."""
    ratings, _ = simulate(n_users=120, n_items=80, n_ratings=3000, seed=3)
    train, test = ratings.split(0.25, seed=1)
    held = test.to_frame()
    strangers = pl.DataFrame(
        {"user": [1, 901, 902, 902], "item": [991, 1, 2, 992], "rating": [4.0, 5.0, 1.0, 3.0]},
        schema=held.schema,
    )
    test = as_ratings(pl.concat([held, strangers]))
    rec = fit(train, DotBias(n_factors=8), GradientDescent(n_epochs=5))
    return SimpleNamespace(train=train, test=test, rec=rec)


def as_ratings(frame):
    return Ratings.from_columns(frame["user"], frame["item"], frame["rating"])


def slow_rmse(errors):
    return math.sqrt(sum(e * e for e in errors) / len(errors))


def slow_baseline(train, test):
    """Predictions of regularised biases, items first, with dictionaries of lists."""
    rows = train.to_frame().rows()
    mean = sum(r for _, _, r in rows) / len(rows)
    of_item, of_user = {}, {}
    for _, item, r in rows:
        of_item.setdefault(item, []).append(r - mean)
    b_i = {item: sum(d) / (len(d) + 3) for item, d in of_item.items()}
    for user, item, r in rows:
        of_user.setdefault(user, []).append(r - mean - b_i[item])
    b_u = {user: sum(d) / (len(d) + 5) for user, d in of_user.items()}
    low, high = train.scale
    return [
        min(max(mean + b_u.get(user, 0) + b_i.get(item, 0), low), high)
        for user, item, _ in test.to_frame().iter_rows()
    ]


def test_errors_equal_plain_python(world):
    result = evaluate(world.rec, world.test)
    table = world.test.to_frame()
    predicted = world.rec.predict(table["user"], table["item"]).tolist()
    true = table["rating"].to_list()
    errors = [p - r for p, r in zip(predicted, true, strict=True)]
    mean = sum(world.train.values.tolist()) / len(world.train)
    biases = slow_baseline(world.train, world.test)
    assert result.n_rows == len(true)
    assert result.rmse == pytest.approx(slow_rmse(errors), rel=1e-9)
    assert result.mae == pytest.approx(sum(map(abs, errors)) / len(errors), rel=1e-9)
    assert result.mean_rmse == pytest.approx(slow_rmse([mean - r for r in true]), rel=1e-6)
    biased = slow_rmse([b - r for b, r in zip(biases, true, strict=True)])
    assert result.baseline_rmse == pytest.approx(biased, rel=1e-6)


def test_strangers_are_counted(world):
    known_users = set(world.train.to_frame()["user"])
    known_items = set(world.train.to_frame()["item"])
    rows = world.test.to_frame().rows()
    cold = [(u not in known_users, i not in known_items) for u, i, _ in rows]
    result = evaluate(world.rec, world.test)
    assert result.cold_users == len({u for u, _, _ in rows} - known_users) == 2
    assert result.cold_items == len({i for _, i, _ in rows} - known_items) >= 2
    assert result.cold_rows == sum(map(any, cold)) >= 4
    assert result.coverage == pytest.approx(1 - result.cold_rows / result.n_rows)


def test_groups_count_the_training_ratings(world):
    result = evaluate(world.rec, world.test)
    table = world.test.to_frame()
    errors = world.rec.predict(table["user"], table["item"]) - world.test.values
    for side, frame in (("user", result.by_activity), ("item", result.by_popularity)):
        counts = dict(world.train.to_frame()[side].value_counts().iter_rows())
        of_row = np.array([counts.get(name, 0) for name in table[side]])
        assert frame["n_rows"].sum() == result.n_rows
        for group, n, error in frame.iter_rows():
            first, last = {"0 (cold)": (0, 0), "500+": (500, 10**9)}.get(group) or map(
                int, group.split("-")
            )
            inside = (of_row >= first) & (of_row <= last)
            assert n == inside.sum()
            assert error == pytest.approx(slow_rmse(errors[inside].tolist()), rel=1e-6)


def test_rankings_are_those_of_rank(world):
    result = evaluate(world.rec, world.test, k=(5, 2), relevant_from=3, seed=4)
    audience = Audience.known(world.rec, Rows.of(world.rec, world.test), seed=4)
    assert result.rankings == rank(audience, (5, 2), 3, seed=4)
    shown = {(r.k, r.relevant_from, r.by): r for r in result.rankings}
    assert len(shown) == len(result.rankings) == 2 * 2 * 2
    assert result.ranking == shown[5, 3, "rating"]
    assert result.popularity == shown[5, 3, "popularity"]
    without = evaluate(world.rec, world.test, ranking=False)
    assert without.ranking is without.popularity is None
    assert without.rankings == ()


def test_nothing_liked_leaves_the_other_reading(world):
    result = evaluate(world.rec, world.test, relevant_from=99)
    assert result.ranking is result.popularity is None
    assert {r.relevant_from for r in result.rankings} == {None}
    assert "every held-out item is relevant" in str(result)
    assert "relevant from" not in str(result)


def test_a_word_says_whether_lists_beat_the_most_rated_items(world):
    result = evaluate(world.rec, world.test)
    for ranking in result.rankings:
        if ranking.by == "rating":
            assert f"by predicted rating: {ranking.gain} in nDCG@10" in str(result)


@pytest.mark.parametrize("k", [0, -3, (), (5, 0)])
def test_lists_of_no_length_are_refused(world, k):
    with pytest.raises(SettingError, match="k must be at least 1"):
        evaluate(world.rec, world.test, k=k)


def test_a_fitted_model_beats_biases_which_beat_the_mean():
    ratings, _ = simulate(n_users=400, n_items=200, n_ratings=40_000, seed=5)
    train, test = ratings.split(seed=0)
    result = evaluate(fit(train, DotBias(n_factors=8)), test)
    assert result.rmse < 0.9 * result.baseline_rmse
    assert result.baseline_rmse < 0.85 * result.mean_rmse


# -- preferences ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(world):
    return with_preference(world.rec, world.train)


def test_of_two_models_each_gives_its_figures(world, pair):
    both = evaluate(pair, world.test)
    stars, preference = (evaluate(pair.by(s), world.test) for s in ("rating", "preference"))
    assert (both.rmse, both.mae) == (stars.rmse, stars.mae)
    assert both.by_activity.equals(stars.by_activity)
    assert [r for r in both.rankings if r.by != "preference"] == list(stars.rankings)
    assert [r for r in both.rankings if r.by != "rating"] == list(preference.rankings)
    text = str(both)
    header = r"^ +by preference  by predicted rating  most rated items$"
    assert len(re.findall(header, text, re.M)) == 2  # readings
    shown = re.search(r"^ndcg +(\S+) +(\S+) +(\S+)$", text, re.M).groups()
    assert shown == tuple(f"{r.ndcg:.4f}" for r in both.rankings[:3])
    assert max(map(len, text.splitlines())) <= 100


def test_the_ranking_is_what_recommend_gives_unless_told_otherwise(world, pair):
    first = evaluate(pair, world.test).ranking
    assert (first.by, first.relevant_from) == ("preference", 3.875)
    assert evaluate(pair, world.test, rank_by="rating").ranking == (
        evaluate(world.rec, world.test).ranking
    )
    with pytest.raises(SettingError, match="no preferences"):
        evaluate(world.rec, world.test, rank_by="preference")


def test_preferences_have_no_errors_in_stars(world, pair):
    result = evaluate(pair.by("preference"), world.test)
    assert result.rmse is result.mae is result.baseline_rmse is result.mean_rmse is None
    assert result.by_activity.is_empty()
    assert result.by_popularity.is_empty()
    assert "RMSE" not in str(result)
    assert result.ranking.relevant_from == 3.875  # it was fitted to ratings all the same
    back = Evaluation.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False)))
    assert str(back) == str(result)


def test_of_events_every_held_out_item_is_relevant(world):
    frame = world.train.to_frame()
    events = Ratings.from_columns(frame["user"], frame["item"])
    held = Ratings.from_columns(world.test.to_frame()["user"], world.test.to_frame()["item"])
    rec = fit(events, DotProduct(n_factors=4), ImplicitALS(n_iterations=3))
    result = evaluate(rec, held)
    assert {r.relevant_from for r in result.rankings} == {None}
    assert (result.ranking.by, result.ranking.relevant_from) == ("preference", None)
    assert str(result).startswith(f"{len(held):,} held-out interactions\n")
    assert "rating" not in str(result)


def test_lists_for_ratings_can_be_measured_on_events(world, pair):
    """Nobody said how many stars: then every held-out item is relevant, and nothing else is measured."""
    frame = world.test.to_frame()
    held = Ratings.from_columns(frame["user"], frame["item"])
    result, of_ratings = evaluate(pair, held), evaluate(pair, world.test)
    assert (result.rmse, result.kind) == (None, "events")
    assert result.rankings == tuple(r for r in of_ratings.rankings if r.relevant_from is None)
    with pytest.raises(DataError, match="fitted to: that is ratings, and these are events"):
        evaluate(pair, held, new_users="fold")


# -- rows that were used in fitting ----------------------------------------------------------------


def test_rows_that_were_used_in_fitting_are_left_out(world):
    both = as_ratings(pl.concat([world.test.to_frame(), world.train.to_frame()[:200]]))
    result, clean = evaluate(world.rec, both), evaluate(world.rec, world.test)
    assert (result.seen_rows, clean.seen_rows) == (200, 0)
    assert result.to_dict() == clean.to_dict() | {"seen_rows": 200}
    assert "without 200 that were used in fitting" in str(result)


def test_they_stay_where_that_is_asked_for(world):
    both = as_ratings(pl.concat([world.test.to_frame(), world.train.to_frame()[:200]]))
    result = evaluate(world.rec, both, on_seen="keep")
    assert (result.n_rows, result.seen_rows) == (len(both), 200)
    assert result.rmse != evaluate(world.rec, both).rmse
    assert "including 200 that were used in fitting" in str(result)


def test_rows_that_were_all_used_in_fitting_are_refused(world):
    with pytest.raises(DataError, match=r"2,250 rows was used in fitting.*split.*--no-refit"):
        evaluate(world.rec, world.train)
    kept = evaluate(world.rec, world.train, on_seen="keep")
    assert kept.seen_rows == kept.n_rows == len(world.train)
    assert kept.rankings == ()  # every relevant item is a training item


def test_an_unknown_answer_to_seen_rows_is_refused(world):
    with pytest.raises(SettingError, match="on_seen='ignore'"):
        evaluate(world.rec, world.test, on_seen="ignore")


def test_a_single_row_is_enough(world):
    row = Ratings.from_columns([901], [992], [4.0])
    result = evaluate(world.rec, row)
    assert result.rmse == result.mae == pytest.approx(abs(world.train.global_mean - 4), rel=1e-6)
    assert (result.coverage, result.cold_rows, result.rankings) == (0, 1, ())
    assert result.by_activity.rows() == [("0 (cold)", 1, result.rmse)]


def test_evaluating_leaves_the_recommender_as_it_was(world):
    evaluate(world.rec, world.test)
    for array in (world.rec.rated.data, world.rec.rated.indices, *world.rec.parameters.values()):
        assert array.flags.writeable


def test_ids_may_change_between_text_and_integers(world):
    """A held-out file whose ids were read as text is about the same users and items."""
    text = world.test.to_frame().with_columns(pl.col("user", "item").cast(pl.String))
    assert evaluate(world.rec, as_ratings(text)).to_dict() == (
        evaluate(world.rec, world.test).to_dict()
    )


# -- as data and as text ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"ranking": False}, {"k": (3, 7), "relevant_from": 4.5}, {"new_users": "fold"}],
)
def test_round_trip_through_json(world, options):
    result = evaluate(world.rec, world.test, **options)
    text = json.dumps(result.to_dict(), allow_nan=False)
    back = Evaluation.from_dict(json.loads(text))
    assert back.to_dict() == result.to_dict()
    assert back.ranking == result.ranking
    assert back.rankings == result.rankings
    assert back.by_activity.equals(result.by_activity)
    assert str(back) == str(result)


def test_round_trip_through_a_model_file(world, tmp_path):
    result = evaluate(world.rec, world.test)
    stored = Recommender.of(
        world.rec.model,
        world.rec.parameters,
        world.train,
        {"held_out": {"seed": 1} | result.to_dict()},
    )
    stored.save(tmp_path / "m.dotbias")
    facts = Recommender.load(tmp_path / "m.dotbias").facts.held_out
    assert Evaluation.from_dict(facts).to_dict() == result.to_dict()


def test_text_names_every_figure(world):
    result = evaluate(world.rec, world.test)
    text = str(result)
    for value in (result.rmse, result.mae, result.baseline_rmse, result.mean_rmse):
        assert f"{value:.4f}" in text
    for ranking in result.rankings:
        assert all(f"{value:.4f}" in text for value in ranking.metrics().values())
    for frame in (result.by_activity, result.by_popularity):
        assert all(group in text for group in frame["group"])
    assert f"{result.coverage:.2%}" in text
    assert f"relevant from {result.ranking.relevant_from:g}" in text
    assert max(map(len, text.splitlines())) <= 100


def test_figures_of_an_older_version_are_printed(world):
    """They have rankings of one reading, without reciprocal ranks, and nothing of new users."""
    data = evaluate(world.rec, world.test).to_dict()
    for name in ("rankings", "new_users", "kind"):
        del data[name]
    for name in ("ranking", "popularity"):
        for later in ("mrr", "novelty", "gini", "by", "gain"):
            del data[name][later]
    text = str(Evaluation.from_dict(data))
    assert re.search(r"^ +this model  most rated items$", text, re.M)
    assert re.search(f"^precision +{data['ranking']['precision']:.4f} ", text, re.M)
    assert "mrr" not in text


def test_columns_of_text_stand_in_line():
    table = text_table(["", "rows", "RMSE"], [["one", "1", "0.5"], ["eleven", "11,000", "10.25"]])
    assert table.splitlines() == [
        "          rows   RMSE",
        "one          1    0.5",
        "eleven  11,000  10.25",
    ]


def test_movielens_small(data_dir):
    """Bounds from both sides: biases alone give 0.87 on this split, guessing the mean 1.04."""
    with zipfile.ZipFile(data_dir / "ml-latest-small.zip") as archive:
        table = pl.read_csv(archive.read("ml-latest-small/ratings.csv"))
    ratings = Ratings.from_columns(table["userId"], table["movieId"], table["rating"])
    train, test = ratings.split(0.2, seed=42)
    result = evaluate(fit(train, Baseline()), test)
    assert result.n_rows == 20_167
    assert 0.855 < result.rmse == result.baseline_rmse < 0.875
    assert 1.03 < result.mean_rmse < 1.05
    assert result.ranking.n_users > 550
    assert result.ranking.relevant_from == 3.875
    assert result.popularity.ndcg > 0.1


def test_a_model_that_has_learned_nothing_says_so():
    """A constant had an RMSE of 0.0000 and a ranked list of noise."""
    rng = np.random.default_rng(0)
    rows = [(u, i) for u in range(40) for i in range(30) if (u + i) % 3]
    users, items = zip(*rows, strict=True)
    for values in (np.full(len(rows), 3.0), rng.integers(1, 6, len(rows))):
        train, test = Ratings.from_columns(users, items, values).split(0.2, seed=0)
        for model, solver in (
            (DotBias(n_factors=8), GradientDescent(n_epochs=60, weight_decay=0)),
            (Baseline(), None),
        ):
            found = evaluate(fit(train, model, solver), test, ranking=False)
            assert found.no_better_than == "mean"
            assert "no better than the mean alone" in str(found)
            assert found.to_dict()["no_better_than"] == "mean"


def test_a_model_that_is_no_better_than_biases_says_so_and_biases_themselves_do_not(world):
    found = evaluate(world.rec, world.test)
    assert found.baseline_rmse < found.rmse < found.mean_rmse
    assert found.no_better_than == "biases"
    assert "no better than biases alone" in str(found)
    found = evaluate(fit(world.train, Baseline()), world.test, ranking=False)
    assert found.rmse == found.baseline_rmse
    assert found.no_better_than is None
    good = fit(world.train, DotBias(n_factors=8), GradientDescent(n_epochs=40, weight_decay=0.02))
    found = evaluate(good, world.train, ranking=False, on_seen="keep")
    assert found.rmse < found.baseline_rmse
    assert found.no_better_than is None
    assert "no better than" not in str(found)


def test_a_few_rows_are_no_reason_to_change_the_model(world):
    few = world.test.take(np.arange(49))
    found = evaluate(fit(world.train, Baseline()), few, ranking=False)
    few_worse = dataclasses.replace(found, no_better_than="mean")
    assert "no better than the mean alone; 49 rows are too few to judge by" in str(few_worse)
    assert "try" not in str(few_worse)
    assert "try more ratings" in str(dataclasses.replace(few_worse, n_rows=50))


def test_ratings_on_another_scale_are_warned_of(world, caplog):
    frame = world.test.to_frame().with_columns(pl.col("rating") * 2)
    found = evaluate(world.rec, as_ratings(frame), ranking=False)
    n = frame.filter(pl.col("rating") > 5).height
    assert found.outside_scale == n > 0
    (message,) = caplog.messages
    assert f"{n} of {frame.height} held-out ratings, from 6 to 10, are outside" in message
    assert "scale 0.5-5" in message
    caplog.clear()
    assert evaluate(world.rec, world.test, ranking=False).outside_scale == 0
    assert not caplog.messages


def largest_error(ratings, predictions):
    return np.abs(ratings - predictions).max()


def test_metrics_of_ones_own_are_of_the_same_rows(world):
    def rmse(ratings, predictions):
        assert ratings.dtype == predictions.dtype == np.float64
        return np.sqrt(np.mean((ratings - predictions) ** 2))

    report = evaluate(world.rec, world.test, ranking=False, metrics=[rmse, largest_error])
    assert report.metrics["rmse"] == pytest.approx(report.rmse, rel=1e-12)
    assert f"largest_error {report.metrics['largest_error']:.4f}" in str(report)
    assert Evaluation.from_dict(json.loads(json.dumps(report.to_dict()))).metrics == report.metrics


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("rmse", "metrics must be functions of true and predicted ratings, not 'rmse'"),
        (lambda *_: None, "the metric <lambda> returned no finite number"),
        (lambda *_: math.nan, "returned no finite number"),
    ],
)
def test_a_metric_that_is_none_is_refused(world, metric, message):
    with pytest.raises(SettingError, match=message):
        evaluate(world.rec, world.test, ranking=False, metrics=[metric])


def test_metrics_need_stars(world):
    rec = fit(world.train, solver=ImplicitALS(weight_decay=1, n_iterations=1))
    with pytest.raises(SettingError, match="metrics are of predicted stars, and here are none"):
        evaluate(rec, world.test, ranking=False, metrics=[largest_error])
