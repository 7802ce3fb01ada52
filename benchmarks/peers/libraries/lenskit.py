"""LensKit: biased matrix factorisation by alternating least squares (Rust)."""

from typing import Any

import numpy as np

from method import Answer, Array, Fit, Method, Rows


def factors(rows: Rows, seed: int, n_threads: int, **settings: Any) -> tuple[Fit, Answer]:
    import pandas as pd
    from lenskit.als import BiasedMFScorer
    from lenskit.data import from_interactions_df
    from lenskit.training import TrainingOptions

    frame = {"user_id": rows.users, "item_id": rows.items, "rating": rows.values}
    train = from_interactions_df(pd.DataFrame(frame))
    model = BiasedMFScorer(**settings)

    def answer() -> Array:
        users = train.users.numbers(np.arange(rows.n_users))
        items = train.items.numbers(np.arange(rows.n_items))
        return rows.by_factors(
            model.bias.global_bias,
            model.bias.user_biases[users],
            model.bias.item_biases[items],
            model.user_embeddings[users],
            model.item_embeddings[items],
        )

    return lambda: model.train(train, TrainingOptions(rng=seed)), answer


METHODS = {
    "LensKit BiasedMF": Method(
        factors,
        {
            "embedding_size": (8, 16, 32, 64),
            "epochs": (10, 20),
            "regularization": (0.05, 0.1, 0.15, 0.2, 0.3, 0.4),
            "damping": (3.0, 5.0, 10.0),
        },
    )
}
