"""How sure predictions are for new users, against regressions by hand and against what they rate."""

import numpy as np
import pytest
from scipy.sparse import csr_array

import dotbias as db
from dotbias.solvers.gibbs import new_user
from dotbias.solvers.gibbs.new_user import UserPriors, std_of_new_user


def some_parameters(
    rng: np.random.Generator, s: int, n: int, m: int, k: int
) -> db.models.base.Parameters:
    return {
        "user_samples": rng.standard_normal((s, n + 1, 1 + k), np.float32),
        "item_samples": rng.standard_normal((s, m + 1, 1 + k), np.float32),
        "user_noise": np.full(n + 1, 1.5, np.float32),
        "item_noise": rng.uniform(0.5, 2, m + 1).astype(np.float32),
        "noise_variance": np.array([0.4], np.float32),
        "global_mean": np.array([3.5], np.float32),
    }


def test_one_sample_is_a_bayesian_regression() -> None:
    rng = np.random.default_rng(0)
    parameters = some_parameters(rng, 1, 2_000, 6, 2)
    priors = UserPriors.of(parameters)
    assert priors is not None
    users = parameters["user_samples"][0, :-1].astype(float)
    np.testing.assert_allclose(
        np.linalg.inv(priors.precision[0]), np.cov(users.T, bias=True), atol=5e-3
    )
    rated, values = np.array([0, 3], np.int32), np.array([5.0, 2.0], np.float32)
    y = parameters["item_samples"][0].astype(float)
    y[:, 0] = 1
    v = 0.4 * 1.5 * parameters["item_noise"].astype(float)
    # Covariance of a rating and the ratings given, then what is left once they are known.
    cov = np.linalg.inv(priors.precision[0])
    among = y[rated] @ cov @ y[rated].T + np.diag(v[rated])
    with_them = y[5] @ cov @ y[rated].T
    left = y[5] @ cov @ y[5] - with_them @ np.linalg.solve(among, with_them) + v[5]
    found = std_of_new_user(parameters, priors, rated, values, np.array([5], np.int32))
    assert found[0] == pytest.approx(np.sqrt(left), rel=1e-4)


def test_features_move_a_new_users_mean_and_leave_less_open() -> None:
    rng = np.random.default_rng(2)
    parameters = some_parameters(rng, 2, 30, 6, 2)
    halves = rng.normal(0, 0.3, (2, 3, 3))
    parameters |= {
        "user_feature_samples": rng.standard_normal((2, 4, 3), np.float32),
        "user_feature_means": rng.standard_normal((2, 3), np.float32),
        "user_feature_covariances": (halves @ np.swapaxes(halves, 1, 2)).astype(np.float32)
        + 0.1 * np.eye(3, dtype=np.float32),
    }
    f = np.array([[0.5, 0, -1, 2]])
    priors = UserPriors.with_features(parameters, csr_array(f.astype(np.float32)))
    assert priors is not None
    means = parameters["user_feature_means"] + (f @ parameters["user_feature_samples"])[:, 0]
    np.testing.assert_allclose(priors.mean, means, rtol=1e-6)
    # Nothing is rated: what is open is the prior's spread, the samples' disagreement, and noise.
    y = parameters["item_samples"][:, 5].astype(float)
    b, y[:, 0] = y[:, 0].copy(), 1
    within = np.einsum("sk,skl,sl->s", y, parameters["user_feature_covariances"], y).mean()
    between = (b + (y * means).sum(axis=1)).var()
    noise = 0.4 * 1.5 * float(parameters["item_noise"][5])
    none, item = np.empty(0, np.int32), np.array([5], np.int32)
    found = std_of_new_user(parameters, priors, none, np.empty(0, np.float32), item)
    assert found[0] == pytest.approx(np.sqrt(within + between + noise), rel=1e-5)
    assert UserPriors.with_features(some_parameters(rng, 2, 30, 6, 2), csr_array(f)) is None


def test_samples_that_disagree_are_less_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    parameters = some_parameters(rng, 4, 50, 6, 2)
    same = {**parameters, "item_samples": np.repeat(parameters["item_samples"][:1], 4, axis=0)}
    same["user_samples"] = np.repeat(parameters["user_samples"][:1], 4, axis=0)
    rated, values = np.array([0], np.int32), np.array([5.0], np.float32)
    items = np.arange(6, dtype=np.int32)
    one = {name: array[:1] if "samples" in name else array for name, array in same.items()}
    stds = [std_of_new_user(p, UserPriors.of(p), rated, values, items) for p in (same, one)]  # type: ignore[arg-type]
    np.testing.assert_allclose(*stds, rtol=1e-5)
    mixed = std_of_new_user(parameters, UserPriors.of(parameters), rated, values, items)  # type: ignore[arg-type]
    assert mixed.mean() > stds[0].mean()
    monkeypatch.setattr(new_user, "_CHUNK", 4)
    in_parts = std_of_new_user(parameters, UserPriors.of(parameters), rated, values, items)  # type: ignore[arg-type]
    np.testing.assert_allclose(in_parts, mixed, rtol=1e-6)


def test_new_users_rate_as_far_off_as_is_said() -> None:
    drawn, _ = db.simulate(700, 60, 21_000, n_factors=3, seed=3)
    rows = drawn.to_frame()
    known, new = rows.filter(rows["user"] < 500), rows.filter(rows["user"] >= 500)
    rec = db.fit(
        db.read_ratings(known),
        db.DotBias(n_factors=3),
        db.Gibbs(n_samples=40, burn_in=15, n_factors=3, keep_samples=15),
        purpose="predict",
    )
    ratios = []
    for _, own in new.group_by("user"):
        given, held_out = own[:12], own[12:]
        user = rec.fold_in_user(dict(zip(given["item"], given["rating"], strict=True)))
        items = rec.item_vocabulary.indices(held_out["item"])
        std = user.std(items)
        assert std is not None
        error = user.predict(held_out["item"]) - held_out["rating"].to_numpy()
        ratios += ((error / std) ** 2).tolist()
    assert len(ratios) > 1000
    assert np.mean(ratios) == pytest.approx(1, abs=0.12)
