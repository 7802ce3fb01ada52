"""Cross-validation: each fold is a fit and an evaluation, and nothing else."""

import json
import logging
import re
import statistics

import numpy as np
import pytest

from dotbias.data.ratings import Ratings, k_fold
from dotbias.data.simulate import simulate
from dotbias.errors import DataError, SettingError
from dotbias.evaluation.cross_validation import cross_validate
from dotbias.evaluation.evaluate import evaluate
from dotbias.fitting.choosing import choose_solver
from dotbias.fitting.fit import fit
from dotbias.models import Baseline, DotBias, DotProduct
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.least_squares.als import ALS
from dotbias.solvers.least_squares.implicit_als import ImplicitALS

MODEL, SOLVER = DotBias(n_factors=8), GradientDescent(n_epochs=5)


@pytest.fixture(scope="module")
def ratings():
    return simulate(n_users=100, n_items=60, n_ratings=2000, seed=0).ratings


def as_dicts(result):
    return [fold.to_dict() for fold in result.folds]


def test_each_fold_is_a_fit_and_an_evaluation(ratings):
    result = cross_validate(ratings, MODEL, SOLVER, n_folds=3, seed=7, k=5, ranking=True)
    expected = [
        evaluate(fit(train, MODEL, SOLVER, seed=7), test, k=5, seed=7)
        for train, test in k_fold(ratings, 3, seed=7)
    ]
    assert as_dicts(result) == [fold.to_dict() for fold in expected]
    assert sum(fold.n_rows for fold in result.folds) == len(ratings)


def test_with_neither_model_nor_solver_one_choice_serves_all_folds(ratings, caplog):
    with caplog.at_level(logging.INFO, logger="dotbias"):
        result = cross_validate(ratings, n_folds=3, budget=1.1, seed=7)
    notes = [message for message in caplog.messages if message.startswith("Solver: ")]
    assert len(notes) == 1
    choice = choose_solver(ratings, budget=1.1)
    assert notes == [f"Solver: {choice}"]
    expected = cross_validate(ratings, choice.model, choice.solver, n_folds=3, seed=7)
    assert as_dicts(result) == as_dicts(expected)


def test_mean_and_spread_over_the_folds(ratings):
    result = cross_validate(ratings, MODEL, SOLVER, n_folds=3, k=5, ranking=True)
    values = {
        "rmse": [fold.rmse for fold in result.folds],
        "mae": [fold.mae for fold in result.folds],
        "precision@5": [fold.ranking.precision for fold in result.folds],
        "ndcg@5": [fold.ranking.ndcg for fold in result.folds],
        "coverage@5": [fold.ranking.coverage for fold in result.folds],
        "known/rating/all/mrr@5": [fold.rankings[0].mrr for fold in result.folds],
        "known/popularity/liked/gini@5": [fold.popularity.gini for fold in result.folds],
    }
    for name, column in values.items():
        mean = sum(column) / 3
        assert result.mean[name] == pytest.approx(mean)
        variance = sum((value - mean) ** 2 for value in column) / 2
        assert result.std[name] == pytest.approx(variance**0.5)
        assert result.std[name] > 0
    assert set(result.mean) == set(result.std)
    assert len(result.mean) == 2 + 9 + 2 * 2 * 9  # two readings, two orders


def test_rankings_are_measured_only_on_demand(ratings):
    result = cross_validate(ratings, Baseline(), n_folds=2)
    assert set(result.mean) == {"rmse", "mae"}
    assert all(fold.ranking is None for fold in result.folds)


def test_a_fold_without_a_ranking_leaves_it_out_of_the_mean():
    """The second fold holds out nothing that anyone liked."""
    rows = [(1, 1, 5), (1, 2, 1), (2, 1, 5), (2, 3, 1), (3, 2, 5), (3, 3, 1)]
    table = Ratings.from_columns(*zip(*rows, strict=True))

    def fold(*held):
        train = [row for row in range(len(rows)) if row not in held]
        return table.take(train), table.take(list(held))

    result = cross_validate([fold(0, 5), fold(1, 3)], Baseline(), ranking=True)
    assert [fold.ranking is None for fold in result.folds] == [False, True]
    plain = {name for name in result.mean if "/" not in name}
    assert plain == {"rmse", "mae"}
    assert {name.split("/")[2] for name in result.mean if "/" in name} == {"all"}
    assert "relevant from" not in str(result)


def test_each_fold_folds_new_users_in(ratings):
    result = cross_validate(
        ratings, MODEL, ALS(n_iterations=2), n_folds=2, seed=3, ranking=True, new_users=0.2
    )
    pairs = list(k_fold(ratings, 2, seed=3, new_users=0.2))
    for fold, (train, test) in zip(result.folds, pairs, strict=True):
        rec = fit(train, MODEL, ALS(n_iterations=2), seed=3)
        assert fold.to_dict() == evaluate(rec, test, new_users="fold", seed=3).to_dict()
        assert fold.new_users.n_users == 20
    new = [fold.new_users for fold in result.folds]
    assert result.mean["new/rmse"] == pytest.approx((new[0].rmse + new[1].rmse) / 2)
    ndcg = [next(r.ndcg for r in each.rankings) for each in new]
    assert result.mean["new/rating/all/ndcg@10"] == pytest.approx(sum(ndcg) / 2)
    text = str(result)
    assert f"new users: RMSE {result.mean['new/rmse']:.4f}" in text
    assert "the first 10 recommendations to new users, every held-out item is relevant" in text


