"""The calls of the service, over loopback: what they answer is what the library says."""

import re
import shutil
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import dotbias as db
from dotbias.insight.maps import embedding_map
from dotbias.recommender.recommender import Recommender
from dotbias.recommender.start_list import start_list
from dotbias.serving.api import schemas
from dotbias.serving.gate import Limits
from dotbias.serving.placing import MOST_POINTS
from dotbias.serving.security import Keys
from dotbias.serving.store.database import Database
from tests.serving.server import serving

_new = count(10_001)


@pytest.fixture
def stranger() -> int:
    """A user of whom nothing is known."""
    return next(_new)


def asked(client: httpx.Client, path: str, **body: Any) -> Any:
    answer = client.post(f"/v1/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def listed(client: httpx.Client, **body: Any) -> list[int]:
    return [item["item"] for item in asked(client, "recommend", **body)["items"]]


def rate(client: httpx.Client, user: int, item: int, **said: Any) -> Any:
    answer = client.put(f"/v1/users/{user}/ratings/{item}", json=said)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_someone_of_training_gets_what_the_library_lists(
    client: httpx.Client, rec: Recommender
) -> None:
    expected = rec.recommend(7, k=5)
    found = asked(client, "recommend", user=7, k=5)
    for column in ("rank", "item", "title", "prediction", "preference"):
        assert [row[column] for row in found["items"]] == expected[column].to_list()
    assert found["basis"] == "user"
    assert found["generation"] == 1


def test_a_rating_counts_in_the_next_list(client: httpx.Client, rec: Recommender) -> None:
    own = dict(rec.rated[[7]].todok())
    ratings = {int(rec.item_vocabulary.raw(item)): float(value) for (_, item), value in own.items()}
    user = int(rec.user_vocabulary.raw(7))
    item = next(item for item in range(1, 41) if item not in ratings)
    rate(client, user, item, rating=1.0)
    folded = rec.fold_in_user({**ratings, item: 1.0})
    assert listed(client, user=user, k=8) == folded.recommend(k=8)["item"].to_list()
    client.delete(f"/v1/users/{user}/ratings/{item}").raise_for_status()
    assert item in listed(client, user=user, k=40)


def test_the_same_is_answered_as_before_until_something_is_said(
    client: httpx.Client, stranger: int
) -> None:
    rate(client, stranger, 3, rating=5.0)
    first = asked(client, "recommend", user=stranger, k=40)
    assert asked(client, "recommend", user=stranger, k=40) == first
    assert len(asked(client, "recommend", user=stranger, k=4)["items"]) == 4
    item = first["items"][0]["item"]
    rate(client, stranger, item, rating=5.0)
    assert item not in listed(client, user=stranger, k=40)


def test_a_stranger_is_known_by_what_was_said(
    client: httpx.Client, rec: Recommender, stranger: int
) -> None:
    assert asked(client, "recommend", user=stranger)["basis"] == "neither"
    rate(client, stranger, 2, rating=5.0)
    rate(client, stranger, 3, state="not-interested")
    rate(client, stranger, 4, state="wish")
    expected = rec.fold_in_user({2: 5.0}, not_interested=[3])
    by_ratings = {"ratings": [{"item": 2, "rating": 5}], "not_interested": [3]}
    for whom in ({"user": stranger}, by_ratings):
        found = asked(client, "recommend", **whom, k=10)
        assert found["basis"] == "user"
        assert [row["item"] for row in found["items"]] == expected.recommend(10)["item"].to_list()


def test_what_was_said_is_there_and_goes(client: httpx.Client, stranger: int) -> None:
    said = rate(client, stranger, 2, rating=4.5)
    assert said["title"] == "Léon (1994)"
    assert rate(client, stranger, 2, rating=4.5)["rating"] == 4.5
    rate(client, stranger, 99, rating=3.0)
    for call in ("ratings", "export"):
        found = client.get(f"/v1/users/{stranger}/{call}").json()
        assert {row["item"]: row["rating"] for row in found["ratings"]} == {2: 4.5, 99: 3.0}
    assert asked(client, "recommend", user=stranger)["unknown"] == [99]
    assert client.get(f"/v1/users/{stranger}/ratings/2").json()["state"] == "rating"
    client.delete(f"/v1/users/{stranger}/ratings/2").raise_for_status()
    assert client.get(f"/v1/users/{stranger}/ratings/2").status_code == 404
    client.delete(f"/v1/users/{stranger}").raise_for_status()
    assert client.get(f"/v1/users/{stranger}/ratings").json()["n_ratings"] == 0


def test_many_at_once_are_all_kept_or_none(client: httpx.Client, stranger: int) -> None:
    good = [{"item": item, "rating": 3} for item in range(1, 11)]
    bad = client.post(
        f"/v1/users/{stranger}/ratings", json={"ratings": [*good, {"item": 11, "rating": 77}]}
    )
    assert bad.status_code == 422
    assert "item 11: rating must be from" in bad.json()["detail"]
    assert client.get(f"/v1/users/{stranger}/ratings").json()["n_ratings"] == 0
    assert asked(client, f"users/{stranger}/ratings", ratings=good)["n_ratings"] == 10


def test_everything_of_someone_is_gone_for_good(model: Path, tmp_path: Path) -> None:
    database = tmp_path / "ratings.db"
    with serving(model, database) as client:
        before = listed(client, user=9)
        rate(client, 9, 99, rating=2)
        client.delete("/v1/users/9").raise_for_status()
        assert asked(client, "recommend", user=9)["basis"] == "neither"
    with serving(model, database) as client:
        assert asked(client, "recommend", user=9)["basis"] == "neither"
        assert client.get("/v1/users/9/ratings").json()["ratings"] == []
        assert before != listed(client, user=9)


def test_predictions_and_what_they_rest_on(client: httpx.Client, rec: Recommender) -> None:
    pairs = [{"user": 7, "item": 1}, {"user": "8", "item": "2"}, {"user": 7, "item": 777}]
    found = asked(client, "predict", pairs=[*pairs, {"user": 4444, "item": 1}])["predictions"]
    assert [row["basis"] for row in found] == ["both", "both", "user", "item"]
    expected = [rec.predict(row["user"], row["item"]) for row in found]
    assert [row["prediction"] for row in found] == expected
    assert [row["user"] for row in found] == [7, 8, 7, 4444]


def test_reasons_add_up(client: httpx.Client, stranger: int) -> None:
    rate(client, stranger, 2, rating=5.0)
    rate(client, stranger, 3, rating=2.0)
    for whom in ({"user": stranger}, {"user": 7}, {"ratings": [{"item": 2, "rating": 5}]}):
        for of in ("rating", "preference"):
            found = asked(client, "explain", item=1, of=of, k=100, **whom)
            assert sum(part["contribution"] for part in found["parts"]) == pytest.approx(
                found["prediction"], abs=1e-5
            )


def test_a_group_is_ordered_by_the_mean_of_its_members(client: httpx.Client) -> None:
    found = asked(client, "recommend/group", users=[7, 8, 4444], k=40)
    means = [sum(row["preferences"]) / 3 for row in found["items"]]
    assert means == sorted(means, reverse=True)
    assert found["basis"] == ["user", "user", "neither"]
    has = {
        row["item"]
        for user in (7, 8)
        for row in client.get(f"/v1/users/{user}/ratings").json()["ratings"]
    }
    assert not has & {row["item"] for row in found["items"]}


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"candidates": [5, 6, 777]}, {5, 6}),
        ({"genres": ["sci-fi"]}, {1}),
        ({"genres": ["sci-fi"], "not_genres": ["Sci-Fi"]}, set()),
        ({"year_from": 1999, "year_to": 2003}, {1, 3, *range(19, 24)}),
        ({"candidates": list(range(1, 8)), "exclude": [1, 2, 3, 888]}, {4, 5, 6, 7}),
    ],
)
def test_a_list_can_be_told(
    client: httpx.Client, options: dict[str, Any], allowed: set[int]
) -> None:
    found = listed(client, user=4444, k=40, **options)
    assert set(found) == allowed


