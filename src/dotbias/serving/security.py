"""Who may do what: API keys, hashed at rest."""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence

import sqlalchemy as sa
from fastapi import Request
from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException

from dotbias.errors import SettingError
from dotbias.serving.store.database import Database, DatabaseError
from dotbias.serving.store.schema import KEYS
from dotbias.serving.store.store import now

# A key that is revoked is good for so long at most.
_FRESH_SECONDS = 5.0
_BEGINS = "dotbias_"


class Keys:
    """The API keys of a database.

    Args:
        database: which one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str) -> str:
        """A new key, which is shown this once: the database holds a hash of it.

        Raises:
            SettingError: for a name that is taken, or none.
        """
        if not (name.isprintable() and 0 < len(name.strip()) <= 64):
            raise SettingError(f"name={name!r}: a key has a name of 1 to 64 letters")
        key = _BEGINS + secrets.token_urlsafe(32)
        row = {"name": name, "hash": hashed(key), "made": now()}
        try:
            with self._database.transaction(self._database.writing) as connection:
                connection.execute(sa.insert(KEYS), row)
        except IntegrityError:
            raise SettingError(f"name={name!r}: there is a key of that name") from None
        return key

    def all(self) -> list[tuple[str, int]]:
        """Names of all keys, and when they were made, in milliseconds since 1970."""
        with self._database.connected(self._database.reading) as connection:
            rows = connection.execute(sa.select(KEYS.c.name, KEYS.c.made))
            return [(name, made) for name, made in rows]

    def hashes(self) -> list[str]:
        """Hashes of all keys."""
        with self._database.connected(self._database.reading) as connection:
            return list(connection.execute(sa.select(KEYS.c.hash)).scalars())

    def revoke(self, name: str) -> None:
        """Delete a key.

        Raises:
            SettingError: where there is none of that name.
        """
        with self._database.connected(self._database.writing) as connection:
            done = connection.execute(sa.delete(KEYS).where(KEYS.c.name == name))
        if not done.rowcount:
            raise SettingError(f"name={name!r}: there is no key of that name")


def hashed(key: str) -> str:
    """What is kept of a key. It is random and long: nothing slower is needed."""
    return hashlib.sha256(key.encode()).hexdigest()


class Guard:
    """Checks the key of a request.

    Args:
        keys: those that are good.
        is_needed: whether a key is needed at all.
    """

    def __init__(self, keys: Keys, *, is_needed: bool) -> None:
        self._keys = keys
        self.is_needed = is_needed
        self._hashes: Sequence[str] = ()
        self._read_at = -_FRESH_SECONDS

    async def check(self, request: Request) -> None:
        """Refuse a request without a good key.

        Raises:
            HTTPException: with status 401.
            DatabaseError: where no key has ever been read.
        """
        if not self.is_needed:
            return
        sent = request.headers.get("authorization", "")
        if await self.key_of(sent) is None:
            said = (
                "this key is not known to this service's database; dotbias keys add, with the same "
                "--database, makes one"
                if _key_in(sent)
                else "send a key, Authorization: Bearer ...; dotbias keys add makes one"
            )
            raise HTTPException(401, said, {"WWW-Authenticate": "Bearer"})

    async def key_of(self, authorization: str) -> str | None:
        """The key in a header, if it is a good one.

        Raises:
            DatabaseError: where no key has ever been read.
        """
        key = _key_in(authorization)
        return key if key and await self._is_good(key) else None

    async def _is_good(self, key: str) -> bool:
        if time.monotonic() - self._read_at > _FRESH_SECONDS:
            try:
                self._hashes = await asyncio.to_thread(self._keys.hashes)
            except DatabaseError:
                if not self._hashes:
                    raise
            self._read_at = time.monotonic()
        own, good = hashed(key), False
        for known in self._hashes:  # all of them: how long it takes tells nothing
            good |= hmac.compare_digest(own, known)
        return good


def _key_in(authorization: str) -> str:
    """The key in a header, good or not; nothing where there is none."""
    scheme, _, given = authorization.partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


async def with_key(request: Request) -> None:
    """A call that needs a key, where any does."""
    await request.app.state.guard.check(request)
