"""The samples' mean and spread, and the single model that stands for them."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dotbias.data.ratings import Ratings
from dotbias.data.simulate import simulate
from dotbias.data.vocabulary import Index
from dotbias.models import DotBias
from dotbias.models.base import Array, Parameters
from dotbias.solvers.gibbs import posterior as module
from dotbias.solvers.gibbs.gibbs import Gibbs
from dotbias.solvers.gibbs.posterior import LowRank, Posterior
from tests.ratings import normal_ratings
from tests.solvers.gibbs.test_newcomers import ridge

SOLVER = Gibbs(n_samples=25, burn_in=10, n_factors=3)
N_USERS, N_ITEMS = 40, 30


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    """A scale so wide that no prediction is cut off."""
    some = normal_ratings(N_USERS, N_ITEMS, 700, noise=0.5, seed=1)
    return replace(some, declared_scale=(-99.0, 99.0))


@pytest.fixture(scope="module")
def posterior(ratings) -> Posterior:
    return SOLVER.sample(ratings, seed=2)[0]


@pytest.fixture(scope="module")
def with_month(ratings) -> Ratings:
    """Three categories, of different numbers of ratings and different means."""
    month = np.random.default_rng(0).choice(3, len(ratings), p=[0.6, 0.3, 0.1])
    moved = replace(ratings, values=(ratings.values + month).astype(np.float32))
    return moved.with_features(ratings={"month": month})


@pytest.fixture(scope="module")
def told(ratings) -> Posterior:
    """Of a chain that knows features of both sides: a number, and one of two words."""
    users, items = (
        pl.DataFrame({"id": range(n), "size": range(n), "word": ["a", "b"] * (n // 2)})
        for n in (N_USERS, N_ITEMS)
    )
    return SOLVER.sample(ratings.with_features(users=users, items=items), seed=2)[0]


def all_pairs() -> tuple[Index, Index]:
    """Every user with every item, strangers included."""
    u, i = (a.ravel().astype(np.int32) for a in np.indices((N_USERS + 1, N_ITEMS + 1)) - 1)
    return u, i


def predicted(parameters: Parameters, u: Index, i: Index) -> Array:
    return DotBias().fitted(parameters).predict(parameters, u, i)


def rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))


# Predictions.


def test_mean_and_deviation_are_those_of_the_samples_and_their_noise(posterior):
    u, i = all_pairs()
    chain, z, unknown = posterior.chain, [], np.zeros(len(u))
    first = chain.firsts[1]
    for sample in posterior.samples:
        x, y = sample[:first].astype(np.float64), sample[first:].astype(np.float64)
        of_users, of_items = (
            np.cov(t[:-1].T, bias=True) + np.outer(d, d)
            for t in (x, y)
            for d in [t[:-1].mean(0) - t[-1]]
        )
        for at in np.flatnonzero((u < 0) | (i < 0)):
            a, b = x[u[at]].copy(), y[i[at]].copy()
            a[0] = b[0] = 1
            unknown[at] += (u[at] < 0) * (b @ of_users @ b) + (i[at] < 0) * (a @ of_items @ a)
            if u[at] == i[at] == -1:
                unknown[at] += np.trace(of_users[1:, 1:] @ of_items[1:, 1:])
        z.append(x[u, 0] + y[i, 0] + (x[u, 1:] * y[i, 1:]).sum(1))  # -1 is the stranger, the last
    mean, std = posterior.predict(u, i)
    np.testing.assert_allclose(mean, chain.mean + chain.std * np.mean(z, 0), rtol=1e-4)
    inverse = np.mean([1 / w for w in posterior.weights], axis=0)
    noise = np.mean(posterior.noise_variances) * inverse[:first][u] * inverse[first:][i]
    expected = np.sqrt(chain.std**2 * (np.var(z, 0) + unknown / len(z)) + noise)
    np.testing.assert_allclose(std, expected, rtol=1e-4)


def test_less_is_known_of_a_row_with_fewer_ratings():
    few = normal_ratings(60, 40, 1800, noise=0.5, seed=3)
    poor = few.user_indices >= 30
    kept = ~poor | (np.random.default_rng(0).random(len(few)) < 0.15)
    train = few.take(kept)
    u, i = (a.ravel().astype(np.int32) for a in np.indices((train.n_users, train.n_items)))
    samples, _ = Gibbs(n_samples=60, burn_in=20, n_factors=3, noise_freedom=None).sample(train)
    std = samples.predict(u, i)[1].reshape(train.n_users, -1).mean(1)
    poor_users = train.user_counts < 10
    assert std[poor_users].min() > std[~poor_users].max()


@pytest.mark.parametrize("side", ["user", "item"])
def test_of_strangers_as_many_ratings_lie_within_what_is_said(side):
    """A fifth of the rows of one side are held out whole."""
    every = normal_ratings(300, 200, 24_000, noise=0.5, seed=4)
    index = every.user_indices if side == "user" else every.item_indices
    train, test = every.take(index % 5 > 0), every.take(index % 5 == 0)
    posterior, _ = Gibbs(n_samples=60, burn_in=20, n_factors=4).sample(train)
    vocabularies = (train.user_vocabulary, train.item_vocabulary)
    ids = (test.user_vocabulary.ids, test.item_vocabulary.ids)
    at = (test.user_indices, test.item_indices)
    u, i = (v.indices(raw)[rows] for v, raw, rows in zip(vocabularies, ids, at, strict=True))
    assert ((u if side == "user" else i) == -1).all()
    mean, std = posterior.predict(u, i)
    parameters = posterior.compress(64) | posterior.kept(20)
    kept = DotBias().fitted(parameters).std(parameters, u, i)
    for one in (std, kept):
        assert np.mean(np.abs(test.values - mean) < 1.645 * one) == pytest.approx(0.9, abs=0.03)


# The single model.


def test_with_all_ranks_the_model_predicts_the_samples_mean(posterior, monkeypatch):
    monkeypatch.setattr(module, "MOST_LOST", 0.0)
    u, i = all_pairs()
    parameters = posterior.compress(1000)
    np.testing.assert_allclose(predicted(parameters, u, i), posterior.predict(u, i)[0], atol=1e-4)


@pytest.mark.parametrize("most", [1, 3, 1000])
def test_strangers_are_rows_of_zeros_and_get_what_the_samples_say(posterior, most):
    """However much of the others' taste is cut off."""
    u, i = all_pairs()
    strange = (u < 0) | (i < 0)
    u, i = u[strange], i[strange]
    expected = posterior.predict(u, i)[0]
    np.testing.assert_allclose(predicted(posterior.compress(most), u, i), expected, atol=1e-4)


