"""The sampler's compiled loops: equal to NumPy in double precision, and fair draws."""

import numba
import numpy as np
import pytest
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from dotbias.solvers.gibbs.kernels import (
    draw_effects,
    draw_rows,
    from_groups,
    moments,
    part_sums,
    predict_rows,
    to_groups,
)
from dotbias.solvers.gibbs.mode import _normal_wishart
from dotbias.solvers.least_squares.normal_equations import LANES, padded
from dotbias.solvers.threads import threads

THREADS = (1, min(2, numba.config.NUMBA_NUM_THREADS))


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for each other take longer than these small problems."""
    with threads(1, 1), threadpool_limits(1, "blas"):
        yield


def assert_standard(white: np.ndarray) -> None:
    """Columns that should be independent standard normal numbers, each row a draw."""
    n, k = white.shape
    assert np.abs(white.mean(0)).max() < 4.5 / np.sqrt(n)
    assert np.abs(white.T @ white / n - np.eye(k)).max() < 4.5 * np.sqrt(2 / n)
    assert np.mean(white**4) == pytest.approx(3, abs=5 * np.sqrt(96 / white.size))


class Mode:
    """Random ratings of some rows, each with a partner in every other mode."""

    def __init__(
        self, k: int, counts: list[int], n_partners: int = 1, seed: int = 0, n_others: int = 6
    ) -> None:
        rng = np.random.default_rng(seed)
        n, self.width = len(counts), padded(k + 1)
        self.k, self.counts, self.first_row = k, np.array(counts), n_partners * n_others
        self.order = np.argsort(-self.counts, kind="stable")
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        n_ratings = int(self.starts[-1])
        which = rng.integers(0, n_others, (n_ratings, n_partners))
        self.partners = (which + n_others * np.arange(n_partners)).astype(np.int32)
        self.targets = rng.standard_normal(n_ratings).astype(np.float32)
        self.table = self.wide(rng.standard_normal((self.first_row + n, k)))
        self.mean = self.wide(rng.standard_normal((n, k)))
        root = np.eye(k) + 0.3 * rng.standard_normal((k, k)) / np.sqrt(k)
        self.precision = np.zeros((self.width, self.width), np.float32)
        self.precision[:k, :k] = root @ root.T
        self.weights = rng.uniform(0.5, 2, len(self.table)).astype(np.float32)
        self.alpha = np.float32(1.7)

    def wide(self, numbers: np.ndarray) -> np.ndarray:
        out = np.zeros((len(numbers), self.width), np.float32)
        out[:, : self.k] = numbers
        return out

    def draw(
        self, key: int = 1, order: np.ndarray | None = None, relaxation: float = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """The whole table after the draw, and the squares of each row's errors."""
        table, squares = self.table.copy(), np.full(len(self.counts), np.nan)
        draw_rows(
            self.order if order is None else order,
            self.starts,
            self.partners,
            self.targets,
            table,
            self.k,
            self.first_row,
            self.mean,
            np.linalg.cholesky(self.precision[: self.k, : self.k].astype(np.float64)),
            self.alpha,
            self.weights,
            relaxation,
            np.uint64(key),
            squares,
        )
        return table, squares

    def regression(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vectors, what they should explain, and weights, straight from the model's formula."""
        y, t, v = [], [], []
        for rating in range(self.starts[row], self.starts[row + 1]):
            others = self.table[self.partners[rating], : self.k].astype(np.float64)
            offset = others[:, 0].sum()
            for a in range(len(others)):
                offset += sum(others[a, 1:] @ others[b, 1:] for b in range(a))
            y.append(np.concatenate([[1], others[:, 1:].sum(0)]))
            t.append(self.targets[rating] - offset)
            v.append(self.weights[self.partners[rating]].prod())
        return np.array(y).reshape(-1, self.k), np.array(t), np.array(v)

    def conditional(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and precision of the row, the others held."""
        y, t, v = self.regression(row)
        prior = self.precision[: self.k, : self.k].astype(np.float64)
        w = self.alpha * self.weights[self.first_row + row] * v[:, None]
        precision = prior + y.T @ (w * y)
        right = prior @ self.mean[row, : self.k] + (w * y).T @ t
        return np.linalg.solve(precision, right), precision

    def repeated(self, n: int) -> "Mode":
        """Row 0 so many times over."""
        one, span = Mode.__new__(Mode), slice(0, self.counts[0])
        one.__dict__.update(self.__dict__)
        one.counts = np.repeat(self.counts[:1], n)
        one.starts, one.order = self.counts[0] * np.arange(n + 1), np.arange(n)
        one.partners = np.tile(self.partners[span], (n, 1))
        one.targets, one.mean = np.tile(self.targets[span], n), np.repeat(self.mean[:1], n, axis=0)
        others, own = slice(0, self.first_row), [self.first_row] * n
        one.table = np.concatenate([self.table[others], self.table[own]])
        one.weights = np.concatenate([self.weights[others], self.weights[own]])
        return one


# Draws of rows.


@pytest.mark.parametrize("n_partners", [1, 2])
@pytest.mark.parametrize(("k", "count"), [(3, 0), (3, 5), (9, 1), (9, 3), (9, 4)])
def test_draws_have_the_conditional_mean_and_covariance(n_partners, k, count):
    mode = Mode(k, [count], n_partners, seed=3)
    mean, precision = mode.conditional(0)
    table, _ = mode.repeated(40_000).draw()
    draws = table[mode.first_row :, :k]
    assert_standard((draws - mean) @ np.linalg.cholesky(precision))


@pytest.mark.parametrize(("k", "count"), [(5, 30), (9, 3)])
def test_a_draw_may_go_to_the_other_side_of_the_mean(k, count):
    """``x' - μ - θ (x - μ)`` is noise of ``1 - θ²`` of the conditional's variance, whatever x is."""
    mode, theta = Mode(k, [count]).repeated(4000), -0.9
    mean, precision = mode.conditional(0)
    at = slice(mode.first_row, None)
    away = mode.table[at, :k].astype(np.float64) - mean
    after, _ = mode.draw(relaxation=theta)
    noise = after[at, :k] - mean - theta * away
    assert_standard(noise @ np.linalg.cholesky(precision) / np.sqrt(1 - theta**2))


def test_the_sums_of_parts_are_those_of_single_ratings():
    mode = Mode(4, [3, 0, 40, 1], n_partners=2)
    moved = mode.wide(np.random.default_rng(1).standard_normal((4, 4)))
    sums = part_sums(
        mode.starts, mode.partners, mode.targets, mode.table, mode.first_row, moved, mode.weights
    ).sum(axis=0)
    expected = np.zeros((5, 4))
    for row in range(4):
        y, t, v = mode.regression(row)
        x = mode.table[mode.first_row + row, :4].astype(np.float64)
        w = mode.weights[mode.first_row + row] * v
        of_rows = [moved[row, :1], moved[row, 1:4], x[:1], x[1:]]
        g = np.stack(
            [y[:, s] @ part for s, part in zip([slice(1), slice(1, 4)] * 2, of_rows, strict=True)]
        )
        expected[:4] += np.triu((w * g) @ g.T)
        expected[4] += (w * g) @ (t - y @ x)
    np.testing.assert_allclose(sums, expected, rtol=1e-4, atol=1e-4)


def test_a_row_without_ratings_is_drawn_from_its_prior():
    mode = Mode(3, [0], seed=1)
    mean, precision = mode.conditional(0)
    np.testing.assert_allclose(mean, mode.mean[0, :3], rtol=1e-6)
    np.testing.assert_allclose(precision, mode.precision[:3, :3], rtol=1e-6)
    _, squares = mode.draw()
    assert squares[0] == 0


def test_draws_of_one_row_under_many_keys_are_independent():
    mode, n = Mode(2, [6], seed=3), 20_000
    mean, precision = mode.conditional(0)
    draws = np.array([mode.draw(key)[0][mode.first_row, :2] for key in range(1, n + 1)])
    white = (draws - mean) @ np.linalg.cholesky(precision)
    assert_standard(white)
    assert np.abs(np.mean(white[1:] * white[:-1], axis=0)).max() < 4.5 / np.sqrt(n)


def test_neighbouring_rows_get_independent_draws():
    mode, n = Mode(2, [6], seed=3), 20_000
    mean, precision = mode.conditional(0)
    draws = mode.repeated(n).draw()[0][mode.first_row :, :2]
    white = (draws - mean) @ np.linalg.cholesky(precision)
    assert np.abs(np.mean(white[1:] * white[:-1], axis=0)).max() < 4.5 / np.sqrt(n)
    assert np.abs(np.mean(white[1:] * white[:-1, ::-1], axis=0)).max() < 4.5 / np.sqrt(n)


def test_draws_have_the_shape_of_the_normal_distribution():
    mode = Mode(1, [0])
    draws = mode.repeated(40_000).draw()[0]
    white = (draws[mode.first_row :, 0] - mode.mean[0, 0]) * np.sqrt(mode.precision[0, 0])
    for at in (-3, -2, -1, 0, 1, 2, 3):
        share = norm.cdf(at)
        error = 4.5 * np.sqrt(share * (1 - share) / len(white))
        assert np.mean(white < at) == pytest.approx(share, abs=error)


@pytest.mark.parametrize("k", [1, 7, 8, 20])
def test_much_data_leaves_the_solution_of_the_weighted_regression(k):
    """With next to no noise the draw is the mean: every number of columns, panels full and not."""
    mode = Mode(k, [64, 65, 300, 1, 0], n_partners=2, seed=k, n_others=40)
    mode.alpha = np.float32(1e5)
    table, _ = mode.draw()
    for row in range(3):
        mean, _ = mode.conditional(row)
        np.testing.assert_allclose(table[mode.first_row + row, :k], mean, atol=0.01)


def test_a_row_whose_regression_is_singular_without_noise_stays_finite():
    """Six partners leave most of twenty columns to the prior, which rounding hides; among six ratings
    by them two have the same partner.
    """
    mode = Mode(20, [64, 300, 6], seed=1)
    assert len(np.unique(mode.partners[-6:])) < 6
    mode.alpha = np.float32(1e5)
    table, _ = mode.draw()
    assert np.isfinite(table).all()
    for row in range(3):
        y, t, v = mode.regression(row)
        e = t - y @ table[mode.first_row + row, :20]
        best = t - y @ np.linalg.lstsq(np.sqrt(v)[:, None] * y, np.sqrt(v) * t, rcond=None)[0]
        assert (v * e**2).sum() == pytest.approx((v * best**2).sum(), rel=0.01)


@pytest.mark.parametrize("k", [5, 12])
@pytest.mark.parametrize("n_partners", [1, 2])
def test_the_squares_are_those_of_the_errors_after_the_draw(n_partners, k):
    mode = Mode(k, [4, 200, 0, 65, 1], n_partners, seed=2)
    table, squares = mode.draw()
    for row in range(5):
        y, t, v = mode.regression(row)
        e = t - y @ table[mode.first_row + row, :k]
        # What is left of large squares has their rounding errors.
        rounding = 1e-5 * (v * t**2).sum()
        assert squares[row] == pytest.approx((v * e**2).sum(), rel=1e-5, abs=rounding)


def test_rows_of_more_ratings_than_a_panel_holds_are_drawn_whatever_their_columns():
    mode = Mode(230, [64, 65, 76, 77], n_others=90)
    mode.alpha = np.float32(1e4)
    table, squares = mode.draw()
    for row in range(4):
        y, t, v = mode.regression(row)
        e = t - y @ table[mode.first_row + row, :230]
        assert squares[row] == pytest.approx((v * e**2).sum(), rel=1e-3, abs=0.01)


def test_padding_stays_zero_and_other_modes_stay_as_they_were():
    mode = Mode(5, [4, 9, 0])
    table, _ = mode.draw()
    assert not table[:, 5:].any()
    np.testing.assert_array_equal(table[: mode.first_row], mode.table[: mode.first_row])
    assert (table[mode.first_row :, :5] != mode.table[mode.first_row :, :5]).all()


def test_a_draw_depends_on_key_and_row_and_nothing_else():
    mode = Mode(4, [5, 7, 3])
    table, _ = mode.draw(9)
    alone, _ = mode.draw(9, order=np.array([2]))
    np.testing.assert_array_equal(table[mode.first_row + 2], alone[mode.first_row + 2])
    np.testing.assert_array_equal(alone[:-1], mode.table[:-1])
    other, _ = mode.draw(10)
    assert (table[mode.first_row :, :4] != other[mode.first_row :, :4]).all()


def test_any_number_of_threads_draws_the_same_bits():
    counts = np.random.default_rng(1).integers(0, 200, 300).tolist()
    mode = Mode(9, counts, n_partners=2)
    results = []
    for n in THREADS:
        with threads(n, len(mode.targets)):
            results.append(mode.draw(5))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


# Predictions.


@pytest.mark.parametrize("n_modes", [2, 3])
@pytest.mark.parametrize("width", [4, 16])
def test_a_prediction_is_the_sum_of_biases_and_of_all_products_of_two(n_modes, width):
    rng = np.random.default_rng(0)
    table = rng.standard_normal((20, width)).astype(np.float32)
    members = rng.integers(0, 20, (150, n_modes)).astype(np.int32)
    expected = np.zeros(150)
    for row, who in enumerate(members):
        x = table[who].astype(np.float64)
        expected[row] = x[:, 0].sum()
        expected[row] += sum(x[a, 1:] @ x[b, 1:] for a in range(n_modes) for b in range(a))
    np.testing.assert_allclose(predict_rows(table, members), expected, rtol=1e-4, atol=1e-4)


def test_nothing_to_predict_is_no_error():
    assert predict_rows(np.ones((2, 4), np.float32), np.empty((0, 2), np.int32)).shape == (0,)


# Moments and coordinates.


@pytest.mark.parametrize("n_rows", [1, 63, 64, 1000])
@pytest.mark.parametrize("one_centre", [True, False])
def test_moments_are_sums_of_differences_and_of_their_products(n_rows, one_centre):
    rng = np.random.default_rng(n_rows)
    rows = rng.standard_normal((n_rows, 16)).astype(np.float32)
    centre = rng.standard_normal((1 if one_centre else n_rows, 16)).astype(np.float32)
    d = rows.astype(np.float64) - centre
    total, products = moments(rows, centre)
    np.testing.assert_allclose(total, d.sum(0), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(products, d.T @ d, rtol=1e-5, atol=1e-3)


def test_moments_have_the_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(0)
    rows, centre = rng.standard_normal((2, 5000, 16)).astype(np.float32)
    results = []
    for n in THREADS:
        with threads(n, 1):
            results.append(moments(rows, centre))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("width", "n_groups"), [(8, 1), (24, 2), (24, 3)])
def test_groups_are_the_columns_of_a_product_and_come_back_by_the_inverse(width, n_groups):
    rng, k = np.random.default_rng(1), n_groups * LANES
    rows, shift = rng.standard_normal((2, 100, width)).astype(np.float32)
    rows[:, k:] = shift[:, k:] = 0
    matrix, back = np.zeros((2, width, width), np.float32)
    matrix[:k, :k] = np.eye(k) + 0.1 * rng.standard_normal((k, k))
    back[:k, :k] = np.linalg.inv(matrix[:k, :k])
    groups = np.full((n_groups, 100, LANES), np.nan, np.float32)
    to_groups(rows, shift, matrix, groups)
    expected = (rows - shift).astype(np.float64) @ matrix
    for group in range(n_groups):
        part = expected[:, group * LANES : (group + 1) * LANES]
        np.testing.assert_allclose(groups[group], part, atol=1e-5)
    out = np.full_like(rows, np.nan)
    from_groups(groups, back, out)
    np.testing.assert_allclose(out, rows - shift, atol=1e-5)


# Effects of features.


class Effects:
    """Rows that features move, in coordinates in which the rows scatter with unit covariance."""

    def __init__(self, n_rows: int = 60, n_features: int = 5, n_groups: int = 2) -> None:
        rng = np.random.default_rng(4)
        self.features = rng.standard_normal((n_rows, n_features)).astype(np.float32)
        self.features[rng.random(self.features.shape) < 0.5] = 0
        self.decay = np.array([0.5, 0.5, 2, 2, 10], np.float32)[:n_features]
        self.truth = rng.standard_normal((n_groups, n_features, LANES)).astype(np.float32)
        noise = rng.standard_normal((n_groups, n_rows, LANES)).astype(np.float32)
        self.rows = self.features @ self.truth + noise
        there = self.features.T != 0
        self.starts = np.concatenate([[0], np.cumsum(there.sum(1))]).astype(np.int32)
        self.at = np.nonzero(there)[1].astype(np.int32)
        self.values = self.features.T[there]

    def draw(
        self, effects: np.ndarray, residual: np.ndarray, key: int, relaxation: float = 0
    ) -> None:
        draw_effects(
            self.starts,
            self.at,
            self.values,
            self.decay,
            effects,
            residual,
            np.float32(relaxation),
            np.uint64(key),
        )


def test_the_residual_is_kept_up_to_date():
    problem = Effects()
    effects = np.zeros_like(problem.truth)
    residual = problem.rows.copy()
    for key in (1, 2, 3):
        problem.draw(effects, residual, key)
    np.testing.assert_allclose(residual, problem.rows - problem.features @ effects, atol=1e-4)
    assert (effects != 0).all()


def test_each_feature_is_drawn_from_its_conditional():
    """Every draw, less its mean given the effects as they stood then, is noise of known size."""
    problem, white = Effects(), []
    f = problem.features.astype(np.float64)
    precision = (f**2).sum(0) + problem.decay
    effects, residual = np.zeros_like(problem.truth), problem.rows.copy()
    for key in range(1, 301):
        before = effects.copy()
        problem.draw(effects, residual, key)
        for feature in range(f.shape[1]):
            mixed = before.copy()
            mixed[:, :feature], mixed[:, feature] = effects[:, :feature], 0
            mean = f[:, feature] @ (problem.rows - f @ mixed) / precision[feature]
            white.append((effects[:, feature] - mean).ravel() * np.sqrt(precision[feature]))
    assert_standard(np.array(white))


@pytest.mark.parametrize("relaxation", [0, -0.9])
def test_the_chain_of_effects_has_the_mean_and_covariance_of_a_ridge_regression(relaxation):
    problem, n = Effects(n_groups=1), 6000
    effects, residual = np.zeros_like(problem.truth), problem.rows.copy()
    draws = np.empty((n, *problem.truth.shape[1:]))
    for key in range(-20, n):
        problem.draw(effects, residual, key + 100, relaxation)
        if key >= 0:
            draws[key] = effects[0]
    f = problem.features.astype(np.float64)
    precision = f.T @ f + np.diag(problem.decay)
    ridge = np.linalg.solve(precision, f.T @ problem.rows[0])  # (n_features, LANES)
    covariance = np.linalg.inv(precision)
    std = np.sqrt(np.diag(covariance))[:, None]
    assert np.abs((draws.mean(0) - ridge) / std).max() < 0.1
    centred = draws - ridge
    measured = np.einsum("nal,nbl->ab", centred, centred) / (n * LANES)
    np.testing.assert_allclose(measured / (std * std.T), covariance / (std * std.T), atol=0.03)


def test_a_feature_that_no_row_has_is_drawn_from_its_prior():
    problem = Effects(n_features=1, n_groups=1)
    problem.starts[1] = 0
    draws = []
    for key in range(1, 2001):
        effects, residual = np.ones_like(problem.truth), problem.rows.copy()
        problem.draw(effects, residual, key)
        draws.append(effects.ravel() * np.sqrt(problem.decay[0]))
    np.testing.assert_array_equal(residual, problem.rows)
    assert_standard(np.array(draws))


# Mean and covariance of rows.


def test_mean_and_precision_have_the_moments_of_their_posterior():
    """Normal-Wishart with β₀ = 2, k degrees of freedom and the identity as its scale."""
    rng, k, n, n_more, n_draws = np.random.default_rng(0), 3, 12, 4, 8000
    rows = rng.standard_normal((n, k)) @ [[1, 0.5, 0], [0, 1, 0.3], [0, 0, 2]] + [1, -2, 0.5]
    more = rng.standard_normal((n_more, k))
    total, products, further = rows.sum(0), rows.T @ rows, more.T @ more
    means, precisions, white = np.empty((n_draws, k)), np.empty((n_draws, k, k)), []
    centre = total / (n + 2)
    for draw in range(n_draws):
        mean, factor = _normal_wishart(total, products, n, k + n_more, np.eye(k) + further, rng)
        assert not np.triu(factor, 1).any()
        means[draw], precisions[draw] = mean, factor @ factor.T
        white.append(np.sqrt(n + 2) * (mean - centre) @ factor)
    d = rows - rows.mean(0)
    pull = 2 * n / (n + 2) * np.outer(rows.mean(0), rows.mean(0))
    scale = np.linalg.inv(np.eye(k) + d.T @ d + pull + further)
    freedom = k + n + n_more
    size = np.sqrt(np.outer(np.diag(scale), np.diag(scale)))
    expected = freedom * scale
    variance = freedom * (scale**2 + size**2)
    error = (precisions.mean(0) - expected) / np.sqrt(variance / n_draws)
    assert np.abs(error).max() < 4.5
    np.testing.assert_allclose(precisions.var(0), variance, rtol=0.1)
    # Given its precision, the mean is normal around the shrunk mean of the rows.
    assert_standard(np.array(white))
