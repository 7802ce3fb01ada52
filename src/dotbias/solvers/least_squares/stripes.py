"""One side's ratings as regressions want them: row by row, as often as they are asked for."""

from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from dotbias.data.prepared.prepared import PreparedPart
from dotbias.data.ratings import Ratings
from dotbias.data.stripes import Side, Stripe
from dotbias.data.vocabulary import Index
from dotbias.models.base import Array

T = TypeVar("T")


class Stripes(Generic[T]):
    """The stripes of a side, each made into what a solver needs; iterate over it any number of times.

    Args:
        ratings: what they are of.
        side: whose rows.
        make: what a solver makes of a stripe.
    """

    def __init__(self, ratings: Ratings, side: Side, make: Callable[[Stripe], T]) -> None:
        self._ratings, self._side, self._make = ratings, side, make
        # Those of ratings on disk are made anew each time.
        self._kept = None if isinstance(ratings, PreparedPart) else list(self._all())

    def __iter__(self) -> Iterator[T]:
        return self._all() if self._kept is None else iter(self._kept)

    def _all(self) -> Iterator[T]:
        return map(self._make, self._ratings.stripes(self._side))


class Regressions(NamedTuple):
    """A stripe for the kernels.

    Args:
        rows: where its rows are among those of their side.
        order: the rows, counted from the first, those with most ratings first, shape (n_rows,).
        starts: where the ratings of each start, and the end of the last's, shape (n_rows + 1,).
        partners: index on the other side of each rating.
        targets: what the products with the partner's row are drawn to.
        weights: how much each counts; one number where all count the same.
    """

    rows: slice
    order: NDArray[np.intp]
    starts: NDArray[np.int64]
    partners: Index
    targets: Array
    weights: Array

    @classmethod
    def of(cls, stripe: Stripe, targets: Array, weights: Array) -> "Regressions":
        """Those of a stripe."""
        order = np.argsort(-np.diff(stripe.starts), kind="stable")
        return cls(stripe.rows, order, stripe.starts, stripe.partners, targets, weights)

    @property
    def weight(self) -> float:
        """What the ratings weigh in all."""
        shared = len(self.partners) if len(self.weights) == 1 else 1
        return shared * float(self.weights.sum(dtype=np.float64))
