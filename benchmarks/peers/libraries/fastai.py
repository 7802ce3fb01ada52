"""fast.ai's collaborative learner: dot product with biases, and a network; one-cycle training."""

from functools import partial

import numpy as np

from method import Answer, Array, Fit, Method, Rows


def learner(
    use_nn: bool,
    rows: Rows,
    seed: int,
    n_threads: int,
    n_factors: int = 50,
    n_epochs: int = 5,
    lr: float = 5e-3,
    decay: float = 0.1,
    batch_size: int = 64,
) -> tuple[Fit, Answer]:
    import pandas as pd
    import torch
    from fastai.collab import CollabDataLoaders, collab_learner
    from fastai.torch_core import set_seed

    torch.set_num_threads(n_threads)
    set_seed(seed)
    frame = pd.DataFrame({"user": rows.users, "item": rows.items, "rating": rows.values})
    loaders = CollabDataLoaders.from_df(frame, valid_pct=0.0, bs=batch_size, device="cpu")
    low, high = rows.scale
    size = {"layers": [n_factors * 2]} if use_nn else {"n_factors": n_factors}
    learn = collab_learner(loaders, use_nn=use_nn, y_range=(low, high + 0.5), **size)

    def answer() -> Array:
        numbers = [{n: at for at, n in enumerate(loaders.classes[c])} for c in ("user", "item")]

        def predict(u: Array, i: Array) -> Array:
            pairs = np.column_stack(
                [[of[n] for n in x.tolist()] for of, x in zip(numbers, (u, i), strict=True)]
            )
            learn.model.eval()
            with torch.no_grad():
                found = [learn.model(part) for part in torch.from_numpy(pairs).split(8192)]
            return torch.cat(found).reshape(-1).numpy()

        return rows.where_known(predict)

    def fit() -> None:
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(n_epochs, lr, wd=decay)

    return fit, answer


SPACE = {
    "n_factors": (20, 50, 80),
    "n_epochs": (5, 8),
    "lr": (1e-3, 2e-3, 5e-3),
    "decay": (0.03, 0.1, 0.2),
    "batch_size": (64, 256),
}

METHODS = {
    "fast.ai dot-bias": Method(partial(learner, False), SPACE),
    "fast.ai net": Method(partial(learner, True), SPACE),
}
