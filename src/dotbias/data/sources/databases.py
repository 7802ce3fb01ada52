"""Databases, whose members are their tables: SQLite, DuckDB, and any other that SQLAlchemy knows."""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import polars as pl

from dotbias.data.sources.blob import PARSER_ERRORS, Blob, Frame, parsing, shown
from dotbias.data.sources.containers import Container
from dotbias.data.sources.folders import user_path
from dotbias.data.sources.limits import Limit
from dotbias.errors import DataError
from dotbias.extras import install

_CHUNK_ROWS = 100_000
FORM = (
    "one is KIND+DRIVER://USER:PASSWORD@HOST:PORT/NAME, in passwords with %40 for @ and %5B for ["
)
"""What an address looks like."""


class SQLite(Container):
    """A file of SQLite, opened for reading only."""

    noun = "tables"

    def __init__(self, blob: Blob) -> None:
        super().__init__(blob.name)
        self.blob = blob

    def names(self) -> list[str]:
        """See ``Container``."""
        query = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
        with self._connected() as connection:
            found = [name for (name,) in connection.execute(query)]
        return [name for name in found if not name.startswith("sqlite_")]

    def member(self, name: str) -> Frame:
        """See ``Container``."""
        with self._connected() as connection:
            # A damaged page may lack rows, or have those of another.
            (found, *_) = connection.execute(f"PRAGMA quick_check({_quoted(name)})")
            if found != ("ok",):
                raise sqlite3.DatabaseError(found[0].rpartition("\n")[2])
            frame = _sqlite_frame(connection, _quoted(name))
        return Frame(f"{self.name}/{name}", "SQLite", frame.lazy())

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            with parsing(self.name, "database"), closing(self._connection()) as connection:
                # A view may not call what has effects.
                connection.execute("PRAGMA trusted_schema = OFF")
                yield connection
        except _raised_by(sqlite3.Error) as error:
            raise _unreadable(self.name, error) from error

    def _connection(self) -> sqlite3.Connection:
        content = self.blob.content
        if isinstance(content, bytes):
            connection = sqlite3.connect(":memory:")
            connection.deserialize(content)
            return connection
        return sqlite3.connect(f"file:{quote(os.fsencode(content.absolute()))}?mode=ro", uri=True)


def _sqlite_frame(connection: sqlite3.Connection, table: str) -> pl.DataFrame:
    """A table of SQLite, whose columns hold what their values are, whatever they were declared as."""
    columns = [
        column[0] for column in connection.execute(f"SELECT * FROM {table} LIMIT 0").description
    ]
    kinds = ("text", "real", "integer", "blob")
    asked = ", ".join(
        f"max(typeof({_quoted(column)}) = '{kind}')" for column in columns for kind in kinds
    )
    held = iter(connection.execute(f"SELECT {asked} FROM {table}").fetchone())
    schema: dict[str, Any] = {}
    selected = []
    for column in columns:
        is_text, is_real, is_integer, is_blob = (next(held) for _ in kinds)
        if is_blob:
            continue  # no id, rating or time
        quoted = _quoted(column)
        selected.append(f"CAST({quoted} AS TEXT)" if is_text else quoted)
        schema[column] = (
            pl.String if is_text else pl.Float64 if is_real else pl.Int64 if is_integer else pl.Null
        )
    cursor = connection.execute(f"SELECT {', '.join(selected) or 'NULL'} FROM {table}")
    parts = [pl.DataFrame(schema=schema)]
    while rows := cursor.fetchmany(_CHUNK_ROWS):
        parts.append(pl.DataFrame(rows, schema=schema, orient="row"))
    return pl.concat(parts)


