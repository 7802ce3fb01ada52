"""Calls about items: search, one item, what is like it."""

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from fastapi.responses import Response

from dotbias.data.vocabulary import Index
from dotbias.serving.api.common import PathId, answer, answers
from dotbias.serving.api.schemas import ItemPage, Items, SimilarItems
from dotbias.serving.generation import Generation
from dotbias.serving.ids import item_at
from dotbias.serving.service import Service

Limit = Annotated[int, Query(ge=1, le=200, description="How many.")]


def routes(service: Service) -> APIRouter:
    """The calls of this file."""
    router = APIRouter(prefix="/v1", tags=["items"])

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
