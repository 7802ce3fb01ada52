"""The compiled regressions: equal to NumPy in double precision, sound when singular."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dotbias.solvers.least_squares.normal_equations import padded, solve_rows
from dotbias.solvers.threads import threads


class Problem:
    """Random ratings of some rows, and what their regressions need."""

    def __init__(self, k: int, counts: list[int], seed: int = 0, decay: float = 0.3) -> None:
        rng = np.random.default_rng(seed)
        n, n_others, self.width = len(counts), max(5, *counts), padded(1 + k)
        self.k1 = 1 + k
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        self.partners = np.concatenate(
            [rng.choice(n_others, c, replace=False) for c in counts]
        ).astype(np.int32)
        self.targets = rng.standard_normal(len(self.partners)).astype(np.float32)
        self.others, self.rows, self.mean = (
            self.table(rng.standard_normal((m, self.k1))) for m in (n_others, n, n)
        )
        root = np.eye(self.k1) + 0.2 * rng.standard_normal((self.k1, self.k1)) / np.sqrt(self.k1)
        self.precision = self.table(np.zeros((self.width, self.k1)))
        self.precision[: self.k1, : self.k1] = decay * root @ root.T
        self.weights = rng.uniform(0.5, 3, n).astype(np.float32)
        self.order = np.argsort(-np.array(counts), kind="stable")

    def table(self, numbers: np.ndarray) -> np.ndarray:
        out = np.zeros((len(numbers), self.width), np.float32)
        out[:, : self.k1] = numbers
        return out

    def solve(self, held: int = 0, n_steps: int = 2, order=None) -> tuple[np.ndarray, float]:
        rows = self.rows.copy()
        squares = solve_rows(
            self.order if order is None else order,
            self.starts,
            self.partners,
            self.targets,
            self.others,
            rows,
            self.mean,
            self.precision,
            self.weights,
            held,
            n_steps,
        )
        return rows, squares

    def regression(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Vectors ``(1, q)`` and what they should explain, in double precision."""
        span = slice(self.starts[row], self.starts[row + 1])
        others = self.others[self.partners[span], : self.k1].astype(np.float64)
        targets = self.targets[span] - others[:, 0]
        others[:, 0] = 1
        return others, targets

    def prior(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        precision = self.precision[: self.k1, : self.k1].astype(np.float64)
        return self.mean[row, : self.k1].astype(np.float64), self.weights[row] * precision

    def normal_matrix(self, row: int) -> np.ndarray:
        y, _ = self.regression(row)
        return y.T @ y + self.prior(row)[1]

    def expected(self, row: int) -> np.ndarray:
        y, t = self.regression(row)
        mean, precision = self.prior(row)
        return np.linalg.solve(self.normal_matrix(row), y.T @ t + precision @ mean)

    def objective(self, row: int, x: np.ndarray) -> float:
        y, t = self.regression(row)
        mean, precision = self.prior(row)
        away = x[: self.k1] - mean
        return 0.5 * ((y @ x[: self.k1] - t) ** 2).sum() + 0.5 * (away @ precision @ away)


@pytest.mark.parametrize("k", [0, 1, 7, 8, 20, 64])
def test_each_row_is_the_solution_in_double_precision(k):
    problem = Problem(k, counts=[1, 3, 40, 64, 65, 300, 0], seed=k)
    rows, squares = problem.solve()
    expected_squares = 0.0
    for row in range(len(rows)):
        expected = problem.expected(row)
        np.testing.assert_allclose(
            rows[row, : 1 + k], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()
        )
        y, t = problem.regression(row)
        expected_squares += ((y @ expected - t) ** 2).sum()
    assert squares == pytest.approx(expected_squares, rel=1e-5)
    assert np.abs(rows[:, 1 + k :]).max(initial=0) == 0


def test_rows_that_are_not_named_stay_as_they_were():
    problem = Problem(5, counts=[4, 9, 2])
    rows, _ = problem.solve(order=np.array([1]))
    np.testing.assert_array_equal(rows[[0, 2]], problem.rows[[0, 2]])
    assert (rows[1] != problem.rows[1]).any()


def test_a_bias_that_is_held_stays_and_the_factors_fit_what_it_leaves():
    problem = Problem(5, counts=[4, 30, 0])
    rows, _ = problem.solve(held=1)
    np.testing.assert_array_equal(rows[:, 0], problem.rows[:, 0])
    for row in range(3):
        y, t = problem.regression(row)
        mean, precision = problem.prior(row)
        bias = problem.rows[row, 0].astype(np.float64)
        right = y[:, 1:].T @ (t - bias) + precision[1:, 1:] @ mean[1:]
        right -= precision[1:, 0] * (bias - mean[0])
        factors = np.linalg.solve((y.T @ y + precision)[1:, 1:], right)
        np.testing.assert_allclose(rows[row, 1:6], factors, rtol=1e-4, atol=1e-5)


def test_no_rows_to_solve_is_no_error():
    problem = Problem(5, counts=[4, 9, 2])
    rows, squares = problem.solve(order=np.empty(0, np.int64))
    np.testing.assert_array_equal(rows, problem.rows)
    assert squares == 0


# Singular systems.


@given(
    k=st.integers(0, 12),
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=5),
    decay=st.sampled_from([0.0, 1e-6, 0.01, 1.0, 1e4]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60)
def test_every_newton_step_lowers_the_objective_however_singular(k, counts, decay, seed):
    problem = Problem(k, counts, seed, decay)
    before = problem.rows
    for n_steps in (1, 2, 3):
        after, _ = problem.solve(n_steps=n_steps)
        assert np.isfinite(after).all()
        for row in range(len(counts)):
            start = problem.objective(row, problem.rows[row])
            here = problem.objective(row, before[row])
            assert problem.objective(row, after[row]) <= here + 1e-6 * start
        before = after


def test_a_direction_about_which_nothing_is_known_stays_about_where_it_was():
    problem = Problem(20, counts=[1, 3, 8], decay=0.0)
    rows, squares = problem.solve()
    assert squares < 1e-8
    for row in range(3):
        start = problem.rows[row, :21].astype(np.float64)
        y, t = problem.regression(row)
        least = np.linalg.pinv(y) @ (t - y @ start)
        # Rounding moves it a little, the more so the smaller the damping that holds it.
        error = np.linalg.norm(rows[row, :21] - start - least)
        assert error < 0.25 * np.linalg.norm(least)


def test_without_ratings_and_without_weight_a_row_stays_bit_for_bit():
    problem = Problem(6, counts=[0, 3])
    problem.weights[0] = 0
    rows, _ = problem.solve()
    np.testing.assert_array_equal(rows[0], problem.rows[0])


def test_partners_that_are_all_zero_move_the_bias_alone():
    problem = Problem(6, counts=[3], decay=0.0)
    problem.others[:] = 0
    rows, _ = problem.solve()
    assert rows[0, 0] == pytest.approx(problem.targets.mean(), rel=1e-5)
    np.testing.assert_array_equal(rows[0, 1:], problem.rows[0, 1:])


# Threads.


def test_any_number_of_threads_leaves_the_same_bits():
    problem = Problem(9, counts=np.random.default_rng(1).integers(0, 200, 300).tolist())
    results = []
    for n in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
        with threads(n, len(problem.targets)):
            results.append(problem.solve())
    (rows, squares), (again, squares_again) = results
    np.testing.assert_array_equal(rows, again)
    # A sum that each thread takes over its own part of the blocks would differ in its last bits.
    assert squares == squares_again
