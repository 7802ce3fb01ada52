"""modern-fm: a factorisation machine of user and item by steps along gradients (Rust)."""

from typing import Any

import numpy as np

from method import Answer, Array, Fit, Method, Rows


def machine(rows: Rows, seed: int, n_threads: int, **settings: Any) -> tuple[Fit, Answer]:
    from modern_fm import FMRegressor

    decay = settings.pop("decay", None)
    if decay is not None:
        settings |= {"l2_linear": decay, "l2_factors": decay}
    model = FMRegressor(**settings, n_jobs=n_threads, random_state=seed)
    table, mean = _one_hot(rows, rows.users, rows.items), rows.mean
    target = rows.values - mean

    def answer() -> Array:
        return mean + model.predict(_one_hot(rows, rows.asked_users, rows.asked_items))

    return lambda: model.fit(table, target), answer


def _one_hot(rows: Rows, users: Array, items: Array) -> Any:
    """A column for each user and each item; none for somebody new."""
    from scipy.sparse import csr_matrix

    columns = np.column_stack([users, rows.n_users + items])
    there = np.column_stack([users >= 0, items >= 0])
    starts = np.append(0, np.cumsum(there.sum(axis=1)))
    shape = len(users), rows.n_users + rows.n_items
    return csr_matrix((np.ones(there.sum()), columns[there], starts), shape)


METHODS = {
    "modern-fm": Method(
        machine,
        {
            "n_factors": (8, 16, 32),
            "optimizer": ("adagrad", "sgd", "adam"),
            "learning_rate": (0.003, 0.01, 0.03),
            "max_iter": (10, 20, 40),
            "decay": (1e-4, 1e-3, 1e-2, 0.03, 0.06),
        },
        {"max_iter": 20},  # of its own 100 it would tell nothing more
    )
}
