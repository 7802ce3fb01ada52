"""One rating at a time over ratings that lie on disk: diagonal by diagonal of their grid."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dotbias.data.prepared.prepared import PreparedPart
from dotbias.data.stripes import Columns, ahead
from dotbias.solvers.descent.passes import Floats, OneByOne, PassInputs, StepSettings


class _Diagonal(NamedTuple):
    """The ratings of one diagonal in memory, in units of the ratings' std; ``number`` counts those of
    this pass.
    """

    number: int
    columns: Columns


class FromDisk(OneByOne):
    """``OneByOne`` whose grid is on disk: while one diagonal is walked over, the next is read."""

    def _lay_out(self, inputs: PassInputs, seed: int) -> None:  # noqa: ARG002
        ratings = inputs.ratings
        assert isinstance(ratings, PreparedPart)
        self.ratings, self.std = ratings, inputs.std
        n_blocks = ratings.n_blocks
        blocks = np.arange(n_blocks)
        self.of_items = (blocks + blocks[:, None]) % n_blocks  # (n_diagonals, n_blocks)
        self.lengths = ratings.block_sizes[blocks, self.of_items]
        self.begins = np.cumsum(self.lengths, axis=1) - self.lengths
        self.edges = np.zeros((*self.lengths.shape, 2), np.int64)  # no items are drawn
        self._reading: Iterator[_Diagonal] = iter(())

    def begin(self, rng: np.random.Generator, *, first: bool) -> None:
        """The diagonals in a new order."""
        super().begin(rng, first=first)
        self._reading = ahead(map(self._read, range(len(self.order))))
        self._here = _Diagonal(-1, self._empty(0))

    def take(self, low: int, high: int, settings: StepSettings) -> Floats:
        """Walk over the ranges of the steps, which come in their order."""
        if low == high:  # to compile it
            return self._walk(*self._empty(0), low, high, settings)
        losses = []
        while low < high:
            number = int(self.of_step[low])
            end = min(high, int(np.searchsorted(self.of_step, number, "right")))
            while self._here.number < number:
                self._here = next(self._reading)
            here = settings.part(0, end - low)
            losses.append(self._walk(*self._here.columns, low, end, here))
            settings, low = settings.part(end - low, high - low), end
        return np.concatenate(losses)

    def _read(self, number: int) -> _Diagonal:
        """A diagonal of this pass."""
        diagonal = self.order[number]
        columns = self._empty(int(self.lengths[diagonal].sum()))
        sizes = self.lengths[diagonal]
        for a, (b, begin, n) in enumerate(
            zip(self.of_items[diagonal], self.begins[diagonal], sizes, strict=True)
        ):
            block = self.ratings.read_block(a, int(b))
            here = slice(begin, begin + n)
            columns.users[here], columns.items[here] = block.users, block.items
            np.divide(block.values, self.std, out=columns.values[here])
        return _Diagonal(number, columns)

    def _empty(self, n: int) -> Columns:
        return Columns(np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, type(self.std)))
