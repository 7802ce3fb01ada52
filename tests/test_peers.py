"""benchmarks/peers: its queue and its claims. No other library is needed."""

import json
import math
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import dotbias as db

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
MODULES = (
    "claims",
    "contestants",
    "environments",
    "jobs",
    "machine",
    "records",
    "report",
    "run",
    "sets",
)


@pytest.fixture(scope="module")
def peers() -> Iterator[Any]:
    """Its modules, which find each other as they do when its folder is run."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        patch.syspath_prepend(str(FOLDER / "peers"))
        yield SimpleNamespace(**{name: __import__(name) for name in MODULES})
        for name in set(sys.modules) - before:
            if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


def named(peers: Any, *names: str, task: str = "ratings") -> list[Any]:
    return [c for c in peers.contestants.contestants(task) if c.name in names]


# -- the queue ---------------------------------------------------------------------------------------


def test_everyone_has_a_turn_and_each_repeat_begins_elsewhere(peers: Any) -> None:
    orders = [peers.jobs.rotated([*range(7)], n, 3) for n in range(3)]
    assert [order[0] for order in orders] == [0, 2, 4]
    assert all(sorted(order) == [*range(7)] for order in orders)


def test_searches_come_first_and_nobody_gets_more_threads_than_it_can_use(peers: Any) -> None:
    who = named(peers, "Surprise SVD", "cmfrec")
    visits = list(peers.jobs.visits("ml-100k", who, [1, 2], 2))
    assert [v.kind for v in visits] == ["try"] * 2 + ["fit"] * 6
    assert {v.threads for v in visits if v.contestant.name == "Surprise SVD"} == {1}
    assert [v.contestant.name for v in visits[2:4]] == ["cmfrec", "Surprise SVD"]
    assert [v.contestant.name for v in visits[5:7]] == ["Surprise SVD", "cmfrec"]


def test_the_first_try_is_the_library_as_it_is_and_all_have_as_many(peers: Any) -> None:
    for contestant in peers.contestants.contestants("ratings"):
        tries = contestant.tries(8)
        if contestant.point or contestant.name == "dotbias":
            assert len(tries) == 1
        else:
            assert len({json.dumps(one) for one in tries}) == len(tries) == 8, contestant.name
            assert tries[0] == contestant.tries(1)[0]


class Stub:
    """In the place of a worker: loss and seconds of each setting, as told."""

    def __init__(self, say: Any, visit: Any, cores: list[int]) -> None:
        self.say, self.visit, self.cores = say, visit, cores

    def __enter__(self) -> "Stub":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def kill(self) -> None:
        pass

    def ask(self, job: dict[str, Any], _limit: float) -> dict[str, Any]:
        found = self.say(self.visit, job)
        if "failed" not in found:
            np.save(job["out"], np.array([found.pop("loss")]))
        return found


@pytest.fixture
def queue(peers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a queue of stubs, with the records of the same file each time."""
    part = SimpleNamespace(
        save=lambda path: path.touch(),
        figures=lambda found: {"rmse": found[0], "loss": found[0]},
    )
    monkeypatch.setattr(peers.run, "_part", lambda *_: part)

    def make(say: Any, **how: Any) -> Any:
        monkeypatch.setattr(peers.run, "Worker", lambda _, visit, cores: Stub(say, visit, cores))
        records = peers.records.Records.of(tmp_path / "found.jsonl")
        here = dict.fromkeys(("cmfrec", "surprise"))
        default = {"n_tries": 3, "n_splits": 2, "repeats": 2, "threads": [1], "limit": 9}
        rest = {"search": 99, "enough": 99, "budget": 99, "say": lambda _: None}
        return peers.run.Queue(records, here, **default | rest | how)

    return make


def quick(loss: Any = lambda _: 1.0) -> tuple[Any, list[dict[str, Any]]]:
    """What a stub says, and a list of what it was asked."""
    asked: list[dict[str, Any]] = []

    def say(visit: Any, job: dict[str, Any]) -> dict[str, Any]:
        asked.append(job | {"kind": visit.kind, "method": visit.contestant.name})
        return {"loss": loss(asked[-1]), "seconds": 1.0, "others": 0.0}

    return say, asked


