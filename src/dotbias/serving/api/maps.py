"""Calls about the map: where items lie, and where somebody is among them."""

from fastapi import APIRouter
from fastapi.responses import Response

from dotbias.serving.api.common import answer, answers, new_router
from dotbias.serving.api.items import counted
from dotbias.serving.api.lists import whom_of
from dotbias.serving.api.schemas import AskedPosition, MapOfItems, Position, StateOfMap
from dotbias.serving.service import Service


def routes(service: Service) -> APIRouter:
    """The calls of this file."""
    router = new_router("map", "/v1/map")

    @router.get("", responses=answers(MapOfItems, 404))
    async def items() -> Response:
        """The best-known items on a plane: what is near on it is alike. The first to ask has it made, at
        low priority, and until it is there the answer is 503 with ``Retry-After``.
        """
        now = service.generation
        made = service.maps.of(now)
        rows = counted(now, made.items)
        places = made.positions.tolist()
        said = [{**row, "x": x, "y": y} for row, (x, y) in zip(rows, places, strict=True)]
        return answer(
            {
                "items": said,
                "method": made.method,
                "note": made.note,
                "warning": made.warning,
                "generation": now.number,
            }
        )

    @router.get("/state", responses=answers(StateOfMap))
    async def state() -> Response:
        """Whether the map is there (``ready``), is being made, or cannot be (``none``); the first to ask
        has it made.
        """
        now = service.generation
        return answer({"state": service.maps.state(now), "generation": now.number})

    @router.post("/position", responses=answers(Position, 404))
    async def position(asked: AskedPosition) -> Response:
        """Where a user is, or somebody with these ratings: amid the items that are nearest to them in
        the embedding. ``x`` and ``y`` are missing for one of whom nothing is known.
        """
        now = service.generation
        made = service.maps.of(now)
        whom, _ = await whom_of(service, now, asked)
        found = made.position(whom)
        if found is None:
            return answer({"x": None, "y": None, "near": [], "generation": now.number})
        (x, y), near = found[0].tolist(), now.item_names(found[1])
        return answer({"x": x, "y": y, "near": near, "generation": now.number})

    return router
