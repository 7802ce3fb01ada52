"""One rating at a time over ratings that lie on disk: diagonal by diagonal of their grid."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dotbias.data.prepared.prepared import PreparedPart
from dotbias.data.stripes import Columns
from dotbias.solvers.descent.passes import Floats, OneByOne, PassInputs, StepSettings


def staying_order(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """A random order of diagonals in which items seldom go from one worker to another.

    On two diagonals whose numbers leave the same remainder, divided by the number of workers, each item
    block is with the same worker. Those with the same remainder by the first prime factor of ``n``
    follow each other here; among them those with the same by the first two; and so on. So where workers
    are as many as such a product, item blocks go as often as there are workers, not diagonals.

    >>> staying_order(8, np.random.default_rng(0)).tolist()
    [4, 0, 6, 2, 1, 5, 3, 7]
    """
    order, product, rest = np.zeros(1, np.int64), 1, n
    while rest > 1:
        prime = next(p for p in range(2, rest + 1) if rest % p == 0)
        order = np.concatenate([at + product * rng.permutation(prime) for at in order])
        product, rest = product * prime, rest // prime
    return order


class OnDisk(OneByOne):
    """``OneByOne`` whose grid is on disk.

    Attributes:
        of_items: the item block that each user block meets on each diagonal, (n_diagonals, n_blocks).
        lengths, begins: ratings of each of these blocks, and of those before it on the diagonal.
    """

    def _lay_out(self, inputs: PassInputs, seed: int) -> None:  # noqa: ARG002
        ratings = inputs.ratings
        assert isinstance(ratings, PreparedPart)
        self.ratings, self.std = ratings, inputs.std
        n_blocks = ratings.n_blocks
        blocks = np.arange(n_blocks)
        self.of_items = (blocks + blocks[:, None]) % n_blocks
        self.lengths = ratings.block_sizes[blocks, self.of_items]
        self.begins = np.cumsum(self.lengths, axis=1) - self.lengths
        self.edges = np.zeros((*self.lengths.shape, 2), np.int64)  # no items are drawn

    def _new_order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        return staying_order(len(self.begins), rng)

    def by_diagonal(
        self, low: int, high: int, settings: StepSettings
    ) -> Iterator[tuple[int, int, int, StepSettings]]:
        """Steps from low to high by diagonal: its place in ``order``, and its steps and settings."""
        while low < high:
            number = int(self.of_step[low])
            end = min(high, int(np.searchsorted(self.of_step, number, "right")))
            yield number, low, end, settings.part(0, end - low)
            settings, low = settings.part(end - low, high - low), end


class FromDisk(OnDisk):
    """One diagonal after the other is read into the same memory; the system is told to fetch the next.

    It is read by the threads that walk, between their walks: one of its own would take turns with
    them, for those that have walked their part wait for the others without giving way.
    """

    def _lay_out(self, inputs: PassInputs, seed: int) -> None:
        super()._lay_out(inputs, seed)
        self._memory = Columns.empty(int(self.lengths.sum(axis=1).max()), type(self.std))

    def begin(self, rng: np.random.Generator, *, first: bool) -> None:
        """The diagonals in a new order."""
        super().begin(rng, first=first)
        self._here = -1  # the diagonal that is in memory, as a place in the order

    def take(self, low: int, high: int, settings: StepSettings) -> Floats:
        """The steps, diagonal by diagonal; without steps it compiles the loop."""
        if low == high:
            return self._walk(*self._memory.part(slice(0)), low, high, settings)
        return np.concatenate([self._take(*each) for each in self.by_diagonal(low, high, settings)])

    def _take(self, number: int, low: int, high: int, settings: StepSettings) -> Floats:
        """Steps that are all of one diagonal, ``order[number]``."""
        columns = self._memory.part(slice(0, int(self.lengths[self.order[number]].sum())))
        if number != self._here:
            self.ratings.read_blocks(self._blocks(number), self.std, columns)
            self._here = number
            if number + 1 < len(self.order):
                self.ratings.fetch(self._blocks(number + 1))
        return self._walk(*columns, low, high, settings)

    def _blocks(self, number: int) -> list[tuple[int, int]]:
        """Those of a diagonal, a place in the order."""
        return list(enumerate(self.of_items[self.order[number]].tolist()))
