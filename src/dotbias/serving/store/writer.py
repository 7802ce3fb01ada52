"""One thread that writes to the database: what waits is written together, in one transaction."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy.engine import Connection
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from dotbias.serving.store.database import Database, DatabaseError, unavailable

# As many as one transaction takes; and as many as may wait: more are refused rather than kept waiting.
_MOST_TOGETHER = 500
_MOST_WAITING = 5_000
# Where it is the database that fails, and not what was to be written.
_AWAY = (OperationalError, InterfaceError, DatabaseError)

Change = TypeVar("Change")


class _Waiting(NamedTuple, Generic[Change]):
    change: Change
    done: "Future[None]"


class Writer(Generic[Change]):
    """Writes changes in the order in which they came.

    All that wait are written in one transaction, so that the disk is waited for once; where that is
    refused, each is tried alone, so that none fails for another's fault.

    Args:
        database: where to.
        write: writes several changes in a transaction.
    """

    def __init__(
        self, database: Database, write: Callable[[Connection, Sequence[Change]], None]
    ) -> None:
        self._database = database
        self._write = write
        self._waiting: queue.Queue[_Waiting[Change] | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    @property
    def n_waiting(self) -> int:
        """How many writes wait."""
        return self._waiting.qsize()

    def submit(self, change: Change) -> "Future[None]":
        """Write a change, which is done when the future is: then it is on disk.

        Raises:
            DatabaseError: where too many wait. In the future: where it was not written.
        """
        done: Future[None] = Future()
        try:
            self._waiting.put_nowait(_Waiting(change, done))
        except queue.Full:
            raise DatabaseError(
                self._database.name, f"{_MOST_WAITING:,} writes are waiting; try again later"
            ) from None
        return done

    def close(self) -> None:
        """Write what waits, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        ended = False
        while not ended and (first := self._waiting.get()) is not None:
            together = [first]
            while not ended and len(together) < _MOST_TOGETHER:
                try:
                    following = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    ended = True
                else:
                    together.append(following)
            for waiting in together:  # from here on nobody can stop waiting for it
                waiting.done.set_running_or_notify_cancel()
            self._commit(together)

    def _commit(self, together: list[_Waiting[Change]]) -> None:
        try:
            with self._database.transaction(self._database.writing) as connection:
                self._write(connection, [waiting.change for waiting in together])
        except Exception as error:
            if len(together) > 1 and not isinstance(error, _AWAY):
                for waiting in together:
                    self._commit([waiting])
                return
            refused = (
                unavailable(self._database.name, error)
                if isinstance(error, SQLAlchemyError)
                else error
            )
            for done in _awaited(together):
                done.set_exception(refused)
        else:
            for done in _awaited(together):
                done.set_result(None)


def _awaited(written: Sequence[_Waiting[Any]]) -> "Iterator[Future[None]]":
    """Of what is still waited for: a request may have ended meanwhile."""
    return (waiting.done for waiting in written if not waiting.done.cancelled())
