"""A plain PyTorch loop, as tutorials have it: two embeddings, two biases, mini-batches, Adam.

Each rating is penalised for the rows that it touches, so that rows count by their ratings.
"""

from typing import Any

import numpy as np

from method import Answer, Array, Fit, Method, Rows


def loop(
    rows: Rows,
    seed: int,
    n_threads: int,
    n_factors: int = 32,
    n_epochs: int = 20,
    lr: float = 0.01,
    decay: float = 0.1,
    batch_size: int = 1024,
    sigmoid: bool = True,
) -> tuple[Fit, Answer]:
    import torch

    torch.set_num_threads(n_threads)
    torch.manual_seed(seed)
    low, high = rows.scale
    low, high = low - 0.5, high + 0.5  # a sigmoid never reaches its ends
    sizes = (
        (rows.n_users, n_factors),
        (rows.n_items, n_factors),
        (rows.n_users, 1),
        (rows.n_items, 1),
    )
    tables = [torch.nn.Embedding(*size) for size in sizes]
    for table in tables:
        torch.nn.init.normal_(table.weight, std=0.05)
    p, q, b_u, b_i = tables
    mean = rows.mean
    users, items = (torch.from_numpy(x.astype(np.int64)) for x in (rows.users, rows.items))
    values = torch.from_numpy(rows.values)

    def predict(u: Any, i: Any) -> Any:
        z = (p(u) * q(i)).sum(1) + b_u(u)[:, 0] + b_i(i)[:, 0]
        return low + (high - low) * torch.sigmoid(z) if sigmoid else mean + z

    def fit() -> None:
        parameters = [table.weight for table in tables]
        adam = torch.optim.Adam(parameters, lr=lr)
        batches = -(-len(values) // batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(adam, lr, total_steps=n_epochs * batches)
        for _ in range(n_epochs):
            for batch in torch.randperm(len(values)).split(batch_size):
                u, i = users[batch], items[batch]
                loss = torch.nn.functional.mse_loss(predict(u, i), values[batch])
                squares = sum(
                    of(at).square().sum() for of, at in ((p, u), (q, i), (b_u, u), (b_i, i))
                )
                loss = loss + decay * squares / len(batch)
                adam.zero_grad()
                loss.backward()
                adam.step()
                schedule.step()

    def answer() -> Array:
        with torch.no_grad():
            return rows.where_known(
                lambda u, i: predict(torch.from_numpy(u).long(), torch.from_numpy(i).long()).numpy()
            )

    return fit, answer


METHODS = {
    "PyTorch loop": Method(
        loop,
        {
            "n_factors": (16, 32, 64),
            "n_epochs": (10, 20, 40),
            "lr": (0.003, 0.01, 0.03),
            "decay": (0.03, 0.05, 0.07, 0.1, 0.15),
            "batch_size": (1024, 4096),
            "sigmoid": (True, False),
        },
    )
}