class DuckDB(Container):
    """A file of DuckDB, opened for reading only and without access to anything else."""

    noun = "tables"

    def __init__(self, blob: Blob) -> None:
        super().__init__(blob.name)
        self.blob = blob

    def names(self) -> list[str]:
        """See ``Container``."""
        query = "SELECT table_schema, table_name FROM information_schema.tables ORDER BY ALL"
        with self._connected() as connection:
            found = connection.execute(query).fetchall()
        return [name if schema == "main" else f"{schema}.{name}" for schema, name in found]

    def member(self, name: str) -> Frame:
        """See ``Container``."""
        table = ".".join(map(_quoted, name.split(".", 1))) if "." in name else _quoted(name)
        with self._connected() as connection:
            frame = pl.DataFrame(connection.sql(f"FROM {table}"))
        return Frame(f"{self.name}/{name}", "DuckDB", _plain(frame).lazy())

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        try:
            import duckdb
        except ImportError as error:
            raise DataError(
                f"{self.name}: a DuckDB database is read with duckdb: {install('duckdb')}, "
                "or export the table as Parquet"
            ) from error
        if isinstance(self.blob.content, bytes):
            raise DataError(f"{self.name}: a DuckDB database inside another file: unpack it first")
        # A view in the file may not read other files.
        config: dict[str, str | bool | int | float | list[str]] = {
            "enable_external_access": False,
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
        }
        try:
            with duckdb.connect(self.blob.content, read_only=True, config=config) as connection:
                yield connection
        except _raised_by(duckdb.Error) as error:
            raise _unreadable(self.name, error) from error


class Server(Container):
    """A database behind an address of SQLAlchemy.

    Args:
        address: where it is.
        schema: a schema whose tables are wanted besides those that are found without naming one.
    """

    noun = "tables"

    def __init__(self, address: str, schema: str = "") -> None:
        parts = urlsplit(address)
        try:
            import sqlalchemy
        except ImportError as error:
            raise DataError(
                f"{parts.scheme}: addresses of databases are read with SQLAlchemy: pip install "
                "sqlalchemy and the driver of the database, or export the table as CSV or Parquet"
            ) from error
        try:
            url = sqlalchemy.make_url(address).difference_update_query(["table"])
            super().__init__(without_password(url.render_as_string(hide_password=False)))
            self.engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        except (sqlalchemy.exc.NoSuchModuleError, ImportError) as error:
            raise DataError(f"{without_password(address)}: {missing_driver(error)}") from error
        except (sqlalchemy.exc.SQLAlchemyError, ValueError, TypeError) as error:
            # Its text may quote a password.
            raise DataError(f"{without_password(address)}: no address; {FORM}") from error
        self.schema = schema

    def names(self) -> list[str]:
        """See ``Container``."""
        import sqlalchemy

        with self._named_errors():
            inspector = sqlalchemy.inspect(self.engine)
            names = [*inspector.get_table_names(), *inspector.get_view_names()]
            with suppress(NotImplementedError):  # most databases have none
                names += inspector.get_materialized_view_names()
            if self.schema in inspector.get_schema_names():
                tables = inspector.get_table_names(self.schema)
                views = inspector.get_view_names(self.schema)
                names += [f"{self.schema}.{name}" for name in (*tables, *views)]
            return names

    def member(self, name: str) -> Frame:
        """See ``Container``."""
        import sqlalchemy

        own = name.removeprefix(f"{self.schema}.") if self.schema else name
        table = sqlalchemy.table(own, schema=self.schema if own != name else None)
        query = sqlalchemy.select(sqlalchemy.text("*")).select_from(table)
        with self._named_errors(), self.engine.connect() as connection:
            frame = pl.read_database(query, connection, infer_schema_length=None)
        return Frame(f"{self.name}/{name}", "database", _plain(frame).lazy())

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        import sqlalchemy

        try:
            yield
        except _raised_by(sqlalchemy.exc.SQLAlchemyError) as error:
            raise _unreadable(self.name, error) from error


_FILES = {"sqlite": SQLite, "duckdb": DuckDB}