def test_a_run_that_was_ended_goes_on_where_it_was(peers: Any, queue: Any) -> None:
    who = named(peers, "cmfrec", "Surprise SVD")
    say, asked = quick()

    def ends(visit: Any, job: dict[str, Any]) -> dict[str, Any]:
        if len(asked) == 13:
            raise KeyboardInterrupt
        return dict(say(visit, job))

    with pytest.raises(KeyboardInterrupt):
        queue(ends).run("ml-100k", who)
    path = queue(say).records.path
    path.write_text(path.read_text()[:-20])  # the last line was cut off
    goes_on = queue(say)
    with goes_on.records.alone():
        assert goes_on.run("ml-100k", who)
    all_jobs = 2 * 2 * 3 + 2 * 2 * 2  # methods, splits and tries; methods, splits and repeats
    assert len(asked) == all_jobs + 1
    assert len(peers.records.Records.of(path).keys) == all_jobs
    assert queue(say).run("ml-100k", who)
    assert len(asked) == all_jobs + 1


def test_settings_are_those_with_the_least_loss_on_that_split_and_seeds_differ(
    peers: Any, queue: Any
) -> None:
    (who,) = named(peers, "cmfrec")
    tries = who.tries(3)

    def loss(job: dict[str, Any]) -> float:
        best = tries[1] if "u1" in job["rows"] else tries[2]
        return 0.5 if job["settings"] == best else 1.0

    say, asked = quick(loss)
    queue(say).run("ml-100k", [who])
    fits = [job for job in asked if job["kind"] == "fit"]
    assert [job["settings"] for job in fits] == [tries[1], tries[2]] * 2
    assert [job["seed"] for job in fits] == [0, 0, 1, 1]
    assert all("inner" in job["rows"] for job in asked if job["kind"] == "try")
    assert not any("inner" in job["rows"] for job in fits)


def test_searches_run_side_by_side_each_on_its_core_and_an_end_ends_all(
    peers: Any, queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 5})
    who, (say, asked) = named(peers, "cmfrec", "Surprise SVD"), quick()
    both, at = threading.Barrier(2, timeout=20), []

    def meets(visit: Any, job: dict[str, Any]) -> dict[str, Any]:
        both.wait()
        at.append(job["out"])
        return dict(say(visit, job))

    assert queue(meets, fits=False).run("ml-100k", who)
    assert {job["kind"] for job in asked} == {"try"}
    assert sorted({Path(out).stem for out in at}) == ["found-3", "found-5"]

    def one_fails(visit: Any, _job: dict[str, Any]) -> dict[str, Any]:
        if visit.contestant.name == "cmfrec":
            raise KeyboardInterrupt
        waits.wait(20)
        return {"failed": "killed"}

    waits = threading.Event()
    monkeypatch.setattr(Stub, "kill", lambda _: waits.set())
    ends = queue(one_fails, n_tries=4, fits=False)
    with pytest.raises(KeyboardInterrupt):
        ends.run("ml-100k", who)
    assert not any("failed" in one for one in ends.records.all("try"))


def test_what_takes_too_long_is_recorded_once_and_left_out(peers: Any, queue: Any) -> None:
    who = named(peers, "cmfrec", "Surprise SVD")
    say, asked = quick()

    def slow(visit: Any, job: dict[str, Any]) -> dict[str, Any]:
        found = dict(say(visit, job))
        return {"failed": "over the limit of 9 s"} if visit.contestant.name == "cmfrec" else found

    for _ in range(2):
        assert queue(slow).run("ml-100k", who)
        assert [job["kind"] for job in asked if job["method"] == "cmfrec"] == ["try"]
    assert sum(job["kind"] == "fit" for job in asked) == 4


