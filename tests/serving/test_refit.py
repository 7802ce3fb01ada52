"""Fitting anew from what was said, and the swap."""

import asyncio
import shutil
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest

import dotbias as db
from dotbias.errors import DotbiasError
from dotbias.recommender.recommender import Recommender
from dotbias.serving.refit import LEAST_UNSEEN, refit
from dotbias.serving.refitting import When
from dotbias.serving.store.database import Database
from dotbias.serving.store.said import Said
from dotbias.serving.store.store import State, Store
from dotbias.serving.training import training_ratings, unseen
from tests.serving.server import serving


@pytest.fixture
def own(model: Path, tmp_path: Path) -> Path:
    """A model's file that a test may replace."""
    return Path(shutil.copy(model, tmp_path / "m.dotbias"))


def say(
    store: Store, user: object, item: object, value: float | None, kind: str = "rating"
) -> None:
    store.put(str(user), [State(str(item), kind, value, 0)]).result()  # type: ignore[arg-type]


def test_the_last_word_counts_in_training(rec: Recommender, address: str) -> None:
    store = Store(Database(address))
    before = {(u, i): v for u, i, v, *_ in rec.training_ratings().to_frame().rows()}
    pairs = sorted(before)
    (changed, taken_back, *_), erased = pairs, pairs[-1][0]
    say(store, *changed, 2.0 if before[changed] != 2.0 else 1.0)
    say(store, *taken_back, None, "deleted")
    say(store, 777, 99, 3.0)
    say(store, 777, 98, None, "wish")
    store.erase(str(erased)).result()
    say(store, erased, 99, 4.0)
    rows = training_ratings(rec.training_ratings(), Said.of(store.database))
    after = {(u, i): v for u, i, v, *_ in rows.to_frame().rows()}
    expected = {pair: value for pair, value in before.items() if pair[0] != erased}
    expected |= {(777, 99): 3.0, (erased, 99): 4.0, changed: after[changed]}
    del expected[taken_back]
    assert after == expected
    assert after[changed] != before[changed]
    assert rows.item_vocabulary.titles is not None
    assert rows.declared_scale == rec.training_ratings().declared_scale
    assert unseen(rec.training_ratings(), Said.of(store.database)).height == 3
    store.close()


def test_a_rating_that_single_precision_rounds_is_not_new_for_ever(tmp_path: Path) -> None:
    ratings = db.Ratings.from_columns([1, 1, 2, 2], [1, 2, 1, 2], [4.1, 1.0, 2.3, 5.0])
    rec = db.fit(ratings, db.DotBias(n_factors=1), db.ALS(n_iterations=1))
    store = Store(Database(tmp_path / "r.db"))
    say(store, 1, 1, 4.1)
    say(store, 2, 1, 2.4)
    assert unseen(rec.training_ratings(), Said.of(store.database))["value"].to_list() == [2.4]
    store.close()


def new_ratings(rec: Recommender, n_users: int, seed: int) -> dict[int, list[tuple[int, float]]]:
    """Ratings of new users who agree with the users of the model."""
    rng = np.random.default_rng(seed)
    rated = rec.rated.toarray()
    made = {}
    for user in range(n_users):
        like = rated[rng.integers(len(rated))]
        items = np.flatnonzero(like)
        made[5000 + user] = [(int(rec.item_vocabulary.raw(i)), float(like[i])) for i in items]
    return made


def test_a_model_is_fitted_anew_and_judged(own: Path, rec: Recommender, tmp_path: Path) -> None:
    database = str(tmp_path / "r.db")
    store = Store(Database(database))
    few = refit(own, database, tmp_path / "new.dotbias")
    assert not few.accepted
    assert f"fewer than {LEAST_UNSEEN}" in few.reason
    for user, rows in new_ratings(rec, 20, seed=0).items():
        states = [State(str(item), "rating", value, 0) for item, value in rows]
        store.put(str(user), states).result()
    verdict = refit(own, database, tmp_path / "new.dotbias")
    assert verdict.accepted, verdict
    assert (
        verdict.n_ratings
        == rec.rated.nnz + unseen(rec.training_ratings(), Said.of(store.database)).height
    )
    made = Recommender.load(tmp_path / "new.dotbias")
    assert len(made.user_vocabulary) == 80
    assert made.facts.solver == rec.facts.solver
    assert unseen(made.training_ratings(), Said.of(store.database)).height == 0
    store.close()


def test_a_worse_model_is_refused(own: Path, rec: Recommender, tmp_path: Path) -> None:
    """Its settings are those of the old file; here they are bad ones, and the old parameters good."""
    from dataclasses import replace

    from dotbias.plain import to_plain

    bad = to_plain(db.ALS(n_iterations=1, weight_decay=1e6))
    facts = replace(rec.facts, solver=bad)
    replace(rec, facts=facts).save(own)
    store = Store(Database(tmp_path / "r.db"))
    for user, rows in new_ratings(rec, 40, seed=1).items():
        states = [State(str(item), "rating", value, 0) for item, value in rows]
        store.put(str(user), states).result()
    store.close()
    verdict = refit(own, str(tmp_path / "r.db"), tmp_path / "new.dotbias")
    assert not verdict.accepted
    assert "worse on held-out ratings: RMSE" in verdict.reason
    assert not (tmp_path / "new.dotbias").exists()


