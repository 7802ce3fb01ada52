"""What people have said, kept: states of (user, item) pairs, in the ids of the model as text."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from dotbias.serving.store.database import Database, Question
from dotbias.serving.store.schema import ERASED, FACTS, STATES
from dotbias.serving.store.writer import Writer

Kind = Literal["rating", "not-interested", "wish", "deleted"]
"""A rating (or a count, or a choice); no interest; on the wish list; or nothing any more, whatever a
model was fitted to."""

_SOME = 1_000


class State(NamedTuple):
    """What a user has last said of an item.

    Args:
        item: its id as text.
        kind: what kind of thing.
        value: the rating or count; None where there is none.
        time: when, in milliseconds since 1970.
    """

    item: str
    kind: Kind
    value: float | None
    time: int


class Known(NamedTuple):
    """All that is known of a user beside what a model was fitted to.

    Args:
        states: at most one of each item.
        erased: whether what a model was fitted to is to be forgotten.
    """

    states: tuple[State, ...]
    erased: bool


class _Change(NamedTuple):
    """What a user says of items; None, that everything is to be deleted."""

    user: str
    states: tuple[State, ...] | None


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


# What is known of a user, and as one more row whether everything was deleted: one question, one answer.
_KNOWN = Question(
    sa.union_all(
        sa.select(*STATES.c["item_id", "kind", "value", "time"]).where(
            STATES.c.user_id == sa.bindparam("user")
        ),
        sa.select(
            sa.literal_column("''"),
            sa.literal_column("'erased'"),
            sa.null(),
            sa.literal_column("0"),
        ).where(sa.exists().where(ERASED.c.mark == sa.bindparam("mark"))),
    )
)
_FORGET = sa.delete(STATES).where(STATES.c.user_id == sa.bindparam("user"))
_COUNT = (
    sa.update(FACTS)
    .where(FACTS.c.name == "changes")
    .values(
        value=sa.cast(
            sa.cast(FACTS.c.value, sa.BigInteger) + sa.bindparam("n", type_=sa.BigInteger),
            sa.String,
        )
    )
)


def mark(secret: bytes, user: str) -> str:
    """What is left of the id of a user who has had everything deleted."""
    return hmac.new(secret, user.encode(), hashlib.sha256).hexdigest()


class Store:
    """A database with its writer.

    Args:
        database: whose form is known; see ``Database.check``.

    Raises:
        DatabaseError: where it cannot be reached, or its form is another one.
    """

    def __init__(self, database: Database) -> None:
        database.check()
        self.database = database
        insert = sqlite.insert if database.is_sqlite else postgresql.insert
        # Made once, for to make a statement takes longer than to run it.
        self._say, self._mark_erased, put_fact = (
            _put(insert(STATES), "update"),
            _put(insert(ERASED), "nothing"),
            _put(insert(FACTS), "nothing"),
        )
        with database.connected(database.writing) as connection:
            first = {"secret": secrets.token_hex(32), "changes": "0"}
            for name, value in first.items():
                connection.execute(put_fact, {"name": name, "value": value})
            secret = sa.select(FACTS.c.value).where(FACTS.c.name == "secret")
            self._secret = bytes.fromhex(connection.execute(secret).scalar_one())
        self.writer = Writer(database, self._write)

    def close(self) -> None:
        """Write what waits, and let go of the database."""
        self.writer.close()
        self.database.close()

    def known(self, user: str) -> Known:
        """All that is known of a user."""
        asked = {"user": user, "mark": self._mark(user)}
        rows = self.database.ask(_KNOWN, asked)
        states = tuple(State(*row) for row in rows if row[1] != "erased")
        return Known(states, erased=len(states) < len(rows))

    def put(self, user: str, states: Sequence[State]) -> "Future[None]":
        """Say these things, all or none of them; of what was said of the same items nothing is left.

        The future is done when they are on disk; its error is a ``DatabaseError``.
        """
        return self.writer.submit(_Change(user, tuple(states)))

    def erase(self, user: str) -> "Future[None]":
        """Delete everything of a user; of the id itself a keyed hash is left."""
        return self.writer.submit(_Change(user, None))

    def _write(self, connection: Connection, changes: Sequence[_Change]) -> None:
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for user, states in changes:
            if states is None:
                rows = {pair: row for pair, row in rows.items() if pair[0] != user}
                connection.execute(_FORGET, {"user": user})
                connection.execute(self._mark_erased, {"mark": self._mark(user)})
            else:
                rows |= {(user, state.item): _row(user, state) for state in states}
        if rows:
            connection.execute(self._say, list(rows.values()))
        n = sum(1 if states is None else len(states) for _, states in changes)
        connection.execute(_COUNT, {"n": n})

    def n_changes(self) -> int:
        """How many changes there have ever been."""
        query = sa.select(FACTS.c.value).where(FACTS.c.name == "changes")
        with self.database.connected(self.database.reading) as connection:
            return int(connection.execute(query).scalar_one())

    def some_items(self) -> list[str]:
        """Items of up to 1,000 things that were said."""
        query = sa.select(STATES.c.item_id).limit(_SOME)
        with self.database.connected(self.database.reading) as connection:
            return list(connection.execute(query).scalars())

    def _mark(self, user: str) -> str:
        return mark(self._secret, user)


def _put(insert: Any, where_there: Literal["update", "nothing"]) -> Any:
    """Insert rows; those that are there are updated, or left."""
    columns = insert.table.columns
    keys = list(insert.table.primary_key.columns)
    if where_there == "nothing":
        return insert.on_conflict_do_nothing(index_elements=keys)
    rest = {c.name: insert.excluded[c.name] for c in columns if not c.primary_key}
    return insert.on_conflict_do_update(index_elements=keys, set_=rest)


def _row(user: str, state: State) -> dict[str, Any]:
    return {
        "user_id": user,
        "item_id": state.item,
        "kind": state.kind,
        "value": state.value,
        "time": state.time,
    }
