"""Ratings from databases on the command line: what a service was told, and tables of others."""

import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from dotbias.recommender.recommender import Recommender
from dotbias.serving.store.database import Database
from dotbias.serving.store.said import Said
from dotbias.serving.store.schema import STATES
from dotbias.serving.store.store import Kind, State, Store
from tests.cli.command import fails, run

FILE = {(1, 1): 3.0, (1, 2): 4.0, (2, 1): 5.0, (2, 2): 1.0, (3, 1): 2.0, (3, 2): 2.5}
SPOKEN: tuple[tuple[int, int, float | None, Kind], ...] = (
    (1, 1, 1.5, "rating"),  # in place of another one
    (1, 2, None, "deleted"),
    (1, 3, 4.5, "rating"),
    (2, 1, None, "not-interested"),
    (2, 2, None, "wish"),  # says nothing of how good it is
    (9, 2, 3.5, "rating"),
)
AFTERWARDS = (3, 4, 5.0)  # what somebody says who has had everything deleted before


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [(user, item, value, 10**9) for (user, item), value in FILE.items()]
    columns = ["user", "item", "rating", "timestamp"]
    pl.DataFrame(rows, columns, orient="row").write_csv("ratings.csv")
    Path("films.csv").write_text("movieId,title\n1,Heat (1995)\n3,Big (1988)\n")


@pytest.fixture
def told(address: str) -> str:
    """The database of a service that was told something."""
    store = Store(Database(address))
    store.erase("3").result()
    for user, item, value, kind in (*SPOKEN, (*AFTERWARDS, "rating")):
        store.put(str(user), [State(str(item), kind, value, 1_700_000_000_000)]).result()
    store.close()
    return address


def split(source: str) -> dict[tuple[Any, Any], float]:
    """The ratings that a command reads."""
    said = run(f"split {source} --train a.csv --test b.csv --force").stderr
    assert "milliseconds" not in said  # what is the service's own is known
    rows = [row for name in ("a.csv", "b.csv") for row in pl.read_csv(name).rows()]
    return {(user, item): value for user, item, value, *_ in rows}


RATED = {(user, item): value for user, item, value, kind in SPOKEN if kind == "rating"} | {
    AFTERWARDS[:2]: AFTERWARDS[2]
}


def test_what_a_service_was_told_is_read(told: str) -> None:
    assert split(f"--database '{told}'") == RATED


def test_it_counts_over_the_ratings_of_a_file(told: str) -> None:
    gone = {(1, 2), (2, 1), (3, 1), (3, 2)}
    kept = {pair: value for pair, value in FILE.items() if pair not in gone}
    assert split(f"ratings.csv --database '{told}'") == kept | RATED
    done = run(f"split ratings.csv --database '{told}' --train a.csv --test b.csv --force")
    assert f"{len(RATED)} ratings, which count over those of ratings.csv" in done.stderr
    assert pl.read_csv("a.csv")["timestamp"].is_in([10**9, 1_700_000_000]).all()


def test_a_model_is_fitted_to_it(told: str) -> None:
    how = "--solver als --iterations 2 --factors 1 --test-size 0 --titles films.csv --scale 0 6"
    for source in ("", "ratings.csv "):
        run(f"fit {source}--database '{told}' {how} -o m.dotbias --force")
        rec = Recommender.load("m.dotbias")
        assert rec.rated.nnz == len(RATED) + (source != "")
        assert rec.scale == (0, 6)
        assert rec.item_vocabulary.label(rec.item_vocabulary.indices([3])[0]) == "Big (1988)"


def test_other_commands_take_it(told: str) -> None:
    run("fit ratings.csv --solver als --iterations 1 --factors 1 --test-size 0 -o m.dotbias")
    run(f"update m.dotbias --database '{told}' -o grown.dotbias")
    assert Recommender.load("grown.dotbias").rated.nnz == len({**FILE, **RATED})
    said = run(f"evaluate m.dotbias --database '{told}' --json").stdout
    assert '"rmse"' in said
    assert "not both" in fails(f"race --surface beale --database '{told}'")


def engine(address: str) -> sa.Engine:
    url = address if "://" in address else f"sqlite:///{address}"
    return sa.create_engine(url, poolclass=sa.NullPool)


