"""cornac: matrix factorisation with biases by stochastic gradient descent (Cython)."""

from typing import Any

import numpy as np

from method import Answer, Array, Fit, Method, Rows


def factors(rows: Rows, seed: int, n_threads: int, **settings: Any) -> tuple[Fit, Answer]:
    from cornac.data import Dataset
    from cornac.models import MF

    columns = (x.tolist() for x in (rows.users, rows.items, rows.values))
    data = Dataset.from_uir(list(zip(*columns, strict=True)))
    model = MF(**settings, seed=seed, verbose=False)
    model.num_threads = n_threads  # with a seed it would take one, whatever it is told

    def answer() -> Array:
        users = np.array([data.uid_map[n] for n in range(rows.n_users)])
        items = np.array([data.iid_map[n] for n in range(rows.n_items)])
        return rows.by_factors(
            model.global_mean,
            model.u_biases[users],
            model.i_biases[items],
            model.u_factors[users],
            model.i_factors[items],
        )

    return lambda: model.fit(data), answer


METHODS = {
    "cornac MF": Method(
        factors,
        {
            "k": (16, 64, 128),
            "max_iter": (50, 100),
            "learning_rate": (0.005, 0.01, 0.02),
            "lambda_reg": (0.02, 0.05, 0.1),
            "use_bias": (True,),
        },
    )
}
