"""cmfrec: collective matrix factorisation by alternating least squares (C)."""

from typing import Any

import numpy as np

from method import Answer, Array, Fit, Method, Rows


def factors(rows: Rows, seed: int, n_threads: int, **settings: Any) -> tuple[Fit, Answer]:
    import cmfrec
    from scipy.sparse import coo_matrix

    table = coo_matrix((rows.values, (rows.users, rows.items)), (rows.n_users, rows.n_items))
    settings = {"use_float": True, "verbose": False, "scale_lam": True} | settings
    model = cmfrec.CMF(method="als", **settings, nthreads=n_threads, random_state=seed)

    def answer() -> Array:
        none = np.zeros(1, np.float32)
        b_u = none if model.user_bias_.size == 0 else model.user_bias_
        b_i = none if model.item_bias_.size == 0 else model.item_bias_
        return rows.by_factors(model.glob_mean_, b_u, b_i, model.A_, model.B_)

    return lambda: model.fit(table), answer


METHODS = {
    "cmfrec": Method(
        factors,
        {
            "k": (8, 16, 32, 64),
            "lambda_": (0.03, 0.05, 0.07, 0.1, 0.14, 0.2),
            "niter": (10, 15, 30),
        },
        {"scale_lam": False},  # its own; with the penalty that it has then
    )
}
