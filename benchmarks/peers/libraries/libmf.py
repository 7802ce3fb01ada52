"""LIBMF: stochastic gradient descent in blocks, without biases (C++)."""

from typing import Any

import numpy as np

from method import Answer, Array, Fit, Method, Rows


def factors(rows: Rows, seed: int, n_threads: int, **settings: Any) -> tuple[Fit, Answer]:
    from libmf import mf

    penalty = settings.pop("penalty", None)
    if penalty is not None:
        settings |= {"lambda_p2": penalty, "lambda_q2": penalty}
    model = mf.MF(**settings, nr_threads=n_threads, quiet=True)
    table = np.column_stack([rows.users, rows.items, rows.values]).astype(np.float32)

    def answer() -> Array:
        # Of the wrapper's own `predict` the numbers are not the products of its factors.
        p, q = model.p_factors(), model.q_factors()
        return rows.where_known(lambda u, i: np.einsum("nf,nf->n", p[u], q[i]))

    return lambda: model.fit(table), answer


METHODS = {
    "LIBMF": Method(
        factors,
        {
            "k": (8, 16, 32, 64, 128),
            "nr_iters": (20, 40, 80, 160),
            "penalty": (0.04, 0.06, 0.08, 0.1, 0.13, 0.17),
            "eta": (0.03, 0.05, 0.1, 0.2),
        },
        has_seed=False,
    )
}
