"""Users in memory: those who asked last, each as one generation sees them."""

from collections import OrderedDict

from dotbias.serving.generation import Generation, Person, person
from dotbias.serving.store.store import Known


class People:
    """The users who were asked about last, at most so many.

    What is kept belongs to the generation of the moment: nothing keeps one that was replaced in memory.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[str, Person] = OrderedDict()
        self.n_folded = 0

    def __len__(self) -> int:
        return len(self._kept)

    def known(self, user: str) -> Known | None:
        """What the database knows of a user, where that is kept."""
        kept = self._kept.get(user)
        return None if kept is None else kept.known

    def get(self, generation: Generation, user: str) -> Person | None:
        """A user as a generation sees them, where it is kept what is known of them."""
        kept = self._kept.get(user)
        if kept is None:
            return None
        self._kept.move_to_end(user)
        # A request that began before another model took over ends with its own.
        return kept if kept.generation is generation else person(generation, user, kept.known)

    def put(self, made: Person) -> Person:
        """Keep a user, as the generation of the moment sees them."""
        self.n_folded += made.folded is not None
        self._kept[made.user] = made
        self._kept.move_to_end(made.user)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return made

    def clear(self) -> None:
        """Forget all of them: another generation is there."""
        self._kept.clear()

    def drop(self, user: str) -> None:
        """Forget what is kept of a user: the database knows."""
        self._kept.pop(user, None)
