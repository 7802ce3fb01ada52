"""The commands about the service; what it answers is tried in tests/serving."""

import json
import re
from contextlib import closing
from pathlib import Path

import pytest

from dotbias import model_file
from dotbias.serving.store.database import Database
from tests.cli.command import fails, run


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_keys_are_shown_once() -> None:
    done = run("keys add shop")
    key = done.stdout.removesuffix("\n")
    assert re.fullmatch("dotbias_[^\\s]+", key)
    assert "Made the database dotbias.db." in done.stderr
    assert "--database dotbias.db" in done.stderr
    assert "Authorization: Bearer" in done.stderr
    assert "Made" not in run("keys add other").stderr
    assert "there is a key of that name" in fails("keys add shop")
    listed = run("keys list --csv").stdout
    assert "shop" in listed
    assert [key["name"] for key in json.loads(run("keys list --json").stdout)] == ["shop", "other"]
    assert key not in listed
    run("keys revoke shop")
    assert "there is no key of that name" in fails("keys revoke shop")


def test_a_database_is_brought_up() -> None:
    Path("r.db").touch(0o600)
    assert run("db upgrade --database r.db").stdout == "r.db: now 0001\n"
    assert run("db upgrade --database r.db").stdout == "r.db: was and is 0001\n"
    assert Path("r.db").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("command", ["db upgrade", "keys list", "keys revoke shop"])
def test_a_name_that_is_mistyped_makes_no_database(command: str) -> None:
    assert fails(f"{command} --database r.bd") == (
        "r.bd: there is no such file; --database names another"
    )
    assert not Path("r.bd").exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("serve no.dotbias --port 0", "there is no model file no.dotbias"),
        ("serve text.csv --port 0", "text.csv is no model file"),
        ("serve some.dotbias --port 0 --database no/r.db", "no/r.db"),
        (
            "serve some.dotbias --port 0 --database used.db",
            "used.db: another service is using it; name",
        ),
        ("serve no.dotbias --port 0 --database mysql://x/y", "mysql://x/y"),
        ("serve no.dotbias --host 203.0.113.7", "name another with --host or --port"),
        ("serve no.dotbias --port 0 --refit-every x", "--refit-every x: write a time"),
    ],
)
def test_what_cannot_be_served_is_said_before_the_work(command: str, said: str) -> None:
    model_file.write(Path("some.dotbias"), {}, {})
    Path("text.csv").write_text("user,item,rating\n1,1,1\n")
    with closing(Database("used.db")) as used:
        used.claim()
        before = set(Path().iterdir())
        assert said in fails(command)
        assert set(Path().iterdir()) == before
