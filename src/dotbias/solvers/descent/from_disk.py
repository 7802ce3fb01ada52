"""One rating at a time over ratings that lie on disk: diagonal by diagonal of their grid."""

from abc import abstractmethod
from typing import Any

import numpy as np

from dotbias.data.prepared.prepared import PreparedPart
from dotbias.data.stripes import Columns
from dotbias.solvers.descent.passes import Floats, OneByOne, PassInputs, StepSettings


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

    def take(self, low: int, high: int, settings: StepSettings) -> Floats:
        """The steps, which come in their order, diagonal by diagonal."""
        losses = [np.zeros(0)]
        while low < high:
            number = int(self.of_step[low])
            end = min(high, int(np.searchsorted(self.of_step, number, "right")))
            losses.append(self.take_diagonal(number, low, end, settings.part(0, end - low)))
            settings, low = settings.part(end - low, high - low), end
        return np.concatenate(losses)

    @abstractmethod
    def take_diagonal(self, number: int, low: int, high: int, settings: StepSettings) -> Floats:
        """Steps that are all of one diagonal, ``order[number]``."""


class FromDisk(OnDisk):
    """One diagonal after the other is read into the same memory; the system is told to fetch the next.

    It is not read in a thread of its own: where all processors walk, that one takes turns with them, and
    those that have walked their part wait for the others without giving way.
    """

    def _lay_out(self, inputs: PassInputs, seed: int) -> None:
        super()._lay_out(inputs, seed)
        self._memory = empty(int(self.lengths.sum(axis=1).max()), self.std)

    def begin(self, rng: np.random.Generator, *, first: bool) -> None:
        """The diagonals in a new order."""
        super().begin(rng, first=first)
        self._here = -1  # the diagonal that is in memory, as a place in the order

    def take(self, low: int, high: int, settings: StepSettings) -> Floats:
        """See ``OnDisk.take``; without steps it compiles the loop."""
        if low == high:
            return self._walk(*empty(0, self.std), low, high, settings)
        return super().take(low, high, settings)

    def take_diagonal(self, number: int, low: int, high: int, settings: StepSettings) -> Floats:
        """See ``OnDisk.take_diagonal``."""
        diagonal = self.order[number]
        columns = self._memory.part(slice(0, int(self.lengths[diagonal].sum())))
        if number != self._here:
            places = zip(self.begins[diagonal], self.lengths[diagonal], strict=True)
            for a, (begin, n) in enumerate(places):
                here = columns.part(slice(begin, begin + n))
                read_block(self.ratings, a, int(self.of_items[diagonal, a]), self.std, here)
            self._here = number
            if number + 1 < len(self.order):
                following = self.of_items[self.order[number + 1]]
                self.ratings.fetch((a, int(b)) for a, b in enumerate(following))
        return self._walk(*columns, low, high, settings)


def empty(n: int, std: Any) -> Columns:
    """Room for ratings in the precision of their std."""
    return Columns(np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, type(std)))


def read_block(ratings: PreparedPart, a: int, b: int, std: Any, out: Columns) -> None:
    """Read a block into arrays of its length, in units of the ratings' std."""
    single = out.values.dtype == np.float32
    values = out.values if single else np.empty(len(out.values), np.float32)
    ratings.read_block(a, b, Columns(out.users, out.items, values))
    np.divide(values, std, out=out.values)
