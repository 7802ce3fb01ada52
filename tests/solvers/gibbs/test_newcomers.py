"""What features say of newcomers: ridge regressions of samples, against dense ones."""

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

from dotbias.solvers.gibbs.newcomers import regressed


def ridge(features: Any, rows: Any, penalty: float = 10.0) -> tuple[Any, Any]:
    """Intercept and effects that minimise the squares of what is left plus the penalty of effects."""
    f = np.column_stack([np.ones(len(features)), features])
    normal = f.T @ f + penalty * np.diag([0.0, *np.ones(f.shape[1] - 1)])
    solution = np.linalg.solve(normal, f.T @ rows)
    return solution[0], solution[1:]


def some_rows(n: int, width: int = 3) -> Any:
    scales = np.array([1.0, 1e-3, 30.0])[:width]
    return np.random.default_rng(n).normal(2.0, 1.0, (n, width)) * scales


TABLES = {
    "two numbers": np.random.default_rng(0).normal(5, [1, 100], (50, 2)),
    "none varies": np.ones((20, 1)),
    "zeros": np.zeros((20, 3)),
    "the same twice": np.repeat(np.random.default_rng(1).normal(size=(30, 1)), 2, axis=1),
    "one row": np.array([[1.0, 2.0, 0.0]]),
    "sparse": random_array((200, 40), density=0.05, rng=np.random.default_rng(2)).toarray(),
    "more than rows": random_array((30, 90), density=0.2, rng=np.random.default_rng(3)).toarray(),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_it_is_ridge_regression_with_an_intercept_that_is_free(table: Any) -> None:
    rows = some_rows(len(table))
    found = regressed(csr_array(table.astype(np.float32)), rows)
    table = table.astype(np.float32).astype(float)
    mean, effects = ridge(table, rows)
    scale = rows.std(axis=0) + 1e-9
    np.testing.assert_allclose(found.effects / scale, effects / scale, atol=2e-5)
    np.testing.assert_allclose(found.mean / scale, mean / scale, atol=1e-3)
    left = rows - found.mean - table @ found.effects
    np.testing.assert_allclose(found.rest / scale, left / scale, atol=1e-9)
    np.testing.assert_allclose(found.rest.mean(axis=0) / scale, 0, atol=1e-9)


def test_features_that_say_it_all_leave_next_to_nothing() -> None:
    rng = np.random.default_rng(4)
    kind = rng.integers(5, size=4_000)
    rows = rng.normal(size=(5, 3))[kind]
    found = regressed(csr_array(np.eye(5)[kind].astype(np.float32)), rows)
    assert found.rest.std() < 0.02 * rows.std()