def test_the_mean_over_a_ratings_features_is_that_of_the_training_ratings(with_month, monkeypatch):
    monkeypatch.setattr(module, "MOST_LOST", 0.0)
    samples, _ = SOLVER.sample(with_month, seed=2)
    u, i = all_pairs()
    month = with_month.features.ratings["month"]
    expected = sum(
        np.mean(month == code) * samples.predict(u, i, {"month": np.full_like(u, code)})[0]
        for code in range(3)
    )
    parameters = samples.compress(1000)
    np.testing.assert_allclose(predicted(parameters, u, i), expected, atol=2e-4)


def test_features_of_ratings_do_not_widen_what_kept_samples_tell(with_month):
    """A month's offset and the users' mean make up for each other from sample to sample."""
    samples, _ = SOLVER.sample(with_month, seed=2)
    parameters = samples.kept(len(samples.samples))
    u, i = with_month.user_indices[:100], with_month.item_indices[:100]
    shares = np.bincount(with_month.features.ratings["month"]) / len(with_month)
    chain, z = samples.chain, []
    for sample in samples.samples:
        x, y, c = (sample[f:].astype(np.float64) for f in chain.firsts)
        context = shares @ c[:3]
        vectors = x[u] + y[i]
        dot = (x[u, 1:] * y[i, 1:]).sum(1) + vectors[:, 1:] @ context[1:]
        z.append(vectors[:, 0] + context[0] + dot)
    noise = np.prod([parameters["user_noise"][u], parameters["item_noise"][i]], axis=0)
    variance = chain.std**2 * np.var(z, 0) + parameters["noise_variance"][0] * noise
    spread = DotBias().std(parameters, u, i)
    np.testing.assert_allclose(spread, np.sqrt(variance), rtol=1e-3)


def test_the_rank_that_is_chosen_costs_next_to_nothing_on_held_out_ratings():
    train, test = simulate(600, 300, 50_000, n_factors=6, seed=1).ratings.split(0.2, seed=1)
    u = train.user_vocabulary.indices(test.user_vocabulary.ids)[test.user_indices]
    i = train.item_vocabulary.indices(test.item_vocabulary.ids)[test.item_indices]
    samples, _ = Gibbs(n_samples=50, burn_in=20, n_factors=8).sample(train, seed=1)
    parameters = samples.compress(256)
    whole = rmse(np.clip(samples.predict(u, i)[0], 0.5, 5), test.values)
    assert abs(rmse(predicted(parameters, u, i), test.values) - whole) < 0.0005
    assert parameters["user_factors"].shape[1] < 100


@pytest.mark.parametrize("most", [1, 2, 5])
def test_the_rank_is_not_above_the_models(posterior, most):
    parameters = posterior.compress(most)
    assert parameters["user_factors"].shape == (N_USERS, most)
    assert parameters["item_factors"].shape == (N_ITEMS, most)
    assert parameters["user_prior_precision"].shape == (1 + most, 1 + most)


