"""All that people have said, at one moment: what is fitted to."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property

import polars as pl
import sqlalchemy as sa

from dotbias.serving.store.database import Database
from dotbias.serving.store.schema import ERASED, FACTS, STATES
from dotbias.serving.store.store import Known, State, mark

_MILLISECONDS = 1000
_SCHEMA = {
    "user": pl.String,
    "item": pl.String,
    "kind": pl.String,
    "value": pl.Float64,
    "time": pl.Int64,
}


@dataclass(frozen=True)
class Said:
    """All states of all users.

    Args:
        states: columns ``user``, ``item``, ``kind``, ``value``, ``time``, as in ``State``.
        marks: of those who have had everything deleted.
        secret: what the marks were made with.
    """

    states: pl.DataFrame
    marks: frozenset[str]
    secret: bytes

    @classmethod
    def of(cls, database: Database) -> "Said":
        """What a database holds.

        Raises:
            DatabaseError: where it cannot be read.
        """
        secret = sa.select(FACTS.c.value).where(FACTS.c.name == "secret")
        with database.connected(database.reading) as connection:
            rows = connection.execute(sa.select(STATES)).all()
            marks = frozenset(connection.execute(sa.select(ERASED.c.mark)).scalars())
            known = connection.execute(secret).scalar_one_or_none()
        return cls(pl.DataFrame(rows, _SCHEMA, orient="row"), marks, bytes.fromhex(known or ""))

    @classmethod
    def read(cls, address: str) -> "Said":
        """What the database at an address holds, which stays as it is.

        Raises:
            SettingError: for an address that is none.
            DatabaseError: where it cannot be read, or is not that of a service, or of another version's.
        """
        with closing(Database(address, read_only=True)) as database:
            database.check()
            return cls.of(database)

    def ratings(self) -> pl.DataFrame:
        """What was rated, counted or chosen: the states of kind ``rating``; ``time`` in seconds."""
        rated = self.states.filter(pl.col("kind") == "rating")
        return rated.with_columns(pl.col("time") // _MILLISECONDS)

    def erased(self, users: Iterable[str]) -> set[str]:
        """Which of these users have had everything deleted."""
        if not self.marks:
            return set()
        return {user for user in users if mark(self.secret, user) in self.marks}

    def known(self, user: str) -> Known:
        """All that is known of a user, as ``Store.known`` has it."""
        rows = self._by_user.get((user,))
        states = () if rows is None else tuple(map(State._make, rows.drop("user").rows()))
        return Known(states, bool(self.erased([user])))

    @cached_property
    def _by_user(self) -> dict[tuple[object, ...], pl.DataFrame]:
        return self.states.partition_by("user", as_dict=True)
