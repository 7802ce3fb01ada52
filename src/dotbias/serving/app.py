"""The service as an ASGI application."""

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.types import ASGIApp

from dotbias import __version__
from dotbias.errors import DotbiasError
from dotbias.serving.api import about, items, lists, maps, page, people, problems
from dotbias.serving.gate import Gate, Limits
from dotbias.serving.measures import Measures
from dotbias.serving.refitting import When, refit_when_due
from dotbias.serving.security import Guard, Keys
from dotbias.serving.service import Service
from dotbias.serving.telemetry import traced

_log = logging.getLogger("dotbias.serving")


def make_app(
    service: Service, *, limits: Limits, needs_key: bool, when: When | None = None
) -> ASGIApp:
    """The application.

    Args:
        service: what answers.
        limits: what a request may take.
        needs_key: whether writes, explanations and exports need an API key.
        when: when the model is fitted anew.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Not on Windows, and not where another thread than the first one serves.
        if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGHUP, lambda: loop.create_task(_reload(service)))
        refitting = None if when is None else asyncio.create_task(refit_when_due(service, when))
        yield
        if refitting is not None:
            refitting.cancel()
            await asyncio.wait([refitting])
        await service.close()

    app = FastAPI(
        title="dotbias",
        summary="Predictions, recommendations and reasons that know a rating as soon as it is given.",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # which would load a page's scripts from elsewhere
        redoc_url=None,
        # Its own spans would hold addresses, and with them ids.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        redirect_slashes=False,  # to wherever a request says that this is
    )
    measures = Measures(service)
    guard = app.state.guard = Guard(Keys(service.store.database), is_needed=needs_key)
    problems.install(app)
    groups = [group.routes(service) for group in (lists, items, people, maps, about)]
    for group in (*groups, about.health(service, measures)):
        # Not include_router, by which a request would be matched twice; what is asked most comes first.
        app.router.routes.extend(group.routes)
    page.install(app)
    return traced(Gate(app, limits=limits, guard=guard, measures=measures))


async def _reload(service: Service) -> None:
    try:
        await service.load(service.generation.source)
    except DotbiasError as error:
        _log.error("reload refused", extra={"fields": {"said": str(error)}})