def test_items(client: httpx.Client, rec: Recommender) -> None:
    def titles(**query: Any) -> list[str]:
        found = client.get("/v1/items", params=query).json()
        return [item["title"] for item in found["items"]]

    assert titles(query="the matrix") == ["Matrix, The (1999)", "Matrix Reloaded, The (2003)"]
    assert titles(query="LEON") == ["Léon (1994)"]
    assert titles(genre="sci-fi") == ["Matrix, The (1999)"]
    assert titles(query="no such film") == []
    page = client.get("/v1/items/1").json()
    assert page["bias"] == rec.model.bias(rec.parameters, "item")[0]
    expected = rec.similar(1, k=10)
    assert [one["item"] for one in page["similar"]] == expected["item"].to_list()
    similar = client.get("/v1/items/1/similar", params={"limit": 3}).json()["items"]
    assert similar == page["similar"][:3]


def test_about_the_service(client: httpx.Client) -> None:
    assert client.get("/v1/model").json()["model"]["n_items"] == 40
    assert client.get("/health").json() == {"status": "ok", "generation": 1}
    assert client.get("/ready").status_code == 200
    metrics = client.get("/metrics").text
    assert 'dotbias_requests_total{method="GET",route="/v1/model",status="200"}' in metrics
    assert "dotbias_generation 1.0" in metrics
    for path in ("/page/main.js", "/page/views/item.js"):
        assert client.get(path).headers["content-type"].startswith("text/javascript")
    assert 'route="/page/{name:path}",status="200"}' in client.get("/metrics").text


