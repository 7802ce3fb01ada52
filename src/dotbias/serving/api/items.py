"""Calls about items: search, one item, what is like it."""

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from fastapi.responses import Response

from dotbias.data.vocabulary import Index
from dotbias.serving.api.common import PathId, answer, answers, new_router
from dotbias.serving.api.schemas import (
    Genres,
    Id,
    ItemPage,
    Items,
    Matches,
    Names,
    SimilarItems,
    StartItems,
)
from dotbias.serving.generation import Generation
from dotbias.serving.ids import item_at, item_indices
from dotbias.serving.service import Service

Limit = Annotated[int, Query(ge=1, le=200, description="How many.")]


def routes(service: Service) -> APIRouter:
    """The calls of this file."""
    router = new_router("items")

    @router.get("/items", responses=answers(Items))
    async def find(
        query: Annotated[
            str, Query(max_length=200, description="Words of the title, accents and case aside.")
        ] = "",
        genre: Annotated[str | None, Query(max_length=100)] = None,
        limit: Limit = 20,
    ) -> Response:
        """Items whose titles hold all words of the query, the best known first."""
        now = service.generation
        vocabulary = now.recommender.item_vocabulary
        allowed = None if genre is None else vocabulary.of_genres([genre])
        found = await service.compute(lambda: now.search.find(query, allowed))
        items = counted(now, found[:limit])
        return answer({"items": items, "n_found": len(found), "generation": now.number})

    @router.post("/items/match", responses=answers(Matches))
    async def match(asked: Names) -> Response:
        """Which items are meant by ids or titles, such as those of a file that somebody brings along. A
        title may lack its year, and its words may stand in another order.
        """
        now = service.generation
        found = await service.in_thread(lambda: _matched(now, asked.names))
        named = iter(now.item_names(np.array([at for at in found if at >= 0], np.int32)))
        items = [next(named) if at >= 0 else None for at in found]
        return answer({"items": items, "generation": now.number})

    @router.get("/start", responses=answers(StartItems))
    async def start(
        n: Annotated[int, Query(ge=1, le=200, description="How many.")] = 20,
    ) -> Response:
        """Items for somebody new to rate: well known, and spread over the embedding, so that little is
        asked and much is learnt.
        """
        now = service.generation
        return answer({"items": counted(now, now.start[:n]), "generation": now.number})

    @router.get("/genres", responses=answers(Genres))
    async def genres() -> Response:
        """The genres of the items, where they are known."""
        now = service.generation
        counts = now.recommender.item_vocabulary.genre_counts()
        found = [{"genre": name, "n_items": n} for name, n in counts.items()]
        return answer({"genres": found, "generation": now.number})

    @router.get("/items/{item}", responses=answers(ItemPage, 404))
    async def one(item: PathId) -> Response:
        """All that is known of an item."""
        now = service.generation
        at = item_at(now, item)
        (page,) = counted(now, np.array([at], np.int32))
        if now.item_bias is not None:
            page["bias"] = float(now.item_bias[at])
        if now.mean_rating is not None and np.isfinite(now.mean_rating[at]):
            page["mean_rating"] = float(now.mean_rating[at])
        page["similar"] = await service.compute(lambda: like(now, at, 10))
        return answer({**page, "generation": now.number})

    @router.get("/items/{item}/similar", responses=answers(SimilarItems, 404))
    async def similar(item: PathId, limit: Limit = 10) -> Response:
        """The items whose embeddings point most nearly the same way."""
        now = service.generation
        at = item_at(now, item)
        found = await service.compute(lambda: like(now, at, limit))
        return answer({"items": found, "generation": now.number})

    return router


def _matched(generation: Generation, names: list[Id]) -> list[int]:
    """Index of the item that each id or title means; -1 where it means none."""
    found = item_indices(generation, names)
    return [
        generation.search.same(str(name)) if at < 0 else at
        for name, at in zip(names, found, strict=True)
    ]


def counted(generation: Generation, items: Index) -> list[dict[str, Any]]:
    """Items by name, with how often each was rated in training."""
    named = generation.item_names(items)
    counts = generation.recommender.item_counts[items].tolist()
    return [{**item, "n_ratings": n} for item, n in zip(named, counts, strict=True)]


def like(generation: Generation, item: int, k: int) -> list[dict[str, Any]]:
    """The items most like one."""
    found, cosines = generation.similar(item, k)
    named = counted(generation, found)
    return [{**one, "similarity": c} for one, c in zip(named, cosines.tolist(), strict=True)]
