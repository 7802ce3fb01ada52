"""What calls share: ids of paths and bodies, answers, and how calls are described."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel
from pydantic_core import to_json

from dotbias.errors import SettingError
from dotbias.serving.api.problems import Problem
from dotbias.serving.api.schemas import LONGEST_ID, storable


def _unquoted(raw: str) -> str:
    # The path is matched as it was sent, so that an id may hold a slash.
    found = str(storable(unquote(raw, errors="strict")))
    if len(found) > LONGEST_ID:
        raise ValueError(f"an id has at most {LONGEST_ID} letters")
    return found


_LONGEST = 100
PathId = Annotated[str, AfterValidator(_unquoted)]


class Call(APIRoute):
    """A call that refuses parameters in its address that it does not have, rather than leave out of
    account what was asked for.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers."""
        answered = super().get_route_handler()
        known = [field.alias for field in self.dependant.query_params]

        async def checked(request: Request) -> Response:
            if request.scope["query_string"]:
                wrong = next((name for name in request.query_params if name not in known), None)
                if wrong is not None:
                    named = f"it has {', '.join(known)}" if known else "it has none"
                    raise SettingError(
                        f"{wrong[:_LONGEST]!r} is no parameter of this address: {named}"
                    )
            return await answered(request)

        return checked


def new_router(tag: str, prefix: str = "/v1", **options: Any) -> APIRouter:
    """What a file adds its calls to."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=Call, **options)


def as_json(found: Any) -> bytes:
    """Plain data as JSON; what is not finite is null."""
    return to_json(found, inf_nan_mode="null")


def answer(found: Any) -> Response:
    """An answer of plain data, or of JSON that is made already."""
    made = found if isinstance(found, bytes) else as_json(found)
    return Response(made, media_type="application/json")


# What the gate answers instead of any call, and what any call may.
_ANY = (400, 413, 429, 422, 503)


def answers(model: type[BaseModel] | None, *problems: int) -> dict[int | str, dict[str, Any]]:
    """How a call's answers are described; without a model there is nothing in the good one."""
    described: dict[int | str, dict[str, Any]] = (
        {204: {"description": "Done"}} if model is None else {200: {"model": model}}
    )
    for status in sorted({*problems, *_ANY}):
        described[status] = {
            "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
            "description": "A problem",
        }
    return described
