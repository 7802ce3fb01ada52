"""The database of a service, its form and how it is reached: SQLite, or PostgreSQL by its address."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from dotbias.data.sources.databases import FORM, missing_driver, without_password
from dotbias.errors import DotbiasError, SettingError, listed

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Durability = Literal["power-loss", "process"]
"""What an acknowledged write outlives: the loss of power, or the end of the process alone."""

_CLAIM = 7_030_214_990_141_275_650  # an advisory lock is named by a number of 63 bits
# How long is waited for another program that has locked a file of SQLite: whoever writes does so in a
# thread of their own, and readers are held up by nobody who keeps to its write-ahead log.
_BUSY_SECONDS = {"BEGIN IMMEDIATE": 10, "BEGIN": 0.1}
_CONNECT_SECONDS = 5
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
_REVISION = "alembic_version"


class DatabaseError(DotbiasError, OSError):
    """A database that cannot be reached or written, or whose form is not the one that is known here.

    Args:
        name: which database.
        reason: what is wrong, in one line.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.reason = reason


class Question:
    """A question that is asked often.

    Args:
        statement: what is asked; its parameters have names.
    """

    def __init__(self, statement: sa.CompoundSelect[Any]) -> None:
        self.statement = statement
        self.of_sqlite = str(statement.compile(dialect=sqlite.dialect(paramstyle="named")))


