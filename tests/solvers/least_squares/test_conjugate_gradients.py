"""The compiled conjugate gradients: equal to NumPy in double precision when they go on to the end."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dotbias.solvers.least_squares.conjugate_gradients import improve_rows
from dotbias.solvers.least_squares.normal_equations import padded
from dotbias.solvers.threads import threads


class Problem:
    """Random known pairs of some rows, and what their regressions need."""

    def __init__(self, k: int, counts: list[int], seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        n, n_others, self.k, width = len(counts), max(5, *counts), k, padded(k)
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.partners = np.concatenate(
            [rng.choice(n_others, c, replace=False) for c in counts]
        ).astype(np.int32)
        self.targets = rng.normal(1, 0.3, len(self.partners)).astype(np.float32)
        self.weights = rng.uniform(0, 3, len(self.partners)).astype(np.float32)
        self.others, self.rows = (np.zeros((m, width), np.float32) for m in (n_others, n))
        for table in (self.others, self.rows):
            table[:, :k] = rng.standard_normal((len(table), k))
        self.diagonal = np.zeros(width, np.float32)
        self.diagonal[:k] = rng.uniform(0, 30, k)
        self.scales = rng.uniform(0.5, 2, n).astype(np.float32)
        self.penalties = rng.uniform(0.5, 3, n).astype(np.float32)
        self.lengths = rng.uniform(0.5, 2, n).astype(np.float32)
        self.partner_lengths = rng.uniform(0.5, 2, n_others).astype(np.float32)
        self.linear = np.zeros((0, 0), np.float32)
        self.order = np.argsort(-np.array(counts), kind="stable")

    def improve(self, n_steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = self.rows.copy()
        squares, lengths = improve_rows(
            self.order,
            self.starts,
            self.partners,
            self.targets,
            self.weights,
            self.lengths,
            self.partner_lengths,
            self.others,
            self.diagonal,
            self.scales,
            self.penalties,
            rows,
            self.linear,
            n_steps,
        )
        return rows, squares, lengths

    def pairs(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vectors, weights and targets, in double precision."""
        span = slice(self.starts[row], self.starts[row + 1])
        n = span.stop - span.start
        y = self.others[self.partners[span], : self.k].astype(np.float64)
        c, t = (
            np.broadcast_to(a if len(a) == 1 else a[span], n).astype(np.float64)
            for a in (self.weights, self.targets)
        )
        return y, c, t * self.lengths[row] * self.partner_lengths[self.partners[span]]

    def d(self, row: int) -> np.ndarray:
        shared = self.diagonal[: self.k].astype(np.float64)
        return self.scales[row * (len(self.scales) > 1)] * shared + self.penalties[row]

    def expected(self, row: int) -> np.ndarray:
        y, c, t = self.pairs(row)
        g = self.linear[row, : self.k] if len(self.linear) else 0
        return np.linalg.solve((y.T * c) @ y + np.diag(self.d(row)), y.T @ (c * t) + g)

    def parts(self, row: int, x: np.ndarray) -> tuple[float, float]:
        """Squared errors and penalty of a row."""
        y, c, t = self.pairs(row)
        x = x[: self.k].astype(np.float64)
        return c @ (t - y @ x) ** 2, self.d(row) @ x**2

    def all_parts(self, rows: np.ndarray) -> np.ndarray:
        return np.transpose([self.parts(row, x) for row, x in enumerate(rows)])


# Rows that fill registers and rows that do not, with one more pair than are summed at once, and none.
COUNTS = [1, 3, 8, 9, 64, 65, 511, 513, 1100, 0]


@pytest.mark.parametrize("k", [1, 7, 8, 20, 64, 129])
def test_many_steps_end_at_the_solution_in_double_precision(k):
    problem = Problem(k, COUNTS, seed=k)
    rows, squares, lengths = problem.improve(n_steps=300)
    for row in range(len(rows)):
        expected = problem.expected(row)
        np.testing.assert_allclose(rows[row, :k], expected, rtol=0, atol=2e-5)
    np.testing.assert_allclose([squares, lengths], problem.all_parts(rows), rtol=1e-4, atol=1e-6)
    assert (rows[:, k:] == 0).all()


