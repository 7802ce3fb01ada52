"""Calls about users: what they have said, kept, changed, taken along, deleted."""

import secrets
from datetime import UTC, datetime
from typing import Any

import numpy as np
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from dotbias.errors import UnknownIdError
from dotbias.serving.api.common import PathId, answer, answers, new_router
from dotbias.serving.api.schemas import NewUser, Said, SaidOfAll, SaidOfItem, SaidOfMany
from dotbias.serving.generation import Person
from dotbias.serving.ids import item_indices, key, own_type
from dotbias.serving.security import with_key
from dotbias.serving.service import Service
from dotbias.serving.states import checked
from dotbias.serving.store.store import State, now


def routes(service: Service) -> APIRouter:
    """The calls of this file."""
    router = new_router("users", "/v1/users", dependencies=[Depends(with_key)])

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


def _all_of(whom: Person, user: str) -> dict[str, Any]:
    said = _said(whom)
    return {
        "user": own_type(whom.generation.recommender.user_vocabulary, user.strip()),
        "ratings": said,
        "n_ratings": sum(one["state"] == "rating" for one in said),
        "generation": whom.generation.number,
    }


def _one_of(whom: Person, item: str) -> dict[str, Any]:
    said = _said(whom, item)
    if not said:
        raise UnknownIdError(f"nothing is said of item {item}")
    return said[0]


def _said(whom: Person, alone: str | None = None) -> list[dict[str, Any]]:
    """What a user has said of all items, or of one: of each from training, or since."""
    generation = whom.generation
    vocabulary = generation.recommender.item_vocabulary
    states = [one for one in whom.known.states if alone in (None, one.item)]
    places = item_indices(generation, [state.item for state in states])
    found = _trained(
        whom, set(places), None if alone is None else item_indices(generation, [alone])[0]
    )
    known = iter(generation.item_names(np.array([at for at in places if at >= 0], np.int32)))
    for state, place in zip(states, places, strict=True):
        named = next(known) if place >= 0 else {"item": own_type(vocabulary, state.item)}
        if state.kind != "deleted":
            when = datetime.fromtimestamp(state.time / 1000, UTC).isoformat(timespec="milliseconds")
            found.append({**named, "state": state.kind, "rating": state.value, "at": when})
    return found


def _trained(whom: Person, since: set[int], alone: int | None) -> list[dict[str, Any]]:
    """What a user has rated in training, but for what was said of since; all, or one item alone."""
    if whom.known.erased:
        return []
    generation = whom.generation
    rec = generation.recommender
    items, ratings = rec.rated_by(int(rec.user_vocabulary.indices_of_few([whom.user])[0]))
    of_item = {
        item: rating
        for item, rating in zip(items.tolist(), ratings.tolist(), strict=True)
        if item not in since and alone in (None, item)
    }
    names = generation.item_names(np.array(list(of_item), np.int32))
    return [
        {**named, "state": "rating", "rating": rating, "at": None}
        for named, rating in zip(names, of_item.values(), strict=True)
    ]