def test_new_users_of_given_folds_are_refused(ratings):
    with pytest.raises(SettingError, match=r"new_users=0.1.*give the ratings themselves"):
        cross_validate([ratings.split()] * 2, Baseline(), new_users=0.1)


def test_preferences_have_rankings_and_no_errors():
    rng = np.random.default_rng(0)
    pairs = sorted({(int(u), int(i)) for u, i in rng.integers(0, 40, (600, 2))})
    events = Ratings.from_columns(*zip(*pairs, strict=True))
    result = cross_validate(
        events, DotProduct(n_factors=4), ImplicitALS(), n_folds=2, ranking=True, new_users=0.1
    )
    assert "rmse" not in result.mean
    assert {name.split("/")[2] for name in result.mean if "/" in name} == {"all"}
    assert {name.split("/")[1] for name in result.mean if "/" in name} == {
        "preference",
        "popularity",
    }
    assert "RMSE" not in str(result)
    assert "by preference: better than most rated items in" in str(result)


def test_same_seed_same_figures(ratings):
    runs = [cross_validate(ratings, MODEL, SOLVER, n_folds=2, seed=s) for s in (0, 0, 1)]
    assert as_dicts(runs[0]) == as_dicts(runs[1]) != as_dicts(runs[2])


def test_folds_may_be_given(ratings):
    pairs = list(k_fold(ratings, 4, seed=2))
    given = cross_validate(iter(pairs), MODEL, SOLVER, n_folds=99, seed=2)
    assert as_dicts(given) == as_dicts(cross_validate(ratings, MODEL, SOLVER, n_folds=4, seed=2))


def test_the_table_shows_every_fold_with_mean_and_spread(ratings):
    result = cross_validate(ratings, Baseline(), n_folds=3, ranking=True)
    folds, *rankings = str(result).split("\n\n")
    header, *lines = folds.splitlines()
    assert header.split() == ["fold", "RMSE", "MAE", "ndcg@10", "seconds"]
    assert [line.split()[0] for line in lines] == ["1", "2", "3", "mean", "spread"]
    for line, fold in zip(lines, result.folds, strict=False):
        assert line.split()[1:3] == [f"{fold.rmse:.4f}", f"{fold.mae:.4f}"]
    assert lines[3].split()[-1] == f"{statistics.fmean(result.seconds):.2f}"
    assert lines[4].split()[1] == f"{result.std['rmse']:.4f}"
    assert len({len(line) for line in (header, *lines)}) == 1
    assert len(rankings) == 2
    for reading, text in zip(("all", "liked"), rankings, strict=True):
        for by, name in (("rating", "by predicted rating"), ("popularity", "most rated items")):
            key = f"known/{by}/{reading}/precision@10"
            row, after = re.search(rf"^{name} (.*)\n  spread (.*)", text, re.M).groups()
            assert row.split()[0] == f"{result.mean[key]:.4f}"
            assert after.split()[0] == f"{result.std[key]:.4f}"


def test_plain_data_for_json(ratings):
    result = cross_validate(ratings, Baseline(), n_folds=2)
    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert data["mean"] == result.mean
    assert data["spread"] == result.std == result.spread
    assert data["folds"] == as_dicts(result)
    assert len(data["seconds"]) == 2
    assert all(seconds > 0 for seconds in data["seconds"])


@pytest.mark.parametrize("n_folds", [0, 1, 10_000])
def test_a_number_of_folds_out_of_range_is_refused(ratings, n_folds):
    with pytest.raises(SettingError, match="n_folds"):
        cross_validate(ratings, Baseline(), n_folds=n_folds)


def test_fewer_than_two_given_folds_are_refused(ratings):
    with pytest.raises(DataError, match="at least 2 folds, not 1"):
        cross_validate([ratings.split()], Baseline())
    with pytest.raises(DataError, match="at least 2 folds, not 0"):
        cross_validate([], Baseline())


def test_folds_are_a_frame_with_metrics_of_ones_own(ratings):
    def worst(true, predicted):
        return np.abs(true - predicted).max()

    result = cross_validate(ratings, Baseline(), n_folds=3, metrics=[worst])
    frame = result.frame()
    assert frame.columns == ["fold", "rmse", "mae", "worst", "seconds"]
    assert frame["worst"].to_list() == [fold.metrics["worst"] for fold in result.folds]
    assert frame["rmse"].mean() == pytest.approx(result.mean["rmse"])
    assert "worst" in str(result).splitlines()[0]


def test_the_folds_have_a_seed_of_their_own(ratings):
    solver = ALS(n_iterations=1)
    result = cross_validate(ratings, MODEL, solver, n_folds=2, seed=3, split_seed=7)
    expected = [
        evaluate(fit(train, MODEL, solver, seed=3), test, ranking=False, seed=3)
        for train, test in k_fold(ratings, 2, seed=7)
    ]
    assert as_dicts(result) == [fold.to_dict() for fold in expected]
