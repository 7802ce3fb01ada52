"""scikit-surprise: SVD and SVD++ by stochastic gradient descent, in Cython, on one thread."""

from functools import partial
from typing import Any

import numpy as np

from method import Answer, Array, Fit, Method, Rows


def descent(
    name: str, rows: Rows, seed: int, n_threads: int, **settings: Any
) -> tuple[Fit, Answer]:
    import surprise

    columns = (x.tolist() for x in (rows.users, rows.items, rows.values))
    raw = [(u, i, r, None) for u, i, r in zip(*columns, strict=True)]
    reader = surprise.Reader(rating_scale=rows.scale)
    train = surprise.dataset.Dataset(reader).construct_trainset(raw)
    model = getattr(surprise, name)(**settings, random_state=seed)

    def answer() -> Array:
        pairs = zip(rows.asked_users.tolist(), rows.asked_items.tolist(), strict=True)
        return np.array([model.predict(u, i, clip=False).est for u, i in pairs])

    return lambda: model.fit(train), answer


SPACE = {
    "n_factors": (20, 50, 100),
    "n_epochs": (20, 40, 80),
    "lr_all": (0.003, 0.005, 0.01),
    "reg_all": (0.02, 0.05, 0.08, 0.12),
}

METHODS = {
    "Surprise SVD": Method(partial(descent, "SVD"), SPACE, most_threads=1),
    "Surprise SVD++": Method(
        partial(descent, "SVDpp"),
        SPACE | {"n_factors": (10, 20, 40), "n_epochs": (10, 20, 40)},
        most_threads=1,
    ),
}
