"""Calls that ask the model: predictions, lists, reasons."""

import asyncio
from typing import Any

import numpy as np
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from dotbias.data.vocabulary import Index
from dotbias.errors import SettingError
from dotbias.models.base import Scores
from dotbias.models.parameters import Array
from dotbias.recommender.explanation import Explanation, explain_row, ratings_behind
from dotbias.recommender.list_options import ListOptions
from dotbias.serving.api.common import answer, answers, as_json, new_router
from dotbias.serving.api.schemas import (
    MOST_EXPLAINED,
    AskedGroup,
    AskedList,
    AskedPosition,
    AskedWhy,
    GroupList,
    Id,
    List,
    Pairs,
    Predictions,
    Wanted,
    Why,
)
from dotbias.serving.generation import (
    Generation,
    Person,
    person,
    scores,
    std,
    top_items,
    top_items_together,
)
from dotbias.serving.ids import item_at, item_indices, key, own_type
from dotbias.serving.security import with_key
from dotbias.serving.service import Service
from dotbias.serving.states import checked
from dotbias.serving.store.store import Known

_BASES = {(True, True): "both", (True, False): "user", (False, True): "item"}


def routes(service: Service) -> APIRouter:
    """The calls of this file."""
    router = new_router("recommendations")

    @router.post("/predict", responses=answers(Predictions))
    async def predict(asked: Pairs) -> Response:
        """Predicted ratings of pairs; what is unknown falls back on what is known, see ``basis``."""
        now = service.generation
        by_user: dict[str, list[int]] = {}
        for n, pair in enumerate(asked.pairs):
            by_user.setdefault(key(now, "user", pair.user, new=True), []).append(n)
        items = np.array(item_indices(now, [pair.item for pair in asked.pairs]), np.int32)
        found: list[dict[str, Any]] = [{}] * len(asked.pairs)
        for user, rows in by_user.items():
            await asyncio.sleep(0)  # others have their turn between many users
            whom = await service.person(now, user)
            for n, row in zip(rows, _predicted(whom, items[rows]), strict=True):
                pair = asked.pairs[n]
                found[n] = {
                    "user": own_type(now.recommender.user_vocabulary, str(pair.user)),
                    "item": own_type(now.recommender.item_vocabulary, str(pair.item)),
                    **row,
                }
        return answer({"predictions": found, "generation": now.number})

    @router.post("/recommend", responses=answers(List, 401))
    async def recommend(asked: AskedList, request: Request) -> Response:
        """The best items for a user, or for the ratings of somebody without an id."""
        if asked.reasons:
            await with_key(request)
            if asked.k > MOST_EXPLAINED:
                raise SettingError(
                    f"k={asked.k}: reasons are given for at most {MOST_EXPLAINED} items"
                )
        now = service.generation
        whom, unknown = await whom_of(service, now, asked)
        body = await request.body()
        if (said := service.answers.get(whom, body)) is not None:
            return answer(said)
        wanted = _options(now, asked)
        items, scored = await service.compute(lambda: _listed(whom, asked.k, wanted))
        rows = _rows(now, items, scored)
        if asked.reasons:
            reasons = await service.compute(
                lambda: _reasons(whom, items, asked.rank_by, asked.reasons)
            )
            for row, own in zip(rows, reasons, strict=True):
                row["reasons"] = own
        said = as_json(
            {
                "items": rows,
                "basis": whom.basis,
                "n_ratings": len(whom.given.rated),
                "unknown": unknown,
                "generation": now.number,
            }
        )
        if asked.user is not None and now is service.generation:
            service.answers.keep(whom, body, said)
        return answer(said)

    @router.post("/recommend/group", responses=answers(GroupList))
    async def group(asked: AskedGroup) -> Response:
        """One list for several users, by the mean of their scores, of what none of them has rated."""
        now = service.generation
        users = dict.fromkeys(key(now, "user", user, new=True) for user in asked.users)
        members = [await service.person(now, user) for user in users]
        wanted = _options(now, asked)
        items, means, each = await service.compute(
            lambda: top_items_together(members, asked.k, wanted)
        )
        rows = _rows(now, items, means)
        for name, plural in (("prediction", "predictions"), ("preference", "preferences")):
            if name in each:
                for row, own in zip(rows, each[name].T.tolist(), strict=True):
                    row[plural] = own
        basis = [whom.basis for whom in members]
        return answer({"items": rows, "basis": basis, "generation": now.number})

    @router.post("/explain", responses=answers(Why, 401, 404), dependencies=[Depends(with_key)])
    async def explain(asked: AskedWhy) -> Response:
        """One prediction or preference as a sum: which ratings put the item there."""
        now = service.generation
        whom, _ = await whom_of(service, now, asked)
        rec = now.recommender
        item = rec.item_vocabulary.raw(item_at(now, asked.item))
        found = await service.compute(lambda: _explained(whom, item, asked.of))
        said = found.to_dict()
        said["parts"] = found.summary(asked.k).to_dicts()
        del said["user"]
        return answer({**said, "generation": now.number})

    return router


