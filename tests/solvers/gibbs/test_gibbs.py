"""The Gibbs sampler as a whole: calibrated, helped by what else is known, the same bits every time."""

import numba
import numpy as np
import polars as pl
import pytest
from scipy.stats import chi2, expon, gamma

import dotbias as db
from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.errors import SettingError
from dotbias.models import Baseline, DotBias
from dotbias.recommender.recommender import Recommender
from dotbias.solvers import gibbs
from dotbias.solvers.gibbs.gibbs import Gibbs
from dotbias.solvers.gibbs.kernels import predict_rows
from dotbias.solvers.gibbs.posterior import Posterior
from dotbias.solvers.threads import threads
from dotbias.solvers.validation import Validation
from dotbias.testing import SolverContract
from tests.ratings import normal_ratings, random_ratings

MODEL = DotBias(n_factors=16)
SHORT = Gibbs(n_samples=30, burn_in=10, n_factors=3)


class TestGibbs(SolverContract):
    model = DotBias(n_factors=4)
    solver = SHORT


class TestGibbsWithoutHistoriesAndWithEqualNoise(SolverContract):
    model = DotBias(n_factors=4)
    solver = Gibbs(n_samples=30, burn_in=10, n_factors=3, histories=False, noise_freedom=None)


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(n_users=60, n_items=40, n=1200, seed=6)


def rows_of(train: Ratings, test: Ratings) -> tuple[Index, Index]:
    """Users and items of one part as the other's indices."""
    return (
        train.user_vocabulary.indices(test.user_vocabulary.ids)[test.user_indices],
        train.item_vocabulary.indices(test.item_vocabulary.ids)[test.item_indices],
    )


def rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))


# The whole chain.


@pytest.mark.parametrize("histories", [False, True])
def test_data_drawn_anew_from_each_sample_leave_the_chain_at_its_prior(histories, monkeypatch):
    """Geweke (2004), section 3: samples and data that are drawn in turn have their joint distribution,
    so each unknown by itself has its prior. A wrong step of the sampler shows here whichever it is.
    """
    monkeypatch.setattr(gibbs.chain, "_SCALES_EVERY", 1)
    few = random_ratings(4, 4, 12, seed=5)
    solver = Gibbs(n_samples=1, burn_in=0, n_factors=1, histories=histories, noise_freedom=6.0)
    chain = solver.sample(few)[0].chain
    members, rng = chain.members(few.user_indices, few.item_indices, {}), np.random.default_rng(0)
    seen = []

    def of_effects(effects, precision):
        if effects is None:
            return ()
        first = effects.table[0, :2].astype(np.float64)
        return effects.decay[0], effects.decay[0] * (first @ precision @ first)

    with threads(1, 1):
        for _ in range(2500):
            noise = np.sqrt(chain.noise_precision * chain.weights[members].prod(1))
            z = predict_rows(chain.table, members) + rng.standard_normal(len(few)) / noise
            for mode in chain.modes:
                mode.targets = z[mode.by_row].astype(np.float32)
            chain.sweep()
            users = chain.modes[0]
            precision = users.factor @ users.factor.T
            away = chain.table[0, :2].astype(np.float64) - users.prior_mean[0, :2]
            seen.append(
                (
                    chain.noise_precision,
                    chain.weights[0],
                    chain.weights[chain.firsts[1]],
                    users.freedom * users.variances[0] * precision[0, 0],
                    users.freedom * users.variances[1] * precision[1, 1],
                    users.variances[0],
                    away @ precision @ away,
                    *of_effects(users.effects, precision),
                )
            )
    weight, of_wishart = gamma(3, scale=1 / 3), chi2(users.freedom)
    # Of the noise Gamma(1, 1); of the root of biases' variance half a normal distribution.
    priors = [expon(), weight, weight, of_wishart, of_wishart, chi2(1), chi2(2)]
    if histories:
        pseudo = users.effects.weight * 4  # four features of two columns, half of each
        priors += [gamma(pseudo - 0.5, scale=10 / pseudo), chi2(2)]
    shares = [prior.cdf(own) for prior, own in zip(priors, np.array(seen).T, strict=True)]
    # Uniform numbers, each like its neighbours.
    np.testing.assert_allclose(np.mean(shares, 1), 0.5, atol=0.05)
    np.testing.assert_allclose(np.std(shares, 1), np.sqrt(1 / 12), atol=0.035)


# What is planted.