def test_where_the_first_settings_use_the_search_up_other_splits_take_them_untried(
    peers: Any, queue: Any
) -> None:
    (who,) = named(peers, "cmfrec")
    say, asked = quick()

    def slow(visit: Any, job: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.01)
        return dict(say(visit, job))

    for _ in range(2):
        assert queue(slow, search=0.005).run("ml-100k", [who])
        assert [job["kind"] for job in asked] == ["try", *4 * ["fit"]]
        assert all(job["settings"] == who.tries(1)[0] for job in asked)


def test_who_takes_long_is_fitted_once(peers: Any, queue: Any) -> None:
    who = named(peers, "cmfrec", "Surprise SVD")
    say, asked = quick()

    def slow(visit: Any, job: dict[str, Any]) -> dict[str, Any]:
        return say(visit, job) | {"seconds": 6.0 if visit.contestant.name == "cmfrec" else 4.0}

    for _ in range(2):
        assert queue(slow, enough=10).run("ml-100k", who)
        fits = [job["method"] for job in asked if job["kind"] == "fit"]
        assert (fits.count("cmfrec"), fits.count("Surprise SVD")) == (2, 4)


def test_two_runs_do_not_add_to_the_same_file(peers: Any, tmp_path: Path) -> None:
    one, other = (peers.records.Records.of(tmp_path / "a" / "found.jsonl") for _ in range(2))
    with one.alone(), pytest.raises(BlockingIOError), other.alone():
        pass
    with other.alone():
        other.add({"kind": "run"})
    assert len(peers.records.Records.of(one.path).found) == 1


def test_tidied_records_say_what_all_of_them_say(peers: Any, tmp_path: Path) -> None:
    def run(at: int) -> dict[str, Any]:
        return {"kind": "run", "protocol": {"tries": at}, "machine": {}}

    one, two = records_of("peer", [[0.9]]), records_of("peer", [[0.8]])
    trying = [one[0] | {"kind": "try"}]
    here = [{"kind": "environment", "library": "peer", "reason": reason} for reason in ("no", "")]
    every = [run(0), here[0], *trying, run(1), here[1], *one, run(2), *two, run(3)]
    records = peers.records.Records(tmp_path / "all.jsonl")
    for record in every:
        records.add({name: value for name, value in record.items() if name != "run"})
    tidied = list(records.tidied())
    assert [record["kind"] for record in tidied] == ["try", "environment", "run", "fit"]
    again = peers.records.Records(tmp_path / "tidied.jsonl")
    for record in tidied:
        again.add(record)
    (fit,) = again.all("fit")
    assert fit["figures"]["rmse"] == 0.8
    runs = list(again.all("run"))
    assert runs[fit["run"]]["protocol"] == {"tries": 2}
    assert next(iter(again.all("try")))["settings"] == trying[0]["settings"]


def test_nothing_is_begun_after_the_budget(peers: Any, queue: Any) -> None:
    say, asked = quick()
    assert not queue(say, budget=-1).run("ml-100k", named(peers, "cmfrec"))
    assert asked == []


