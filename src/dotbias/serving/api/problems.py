"""What went wrong, as RFC 9457 says it: ``application/problem+json``, never a traceback."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.types import Send

from dotbias.errors import DotbiasError, UnknownIdError
from dotbias.serving.maps import NotYetError
from dotbias.serving.store.database import DatabaseError

_log = logging.getLogger("dotbias.serving")

_TITLES = {
    400: "Not a request",
    401: "A key is needed",
    404: "Not found",
    405: "Not allowed here",
    413: "Too large",
    415: "Not JSON",
    422: "Not usable",
    429: "Too many requests",
    431: "Too large",
    500: "A fault of the service",
    503: "Not now",
}
# Of what is wrong in a body, so much is told.
_MOST_NAMED = 5
_LONGEST_NAME = 100
# What Pydantic would say in terms of Python.
_WORDS = {
    "extra_forbidden": "there is no such field",
    "missing": "is missing",
    "model_attributes_type": "must be an object, such as {}",
    "list_type": "must be a list, such as []",
}
RETRY_SECONDS = 1


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Not usable",
                    "status": 422,
                    "detail": "body.k: Input should be greater than or equal to 1",
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """An answer that says what went wrong."""
    said = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
    }
    if status in (429, 503):
        headers = {"Retry-After": str(RETRY_SECONDS), **(headers or {})}
    return Response(to_json(said), status, headers, "application/problem+json")


async def send_problem(send: Send, status: int, detail: str) -> None:
    """The same from where there is no request object yet."""
    made = problem(status, detail)
    await send({"type": "http.response.start", "status": status, "headers": made.raw_headers})
    await send({"type": "http.response.body", "body": made.body})


def install(app: FastAPI) -> None:
    """Answer all that is raised in calls with problems."""

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> Response:
        kind = request.headers.get("content-type", "")
        if error.body is not None and not kind.partition(";")[0].strip().endswith("json"):
            return problem(422, "a body is JSON: send the header Content-Type: application/json")
        said = [_one(found) for found in error.errors()[:_MOST_NAMED]]
        more = len(error.errors()) - len(said)
        status = 400 if any(found["type"] == "json_invalid" for found in error.errors()) else 422
        return problem(status, "; ".join(said) + (f"; and {more:,} more" if more else ""))

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> Response:
        headers, said = dict(error.headers or {}), str(error.detail)
        if error.status_code == 404 and said == "Not Found":
            said = f"there is no {request.url.path[:_LONGEST_NAME]}; /openapi.json lists all calls"
        elif error.status_code == 405 and "Allow" in headers:
            said = f"{request.method} is not for this address, which takes {headers['Allow']}"
        return problem(error.status_code, said, headers)

    @app.exception_handler(DotbiasError)
    async def _(_: Request, error: DotbiasError) -> Response:
        if isinstance(error, DatabaseError):
            _log.error("database", extra={"fields": {"said": str(error)}})
            return problem(503, f"the database cannot be used just now: {error.reason}")
        if isinstance(error, NotYetError):
            return problem(503, str(error))
        return problem(404 if isinstance(error, UnknownIdError) else 422, str(error))

    @app.exception_handler(Exception)
    async def _(_: Request, error: Exception) -> Response:
        _log.error("fault", exc_info=error)
        return problem(500, "the service has met a fault of its own; its log says which")


def _one(found: Any) -> str:
    kind, where = found["type"], ".".join(str(part)[:_LONGEST_NAME] for part in found["loc"])
    if kind == "json_invalid":
        return f"the body is no JSON, from letter {found['loc'][-1]} on: {found['ctx']['error']}"
    return f"{where}: {_WORDS.get(kind, found['msg'])}"