@pytest.mark.parametrize(
    "solver",
    [
        Gibbs(n_samples=70, burn_in=30, n_factors=3, histories=False, noise_freedom=None),
        Gibbs(n_samples=120, burn_in=80, n_factors=5),
    ],
)
def test_planted_noise_is_recovered_and_intervals_are_as_wide_as_they_say(solver):
    """Factors more than were planted do no harm, nor do histories and noises that all are alike."""
    train, test = normal_ratings(800, 300, 60_000, noise=0.7, seed=1).split(0.2, seed=1)
    posterior, history = solver.sample(train, seed=3)
    mean, std = posterior.predict(*rows_of(train, test))
    inside = np.abs(test.values - mean) < 1.645 * std
    assert len(test) >= 10_000
    assert 0.88 < inside.mean() < 0.92
    typical = np.mean(posterior.noise_variances) * np.prod(
        [posterior.noise_factors[m.here].mean() for m in posterior.chain.modes]
    )
    assert np.sqrt(typical) == pytest.approx(0.7, rel=0.03)
    assert rmse(test.values, mean) < 1.07 * 0.7
    assert history.epochs[-1].train_rmse == pytest.approx(0.7, rel=0.05)


def test_ratings_without_noise_are_fitted_and_never_give_nan():
    """Single precision once failed on more factors than the ratings have."""
    exact = normal_ratings(400, 300, 60_000, noise=0.0, n_factors=1, seed=0)
    posterior, _ = Gibbs(n_samples=40, burn_in=20, n_factors=5).sample(exact)
    mean, std = posterior.predict(exact.user_indices, exact.item_indices)
    assert rmse(mean, exact.values) < 0.01
    assert np.isfinite(std).all()


def test_users_who_rate_at_random_get_more_noise_than_others():
    """Half of the users have four times the noise of the others."""
    rng = np.random.default_rng(0)
    base = normal_ratings(200, 80, 8000, noise=0.0, seed=2)
    erratic = base.user_indices % 2 == 1
    noise = np.where(erratic, 1.2, 0.3) * rng.standard_normal(len(base))
    noisy = Ratings.from_columns(
        base.user_indices.tolist(), base.item_indices.tolist(), base.values + noise
    )
    solver = Gibbs(n_samples=80, burn_in=40, n_factors=3, noise_freedom=4.0)
    posterior, _ = solver.sample(noisy, seed=1)
    _, std = posterior.predict(noisy.user_indices, noisy.item_indices)
    calm, wild = std[~erratic].mean(), std[erratic].mean()
    assert 2.5 < wild / calm < 5
    assert calm == pytest.approx(0.35, abs=0.1)


