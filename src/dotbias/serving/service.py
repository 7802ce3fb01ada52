"""The running service: the model of the moment, the database, and the users in memory."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from dotbias.errors import SettingError
from dotbias.recommender.list_options import ListOptions
from dotbias.recommender.recommender import Recommender
from dotbias.serving.answers import Answers
from dotbias.serving.generation import Generation, Person, person, scores, top_items
from dotbias.serving.ids import item_indices
from dotbias.serving.maps import Maps
from dotbias.serving.people import People
from dotbias.serving.store.store import Known, State, Store

_log = logging.getLogger("dotbias.serving")

_T = TypeVar("_T")

# Above so many items a list takes longer than others should wait: it is made in a thread.
_MANY_ITEMS = 50_000
_MOST_PEOPLE = 20_000
# Bytes of answers that are kept, some ten thousand lists of ten.
_MOST_ANSWERED = 32_000_000


class Service:
    """What requests are answered from. All methods belong to one event loop.

    Args:
        generation: the first model.
        store: the database.
        most_people: how many users are kept in memory.
    """

    def __init__(
        self, generation: Generation, store: Store, *, most_people: int = _MOST_PEOPLE
    ) -> None:
        self.generation = generation
        self.store = store
        self.people = People(most_people)
        self.answers = Answers(_MOST_ANSWERED)
        self.maps = Maps()
        self._threads = ThreadPoolExecutor(4, "service")
        self._loading = asyncio.Lock()
        # Reads that go on: what is read of someone while something of theirs is written is not kept.
        self._reads: dict[str, object] = {}

    async def person(self, generation: Generation, user: str) -> Person:
        """A user as a generation sees them.

        Raises:
            DatabaseError: where the database cannot be read.
        """
        found = self.people.get(generation, user)
        if found is not None:
            return found
        read = self._reads[user] = object()
        try:
            # A file is read sooner than a thread has its turn; a server far away is waited for in one.
            known = (
                self.store.known(user)
                if self.store.database.is_sqlite
                else await self.in_thread(lambda: self.store.known(user))
            )
            is_fresh = self._reads.get(user) is read
        finally:
            if self._reads.get(user) is read:
                del self._reads[user]
        made = person(generation, user, known)
        return self.people.put(made) if is_fresh and generation is self.generation else made

    async def put(self, user: str, states: Sequence[State]) -> Person:
        """Write what a user says; done when it is on disk, and the next answer knows it.

        Raises:
            DatabaseError: where it was not written.
        """
        await self._written(user, lambda: self.store.put(user, states))
        known = self.people.known(user)
        if known is None:
            return await self.person(self.generation, user)
        merged = {state.item: state for state in known.states}
        merged |= {state.item: state for state in states}
        now_known = Known(tuple(merged.values()), erased=known.erased)
        return self.people.put(person(self.generation, user, now_known))

    async def erase(self, user: str) -> None:
        """Delete everything of a user.

        Raises:
            DatabaseError: where it was not done.
        """
        await self._written(user, lambda: self.store.erase(user))
        self.people.drop(user)

    async def _written(self, user: str, write: Callable[[], "Future[None]"]) -> None:
        try:
            await asyncio.wrap_future(write())
        except BaseException:
            # Whether it was written is not always known: the database is asked next time.
            self.people.drop(user)
            raise
        finally:
            self._reads.pop(user, None)

    async def ping(self) -> None:
        """Ask the database for something small.

        Raises:
            DatabaseError: where it does not answer.
        """
        await self.in_thread(self.store.n_changes)

    async def compute(self, work: Callable[[], _T]) -> _T:
        """What takes a moment, here; what takes longer, in a thread."""
        if len(self.generation.recommender.item_vocabulary) <= _MANY_ITEMS:
            return work()
        return await self.in_thread(work)

    async def load(self, path: Path) -> Generation:
        """Put the model of a file in the place of the present one, as soon as all of it is there.

        Raises:
            DotbiasError: for a file that is none, or does not go with the ids of the database: the
                present model stays.
        """
        async with self._loading:  # the last to ask has read what the file holds last
            made = await self.in_thread(lambda: self._loaded(path))
            self.generation = made
            self.people.clear()
            self.answers.clear()
        _log.info("generation", extra={"fields": {"generation": made.number}})
        return made

    def _loaded(self, path: Path) -> Generation:
        made = load(path, number=self.generation.number + 1)
        now, new = self.generation.recommender, made.recommender
        for side in ("user", "item"):
            types = (now.vocabulary(side).id_type, new.vocabulary(side).id_type)
            if types[0] != types[1]:
                raise SettingError(
                    f"{path}: its {side} ids are {types[1]}, and those of the service {types[0]}"
                )
        if new.facts.kind != now.facts.kind:
            raise SettingError(
                f"{path}: it was fitted to {new.facts.kind}, and the service holds {now.facts.kind}"
            )
        return made

    async def in_thread(self, work: Callable[[], _T]) -> _T:
        """What waits for a disk or a network."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def close(self) -> None:
        """Write what waits, and end."""
        await self.maps.close()
        await self.in_thread(self.store.close)
        self._threads.shutdown()


def load(path: Path, number: int = 1) -> Generation:
    """The model of a file, warm: no request waits for a compiler.

    Raises:
        DotbiasError: for a file that is no model, or one that cannot list items.
    """
    made = Generation(number, Recommender.load(path), path)
    _ = made.search, made.unit_vectors, made.item_bias, made.mean_rating, made.start, made.levels
    _ = made.names, made.recommender.user_priors
    user, first = (str(made.recommender.vocabulary(side).raw(0)) for side in ("user", "item"))
    known = Known((State(first, "not-interested", None, 0),), erased=False)
    somebody = person(made, user, known)
    scores(somebody, top_items(somebody, 1, ListOptions()))
    return made


def warn_of_strangers(generation: Generation, store: Store) -> None:
    """Log a warning where a model knows less than half of what was said in a database: it was probably
    another model's.

    Raises:
        DatabaseError: where the database cannot be read.
    """
    items = store.some_items()
    n_strange = item_indices(generation, items).count(-1)
    if 2 * n_strange > len(items):
        _log.warning(
            "%s: of %s things that were said in it, %s are about items that %s does not know; if it "
            "was another model's, name another with --database",
            store.database.name,
            f"{len(items):,}",
            f"{n_strange:,}",
            generation.source,
        )