def test_a_linear_term_pulls_at_each_row():
    problem = Problem(12, COUNTS)
    problem.linear = np.zeros_like(problem.rows)
    problem.linear[:, :12] = np.random.default_rng(1).standard_normal((len(COUNTS), 12))
    rows, *_ = problem.improve(100)
    for row in range(len(rows)):
        np.testing.assert_allclose(rows[row, :12], problem.expected(row), rtol=0, atol=2e-5)


@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_steps_are_those_of_conjugate_gradients_preconditioned_by_the_diagonal(n_steps):
    problem = Problem(20, COUNTS)
    rows, squares, lengths = problem.improve(n_steps)
    for row in range(len(rows)):
        y, c, t = problem.pairs(row)
        d, x = problem.d(row), problem.rows[row, :20].astype(np.float64)
        matrix = (y.T * c) @ y + np.diag(d)
        residual = y.T @ (c * t) - matrix @ x
        direction = residual / d
        for _ in range(n_steps if len(t) else 1):
            power = residual @ (residual / d)
            length = power / (direction @ matrix @ direction)
            x += length * direction
            residual = residual - length * matrix @ direction
            direction = residual / d + residual @ (residual / d) / power * direction
        np.testing.assert_allclose(rows[row, :20], x, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose([squares, lengths], problem.all_parts(rows), rtol=1e-4, atol=1e-6)


@given(
    k=st.integers(1, 17),
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    scale=st.sampled_from([0.0, 1e-4, 1.0, 1e3]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_every_step_lowers_the_objective(k, counts, scale, seed):
    problem = Problem(k, counts, seed)
    problem.others *= np.float32(scale)
    start = before = problem.all_parts(problem.rows).sum()
    for n_steps in (1, 2, 3, 10):
        rows, *parts = problem.improve(n_steps)
        assert np.isfinite(rows).all()
        assert np.sum(parts) <= before + 1e-6 * start
        before = np.sum(parts)


def test_one_target_and_one_weight_count_for_all_pairs():
    problem = Problem(9, COUNTS)
    problem.targets, problem.weights = np.ones(1, np.float32), np.full(1, 2, np.float32)
    short = problem.improve(3)
    n = len(problem.partners)
    problem.targets, problem.weights = np.ones(n, np.float32), np.full(n, 2, np.float32)
    for a, b in zip(short, problem.improve(3), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_pair_of_weight_0_is_as_if_it_were_not_there():
    problem = Problem(9, [20])
    problem.weights[13:] = 0
    rows, squares, _ = problem.improve(100)
    problem.targets[13:] = 1e6
    np.testing.assert_array_equal(problem.improve(100)[0], rows)
    np.testing.assert_array_equal(problem.improve(100)[1], squares)
    problem.starts[1] = 13
    np.testing.assert_allclose(problem.improve(100)[0], rows, rtol=1e-4, atol=1e-6)


def test_without_pairs_a_row_goes_to_zero():
    rows, squares, lengths = Problem(6, [0, 0]).improve(1)
    assert np.abs(rows).max() < 1e-6
    assert not squares.any()
    assert lengths.max() < 1e-10


def test_a_direction_without_penalty_does_not_move():
    problem = Problem(6, [3])
    problem.diagonal[:], problem.penalties[:] = 0, 0
    rows, *_ = problem.improve(3)
    np.testing.assert_array_equal(rows, problem.rows)


def test_rows_that_are_not_named_stay_as_they_were_and_none_is_no_error():
    problem = Problem(5, [4, 9, 2])
    problem.order = np.array([1])
    rows, squares, lengths = problem.improve(3)
    assert (squares > 0).tolist() == (lengths > 0).tolist() == [False, True, False]
    np.testing.assert_array_equal(rows[[0, 2]], problem.rows[[0, 2]])
    assert (rows[1] != problem.rows[1]).any()
    problem.order = np.empty(0, np.int64)
    rows, squares, lengths = problem.improve(3)
    np.testing.assert_array_equal(rows, problem.rows)
    assert not squares.any()
    assert not lengths.any()


def test_any_number_of_threads_leaves_the_same_bits():
    problem = Problem(9, np.random.default_rng(1).integers(0, 200, 300).tolist())
    results = []
    for n in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
        with threads(n, len(problem.targets)):
            results.append(problem.improve(3))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