def test_what_a_user_chose_to_rate_tells_its_taste():
    """Each user likes one of two kinds of items and has mostly rated that kind, under much noise."""
    rng = np.random.default_rng(3)
    n_users, n_items, n_each = 1000, 40, 8
    taste, kind = rng.choice([-1, 1], n_users), np.tile([-1, 1], n_items // 2)
    users, items = [], []
    for user in range(n_users):
        share = np.where(kind == taste[user], 0.8, 0.2)
        chosen = rng.choice(n_items, n_each, replace=False, p=share / share.sum())
        users += [user] * n_each
        items += chosen.tolist()
    u, i = np.array(users), np.array(items)
    likes = 0.7 * taste[:, None] * kind
    values = 3 + likes[u, i] + rng.normal(0, 1.2, len(u))
    train = Ratings.from_columns(users, items, values)
    everyone, everything = (a.ravel().astype(np.int32) for a in np.indices(likes.shape))
    error = {}
    for histories in (True, False):
        solver = Gibbs(n_samples=100, burn_in=40, n_factors=2, histories=histories)
        mean, _ = solver.sample(train, seed=0)[0].predict(everyone, everything)
        error[histories] = rmse(mean, 3 + likes.ravel())
    assert error[False] > 0.4  # ratings alone do not tell
    assert error[True] < 0.7 * error[False]


def test_a_users_features_stand_in_for_ratings_it_has_not_given():
    """Groups of users differ by their mean rating; some users have a single rating."""
    rng = np.random.default_rng(5)
    n_users, n_items, n_cold = 240, 30, 40
    group = rng.choice(["calm", "keen"], n_users)
    level = np.where(group == "keen", 4.0, 2.0)
    counts = np.where(np.arange(n_users) < n_cold, 1, 15)
    u = np.repeat(np.arange(n_users), counts)
    i = np.concatenate([rng.choice(n_items, c, replace=False) for c in counts])
    values = level[u] + rng.normal(0, 1.0, len(u))
    plain = Ratings.from_columns(u.tolist(), i.tolist(), values)
    frame = pl.DataFrame({"id": range(n_users), "group": group})
    solver = Gibbs(n_samples=60, burn_in=20, n_factors=2, histories=False)
    cold = np.repeat(np.arange(n_cold, dtype=np.int32), plain.n_items)
    items = np.tile(np.arange(plain.n_items, dtype=np.int32), n_cold)
    error = {}
    for name, some in (("without", plain), ("with", plain.with_features(users=frame))):
        mean, _ = solver.sample(some, seed=0)[0].predict(cold, items)
        error[name] = rmse(mean.reshape(n_cold, -1).mean(1), level[:n_cold])
    assert error["without"] > 0.4
    assert error["with"] < 0.5 * error["without"]


@pytest.fixture(scope="module")
def by_month() -> Ratings:
    """Ratings with four months, the last of which is worth 1.5 more."""
    base = normal_ratings(100, 60, 3000, noise=0.4, seed=4)
    month = np.random.default_rng(0).integers(0, 4, len(base))
    values = base.values + 1.5 * (month == 3)
    moved = Ratings.from_columns(base.user_indices.tolist(), base.item_indices.tolist(), values)
    return moved.with_features(ratings={"month": month})


def test_a_feature_of_single_ratings_lowers_the_held_out_error(by_month):
    train, test = by_month.split(0.2, seed=0)
    posterior, _ = SHORT.sample(train, seed=1)
    u, i = rows_of(train, test)
    aware = rmse(posterior.predict(u, i, test.features.ratings)[0], test.values)
    ignorant = rmse(posterior.predict(u, i)[0], test.values)
    assert aware < 0.6
    assert ignorant > 0.7


def test_a_category_that_no_training_rating_had_is_unknown(by_month):
    posterior, _ = SHORT.sample(by_month, seed=1)
    u, i = by_month.user_indices[:9], by_month.item_indices[:9]
    unknown, _ = posterior.predict(u, i)
    assert np.isfinite(unknown).all()
    for code in (-1, 4, 99):
        given, _ = posterior.predict(u, i, {"month": np.full(9, code, np.int32)})
        np.testing.assert_array_equal(given, unknown)


def test_a_category_may_occur_in_the_validation_rows_alone(ratings):
    """These rows once read beyond the end of the table."""
    rare = ratings.with_features(ratings={"row": np.arange(len(ratings))})
    solver = Gibbs(n_samples=4, burn_in=1, n_factors=2, validation_size=0.5)
    _, history = solver.sample(rare, seed=0)
    assert all(0 < e.validation_rmse < 4 for e in history.epochs)


# The history.


def test_the_last_validation_error_is_that_of_the_samples_mean(ratings):
    solver = Gibbs(n_samples=20, burn_in=8, n_factors=3, validation_size=0.2)
    posterior, history = solver.sample(ratings, seed=7)
    held = Validation.hold_out(ratings, 0.2, np.random.default_rng(7))
    mean, _ = posterior.predict(held.users, held.items)
    expected = rmse(np.clip(mean, 1, 5), held.values)
    assert history.epochs[-1].validation_rmse == pytest.approx(expected, rel=1e-5)
    assert expected < np.std(held.values)
    assert len(posterior.samples) == 12
    assert len(posterior.ratings) == len(ratings) - len(held.values)


def test_an_epoch_tells_its_samples_noise(ratings):
    posterior, history = SHORT.sample(ratings)
    noise = [e.noise**2 for e in history.epochs[10:]]
    np.testing.assert_allclose(posterior.noise_variances, noise)


# The same bits.


def features(ratings: Ratings) -> Ratings:
    ids = ratings.user_vocabulary.ids
    frame = pl.DataFrame({"id": ids, "job": ["a|b", "b", None] * (len(ids) // 3)})
    return ratings.with_features(users=frame, ratings={"part": np.arange(len(ratings)) % 3})


def test_the_same_seed_gives_the_same_bits_for_any_number_of_threads():
    some = features(random_ratings(n_users=300, n_items=200, n=9000, seed=3))
    n_threads = (1, 1, min(2, numba.config.NUMBA_NUM_THREADS))
    runs = [
        Gibbs(n_samples=6, burn_in=2, n_factors=9, keep_samples=2, n_threads=n).fit(
            MODEL, some, seed=5
        )
        for n in n_threads
    ]
    first, history = runs[0]
    for parameters, again in runs[1:]:
        assert parameters.keys() == first.keys()
        for name in first:
            np.testing.assert_array_equal(parameters[name], first[name])
        assert [e.noise for e in again.epochs] == [e.noise for e in history.epochs]


def test_another_seed_gives_other_samples(ratings):
    one, two = (SHORT.sample(ratings, seed=seed)[0] for seed in (1, 2))
    users = slice(0, ratings.n_users)
    assert (one.samples[-1][users] != two.samples[-1][users]).all()


# Settings.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_samples": 0}, "n_samples must be at least 1"),
        (
            {"n_samples": 9, "burn_in": 9},
            r"Gibbs\(n_samples=9, burn_in=9\).*n_samples must be larger",
        ),
        ({"n_samples": 2.5}, "n_samples must be a whole number"),
        ({"burn_in": -1}, "burn_in must be at least 0"),
        ({"n_factors": 0}, "n_factors must be at least 1"),
        ({"histories": "yes"}, "histories must be one of True, False"),
        ({"noise_freedom": 0}, "noise_freedom must be above 0"),
        ({"keep_samples": -1}, "keep_samples must be at least 0"),
        ({"validation_size": 1.0}, "validation_size must be at least 0 and below 1"),
        ({"n_threads": 0}, "n_threads must be at least 1"),
    ],
)
def test_illegal_settings_are_refused_at_once(settings, message):
    with pytest.raises(SettingError, match=message):
        Gibbs(**settings)


def test_what_it_cannot_estimate_is_refused(ratings):
    with pytest.raises(SettingError, match=r"output='linear'.*GradientDescent estimates both"):
        SHORT.fit(DotBias(output="sigmoid"), ratings)
    with pytest.raises(SettingError, match="Gibbs estimates DotBias, not Baseline"):
        SHORT.fit(Baseline(), ratings)
    with pytest.raises(SettingError, match="n_threads=999"):
        Gibbs(n_threads=999).fit(MODEL, ratings)


# As a recommender.


KEEPING = Gibbs(n_samples=25, burn_in=10, n_factors=3, keep_samples=15)


@pytest.fixture(scope="module")
def kept(ratings) -> tuple[Recommender, Posterior]:
    return db.fit(ratings, MODEL, KEEPING, seed=4), KEEPING.sample(ratings, seed=4)[0]


def test_the_model_has_as_many_factors_as_its_parameters(kept):
    rec, _ = kept
    assert 3 <= rec.model.n_factors <= MODEL.n_factors
    assert rec.parameters["user_factors"].shape[1] == rec.model.n_factors


def test_kept_samples_give_the_posteriors_standard_deviation(kept, ratings):
    rec, posterior = kept
    u, i = ratings.user_indices.copy(), ratings.item_indices.copy()
    u[:50], i[25:75] = -1, -1
    spread = rec.model.std(rec.parameters, u, i)
    np.testing.assert_allclose(spread, posterior.predict(u, i)[1], rtol=1e-4)


def test_kept_samples_are_in_the_file(kept, ratings, tmp_path):
    rec, _ = kept
    rec.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model")
    u, i = ratings.user_indices[:50], ratings.item_indices[:50]
    np.testing.assert_array_equal(
        loaded.model.std(loaded.parameters, u, i), rec.model.std(rec.parameters, u, i)
    )
    np.testing.assert_array_equal(
        loaded.model.predict(loaded.parameters, u, i), rec.model.predict(rec.parameters, u, i)
    )


def test_without_samples_there_is_no_standard_deviation(ratings):
    parameters, _ = SHORT.fit(MODEL, ratings)
    with pytest.raises(SettingError, match=r"Gibbs\(keep_samples=50\)"):
        MODEL.std(parameters, ratings.user_indices[:3], ratings.item_indices[:3])


def test_new_ratings_grow_the_model_and_end_what_its_samples_tell(kept):
    """Their rows are those of the users and items there were."""
    rec, _ = kept
    grown = rec.partial_fit(Ratings.from_columns([-7, -7], [3, 8], [4.0, 3.0]))
    nobody = np.zeros(1, np.int32)
    assert np.isfinite(grown.model.predict(grown.parameters, nobody, nobody)).all()
    with pytest.raises(SettingError, match="no samples"):
        grown.model.std(grown.parameters, nobody, nobody)


def test_a_user_folded_in_is_predicted_better_than_a_stranger():
    whole = normal_ratings(300, 60, 8000, noise=0.3, seed=9)
    rec = db.fit(whole.take(whole.user_indices < 250), MODEL, SHORT)
    stranger, folded, truth = [], [], []
    for user in range(250, 300):
        mine = whole.rows(whole.user_indices == user)
        items, half = mine.item_indices.tolist(), len(mine) // 2
        known = dict(zip(items[:half], mine.values[:half].tolist(), strict=True))
        someone = rec.fold_in_user(known)
        truth += mine.values[half:].tolist()
        folded += [someone.predict(item) for item in items[half:]]
        stranger += rec.predict(["nobody"] * (len(items) - half), items[half:]).tolist()
    assert rmse(np.array(folded), np.array(truth)) < 0.7 * rmse(np.array(stranger), np.array(truth))