def test_more_factors_are_closer_to_the_samples_mean(posterior):
    u, i = all_pairs()
    mean = posterior.predict(u, i)[0]
    errors = [rmse(predicted(posterior.compress(most), u, i), mean) for most in (1, 2, 3, 6)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.2 * errors[0]


def test_no_model_of_its_rank_is_much_closer(posterior):
    """Against the exact decomposition of the samples' mean, the randomised one loses little."""
    _, _, p, q = posterior.dot_bias()
    whole = p.astype(np.float64) @ q.T
    rng = np.random.default_rng(0)
    values = np.linalg.svd(whole, compute_uv=False)
    for rank in (1, 4, 12):
        found = LowRank(p, q, rng)
        parts = [found.grow(n) for n in (rank, 5, 5)]
        assert found.rank == rank + 10
        p_all, q_all = found.factors(found.rank)
        added = sum(left.astype(np.float64) @ right.T for left, right in parts)
        np.testing.assert_allclose(p_all.astype(np.float64) @ q_all.T, added, atol=1e-5)
        p_low, q_low = found.factors(rank)
        lost = np.linalg.norm(whole - p_low @ q_low.T)
        assert lost <= 1.001 * np.linalg.norm(values[rank:])


def test_the_prior_for_folding_in_is_the_spread_of_the_rows(posterior):
    """Noise variance times the inverse of the covariance around a stranger, in rating units."""
    parameters = posterior.compress(3)
    for side in ("user", "item"):
        rows = np.column_stack([parameters[f"{side}_bias"], parameters[f"{side}_factors"]])
        rows = rows.astype(np.float64)
        covariance = rows.T @ rows / len(rows)
        product = parameters[f"{side}_prior_precision"] @ covariance
        noise = np.mean(posterior.noise_variances)
        np.testing.assert_allclose(product, noise * np.eye(4), atol=0.05 * noise)
        assert not parameters[f"{side}_prior_mean"].any()
    assert not parameters["prior_per_rating"].any()


@pytest.mark.parametrize("side", ["user", "item"])
def test_what_features_say_is_the_regression_of_the_models_rows(told, side):
    """And what they leave has the precision that rows without features have around a stranger."""
    parameters = told.compress(3)
    features = getattr(told.ratings.features, f"{side}s").toarray().astype(np.float64)
    rows = np.column_stack([parameters[f"{side}_bias"], parameters[f"{side}_factors"]])
    mean, effects = ridge(features, rows.astype(np.float64))
    np.testing.assert_allclose(parameters[f"{side}_feature_mean"], mean, atol=1e-5)
    np.testing.assert_allclose(parameters[f"{side}_feature_effects"], effects, atol=1e-5)
    rest = rows - mean - features @ effects
    product = parameters[f"{side}_feature_precision"] @ (rest.T @ rest / len(rest))
    noise = np.mean(told.noise_variances)
    np.testing.assert_allclose(product, noise * np.eye(4), atol=0.05 * noise)
    inverses = (parameters[f"{side}_{which}_precision"] for which in ("feature", "prior"))
    less, more = (np.trace(np.linalg.inv(one)) for one in inverses)
    assert less < more


def test_without_features_nothing_is_said_of_them(posterior, with_month):
    of_ratings = SOLVER.sample(with_month, seed=2)[0]
    for one in (posterior, of_ratings):
        assert not [name for name in one.compress(3) | one.kept(2) if "feature" in name]


# Kept samples.


def test_each_kept_sample_has_a_regression_of_its_users(told):
    parameters = told.kept(3)
    features = told.ratings.features.users.toarray().astype(np.float64)
    for n, users in enumerate(parameters["user_samples"][:, :-1].astype(np.float64)):
        mean, effects = ridge(features, users)
        np.testing.assert_allclose(parameters["user_feature_samples"][n], effects, atol=1e-5)
        rest = users - mean - features @ effects
        np.testing.assert_allclose(parameters["user_feature_means"][n], mean, atol=1e-5)
        # Of few rows the covariance is drawn to its diagonal, as if by as many more as it is wide.
        scatter = rest.T @ rest
        diagonal = np.diag(np.diag(scatter))
        expected = (scatter + 4 * diagonal / N_USERS) / (N_USERS + 4)
        np.testing.assert_allclose(
            parameters["user_feature_covariances"][n], expected, rtol=1e-3, atol=1e-5
        )


def test_kept_samples_are_spread_evenly_and_in_rating_units(posterior):
    parameters, chain = posterior.kept(3), posterior.chain
    assert parameters["user_samples"].shape == (3, N_USERS + 1, 4)
    assert parameters["item_samples"].shape == (3, N_ITEMS + 1, 4)
    u, i = all_pairs()
    for n, at in enumerate((0, 7, 14)):
        x, y = parameters["user_samples"][n][u], parameters["item_samples"][n][i]
        z = x[:, 0] + y[:, 0] + (x[:, 1:] * y[:, 1:]).sum(1)
        alone = replace(
            posterior,
            samples=posterior.samples[at : at + 1],
            weights=posterior.weights[at : at + 1],
        )
        np.testing.assert_allclose(chain.mean + z, alone.predict(u, i)[0], rtol=1e-4, atol=1e-4)


def test_more_samples_than_there_are_cannot_be_kept(posterior):
    assert posterior.kept(1000)["user_samples"].shape[0] == len(posterior.samples) == 15
