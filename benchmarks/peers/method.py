"""What a library's file says of each of its methods, and the rows that it is handed.

Nothing but NumPy is imported here: every peer's Python reads this file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Settings: TypeAlias = dict[str, Any]
Fit: TypeAlias = Callable[[], Any]
"""What is timed, and nothing else."""
Answer: TypeAlias = Callable[[], Array]
"""Once the fit is over: a prediction for each pair asked for, NaN where the library has none."""


@dataclass(frozen=True)
class Rows:
    """Training rows, and the pairs to predict.

    Args:
        users, items: indices, shape (n,); each user and item below the numbers of both has a row.
        values: ratings, float32, shape (n,).
        asked_users, asked_items: of the pairs to predict, shape (m,); -1 for what training lacks.
    """

    users: Array
    items: Array
    values: Array
    asked_users: Array
    asked_items: Array

    @property
    def n_users(self) -> int:
        return int(self.users.max()) + 1

    @property
    def n_items(self) -> int:
        return int(self.items.max()) + 1

    @property
    def mean(self) -> float:
        return float(self.values.mean(dtype=np.float64))

    @property
    def scale(self) -> tuple[float, float]:
        """Lowest and highest training rating."""
        return float(self.values.min()), float(self.values.max())

    @property
    def known(self) -> Array:
        """Which pairs have a user and an item of the training rows, shape (m,)."""
        return (self.asked_users >= 0) & (self.asked_items >= 0)

    def where_known(self, predict: Callable[[Array, Array], Any]) -> Array:
        """Predictions of the pairs that are known on both sides, NaN elsewhere."""
        known = self.known
        found = np.full(len(known), np.nan)
        found[known] = predict(self.asked_users[known], self.asked_items[known])
        return found

    def by_factors(self, mean: float, b_u: Array, b_i: Array, p: Array, q: Array) -> Array:
        """``mean + b_u + b_i + p·q``; of a user or item that training lacks nothing is added."""
        u, i = self.asked_users, self.asked_items
        dots = np.einsum("nf,nf->n", p[u], q[i], dtype=np.float64)
        of_users, of_items = np.where(u >= 0, b_u[u], 0.0), np.where(i >= 0, b_i[i], 0.0)
        return mean + of_users + of_items + np.where(self.known, dots, 0.0)

    def first_users(self, n: int) -> "Rows":
        """A small part, fitted once before anything is timed: what is compiled loads."""
        some = np.flatnonzero(self.users < n)
        columns = [np.unique(x[some], return_inverse=True)[1] for x in (self.users, self.items)]
        users, items = (column.astype(self.users.dtype) for column in columns)
        return Rows(users, items, self.values[some], users, items)


@dataclass(frozen=True)
class Method:
    """One way of a library to predict ratings.

    Args:
        prepare: takes rows, seed, threads and settings, puts the rows into the library's form, and
            gives the fit and the answer.
        space: values of each setting to draw from.
        defaults: the first try. What is not named is the library's own.
        has_seed: whether fits differ by seed.
        most_threads: how many it can use.
        point: whether it is a point of dotbias's curve, which nobody tunes.
    """

    prepare: Callable[..., tuple[Fit, Answer]]
    space: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    defaults: Settings = field(default_factory=dict)
    has_seed: bool = True
    most_threads: int | None = None
    point: bool = False
