"""A model as the service sees it."""

import asyncio
import gc
import weakref
from pathlib import Path

import pytest

import dotbias as db
from dotbias.recommender.list_options import ListOptions
from dotbias.serving.answers import Answers
from dotbias.serving.generation import person, scores, top_items
from dotbias.serving.service import Service, load, warn_of_strangers
from dotbias.serving.store.database import Database
from dotbias.serving.store.store import Known, State, Store


@pytest.mark.parametrize("alone", [False, True])
def test_one_that_is_replaced_is_let_go_at_once(model: Path, tmp_path: Path, alone: bool) -> None:
    """Its arrays would wait for a search for cycles, and what is frozen is never searched."""
    path = model
    if alone:
        path = tmp_path / "m.dotbias"
        db.Recommender.load(model).by("preference").save(path)
    gc.collect()
    gc.disable()
    try:
        generation = load(path)
        for known in (Known((), False), Known((State("1", "not-interested", None, 0),), False)):
            whom = person(generation, "5", known)
            scores(whom, top_items(whom, 5, ListOptions(diversity=0.5, well_known=0.3)))
        generation.similar(3, 5)
        generation.recommender.explain(1, 2)
        rec = generation.recommender
        held = [weakref.ref(one) for one in (generation, rec, rec.by("preference"))]
        del generation, rec, whom
        assert [one() for one in held] == [None] * 3
    finally:
        gc.enable()


def test_nothing_in_memory_keeps_the_one_before(model: Path, tmp_path: Path) -> None:
    async def swapped() -> None:
        service = Service(load(model), Store(Database(tmp_path / "r.db")))
        service.answers.keep(await service.person(service.generation, "5"), b"asked", b"said")
        before = weakref.ref(service.generation)
        await service.load(model)
        assert before() is None
        await service.close()

    asyncio.run(swapped())


def test_answers_are_kept_in_bounded_memory(model: Path) -> None:
    generation, answers = load(model), Answers(most_bytes=30_000)
    people = [person(generation, str(user), Known((), False)) for user in (1, 2)]
    for n in range(20):
        for whom in people:
            answers.keep(whom, b"%d" % n, b"%d of %s" % (n, whom.user.encode()) * 2)
    kept = [n for n in range(20) if answers.get(people[0], b"%d" % n)]
    assert 5 <= len(kept) < 10
    assert kept == list(range(20 - len(kept), 20))
    assert answers.get(people[1], b"19") == b"19 of 2" * 2
    assert answers.get(person(generation, "1", Known((), False)), b"19") is None


def test_the_database_of_another_model_is_warned_of(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    generation, store = load(model), Store(Database(tmp_path / "r.db"))
    for items in ((), ("1", "2", "x", "9001")):
        store.put("1", [State(item, "rating", 4.0, 0) for item in items]).result()
        warn_of_strangers(generation, store)
        assert not caplog.messages
    store.put("1", [State("9002", "wish", None, 0)]).result()
    warn_of_strangers(generation, store)
    assert "of 5 things that were said in it, 3 are about items that" in caplog.messages[0]
    store.close()
