"""What calls share: ids of paths and bodies, answers, and how calls are described."""

from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import Path
from fastapi.responses import Response
from pydantic import AfterValidator, BaseModel
from pydantic_core import to_json

from dotbias.serving.api.problems import Problem
from dotbias.serving.api.schemas import LONGEST_ID, storable


def _unquoted(raw: str) -> str:
    # The path is matched as it was sent, so that an id may hold a slash.
    return str(storable(unquote(raw, errors="strict")))


PathId = Annotated[str, Path(max_length=3 * LONGEST_ID), AfterValidator(_unquoted)]


def answer(found: Any) -> Response:
    """Plain data as JSON."""
    return Response(to_json(found, inf_nan_mode="null"), media_type="application/json")


def answers(model: type[BaseModel], *problems: int) -> dict[int | str, dict[str, Any]]:
    """How a call's answers are described."""
    described: dict[int | str, dict[str, Any]] = {200: {"model": model}}
    for status in (*problems, 422, 503):
        described[status] = {
            "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
            "description": "A problem",
        }
    return described