def test_a_start_list_genres_and_whose_titles_are_meant(
    client: httpx.Client, rec: Recommender
) -> None:
    start = client.get("/v1/start", params={"n": 7}).json()["items"]
    vectors = rec.compared_by(None).unit_vectors
    order = start_list(vectors, rec.item_counts)[:7]
    assert [row["item"] for row in start] == rec.item_vocabulary.ids[order].to_list()
    assert start[0]["n_ratings"] == rec.item_counts.max()
    found = {row["genre"]: row["n_items"] for row in client.get("/v1/genres").json()["genres"]}
    assert found == {"Action": 3, "Drama": 38, "Sci-Fi": 1}
    names = ["2", 3, "the matrix", "LEON", "Film 4", "Film 4 (1984)", "Film", "777"]
    matched = asked(client, "items/match", names=names)["items"]
    assert [one and one["item"] for one in matched] == [2, 3, 1, 2, 4, 4, None, None]


@pytest.mark.parametrize("rank_by", ["preference", "rating"])
@pytest.mark.parametrize("known", [True, False])
def test_reasons_of_a_list_are_those_of_the_explanations(
    client: httpx.Client, rank_by: str, known: bool
) -> None:
    given = [{"item": 2, "rating": 5}, {"item": 3, "rating": 2}, {"item": 9, "rating": 4}]
    whom = {"user": 7} if known else {"ratings": given, "not_interested": [30]}
    for row in asked(client, "recommend", **whom, k=6, rank_by=rank_by, reasons=3)["items"]:
        parts = asked(client, "explain", **whom, item=row["item"], of=rank_by, k=100)["parts"]
        own = [part for part in parts if part["part"] == "rated item" and part["contribution"] > 0]
        own.sort(key=lambda part: -part["contribution"])
        assert [why["item"] for why in row["reasons"]] == [part["item"] for part in own[:3]]
        for why, part in zip(row["reasons"], own[:3], strict=True):
            assert (why["title"], why["rating"]) == (part["title"], part["rating"])
            assert why["contribution"] == pytest.approx(part["contribution"], abs=1e-9)


def test_lists_say_how_sure_they_are_where_samples_are_kept(tmp_path: Path) -> None:
    drawn, _ = db.simulate(60, 40, 900, n_factors=2, seed=0)
    solver = db.Gibbs(n_samples=12, burn_in=4, n_factors=2, keep_samples=8)
    made = db.fit(drawn, db.DotBias(n_factors=2), solver, purpose="predict", seed=0)
    made.save(tmp_path / "m.dotbias")
    user = int(made.user_vocabulary.raw(0))
    folded = made.fold_in_user({1: 5.0, 2: 1.0})
    with serving(tmp_path / "m.dotbias", tmp_path / "r.db") as client:
        assert client.get("/v1/model").json()["has_std"]
        known = asked(client, "recommend", user=user)["items"]
        items = made.item_vocabulary.indices([row["item"] for row in known])
        own = made.model.std(made.parameters, np.zeros(len(items), np.int32), items)
        assert [row["std"] for row in known] == pytest.approx(own.tolist())
        given = [{"item": 1, "rating": 5}, {"item": 2, "rating": 1}]
        new = asked(client, "recommend", ratings=given)["items"]
        items = made.item_vocabulary.indices([row["item"] for row in new])
        assert [row["std"] for row in new] == pytest.approx(folded.std(items).tolist())