def test_any_table_or_view_is_read(address: str) -> None:
    people = [str(uuid.UUID(int=0xABC << 60 | n)) for n in range(4)]
    columns = (
        *(sa.Column("customer", sa.Uuid), sa.Column("film", sa.BigInteger)),
        *(sa.Column("stars", sa.Numeric(3, 1)), sa.Column("at", sa.DateTime(timezone=True))),
    )
    table = sa.Table("Stars of May", sa.MetaData(), *columns)
    with engine(address).begin() as connection:
        table.metadata.create_all(connection)
        at = sa.func.current_timestamp()
        for n in range(12):
            row = (uuid.UUID(people[n % 4]), n // 4, 1 + n % 9 / 2, at)
            connection.execute(sa.insert(table).values(row))
        connection.execute(
            sa.text('CREATE VIEW best AS SELECT * FROM "Stars of May" WHERE stars > 2')
        )
    columns_are = "--user-column customer --item-column film --rating-column stars"
    found = split(f"--database '{address}' --table 'Stars of May' {columns_are}")
    assert sorted(found.values()) == sorted(1 + n % 9 / 2 for n in range(12))
    assert {user.replace("-", "") for user, _ in found} == {p.replace("-", "") for p in people}
    best = split(f"--database '{address}' --table best {columns_are}")
    assert best == {pair: value for pair, value in found.items() if value > 2}
    said = fails(f"fit --database '{address}' --table bets")
    assert "there is no table 'bets', but " in said
    assert "did you mean 'best'?" in said
    said = fails(f"fit --database '{address}'")
    assert "no service keeps anything in it, it holds tables of something else" in said
    assert "--table reads one of them" in said
    with engine(address).begin() as connection:
        connection.execute(sa.delete(table))
    said = fails(f"fit --database '{address}' --table 'Stars of May' {columns_are}")
    assert "no rows" in said


def test_tables_of_another_schema_are_read(server: Any) -> None:
    address = server.database(f"schemas_{uuid.uuid4().hex}")
    with engine(address).begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA shop"))
        connection.execute(sa.text("CREATE TABLE shop.orders (uid int, item int, rating int)"))
        connection.execute(sa.text("INSERT INTO shop.orders VALUES (1, 2, 3), (2, 2, 5)"))
        connection.execute(sa.text("CREATE MATERIALIZED VIEW mine AS SELECT * FROM shop.orders"))
    for name in ("shop.orders", "mine"):
        found = split(f"--database '{address}' --table {name} --user-column uid --test-size 0.5")
        assert found == {(1, 2): 3, (2, 2): 5}


def test_nothing_is_made_or_changed(tmp_path: Path) -> None:
    assert "none.db: No such file" in fails("fit --database none.db")
    with closing(sqlite3.connect("shop.db")) as connection:
        connection.execute("CREATE TABLE orders (a, b)")
    before = Path("shop.db").read_bytes()
    assert "orders; --table reads one" in fails("fit --database shop.db")
    assert Path("shop.db").read_bytes() == before
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".db"}


def test_databases_that_hold_no_ratings(new_database: Callable[[], str]) -> None:
    address = new_database()
    run(f"keys add shop --database '{address}'")
    assert "nobody has rated anything yet" in fails(f"fit --database '{address}'")
    with engine(address).begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    assert "its form is 9999, which this version" in fails(f"fit --database '{address}'")


def test_it_is_read_at_one_moment(told: str) -> None:
    store, reader = Store(Database(told)), Database(told, read_only=True)
    with reader.connected(reader.reading) as connection:
        count = sa.select(sa.func.count()).select_from(STATES)
        before = connection.execute(count).scalar_one()
        store.put("1", [State("40", "rating", 1.0, 0)]).result()
        assert connection.execute(count).scalar_one() == before
    assert Said.of(reader).states.height == before + 1
    reader.close()
    store.close()


@pytest.mark.parametrize(
    "option", ["fit --database {0}", "fit --database {0} --table x", "fit {0}"]
)
@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://me:secret@127.0.0.1:1/base",
        "postgresql+psycopg://me@127.0.0.1:1/base?password=secret",
        "postgresql+nodriver://me:sec:ret@secret@host/base",
        "mysql://me:secret@host/base",
        "nonsense://me:secret@host/base",
        "postgresql+psycopg://me:secret@host:port/base",
        "sqlite://me:secret@host/base",
    ],
)
def test_a_password_is_never_printed(option: str, address: str) -> None:
    said = fails(option.format(f"'{address}'"))
    assert "secret" not in said
    assert "***" in said
