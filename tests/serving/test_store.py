"""The database: what is written is there, all of it or nothing, in the order in which it came."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from dotbias.errors import SettingError
from dotbias.serving.store.database import Database, DatabaseError
from dotbias.serving.store.said import Said
from dotbias.serving.store.store import Kind, State, Store


@pytest.fixture
def store(address: str) -> Iterator[Store]:
    made = Store(Database(address))
    yield made
    made.close()


def said(item: str, value: float | None = 4.0, kind: Kind = "rating", time: int = 0) -> State:
    return State(item, kind, value, time)


def test_the_last_word_counts(store: Store) -> None:
    writes = [store.put("u", [said("1", value)]) for value in (1.0, 2.0, 3.0)]
    writes.append(store.put("u", [said("2", None, "wish"), said("3", None, "not-interested")]))
    for write in writes:
        write.result()
    found = store.known("u")
    assert {state.item: state.value for state in found.states} == {"1": 3.0, "2": None, "3": None}
    assert not found.erased
    assert store.n_changes() == 5


def test_deleting_everything_is_kept_in_order(store: Store) -> None:
    writes = [
        store.put("u", [said("1")]),
        store.put("v", [said("1")]),
        store.erase("u"),
        store.put("u", [said("2")]),
    ]
    for write in writes:
        write.result()
    assert store.known("u") == ((said("2"),), True)
    assert store.known("v") == ((said("1"),), False)
    assert Said.of(store.database).erased(["u", "v", "w"]) == {"u"}
    rows = Said.of(store.database).states.select("user", "item").sort("user").rows()
    assert rows == [("u", "2"), ("v", "1")]


def test_many_threads_write_and_none_is_refused(store: Store) -> None:
    def write(n: int) -> None:
        store.put(f"u{n % 7}", [said(str(n))]).result()
        store.known(f"u{n % 7}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(400)))
    assert Said.of(store.database).states.height == 400
    assert store.n_changes() == 400


def test_what_cannot_be_written_fails_alone(store: Store) -> None:
    with (
        store.database.writing.begin()
    ):  # until its end, the writer waits, and then writes all together
        good = [store.put("u", [said("1")])]
        bad = store.put("u", [State("2", None, 1.0, 0)])  # type: ignore[arg-type]
        good.append(store.put("u", [said("3")]))
    for write in good:
        write.result()
    with pytest.raises(DatabaseError, match=r"(?i)not.null"):
        bad.result()
    assert {state.item for state in store.known("u").states} == {"1", "3"}


def test_what_was_acknowledged_is_there_after_a_new_start(address: str) -> None:
    first = Store(Database(address))
    first.put("u", [said("1")]).result()
    second = Store(Database(address))
    assert second.known("u").states == (said("1"),)
    first.close()
    second.close()


def test_a_form_that_is_not_known_is_refused(new_database: Callable[[], str]) -> None:
    database = Database(new_database())
    assert database.upgrade() == (None, "0001")
    assert database.upgrade() == ("0001", "0001")
    with database.connected(database.writing) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    for ask in (database.check, database.upgrade):
        with pytest.raises(
            DatabaseError, match="9999, which this version of dotbias does not know"
        ):
            ask()
    database.close()
    other = Database(new_database())
    with other.connected(other.writing) as connection:
        connection.execute(sa.text("CREATE TABLE orders (n INTEGER)"))
    for ask in (other.check, other.upgrade):
        with pytest.raises(DatabaseError, match="tables of something else, orders"):
            ask()
    other.close()


def test_a_file_of_something_else_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as shop:
        shop.execute("CREATE TABLE orders (n INTEGER)")
    before = path.read_bytes()
    database = Database(path)
    for ask in (database.check, database.upgrade):
        with pytest.raises(DatabaseError, match="tables of something else, orders"):
            ask()
    database.close()
    assert path.read_bytes() == before


def test_another_file_in_its_place_is_never_gone_on_with(tmp_path: Path) -> None:
    """Whatever is in memory is of the first one."""
    paths = [tmp_path / name for name in ("r.db", "other.db")]
    for path in paths:
        Store(Database(path)).close()
    store = Store(Database(paths[0]))
    paths[1].replace(paths[0])
    for _ in range(2):
        with pytest.raises(DatabaseError, match="another file has taken its place"):
            store.n_changes()
    store.close()


def test_a_write_that_nobody_waits_for_any_more_is_still_written(tmp_path: Path) -> None:
    store = Store(Database(tmp_path / "r.db"))
    with store.database.writing.begin():  # until its end, the writer waits
        writes = [store.put("u", [said(str(n))]) for n in range(3)]
        for write in writes[1:]:
            write.cancel()
    store.close()
    assert {state.item for state in Store(Database(tmp_path / "r.db")).known("u").states} == {
        "0",
        "1",
        "2",
    }


def test_the_tables_are_those_that_the_migrations_make(store: Store) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    from dotbias.serving.store.schema import METADATA

    with store.database.reading.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_one_service_uses_a_database(address: str) -> None:
    first, second = Database(address), Database(address)
    first.claim()
    with pytest.raises(DatabaseError, match="another service is using it"):
        second.claim()
    first.close()
    second.close()
    second.claim()
    second.close()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("mysql://x/y", "SQLite or PostgreSQL"),
        ("nonsense://x", "SQLite or PostgreSQL"),
        ("sqlite://", "name a file"),
        ("://", "no address"),
    ],
)
def test_addresses_that_are_none(address: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Database(address)


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="unable to open"):
        Store(Database(tmp_path / "no" / "r.db"))
    (tmp_path / "text.db").write_text("no database at all, but a text of some length")
    with pytest.raises(DatabaseError, match="not a database"):
        Store(Database(tmp_path / "text.db"))
