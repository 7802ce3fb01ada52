"""Maps of generations: each is made once, when it is first asked for, while requests go on."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from dotbias.data.vocabulary import Index
from dotbias.errors import DotbiasError, UnknownIdError
from dotbias.models.parameters import Array, at_length_one
from dotbias.serving import children
from dotbias.serving.generation import Generation, Person
from dotbias.serving.placing import Method, Placed, fingerprint

_log = logging.getLogger("dotbias.serving")

# Somebody's place is the mean of those of so many items.
_NEAR = 10

MapState: TypeAlias = Literal["making", "ready", "none"]


class NotYetError(DotbiasError):
    """What is being made and is not there yet."""


@dataclass(frozen=True, eq=False)
class ItemMap:
    """The items of one generation on a plane.

    Args:
        generation: which one.
        items: indices, shape (n,).
        positions: where they lie, shape (n, 2).
        method, note, warning: as in ``Placed``.
    """

    generation: Generation
    items: Index
    positions: Array
    method: Method
    note: str
    warning: str

    def position(self, whom: Person) -> tuple[Array, Index] | None:
        """Where somebody is: the mean of the positions of the items nearest to them in the embedding,
        weighted by their cosines; and the indices of these items, the nearest first. None for one of
        whom nothing is known, or who is near to nothing.
        """
        vectors = self.generation.unit_vectors
        if whom.basis == "neither" or vectors is None:
            return None
        compared = self.generation.recommender.compared_by(None).model.scores
        own = at_length_one(whom.row.vector(compared)[None, :])[0]
        cosines = vectors[self.items] @ own
        nearest = np.argsort(-cosines, kind="stable")[:_NEAR]
        nearest = nearest[cosines[nearest] > 0]
        if len(nearest) == 0:
            return None
        mean = np.average(self.positions[nearest], axis=0, weights=cosines[nearest])
        return mean, self.items[nearest]


class Maps:
    """The map of the present generation."""

    def __init__(self) -> None:
        self._of: Generation | None = None
        self._making: asyncio.Task[ItemMap] | None = None

    def of(self, generation: Generation) -> ItemMap:
        """The map of a generation; the first to ask has it made.

        Raises:
            NotYetError: until it is there.
            UnknownIdError: for a model of which there is no map.
        """
        making = self._task(generation)
        if not making.done():
            raise NotYetError("the map is being made; it takes some seconds")
        return making.result()

    def state(self, generation: Generation) -> MapState:
        """How far the map of a generation is; the first to ask has it made."""
        making = self._task(generation)
        if not making.done():
            return "making"
        return "ready" if making.exception() is None else "none"

    def _task(self, generation: Generation) -> "asyncio.Task[ItemMap]":
        if self._making is None or self._of is not generation:
            if self._making is not None:
                self._making.cancel()
            self._of, self._making = generation, asyncio.create_task(_made(generation))
        return self._making

    async def close(self) -> None:
        """Make nothing any more."""
        if self._making is not None:
            self._making.cancel()
            await asyncio.wait([self._making])


async def _made(generation: Generation) -> ItemMap:
    found = await children.run("dotbias.serving.placing", str(generation.source))
    if found is None:
        found = {"reason": "making it has failed"}
    vectors = generation.unit_vectors
    if "reason" not in found and (
        vectors is None or found["vectors"] != await asyncio.to_thread(fingerprint, vectors)
    ):  # somebody has put another file there
        found = {"reason": "the model's file is another one now; POST /v1/reload takes it over"}
    if "reason" in found:
        _log.warning("no map", extra={"fields": {"said": found["reason"]}})
        raise UnknownIdError(f"there is no map: {found['reason']}")
    placed = Placed(**found)
    return ItemMap(
        generation,
        np.array(placed.items, np.int32),
        np.array([placed.x, placed.y], np.float32).T,
        placed.method,
        placed.note,
        placed.warning,
    )