@pytest.mark.parametrize(
    ("when", "seconds", "n_changes", "due"),
    [
        (When(every=60), 61, 1, True),
        (When(every=60), 61, 0, False),
        (When(every=60), 59, 10**6, False),
        (When(after=10), 0, 10, True),
        (When(after=10), 10**6, 9, False),
        (When(every=60, after=10), 0, 10, True),
    ],
)
def test_when_it_is_due(when: When, seconds: float, n_changes: int, due: bool) -> None:
    assert when.is_due(seconds, n_changes) is due


def test_a_new_file_takes_over_under_load(own: Path, rec: Recommender, tmp_path: Path) -> None:
    """Each answer is of one generation: the lists of the old model, or those of the new one."""
    ratings = rec.training_ratings()
    other = db.fit(
        ratings,
        db.DotBias(n_factors=3),
        db.ALS(n_iterations=1),
        preference=db.ImplicitALS(),
        seed=1,
    )
    expected = {
        1: rec.recommend(7, k=5)["preference"].to_list(),
        2: other.recommend(7, k=5)["preference"].to_list(),
    }
    with serving(own, tmp_path / "r.db") as client:
        seen, wrong, done = set(), [], threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=client.base_url) as asking:
                while not done.is_set():
                    found = asking.post("/v1/recommend", json={"user": 7, "k": 5}).json()
                    seen.add(found["generation"])
                    if [row["preference"] for row in found["items"]] != expected[
                        found["generation"]
                    ]:
                        wrong.append(found)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        while not seen:
            threading.Event().wait(0.01)
        own.write_bytes(own.read_bytes()[:1000])
        assert client.post("/v1/reload").status_code == 422
        other.save(own, force=True)
        assert client.post("/v1/reload").json()["generation"] == 2
        threading.Event().wait(0.1)
        done.set()
        for thread in threads:
            thread.join()
        assert seen == {1, 2}
        assert not wrong


def test_what_does_not_go_with_the_service_is_refused(own: Path, tmp_path: Path) -> None:
    drawn, _ = db.simulate(20, 10, 100, seed=0)
    frame = drawn.to_frame()
    text = db.Ratings.from_columns([f"u{u}" for u in frame["user"]], frame["item"], frame["rating"])
    with serving(own, tmp_path / "r.db") as client:
        db.fit(text, db.DotBias(n_factors=2), db.ALS(n_iterations=1)).save(own, force=True)
        refused = client.post("/v1/reload")
        assert refused.status_code == 422
        assert "user ids are text" in refused.json()["detail"]
        assert client.get("/health").json()["generation"] == 1


def test_the_service_fits_anew_by_itself(
    own: Path, rec: Recommender, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from dotbias.serving.refitting import refit as refit_service
    from dotbias.serving.service import Service, load

    async def run() -> None:
        service = Service(load(own), Store(Database(tmp_path / "r.db")))
        assert not await refit_service(service)
        for user, rows in new_ratings(rec, 20, seed=0).items():
            await service.put(str(user), [State(str(i), "rating", v, 0) for i, v in rows])
        assert await refit_service(service)
        assert service.generation.number == 2
        assert (await service.person(service.generation, "5000")).index >= 0
        await service.close()

    with caplog.at_level("INFO", "dotbias.serving"):
        asyncio.run(run())
    assert caplog.messages == ["refit begins", "refit"] * 2 + ["generation"]
    assert Recommender.load(own.with_name("m.previous.dotbias")).rated.nnz == rec.rated.nnz
    assert Recommender.load(own).rated.nnz > rec.rated.nnz
    assert not list(tmp_path.glob(".refit-*"))


def test_a_refit_that_cannot_be_is_said_and_tried_again(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from dotbias.serving import refitting
    from dotbias.serving.service import Service, load

    n_tried = 0

    async def on_a_full_disk(service: Service) -> bool:
        nonlocal n_tried
        n_tried += 1
        await service.put("1", [State("1", "rating", 3.0, 0)])  # so that it is due again
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(refitting, "refit", on_a_full_disk)
    monkeypatch.setattr(refitting, "_LOOK_SECONDS", 0.001)

    async def run() -> None:
        service = Service(load(own), Store(Database(tmp_path / "r.db")))
        looking = asyncio.create_task(refitting.refit_when_due(service, When(after=1)))
        await asyncio.sleep(0.01)
        await service.put("1", [State("1", "rating", 4.0, 0)])
        while n_tried < 2:
            assert not looking.done()
            await asyncio.sleep(0.001)
        looking.cancel()
        await service.close()

    with caplog.at_level("ERROR", "dotbias.serving"):
        asyncio.run(run())
    assert caplog.messages[:2] == ["refit failed"] * 2


def test_models_that_come_at_once_have_numbers_of_their_own(own: Path, tmp_path: Path) -> None:
    from dotbias.serving.service import Service, load

    async def run() -> list[int]:
        service = Service(load(own), Store(Database(tmp_path / "r.db")))
        found = await asyncio.gather(*(service.load(own) for _ in range(3)))
        await service.close()
        return [generation.number for generation in found]

    assert asyncio.run(run()) == [2, 3, 4]


def test_errors_are_those_of_the_library() -> None:
    with pytest.raises(DotbiasError):
        When(every=0)