async def whom_of(
    service: Service, now: Generation, asked: AskedList | AskedWhy | AskedPosition
) -> tuple[Person, list[Id]]:
    """Who is asked about, and the ids of their ratings that the model does not know.

    Raises:
        SettingError: for none or both of a user and ratings.
    """
    if (asked.user is None) == (asked.ratings is None):
        raise SettingError("give either a user or ratings")
    if asked.user is not None:
        if asked.not_interested:
            raise SettingError(
                "not_interested goes with ratings; a user's own is kept with the user"
            )
        whom = await service.person(now, key(now, "user", asked.user, new=True))
        return whom, _unknown(whom)
    assert asked.ratings is not None
    states = [
        *(checked(now, one.item, "rating", one.rating) for one in asked.ratings),
        *(checked(now, item, "not-interested", None) for item in asked.not_interested),
    ]
    if len({state.item for state in states}) < len(states):
        raise SettingError(
            "an item occurs twice among ratings and not_interested: keep one of them"
        )
    whom = person(now, "", Known(tuple(states), erased=False))
    return whom, _unknown(whom)


def _unknown(whom: Person) -> list[Id]:
    vocabulary = whom.generation.recommender.item_vocabulary
    return [own_type(vocabulary, item) for item in whom.unknown_items]


def _options(now: Generation, asked: Wanted) -> ListOptions:
    """What a list is told. Items that the model does not know can be neither chosen nor left out."""
    return ListOptions(
        rank_by=asked.rank_by,
        candidates=None if asked.candidates is None else _known(now, asked.candidates),
        exclude=_known(now, asked.exclude) if asked.exclude else None,
        genres=asked.genres,
        not_genres=asked.not_genres,
        year_from=asked.year_from,
        year_to=asked.year_to,
        include_rated=asked.include_rated,
        min_ratings=asked.min_ratings,
        well_known=asked.well_known,
        diversity=asked.diversity,
    )


def _known(now: Generation, raw: list[Id]) -> Index:
    found = np.array(item_indices(now, raw), np.int32)
    return np.unique(found[found >= 0])


def _listed(whom: Person, k: int, wanted: ListOptions) -> tuple[Index, dict[str, Array]]:
    items = top_items(whom, k, wanted)
    return items, scores(whom, items) | std(whom, items)


def _reasons(
    whom: Person, items: Index, rank_by: Scores | None, k: int
) -> list[list[dict[str, Any]]]:
    """For each item of a list the user's ratings that put it there, by name."""
    now, given = whom.generation, whom.given
    rec = now.recommender
    alone = rec.by(rec.ranked_by(rank_by))
    of_item = dict(zip(given.rated.tolist(), given.values.tolist(), strict=True))
    has_value = rec.facts.kind != "events"
    found = []
    for rated, adds in ratings_behind(alone, given, items, k):
        rows = now.item_names(rated)
        for row, at, added in zip(rows, rated.tolist(), adds.tolist(), strict=True):
            row["rating"] = of_item[at] if has_value else None
            row["contribution"] = added
        found.append(rows)
    return found


def _rows(now: Generation, items: Index, scored: dict[str, Array]) -> list[dict[str, Any]]:
    """Items of a list by name, with their scores."""
    rows = now.item_names(items)
    columns = {name: values.tolist() for name, values in scored.items()}
    for n, row in enumerate(rows):
        row["rank"] = n + 1
        for name, values in columns.items():
            row[name] = values[n]
    return rows


def _explained(whom: Person, item: Id, of: Scores | None) -> Explanation:
    if whom.folded is not None:
        return whom.folded.explain(item, of=of, strict=True)
    rec = whom.generation.recommender
    alone = rec.by(rec.ranked_by(of))
    return explain_row(alone, alone.parameters, whom.index, whom.given, item, strict=True)


def _predicted(whom: Person, items: Index) -> list[dict[str, Any]]:
    """Predictions for one user, what they rest on, and how sure they are where that is known."""
    columns = {name: values.tolist() for name, values in scores(whom, items).items()}
    is_user = whom.basis == "user"
    columns["basis"] = [_BASES.get((is_user, at >= 0), "neither") for at in items.tolist()]
    columns |= {name: values.tolist() for name, values in std(whom, items).items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