@pytest.mark.usefixtures("mapped")
def test_the_map_and_ones_place_on_it(client: httpx.Client, rec: Recommender) -> None:
    found = client.get("/v1/map").json()
    rows = {row["item"]: row for row in found["items"]}
    # What the library places, of an embedding that a test can see through.
    expected = embedding_map(rec, max_points=MOST_POINTS, n_threads=1).table
    assert [row["x"] for row in rows.values()] == pytest.approx(expected["x"].to_list())
    assert list(rows) == expected["item"].to_list()
    own = asked(client, "map/position", ratings=[{"item": 2, "rating": 5}])
    near = [row["item"] for row in own["near"]]
    folded = rec.fold_in_user({2: 5.0}).vector("preference")
    vectors = rec.compared_by(None).unit_vectors
    at = rec.item_vocabulary.indices(list(rows))
    cosines = dict(zip(rows, vectors[at] @ (folded / np.linalg.norm(folded)), strict=True))
    best = sorted((item for item in rows if cosines[item] > 0), key=lambda item: -cosines[item])[
        :10
    ]
    assert near == best
    weights = [cosines[item] for item in near]
    for axis in ("x", "y"):
        places = [rows[item][axis] for item in near]
        assert own[axis] == pytest.approx(np.average(places, weights=weights), rel=1e-4)
    assert asked(client, "map/position", user=4444)["x"] is None


def test_the_map_does_not_keep_anybody_waiting(model: Path, tmp_path: Path) -> None:
    with serving(model, tmp_path / "r.db") as client:
        first = client.get("/v1/map")
        assert first.status_code == 503
        assert first.headers["retry-after"] == "1"
        assert client.get("/v1/map/state").json()["state"] == "making"
        begin = time.monotonic()
        assert client.post("/v1/recommend", json={"user": 7}).status_code == 200
        assert time.monotonic() - begin < 2
    # And a service that ends does not wait for it.