def test_a_process_of_its_own_makes_lists_and_is_ended_at_the_limit(
    peers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ratings, _ = db.simulate(n_users=60, n_items=40, n_ratings=1500, seed=0)
    import lists

    part = peers.sets.RankingPart(lists.Split.of(ratings, "known", 42), 4)
    part.save(tmp_path / "rows.npz")
    (who,) = named(peers, "most rated", task="rankings")
    visit = peers.jobs.Visit("fit", "invented", who)
    job = {"rows": str(tmp_path / "rows.npz"), "out": str(tmp_path / "out.npy")}
    here = peers.environments.environment("numpy")
    with peers.run.Worker(here, visit, peers.machine.pinned(1)) as worker:
        said = worker.ask(job | {"settings": {}, "seed": 0}, 60)
        assert said["seconds"] < 1
        assert said["others"] >= 0
        refused = worker.ask(job | {"settings": {"no": 1}, "seed": 0}, 60)
        assert "TypeError" in refused["failed"]
    figures = part.figures(np.load(tmp_path / "out.npy"))
    assert 0 < figures["ndcg"] < 1
    assert figures["loss"] == 1 - (figures["ndcg"] + figures["liked"]) / 2
    monkeypatch.setattr(peers.run, "START_SECONDS", 0)
    with peers.run.Worker(here, visit, peers.machine.pinned(1)) as worker:
        said = worker.ask(job | {"settings": {}, "seed": 0}, 0.001)
        assert said == {"failed": "over the limit of 0.001 s"}
    assert worker.process.poll() is not None


def test_biases_stand_in_where_a_library_has_no_answer_and_all_are_clipped(peers: Any) -> None:
    ratings, _ = db.simulate(n_users=60, n_items=40, n_ratings=1500, seed=0)
    part = peers.sets.RatingPart(*ratings.split(0.2, seed=1))
    biases = db.evaluate(db.fit(part.train, db.Baseline()), part.test, ranking=False).rmse
    none = np.full(len(part.test), np.nan)
    assert part.figures(none)["rmse"] == pytest.approx(biases, abs=1e-6)
    far = np.full(len(part.test), 99.0)
    highest = part.train.scale.highest
    assert part.figures(far)["mae"] == pytest.approx(np.mean(highest - part.test.values), abs=1e-6)


# -- the claims --------------------------------------------------------------------------------------


def records_of(
    method: str, errors: list[list[float]], seconds: float = 1.0, others: float = 0.0, **more: Any
) -> list[dict[str, Any]]:
    """A record for each split and repeat."""
    return [
        {
            "kind": "fit",
            "task": "ratings",
            "set": "ml-100k",
            "split": f"u{1 + split}",
            "method": method,
            "library": "dotbias" if method.startswith("dotbias") else method,
            "settings": {},
            "threads": 1,
            "seed": repeat,
            "repeat": repeat,
            "run": 0,
            "figures": {"rmse": error, "loss": error},
            "seconds": seconds * (1 + 0.01 * split),
            "others": others,
        }
        | more
        for split, of_split in enumerate(errors)
        for repeat, error in enumerate(of_split)
    ]


def shifted(by: list[float], repeats: int = 3) -> list[list[float]]:
    """Errors that differ a lot between the splits, and by so much from those of nothing."""
    return [[0.9 + 0.02 * n + shift] * repeats for n, shift in enumerate(by)]


OURS = shifted([0.0] * 5)


def pair(peers: Any, other: list[dict[str, Any]], **ours: Any) -> tuple[Any, Any]:
    one, two = peers.claims.rows([*records_of("dotbias", OURS, **ours), *other])
    return one, two


@pytest.mark.parametrize(
    ("by", "word"),
    [
        ([0.010, 0.011, 0.009, 0.010, 0.010], "better"),
        ([-0.010, -0.011, -0.009, -0.010, -0.010], "worse"),
        ([0.03, -0.02, 0.03, -0.02, 0.03], "tie"),
        ([0.0] * 5, "tie"),
    ],
)
def test_errors_are_compared_split_by_split(peers: Any, by: list[float], word: str) -> None:
    one, two = pair(peers, records_of("peer", shifted(by)))
    assert peers.claims.by_error(one, two, "rmse") == word


def test_two_standard_errors_are_the_border(peers: Any) -> None:
    differences = np.array([-1.0, 1.0, 0.0, 0.0])
    error = differences.std(ddof=1) / 2
    assert peers.claims.compared(differences - 1.99 * error) == "tie"
    assert peers.claims.compared(differences - 2.01 * error) == "better"
    assert peers.claims.compared(differences + 2.01 * error) == "worse"
    assert peers.claims.compared([-1.0]) == "tie"


@pytest.mark.parametrize(("seconds", "word"), [(1.45, "tie"), (1.55, "better"), (0.6, "worse")])
def test_a_time_needs_half_as_much_again(peers: Any, seconds: float, word: str) -> None:
    one, two = pair(peers, records_of("peer", OURS, seconds=seconds), seconds=1.0)
    for row in (one, two):  # the splits must not agree to the last digit
        assert row.timed([f"u{n}" for n in range(1, 6)], 3)
    noisy = [0.99, 1.01, 1.0, 0.99, 1.01]
    two.seconds = {
        s: [x * y for x in v] for (s, v), y in zip(two.seconds.items(), noisy, strict=True)
    }
    assert peers.claims.by_time(one, two) == word


def test_times_of_a_busy_machine_do_not_count(peers: Any) -> None:
    _, two = pair(peers, records_of("peer", OURS, seconds=9, others=0.7))
    assert two.seconds == {}
    assert math.isnan(two.median)
    assert not two.timed(["u1"], 1)
    assert two.complete(["u1"], 3)


def test_a_search_gives_way_to_work_of_other_sessions() -> None:
    group = Path("/proc/self/autogroup")
    if not os.access(group, os.W_OK) or not group.read_text().strip():
        pytest.skip("this system has no groups of sessions, or they are not ours to weigh")
    code = "import machine; machine.give_way(); print(open('/proc/self/autogroup').read())"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(FOLDER / "peers")},
        start_new_session=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip().endswith("nice 10")
    assert not group.read_text().strip().endswith("nice 10")  # ours is another


