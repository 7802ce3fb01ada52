"""What calls share: ids of paths and bodies, answers, and how calls are described."""

from typing import Annotated, Any
from urllib.parse import unquote

from fastapi.responses import Response
from pydantic import AfterValidator, BaseModel
from pydantic_core import to_json

from dotbias.serving.api.problems import Problem
from dotbias.serving.api.schemas import LONGEST_ID, storable


def _unquoted(raw: str) -> str:
    # The path is matched as it was sent, so that an id may hold a slash.
    found = str(storable(unquote(raw, errors="strict")))
    if len(found) > LONGEST_ID:
        raise ValueError(f"an id has at most {LONGEST_ID} letters")
    return found


PathId = Annotated[str, AfterValidator(_unquoted)]


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
