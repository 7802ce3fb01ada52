"""myFM: Bayesian factorisation machines by Gibbs sampling (C++, one thread).

Plain: user and item. Flipped: besides, what else the user has rated and who else has rated the item,
each divided by the root of their number (SVD++ in both directions; Rendle, Zhang & Koren 2019). Ordinal:
ratings as ordered categories of a probit model, predicted by their expectation.
"""

from functools import partial
from typing import Any

import numpy as np

from method import Answer, Array, Fit, Method, Rows


def machine(
    histories: bool,
    ordinal: bool,
    rows: Rows,
    seed: int,
    n_threads: int,
    rank: int = 8,
    **settings: Any,
) -> tuple[Fit, Answer]:
    import myfm

    sides = [
        _block(rows.users, rows.items, histories),
        _block(rows.items, rows.users, histories),
    ]
    # A block's last row is somebody new, of whom nothing is known.
    blocks, asked = (
        [
            myfm.RelationBlock(np.where(of < 0, block.shape[0] - 1, of), block)
            for of, (block, _) in zip(pairs, sides, strict=True)
        ]
        for pairs in ((rows.users, rows.items), (rows.asked_users, rows.asked_items))
    )
    shapes = [size for _, sizes in sides for size in sizes]
    make = myfm.MyFMOrderedProbit if ordinal else myfm.MyFMGibbsRegressor
    model = make(rank=rank, random_seed=seed)
    levels, classes = np.unique(rows.values, return_inverse=True)
    target = classes if ordinal else rows.values.astype(np.float64)

    def answer() -> Array:
        if ordinal:
            return model.predict_proba(None, asked) @ levels.astype(np.float64)
        return model.predict(None, asked)

    return lambda: model.fit(None, target, blocks, group_shapes=shapes, **settings), answer


def _block(of: Array, others: Array, histories: bool) -> tuple[Any, list[int]]:
    """A row of features for each user (or item), a row of zeros after them, and the sizes of groups."""
    from scipy.sparse import csr_matrix, diags, eye, hstack, vstack

    n, m = int(of.max()) + 1, int(others.max()) + 1
    itself = eye(n, format="csr")
    if not histories:
        table, sizes = itself, [n]
    else:
        had = csr_matrix((np.ones(len(of)), (of, others)), (n, m))
        shares = diags(1 / np.sqrt(np.bincount(of, minlength=n)))
        table, sizes = hstack([itself, shares @ had]), [n, m]
    nothing = csr_matrix((1, table.shape[1]))
    return vstack([table, nothing], format="csr").astype(np.float64), sizes


SPACE = {"rank": (4, 8, 12, 16, 24, 32), "n_iter": (100, 200, 300), "n_kept_samples": (60, 80)}

METHODS = {
    name: Method(partial(machine, histories, ordinal), SPACE, most_threads=1)
    for name, histories, ordinal in (
        ("myFM", False, False),
        ("myFM, flipped", True, False),
        ("myFM, flipped, ordinal", True, True),
    )
}
