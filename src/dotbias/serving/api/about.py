"""Calls about the service: what the model is, whether it is well, what it counts."""

from datetime import UTC, datetime

from fastapi import APIRouter, Depends
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from dotbias.serving.api.common import answer, answers, new_router
from dotbias.serving.api.schemas import About, Health
from dotbias.serving.measures import Measures
from dotbias.serving.security import with_key
from dotbias.serving.service import Service


def routes(service: Service) -> APIRouter:
    """The calls under /v1."""
    router = new_router("model")

    @router.get("/model", responses=answers(About))
    async def model() -> Response:
        """What the model is, how it was fitted, and how good it was on held-out ratings."""
        now = service.generation
        loaded = datetime.fromtimestamp(now.loaded, UTC).isoformat(timespec="seconds")
        return answer(
            {
                "generation": now.number,
                "loaded": loaded,
                "levels": now.levels,
                "has_std": now.has_std,
                "model": now.info,
            }
        )

    @router.post("/reload", responses=answers(About, 401), dependencies=[Depends(with_key)])
    async def reload() -> Response:
        """Read the model's file again. One that is broken or does not fit is refused; the present model
        goes on.
        """
        await service.load(service.generation.source)
        return await model()

    return router


def health(service: Service, measures: Measures) -> APIRouter:
    """The calls for whoever runs the service."""
    router = new_router("running", prefix="")

    @router.get("/health", responses=answers(Health))
    async def alive() -> Response:
        """Whether the process answers."""
        return answer({"status": "ok", "generation": service.generation.number})

    @router.get("/ready", responses=answers(Health))
    async def ready() -> Response:
        """Whether the database answers too."""
        await service.ping()
        return answer({"status": "ok", "generation": service.generation.number})

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(generate_latest(measures.registry), media_type=CONTENT_TYPE_LATEST)

    return router