def test_a_map_is_never_that_of_another_model(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.dotbias"
    shutil.copy(model, path)
    with serving(path, tmp_path / "r.db") as client:
        other = Recommender.load(model)
        turned = {"item_factors": other.preference.parameters["item_factors"] * np.float32(-1)}
        second = replace(other.preference, parameters=other.preference.parameters | turned)
        replace(other, preference=second).save(path)
        while (state := client.get("/v1/map/state").json()["state"]) == "making":
            time.sleep(0.1)
        assert state == "none"
        assert "another one now" in client.get("/v1/map").json()["detail"]


def test_a_model_without_embeddings_has_no_map(tmp_path: Path) -> None:
    drawn, _ = db.simulate(30, 20, 200, n_factors=2, seed=0)
    path = tmp_path / "m.dotbias"
    db.fit(drawn, db.Baseline(), seed=0).save(path)
    with serving(path, tmp_path / "r.db") as client:
        while (state := client.get("/v1/map/state").json()["state"]) == "making":
            time.sleep(0.1)
        assert state == "none"
        assert client.get("/v1/map").status_code == 404
        assert "no embeddings" in client.get("/v1/map").json()["detail"]
        counts = [row["n_ratings"] for row in client.get("/v1/start").json()["items"]]
        assert counts == sorted(counts, reverse=True)


@pytest.mark.usefixtures("mapped")
def test_the_examples_of_the_description_work(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    n = 0
    for path, calls in described["paths"].items():
        for method, call in calls.items():
            if "requestBody" not in call:
                continue
            reference = call["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            schema = described["components"]["schemas"][reference.rpartition("/")[2]]
            filled = path.replace("{user}", "20001").replace("{item}", "1")
            (example,) = schema["examples"]
            answer = client.request(method, filled, json=example)
            assert answer.status_code == 200, (path, answer.text)
            content = call["responses"]["200"]["content"]["application/json"]
            model = getattr(schemas, content["schema"]["$ref"].rpartition("/")[2])
            own = answer.json()
            assert own == model.model_validate(own).model_dump(exclude_unset=True)
            n += 1
    assert n == 8


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("GET", "/v1/nothing", None, 404, "there is no /v1/nothing; /openapi.json"),
        ("GET", "/v1/items/777", None, 404, "item '777' is not among the 40"),
        ("GET", "/v1/items/777/similar", None, 404, "777"),
        ("GET", "/v1/items?limit=0", None, 422, "query.limit"),
        ("GET", "/v1/items?genre=Kitchen", None, 422, "no item has the genre"),
        ("PUT", "/v1/users/1/ratings/1", b'{"rating": 9}', 422, "from"),
        ("PUT", "/v1/users/1/ratings/1", b'{"rating": NaN}', 422, "rating"),
        ("PUT", "/v1/users/1/ratings/1", b"{}", 422, "rating is missing: it must be from 1 to 5"),
        ("PUT", "/v1/users/1/ratings/1", b'{"rating": 3, "state": "wish"}', 422, "wish"),
        (
            "PUT",
            "/v1/users/1/ratings/1",
            b'{"rating": 3, "stars": 3}',
            422,
            "body.stars: there is no such field",
        ),
        ("PUT", "/v1/users/x/ratings/1", b'{"rating": 3}', 422, "user ids are integers"),
        ("PUT", "/v1/users/1/ratings/x", b'{"rating": 3}', 422, "item ids are integers"),
        ("PUT", "/v1/users/%00/ratings/1", b'{"rating": 3}', 422, "control characters"),
        ("PUT", "/v1/users/%ff/ratings/1", b'{"rating": 3}', 422, "user"),
        ("PUT", "/v1/users/1/ratings/1", b"{", 400, "the body is no JSON, from letter 1 on"),
        ("PUT", "/v1/users/1/ratings/1", b"[" * 100_000, 400, ""),
        ("PUT", f"/v1/users/{2**63}/ratings/1", b'{"rating": 3}', 422, "at most 64 bits"),
        ("PUT", f"/v1/users/1/ratings/{'9' * 501}", b'{"rating": 3}', 422, "at most 500"),
        ("GET", "/v1/model/", None, 404, "there is no"),
        ("GET", "/page/..%2fgate.py", None, 404, ""),
        ("POST", "/v1/recommend", b"{}", 422, "either a user or ratings"),
        ("POST", "/v1/recommend", b'{"user": 1, "k": 0}', 422, "body.k"),
        ("POST", "/v1/recommend", b'{"user": "five"}', 422, "user ids are integers here"),
        (
            "POST",
            "/v1/recommend",
            b'{"user": 1, "year_from": 2000, "year_to": 1990}',
            422,
            "exchange",
        ),
        ("POST", "/v1/recommend", b'{"ratings": {"1": 5}}', 422, "body.ratings: must be a list"),
        ("POST", "/v1/recommend", b"[1]", 422, "body: must be an object"),
        ("POST", "/v1/recommend", b'{"user": 1.5}', 422, "body.user"),
        ("POST", "/v1/recommend", b'{"user": "\\ud800"}', 422, "valid string"),
        ("POST", "/v1/recommend", b'{"user": 1, "genres": ["x"]}', 422, "no item has the genre"),
        ("POST", "/v1/recommend", b'{"user": 1, "year_from": 1e400}', 422, "year_from"),
        ("POST", "/v1/explain", b'{"user": 1, "item": 777}', 404, "777"),
        ("POST", "/v1/recommend", b'{"user": 1, "k": 101, "reasons": 1}', 422, "at most 100"),
        ("POST", "/v1/predict", b'{"pairs": []}', 422, "body.pairs"),
        ("POST", "/v1/recommend?k=3", b'{"user": 1}', 422, "'k' is no parameter of this address"),
        ("GET", "/v1/items?query=a&k=3", None, 422, "it has query, genre, limit"),
        ("PUT", "/v1/users/1_0/ratings/1", b'{"rating": 3}', 422, "user ids are integers here"),
        ("DELETE", "/v1/items/1", None, 405, "DELETE is not for this address, which takes GET"),
    ],
)
def test_what_is_wrong_is_a_problem(
    client: httpx.Client, method: str, path: str, body: bytes | None, status: int, said: str
) -> None:
    json = {"content-type": "application/json"}
    answer = client.request(method, path, content=body, headers=json)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert said in answer.json()["detail"]


def test_the_bodies_of_the_page_on_serving_work(client: httpx.Client, stranger: int) -> None:
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text("utf-8")
    rows = re.findall(r"^\| `((?:POST|PUT) [^`]+)` \| (`\{.*`) \|$", page, re.MULTILINE)
    bodies = [(call, body) for call, row in rows for body in re.findall(r"`(\{.*?\})`(?:,|$)", row)]
    for call, body in bodies:
        method, path = call.replace("/42/", f"/{stranger}/").replace("2571", "3").split()
        answer = client.request(
            method,
            path,
            content=body.replace("2571", "3"),
            headers={"content-type": "application/json"},
        )
        assert answer.status_code == 200, (call, body, answer.text)
    assert len(bodies) == 11


def test_a_body_that_is_not_called_json_is_told_how(client: httpx.Client) -> None:
    answer = client.post("/v1/recommend", data={"user": 1})
    assert answer.status_code == 422
    assert "Content-Type: application/json" in answer.json()["detail"]


def test_an_id_may_hold_a_slash(client: httpx.Client) -> None:
    assert client.get("/v1/users/a%2Fb/ratings").json()["user"] == "a/b"


def test_limits(model: Path, tmp_path: Path) -> None:
    limits = Limits(max_body=1000, rate=5, hosts=("127.0.0.1",))
    with serving(model, tmp_path / "r.db", limits=limits) as client:
        large = client.post("/v1/recommend", json={"user": 1, "exclude": [1] * 1000})
        assert large.status_code == 413

        def parts():
            yield from (b" " * 600, b" " * 600)

        assert client.post("/v1/recommend", content=parts()).status_code == 413
        elsewhere = client.get("/health", headers={"host": "evil.example:8000"})
        assert elsewhere.status_code == 400
        nowhere = client.get("/health", headers={"host": "["})
        assert nowhere.status_code == 400
    named = Limits(hosts=("Shop.Example:8000", "::1"))
    with serving(model, tmp_path / "n.db", limits=named) as client:
        for host in ("shop.example", "SHOP.example:80", "[::1]:8000"):
            assert client.get("/health", headers={"host": host}).status_code == 200
        assert client.get("/health").status_code == 400
    with serving(model, tmp_path / "r.db", limits=limits) as client:
        for site in ("cross-site", "same-site"):
            cross = client.post("/v1/reload", headers={"sec-fetch-site": site})
            assert cross.status_code == 400
        # Keys that are made up bring no more turns.
        made_up = [{"authorization": f"Bearer {n}"} for n in range(12)]
        refused = [client.get("/health", headers=key).status_code for key in made_up]
        assert refused.count(429) >= 5
        assert "retry-after" in client.get("/health").headers


def test_elsewhere_a_key_is_needed(model: Path, tmp_path: Path) -> None:
    database = Database(tmp_path / "r.db")
    database.check()
    key = Keys(database).add("shop")
    said = {"rating": 3}
    with serving(model, tmp_path / "r.db", needs_key=True) as client:
        assert client.post("/v1/recommend", json={"user": 1}).status_code == 200
        for method, path, body in (
            ("PUT", "/v1/users/1/ratings/1", said),
            ("GET", "/v1/users/1/export", None),
            ("DELETE", "/v1/users/1", None),
            ("POST", "/v1/explain", {"user": 1, "item": 1}),
            ("POST", "/v1/recommend", {"user": 1, "reasons": 1}),
            ("POST", "/v1/reload", None),
        ):
            for given, said_of_it in (
                (None, "send a key"),
                ("Bearer wrong", "not known to this service's database"),
                (f"Basic {key}", "send a key"),
            ):
                headers = {} if given is None else {"authorization": given}
                answer = client.request(method, path, json=body, headers=headers)
                assert answer.status_code == 401
                assert said_of_it in answer.json()["detail"]
        good = {"authorization": f"Bearer {key}"}
        assert client.put("/v1/users/1/ratings/1", json=said, headers=good).status_code == 200
    assert key.encode() not in (tmp_path / "r.db").read_bytes()
    database.close()