class Database:
    """A database with the tables of ``schema``.

    Args:
        address: a path, which is a file of SQLite, or an address such as
            ``postgresql+psycopg://user@host/name``.
        durability: what an acknowledged write outlives. PostgreSQL decides for itself
            (``synchronous_commit``).
        read_only: whether it stays as it is: nothing is made, changed or claimed.

    Raises:
        SettingError: for an address that is none, or of another kind of database.
    """

    def __init__(
        self,
        address: str | Path,
        durability: Durability = "power-loss",
        *,
        read_only: bool = False,
    ) -> None:
        if durability not in get_args(Durability):
            known = " or ".join(get_args(Durability))
            raise SettingError(f"durability={durability!r}: durability must be {known}")
        self.url = _url(address)
        self.address = self.url.render_as_string(hide_password=False)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.name = self._path or without_password(self.address)
        self.durability = durability
        self.read_only = read_only
        self._held = ExitStack()
        self._file: tuple[int, int] | None = None  # which file of SQLite it is
        self.reading = self._engine("BEGIN")
        # Whoever begins to write waits for the turn at once: a transaction that has read, and only then
        # wants to write, would be refused where somebody has written in between.
        self.writing = self._engine("BEGIN IMMEDIATE") if self.is_sqlite else self.reading

    @property
    def _path(self) -> str:
        """The file of SQLite; nothing of another kind of database."""
        return self.url.database or "" if self.is_sqlite else ""

    @property
    def promise(self) -> str:
        """What an acknowledged write outlives, in words."""
        if not self.is_sqlite:
            return "as synchronous_commit of PostgreSQL says"
        outlives = {"power-loss": "a loss of power", "process": "the end of the process"}
        return f"an acknowledged write outlives {outlives[self.durability]}"

    def close(self) -> None:
        """Let go of all connections."""
        self._held.close()
        self.reading.dispose()
        self.writing.dispose()

    def claim(self) -> None:
        """Be the only service that uses it, until ``close``: what is in memory is not asked for again.

        Raises:
            DatabaseError: where another one does.
        """
        taken = DatabaseError(
            self.name, "another service is using it; name another with --database"
        )
        if not self.is_sqlite:
            with self.connected(self.reading):  # whether it can be reached at all
                pass
            connection = self._held.enter_context(self.reading.connect())
            if not connection.execute(sa.select(sa.func.pg_try_advisory_lock(_CLAIM))).scalar_one():
                raise taken
            connection.rollback()  # the lock is the session's, not the transaction's
        elif fcntl is not None:
            try:
                lock = Path(f"{self._path}-lock").open("w")  # noqa: SIM115
                self._held.callback(lock.close)
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise taken from None
            except OSError as error:
                raise DatabaseError(self.name, error.strerror or str(error)) from error

    def check(self) -> bool:
        """Refuse a database whose form is not the one that is known here; make the tables of a new one,
        unless nothing is to be made.

        Returns:
            Whether they were made.

        Raises:
            DatabaseError: saying what to do.
        """
        scripts = ScriptDirectory.from_config(_scripts())
        with self.connected(self.reading if self.read_only else self.writing) as connection:
            found = MigrationContext.configure(connection).get_current_revision()
            newest = scripts.get_current_head()
            if found == newest:
                return False
            if found is None:
                tables = sa.inspect(connection).get_table_names()
                if self.read_only:
                    held = f"tables of something else, {listed(tables)}" if tables else "nothing"
                    advice = "; --table reads one of them" if tables else ""
                    raise DatabaseError(
                        self.name, f"no service keeps anything in it, it holds {held}{advice}"
                    )
                if tables:
                    raise self._of_something_else(tables)
                _migrate(connection)
                return True
        self._refuse_unknown(found, scripts)
        raise DatabaseError(
            self.name,
            f"its form is {found}, of an older version of dotbias; stop what uses it and run "
            f"dotbias db upgrade --database {self.name}",
        )

    def _of_something_else(self, tables: list[str]) -> DatabaseError:
        return DatabaseError(
            self.name,
            f"it holds tables of something else, {listed(tables)}; name a database of its own for the "
            "service",
        )

    def _refuse_unknown(self, found: str, scripts: ScriptDirectory) -> None:
        if found not in {script.revision for script in scripts.walk_revisions()}:
            raise DatabaseError(
                self.name,
                f"its form is {found}, which this version of dotbias does not know; install the newer "
                "version that made it",
            )

    def must_be_there(self) -> None:
        """Refuse the name of a file that nobody has made.

        Raises:
            DatabaseError: where it is none.
        """
        if self._path and not Path(self._path).exists():
            raise DatabaseError(self.name, "there is no such file; --database names another")

    def upgrade(self) -> tuple[str | None, str | None]:
        """Bring the tables to the newest form; returns the revision before and after.

        Raises:
            DatabaseError: where that fails, or the tables are none of a service, or of a newer version:
                the database stays as it was.
        """
        with self.connected(self.writing) as connection:
            before = MigrationContext.configure(connection).get_current_revision()
            if before is not None:
                self._refuse_unknown(before, ScriptDirectory.from_config(_scripts()))
            elif tables := sa.inspect(connection).get_table_names():
                raise self._of_something_else(tables)
            _migrate(connection)
            return before, MigrationContext.configure(connection).get_current_revision()

    @contextmanager
    def connected(self, engine: Engine) -> Iterator[Connection]:
        """A transaction.

        Raises:
            DatabaseError: for whatever the database refuses.
        """
        try:
            with self.transaction(engine) as connection:
                yield connection
        except SQLAlchemyError as error:
            raise unavailable(self.name, error) from error

    def ask(self, question: "Question", values: dict[str, Any]) -> list[Any]:
        """The rows that answer one question, as they all were at one moment.

        Raises:
            DatabaseError: for whatever the database refuses.
        """
        if not self.is_sqlite:
            with self.connected(self.reading) as connection:
                return list(connection.execute(question.statement, values))
        # Of the driver itself: what a transaction of SQLAlchemy takes beside is twenty times as much.
        try:
            self._check_file()
            with closing(self.reading.raw_connection()) as connection:
                rows: list[Any] = connection.cursor().execute(question.of_sqlite, values).fetchall()
            self._check_file()
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise unavailable(self.name, error) from error
        return rows

    @contextmanager
    def transaction(self, engine: Engine) -> Iterator[Connection]:
        """A transaction, whose errors are those of SQLAlchemy."""
        self._check_file()
        with engine.begin() as connection:
            yield connection
        self._check_file()

    def _check_file(self) -> None:
        """Refuse a file that was taken away or replaced: SQLite would go on with what has no name."""
        if not self.is_sqlite:
            return
        path = self._path
        try:
            status = os.stat(path)  # noqa: PTH116  # a third of what a Path takes, for each request
        except OSError as error:
            is_new = self._file is None and isinstance(error, FileNotFoundError)
            if is_new and not self.read_only:
                with suppress(OSError):
                    Path(path).touch(0o600, exist_ok=False)  # what people say is nobody else's
                return
            raise DatabaseError(self.name, error.strerror or str(error)) from error
        found = status.st_dev, status.st_ino
        if self._file not in (None, found):
            # For good: nothing that is in memory is of the other file, and nobody has claimed it.
            self.close()
            raise DatabaseError(
                self.name, "another file has taken its place; start the service again"
            )
        self._file = found

    def _engine(self, begin: str) -> Engine:
        if not self.is_sqlite:
            return sa.create_engine(
                self.url,
                pool_pre_ping=True,
                pool_size=4,
                isolation_level="REPEATABLE READ",
                connect_args={"connect_timeout": _CONNECT_SECONDS},
            )
        if self.read_only:
            address = f"file:{quote(self._path)}?mode=ro"
            engine = sa.create_engine(self.url, creator=lambda: sqlite3.connect(address, uri=True))
        else:
            engine = sa.create_engine(self.url, connect_args={"timeout": _BUSY_SECONDS[begin]})
        synchronous = "FULL" if self.durability == "power-loss" else "NORMAL"

        @sa.event.listens_for(engine, "connect")
        def connect(connection: Any, _: Any) -> None:
            connection.isolation_level = None  # the driver begins nothing by itself
            if self.read_only:
                return
            with closing(connection.cursor()) as cursor:
                tables = {name for (name,) in cursor.execute(_TABLES)}
                if not tables or _REVISION in tables:  # a file of something else stays as it is
                    cursor.execute("PRAGMA journal_mode = WAL")
                cursor.execute(f"PRAGMA synchronous = {synchronous}")

        @sa.event.listens_for(engine, "begin")
        def do_begin(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        return engine


def _scripts() -> Config:
    config = Config()
    folder = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config


def _migrate(connection: Connection) -> None:
    config = _scripts()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def unavailable(name: str, error: Exception) -> DatabaseError:
    """What a database says, in one line."""
    said = str(getattr(error, "orig", None) or error).strip().splitlines()
    return DatabaseError(name, said[0] if said else type(error).__name__)


def _url(address: str | Path) -> URL:
    text = str(address)
    if "://" not in text:
        return URL.create("sqlite+pysqlite", database=str(Path(text).expanduser()))
    shown = without_password(text)
    try:
        url = make_url(text)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError):  # which may quote a password
        raise SettingError(f"{shown}: no address of a database; {FORM}") from None
    if backend not in ("sqlite", "postgresql"):
        raise SettingError(
            f"{shown}: a service keeps what it is told in SQLite or PostgreSQL; "
            "ratings in a table of another database are named with --table"
        )
    if backend == "sqlite" and (url.host or not url.database):
        raise SettingError(f"{shown}: name a file, such as sqlite:///ratings.db")
    if backend == "sqlite" and url.query:
        raise SettingError(f"{shown}: a file of SQLite has no parameters; leave out what follows ?")
    try:
        url.get_dialect().import_dbapi()
    except (NoSuchModuleError, ImportError) as error:
        raise SettingError(f"{shown}: {missing_driver(error)}") from None
    return url
