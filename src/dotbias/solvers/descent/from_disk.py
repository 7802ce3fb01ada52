"""One rating at a time over ratings that lie on disk: diagonal by diagonal of their grid."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from dotbias.data.prepared.prepared import PreparedPart
from dotbias.data.stripes import Columns, ahead
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


class _Diagonal(NamedTuple):
    """The ratings of one diagonal in memory, in units of the ratings' std; ``number`` counts those of
    this pass.
    """

    number: int
    columns: Columns


class FromDisk(OnDisk):
    """While one diagonal is walked over, the next is read."""

    def begin(self, rng: np.random.Generator, *, first: bool) -> None:
        """The diagonals in a new order."""
        super().begin(rng, first=first)
        self._reading: Iterator[_Diagonal] = ahead(map(self._read, range(len(self.order))))
        self._here = _Diagonal(-1, self._empty(0))

    def take(self, low: int, high: int, settings: StepSettings) -> Floats:
        """See ``OnDisk.take``; without steps it compiles the loop."""
        if low == high:
            return self._walk(*self._empty(0), low, high, settings)
        return super().take(low, high, settings)

    def take_diagonal(self, number: int, low: int, high: int, settings: StepSettings) -> Floats:
        """See ``OnDisk.take_diagonal``."""
        while self._here.number < number:
            self._here = next(self._reading)
        return self._walk(*self._here.columns, low, high, settings)

    def _read(self, number: int) -> _Diagonal:
        """A diagonal of this pass."""
        diagonal = self.order[number]
        sizes = self.lengths[diagonal]
        columns = self._empty(int(sizes.sum()))
        places = zip(self.of_items[diagonal], self.begins[diagonal], sizes, strict=True)
        for a, (b, begin, n) in enumerate(places):
            here = slice(begin, begin + n)
            read_block(self.ratings, a, int(b), self.std, columns.part(here))
        return _Diagonal(number, columns)

    def _empty(self, n: int) -> Columns:
        return Columns(np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, type(self.std)))


def read_block(ratings: PreparedPart, a: int, b: int, std: Any, out: Columns) -> None:
    """Read a block into arrays of its length, in units of the ratings' std."""
    block = ratings.read_block(a, b)
    out.users[...], out.items[...] = block.users, block.items
    np.divide(block.values, std, out=out.values)