def test_what_a_clock_cannot_tell_from_its_ticks_is_nobodys_work(peers: Any) -> None:
    clock, tick = peers.machine.Clock, 1 / peers.machine.os.sysconf("SC_CLK_TCK")
    for wall in (0.007, 20.0):
        began = clock(5.0, 100.0, 30.0)
        of_its_own = clock(5.0 + wall, 100.0 + 3 * tick, 30.0 + tick)
        assert began.others(of_its_own) == 0
        beside = clock(5.0 + wall, 100.0 + wall + 2 * tick, 30.0)
        assert began.others(beside) == pytest.approx(1.0)


def test_of_fits_with_other_settings_the_last_count(peers: Any) -> None:
    old = records_of("peer", shifted([0.5] * 5))
    new = records_of("peer", shifted([0.01] * 4), settings={"k": 2})
    (row,) = peers.claims.rows([*old, *new])
    assert row.means("rmse") == pytest.approx(
        {"u1": 0.91, "u2": 0.93, "u3": 0.95, "u4": 0.97, "u5": 1.48}
    )
    assert row.settings["u1"] == {"k": 2}


def test_a_point_of_ours_must_be_at_or_below_in_both(peers: Any) -> None:
    point = records_of("dotbias, 5 epochs", shifted([0.02] * 5), seconds=0.1)

    def stands(by: float, seconds: float, wobble: float = 0.0) -> Any:
        by_split = [by + wobble * (-1) ** n for n in range(5)]
        peer = records_of("peer", shifted(by_split), seconds=seconds)
        *ours, row = peers.claims.rows([*records_of("dotbias", OURS), *point, *peer])
        return peers.claims.standing(row, ours)

    assert (stands(0.01, 1.0).how, stands(0.01, 1.0).ours.method) == ("below", "dotbias")
    assert (stands(0.03, 0.5).how, stands(0.03, 0.5).ours.method) == ("below", "dotbias, 5 epochs")
    assert stands(0.01, 0.5).how == "not"
    assert stands(-0.01, 9.0).how == "not"
    assert (stands(-0.006, 9.0, 0.02).how, stands(-0.006, 9.0, 0.02).ours.method) == (
        "tied",
        "dotbias",
    )
    assert "**not**" in str(stands(0.01, 0.5))


