"""Answers in memory: whoever asks the same again, and has said nothing since, gets the same."""

from collections import OrderedDict

from dotbias.serving.generation import Person

# What an entry takes beside its bytes: a user as they were then, with all that they have said, and the
# entry itself.
_OF_WHAT_WAS_SAID, _BESIDE = 300, 2_000


class Answers:
    """The answers that were asked for last, in bounded memory.

    A ``Person`` never changes: what somebody says, and a new model, make another one, of whom no answer
    is kept. So nothing here is ever out of date.

    Args:
        most_bytes: how much is kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._size = 0
        self._kept: OrderedDict[tuple[Person, bytes], bytes] = OrderedDict()

    def get(self, whom: Person, asked: bytes) -> bytes | None:
        """What was answered to the same body about a user; None where that is not kept."""
        said = self._kept.get((whom, asked))
        if said is not None:
            self._kept.move_to_end((whom, asked))
        return said

    def keep(self, whom: Person, asked: bytes, said: bytes) -> None:
        """Keep an answer, until others have asked for more."""
        if (whom, asked) not in self._kept:  # as it is where two asked at once
            self._size += _size(whom, asked, said)
        self._kept[whom, asked] = said
        while self._size > self._most:
            (who, old), gone = self._kept.popitem(last=False)
            self._size -= _size(who, old, gone)

    def clear(self) -> None:
        """Forget all of them: another generation is there."""
        self._kept.clear()
        self._size = 0


def _size(whom: Person, asked: bytes, said: bytes) -> int:
    return len(asked) + len(said) + _BESIDE + _OF_WHAT_WAS_SAID * len(whom.known.states)
