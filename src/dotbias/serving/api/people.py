"""Calls about users: what they have said, kept, changed, taken along, deleted."""

import secrets
from datetime import UTC, datetime
from typing import Any

import numpy as np
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from dotbias.errors import UnknownIdError
from dotbias.serving.api.common import PathId, answer, answers
from dotbias.serving.api.schemas import NewUser, Said, SaidOfAll, SaidOfItem, SaidOfMany
from dotbias.serving.generation import Person
from dotbias.serving.ids import item_indices, key, own_type
from dotbias.serving.security import with_key
from dotbias.serving.service import Service
from dotbias.serving.states import checked
from dotbias.serving.store.store import State, now


def routes(service: Service) -> APIRouter:
    """The calls of this file."""
    router = APIRouter(prefix="/v1/users", tags=["users"], dependencies=[Depends(with_key)])

    @router.post("", responses=answers(NewUser, 401), status_code=200)
    async def new() -> Response:
        """An id that nobody has: hard to guess, of the type that the ids of users have."""
        generation = service.generation
        text = str(2**52 + secrets.randbelow(2**52))
        return answer({"user": own_type(generation.recommender.user_vocabulary, text)})

    @router.get("/{user}/ratings", responses=answers(SaidOfAll, 401))
    async def ratings(user: PathId) -> Response:
        """All that a user has said, of training and since."""
        generation = service.generation
        whom = await service.person(generation, key(generation, "user", user))
        return answer(_all_of(whom, user))

    @router.get("/{user}/export", responses=answers(SaidOfAll, 401))
    async def export(user: PathId) -> Response:
        """The same as a file to take along."""
        generation = service.generation
        whom = await service.person(generation, key(generation, "user", user))
        found = answer(_all_of(whom, user))
        found.headers["Content-Disposition"] = 'attachment; filename="ratings.json"'
        return found

    @router.post("/{user}/ratings", responses=answers(SaidOfAll, 401))
    async def put_many(user: PathId, said: SaidOfMany) -> Response:
        """Say many things at once: all are kept, or none."""
        generation = service.generation
        states = {}
        for one in said.ratings:
            state = checked(generation, one.item, one.state, one.rating)
            states[state.item] = state
        whom = await service.put(key(generation, "user", user, new=True), list(states.values()))
        return answer(_all_of(whom, user))

    @router.get("/{user}/ratings/{item}", responses=answers(Said, 401, 404))
    async def one(user: PathId, item: PathId) -> Response:
        """What a user has said of an item."""
        generation = service.generation
        whom = await service.person(generation, key(generation, "user", user))
        return answer(_one_of(whom, key(generation, "item", item)))

    @router.put("/{user}/ratings/{item}", responses=answers(Said, 401))
    async def put(user: PathId, item: PathId, said: SaidOfItem) -> Response:
        """Rate an item, or say that it is not wanted; when this is answered, it is kept, and the next
        list knows it. Saying the same again changes nothing.
        """
        generation = service.generation
        state = checked(generation, item, said.state, said.rating)
        whom = await service.put(key(generation, "user", user, new=True), [state])
        return answer(_one_of(whom, state.item))

    @router.delete("/{user}/ratings/{item}", responses=answers(None, 401), status_code=204)
    async def delete(user: PathId, item: PathId) -> Response:
        """Take back what was said of an item, in training too."""
        generation = service.generation
        state = State(key(generation, "item", item, new=True), "deleted", None, now())
        await service.put(key(generation, "user", user, new=True), [state])
        return Response(status_code=204)

    @router.delete("/{user}", responses=answers(None, 401), status_code=204)
    async def erase(user: PathId) -> Response:
        """Delete everything of a user. What the model has from them is not used any more, and is gone
        from the next fit on.
        """
        await service.erase(key(service.generation, "user", user, new=True))
        return Response(status_code=204)

    return router


def _said(whom: Person) -> dict[str, dict[str, Any]]:
    """What a user has said of each item: from training, and over it from the database."""
    generation = whom.generation
    vocabulary = generation.recommender.item_vocabulary
    trained: dict[str, dict[str, Any]] = {}
    if not whom.known.erased:
        at = generation.recommender.user_vocabulary.indices([whom.user])
        row = generation.recommender.rated[at[at >= 0]]
        names = generation.item_names(row.indices.astype(np.int32))
        for named, value in zip(names, row.data.tolist(), strict=True):
            trained[str(named["item"])] = {**named, "state": "rating", "rating": value, "at": None}
    states = whom.known.states
    at = np.array(item_indices(generation, [state.item for state in states]), np.int32)
    known = iter(generation.item_names(at[at >= 0]))
    for state, place in zip(states, at.tolist(), strict=True):
        named = next(known) if place >= 0 else {"item": own_type(vocabulary, state.item)}
        trained.pop(state.item, None)
        if state.kind != "deleted":
            when = datetime.fromtimestamp(state.time / 1000, UTC).isoformat(timespec="milliseconds")
            trained[state.item] = {
                **named,
                "state": state.kind,
                "rating": state.value,
                "at": when,
            }
    return trained


def _all_of(whom: Person, user: str) -> dict[str, Any]:
    said = list(_said(whom).values())
    return {
        "user": own_type(whom.generation.recommender.user_vocabulary, user.strip()),
        "ratings": said,
        "n_ratings": sum(one["state"] == "rating" for one in said),
        "generation": whom.generation.number,
    }


def _one_of(whom: Person, item: str) -> dict[str, Any]:
    said = _said(whom).get(item)
    if said is None:
        raise UnknownIdError(f"nothing is said of item {item}")
    return said