@pytest.fixture
def report(peers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a report of records."""
    some = ("dotbias", "LIBMF", "cmfrec", "myFM")
    named_ = [
        SimpleNamespace(
            task="ratings", library=name, name=name, point=False, n_tries=lambda n: n - 1
        )
        for name in some
    ]
    monkeypatch.setattr(
        peers.report, "contestants", lambda task: named_ if task == "ratings" else []
    )

    def make(*found: list[dict[str, Any]], repeats: int = 3) -> Any:
        records = peers.records.Records.of(tmp_path / "report.jsonl")
        protocol = {"repeats": repeats, "tries": 4, "threads": [1], "limit": 60, "enough": 20.0}
        about = peers.machine.description()
        records.add({"kind": "run", "protocol": protocol, "machine": about})
        records.add({"kind": "environment", "library": "gone", "reason": "no wheel"})
        for of_method in found:
            for record in of_method:
                records.add(record)
        return peers.report.Report.of(records)

    return make


def test_sentences_say_what_the_spread_carries_and_no_more(report: Any) -> None:
    wobble = [0.03, -0.03, 0.03, -0.03, 0.001]
    said = report(
        records_of("dotbias", OURS),
        records_of("LIBMF", shifted([0.010, 0.011, 0.009, 0.01, 0.01]), seconds=4.0),
        records_of("cmfrec", shifted(wobble), seconds=1.2),
        records_of("myFM", shifted([0.01] * 4)),
    ).sentences("ratings", "ml-100k")
    assert "a lower error than LIBMF (0.9500)." in said
    assert "a tie with cmfrec" in said
    assert "less time than LIBMF (4.0 times)." in said
    assert "Its time is a tie with cmfrec." in said
    assert "Not compared: myFM (repeats lack)." in said
    assert "higher error" not in said


def test_whose_tries_were_cut_short_is_said(report: Any) -> None:
    """Of four tries asked for, which were three settings; not of what has no fits."""

    def tried(method: str, *numbers: int) -> list[dict[str, Any]]:
        return [
            record | {"kind": "try", "settings": {"k": k}}
            for record, n in zip(records_of(method, shifted([0.0] * 5, 1)), numbers, strict=True)
            for k in range(n)
        ]

    said = report(
        *(records_of(name, OURS) for name in ("dotbias", "LIBMF", "cmfrec")),
        *(
            tried("LIBMF", 3, 1, 2, 3, 0),
            tried("cmfrec", 3, 3, 3, 3, 3),
            tried("myFM", 1, 1, 1, 1, 1),
        ),
    ).sentences("ratings", "ml-100k")
    assert said.endswith("Time was up before all settings were tried of LIBMF (0 to 3).")
    assert "Not compared: myFM (no timed fits)." in said


def test_who_is_over_the_limit_in_the_search_is_said(report: Any) -> None:
    (slow, *_) = records_of("myFM", OURS)
    tried = slow | {"kind": "try", "failed": "over the limit of 9 s"}
    said = report(records_of("dotbias", OURS), [tried]).sentences("ratings", "ml-100k")
    assert said.endswith("Not compared: myFM (over the limit of 9 s).")


def test_the_summary_counts_and_names_who_is_ahead(report: Any) -> None:
    made = report(
        records_of("dotbias", OURS, seconds=1.0),
        records_of("LIBMF", shifted([0.010, 0.011, 0.009, 0.01, 0.01]), seconds=0.2),
        records_of("cmfrec", shifted([0.010, 0.011, 0.009, 0.01, 0.01]), seconds=4.0),
        records_of("myFM", shifted([-0.010, -0.011, -0.009, -0.01, -0.01]), seconds=4.0),
    )
    said = made.summary("ratings", ["ml-100k"])
    assert "ml-100k: better than 2 of 3, worse than myFM, and no point" in said
    assert "at or below LIBMF and myFM in both" in said


def test_documents_are_filled_between_their_markers_alone(
    report: Any, peers: Any, tmp_path: Path
) -> None:
    document = tmp_path / "page.md"
    document.write_text(
        "Above.\n<!-- peers: ratings claims -->\nold\n<!-- end of peers -->\nBelow.\n"
    )
    made = report(records_of("dotbias", OURS), records_of("LIBMF", shifted([0.01] * 5)))
    blocks = made.blocks()
    for _ in range(2):
        assert peers.report.write_into(document, blocks) == ["ratings claims"]
        text = document.read_text()
        assert text.startswith("Above.\n<!-- peers: ratings claims -->\nml-100k, 5 splits")
        assert text.endswith("<!-- end of peers -->\nBelow.\n")
        assert "old" not in text
    assert "Not installed: gone: no wheel." in blocks["machine"].replace("\n", " ")  # is wrapped
    assert "| LIBMF | 0.9500 ± 0.0316 |" in blocks["ratings tables"]
    later = "<!-- peers: rankings claims -->\nas it was\n<!-- end of peers -->\n"
    document.write_text(later)
    assert peers.report.write_into(document, blocks) == []
    assert document.read_text() == later
    document.write_text("<!-- peers: nothing -->\n<!-- end of peers -->")
    with pytest.raises(peers.report.Unfinished, match="'nothing'"):
        peers.report.write_into(document, blocks)
    document.write_text("no markers")
    with pytest.raises(peers.report.Unfinished, match="no <!-- peers"):
        peers.report.write_into(document, blocks)


def test_a_row_that_took_long_needs_no_other_repeat(report: Any) -> None:
    made = report(
        records_of("dotbias", OURS),
        records_of("LIBMF", shifted([0.01] * 5, repeats=1), seconds=4.2),
        records_of("cmfrec", shifted([0.01] * 5, repeats=1), seconds=3.8),
    )
    said = made.sentences("ratings", "ml-100k")
    assert "a lower error than LIBMF (0.9500)." in said
    assert "Not compared: cmfrec (repeats lack)." in said
    assert "| LIBMF | 0.9500 ± 0.0316 | 4.28 s (once) |" in made.table("ratings", "ml-100k")


def test_sets_are_described_by_the_runs_that_fitted_them(report: Any, peers: Any) -> None:
    made = report(records_of("dotbias", OURS))
    other = peers.machine.description() | {"cpu": "Another", "date": "2031-05-01 10:00 UTC"}
    made.runs.append({"protocol": made.runs[0]["protocol"] | {"tries": 9}, "machine": other})
    later = [record | {"set": "ml-1m", "run": 1} for record in records_of("dotbias", OURS)]
    made.rows += peers.claims.rows(later)
    first, second = made.described().split("Ratings of ml-1m: ")
    assert first.startswith("Ratings of ml-100k: ")
    assert "4 tries" in first
    assert second.startswith("2031-05-01, Another, ")
    assert "9 tries" in second


def test_two_repeats_are_not_published(report: Any, peers: Any) -> None:
    made = report(records_of("dotbias", OURS), repeats=2)
    with pytest.raises(peers.report.Unfinished, match="at least 3"):
        made.blocks()


def test_the_picture_is_drawn_of_what_there_is(report: Any, peers: Any, tmp_path: Path) -> None:
    made = report(records_of("dotbias", OURS), records_of("LIBMF", shifted([0.01] * 5)))
    peers.report.draw(made, "ratings", "ml-100k", 1, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(peers.report.Unfinished, match="two threads: nothing to draw"):
        peers.report.draw(made, "ratings", "ml-100k", 2, tmp_path / "b.png")


def test_every_library_has_an_environment_of_pinned_requirements(peers: Any) -> None:
    wanted = {
        c.library for task in ("ratings", "rankings") for c in peers.contestants.contestants(task)
    }
    assert wanted - set(peers.environments.OURS) == set(peers.environments.names())
    for name in peers.environments.names():
        for line in (FOLDER / "peers" / "requirements" / f"{name}.txt").read_text().splitlines():
            assert line.startswith("# ") or re.fullmatch(r"[\w.-]+==[\w.]+", line), (name, line)


def test_the_documents_say_what_the_records_carry(peers: Any) -> None:
    records = peers.records.Records.of(FOLDER / "peers/found.jsonl")
    blocks = peers.report.Report.of(records).blocks()
    assert "rankings tables" in blocks
    for name in ("README.md", "docs/results.md"):
        text = (FOLDER.parent / name).read_text("utf-8")
        for block, inside in blocks.items():
            _, found, rest = text.partition(f"<!-- peers: {block} -->")
            if found:
                assert rest.startswith(f"\n{inside}\n<!-- end of peers -->"), (name, block)