def at_address(address: str, limit: Limit) -> tuple[Container, str | None]:
    """The database at an address such as ``sqlite:///file.db?table=ratings``, and the table it names.

    Raises:
        DataError: where there is none, or what it takes is not installed.
    """
    try:
        parts = urlsplit(address)
    except ValueError:  # which may quote a password
        raise DataError(f"{without_password(address)}: no address; {FORM}") from None
    query = dict(parse_qsl(parts.query))
    table = query.get("table")
    known = _FILES.get(parts.scheme)
    if known is None:
        return Server(address, (table or "").rpartition(".")[0]), table
    shown_address = without_password(address)
    if unknown := query.keys() - {"table"}:
        raise DataError(f"{shown_address}: no parameter {min(unknown)!r} is known: there is table=")
    if parts.netloc or len(parts.path) < 2:
        raise DataError(
            f"{shown_address}: three slashes come before the path of a file, four before one from the "
            f"root: {parts.scheme}:///ratings.db?table=ratings"
        )
    path = user_path(unquote(parts.path[1:]))
    if not path.is_file():
        raise DataError(f"{shown(path)}: there is no such file")
    return known(Blob(shown(path), path, limit)), table


def of_table(database: str, table: str) -> str:
    """The address of a table.

    Args:
        database: a path, which is a file of SQLite, or the address of a database.
        table: name of a table or view.

    >>> of_table("shop.db", "orders of May")
    'sqlite:///shop.db?table=orders%20of%20May'
    >>> of_table("postgresql+psycopg://shop?host=/run", "public.orders")
    'postgresql+psycopg://shop?host=/run&table=public.orders'
    """
    address = database if "://" in database else f"sqlite:///{quote(database)}"
    return f"{address}{'&' if '?' in address else '?'}table={quote(table, safe='')}"


def without_password(address: str) -> str:
    """An address as it may be printed.

    >>> without_password("postgresql+psycopg://me:se@cret@host/base?sslpassword=x&port=1")
    'postgresql+psycopg://me:***@host/base?sslpassword=***&port=1'
    >>> without_password("https://me:1234@host/ratings.blocks?X-Amz-Signature=f00")
    'https://me:***@host/ratings.blocks?X-Amz-Signature=***'
    """
    address = re.sub(r"(://[^:/?]*:).*@", r"\1***@", address)
    names = "password|passwd|pwd|secret|token|sig|signature"
    return re.sub(rf"(?i)([?&;][\w-]*(?:{names})=)[^&;]*", r"\1***", address)


def missing_driver(error: Exception) -> str:
    """What to install for an address, by what SQLAlchemy says of it."""
    missing = getattr(error, "name", None)
    if missing is None:
        return (
            "no kind of database that SQLAlchemy knows; install the package that teaches it, or export "
            "the table as CSV or Parquet"
        )
    # Drivers whose package has another name, or that something simpler stands in for.
    known = {
        "psycopg": install("postgresql"),
        "psycopg2": f"{install('postgresql')}, and begin the address with postgresql+psycopg://",
        "MySQLdb": "pip install pymysql, and begin the address with mysql+pymysql://",
    }
    return f"{missing} is not installed: {known.get(missing, f'pip install {missing}')}"


def _raised_by(library: type[Exception]) -> tuple[type[Exception], ...]:
    return (library, *PARSER_ERRORS)


def _unreadable(name: str, error: Exception) -> DataError:
    said = str(error).partition("\n")[0]
    return DataError(f"{name}: the database cannot be read ({said})")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Exact decimals as the integers or numbers that they are; what Polars has no type for, as text."""
    casts: dict[str, type[pl.DataType]] = {}
    for name, dtype in frame.schema.items():
        if isinstance(dtype, pl.Decimal):
            casts[name] = pl.Int64 if dtype.scale == 0 else pl.Float64
    objects = frame.select(pl.col(pl.Object)).iter_columns()  # UUIDs, for one
    texts = [
        pl.Series(column.name, [None if v is None else str(v) for v in column], pl.String)
        for column in objects
    ]
    return frame.cast(casts).with_columns(texts)  # type: ignore[arg-type]
