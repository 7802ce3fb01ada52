"""Tables of parameters cut into the blocks of users and items that workers hand each other."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dotbias.data.prepared.prepared import PreparedPart
from dotbias.data.stripes import OTHER, Side

Block: TypeAlias = dict[str, NDArray[Any]]
"""The arrays of a block, by name: each of shape (..., n_rows, width)."""

Place: TypeAlias = tuple[Side, int]
"""Which block: a side and a number."""

# Arrays begin at multiples of this many bytes.
_ALIGNED = 64


class Field(NamedTuple):
    """An array that each block of a side has.

    Args:
        name: what it is called.
        lead: its shape before the rows.
        width: numbers of a row.
    """

    name: str
    lead: tuple[int, ...]
    width: int


class Plan(NamedTuple):
    """Which arrays there are.

    Args:
        fields: of each side.
        edges: first row of each block of a side, then the number of its rows.
        dtype: of all arrays.
    """

    fields: Mapping[Side, Sequence[Field]]
    edges: Mapping[Side, Sequence[int]]
    dtype: str

    @classmethod
    def of(cls, ratings: PreparedPart, fields: Sequence[Field], dtype: str) -> "Plan":
        """The same arrays for both sides, cut as ratings are."""
        edges: dict[Side, Sequence[int]] = {side: ratings.edges(side).tolist() for side in OTHER}
        return cls(dict.fromkeys(OTHER, fields), edges, dtype)

    @property
    def n_blocks(self) -> int:
        """How many blocks each side has."""
        return len(self.edges["user"]) - 1

    def shapes(self, side: Side, number: int) -> dict[str, tuple[int, ...]]:
        """The shape of each array of a block."""
        n_rows = self.edges[side][number + 1] - self.edges[side][number]
        return {f.name: (*f.lead, n_rows, f.width) for f in self.fields[side]}

    def rows(self, side: Side, number: int) -> slice:
        """Where the rows of a block are among those of their side."""
        return slice(*self.edges[side][number : number + 2])

    def places(self) -> Iterator[tuple[Side, int, str, int, tuple[int, ...]]]:
        """Side, block, name, first byte and shape of each array, where all lie in one file."""
        at = 0
        for side in OTHER:
            for number in range(self.n_blocks):
                for name, shape in self.shapes(side, number).items():
                    yield side, number, name, at, shape
                    at += -(-self._size(shape) // _ALIGNED) * _ALIGNED

    @property
    def n_bytes(self) -> int:
        """How long that file is; at least one byte, for there are no empty maps."""
        *_, (_, _, _, at, shape) = self.places()
        return max(1, at + self._size(shape))

    def views(self, memory: NDArray[np.uint8]) -> dict[Place, Block]:
        """The arrays of all blocks in such a file."""
        blocks: dict[Place, Block] = {}
        for side, number, name, at, shape in self.places():
            array = memory[at : at + self._size(shape)].view(self.dtype).reshape(shape)
            blocks.setdefault((side, number), {})[name] = array
        return blocks

    def _size(self, shape: tuple[int, ...]) -> int:
        return int(np.prod(shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def to_plain(self) -> dict[str, Any]:
        """For a message."""
        return {
            "fields": {side: [list(f) for f in of_side] for side, of_side in self.fields.items()},
            "edges": {
                side: [int(edge) for edge in of_side] for side, of_side in self.edges.items()
            },
            "dtype": self.dtype,
        }

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> "Plan":
        """The way back."""
        fields: Any = {
            side: [Field(name, tuple(lead), width) for name, lead, width in of_side]
            for side, of_side in data["fields"].items()
        }
        return cls(fields, data["edges"], data["dtype"])
