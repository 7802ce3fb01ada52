"""Ids as they are in addresses, bodies and the database: text, the same for all ways to write one."""

import re
from collections.abc import Iterable

from dotbias.data.vocabulary import Vocabulary
from dotbias.errors import SettingError, UnknownIdError
from dotbias.models.row_form import Side
from dotbias.serving.generation import Generation

_BEYOND = 2**63
_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}")


def key(generation: Generation, side: Side, raw: int | str, *, new: bool = False) -> str:
    """An id as text, the same for all ways to write it.

    Args:
        generation: whose ids.
        side: a user's or an item's.
        raw: the id.
        new: whether it may join the model.

    Raises:
        SettingError: for an id that could not join, because ids are integers.
    """
    text = str(raw).strip()
    if generation.recommender.vocabulary(side).id_type == "text":
        return text
    if not _INTEGER.fullmatch(text):  # ``int`` takes 1_0, and digits of other scripts
        if new:
            raise SettingError(f"{side} {text!r}: {side} ids are integers here")
        return text
    number = int(text)
    if new and not -_BEYOND <= number < _BEYOND:
        # One that a model cannot hold as an integer would make the ids of the next one text.
        raise SettingError(f"{side} {text!r}: {side} ids are integers of at most 64 bits here")
    return str(number)


def own_type(vocabulary: Vocabulary, text: str) -> int | str:
    """An id in the type of the model's."""
    if vocabulary.id_type == "text":
        return text
    return int(text) if _INTEGER.fullmatch(text) else text


def item_at(generation: Generation, raw: int | str) -> int:
    """The index of an item.

    Raises:
        UnknownIdError: where there is none.
    """
    vocabulary = generation.recommender.item_vocabulary
    at = int(vocabulary.indices_of_few([key(generation, "item", raw)])[0])
    if at < 0:
        raise UnknownIdError(f"item {raw!r} is not among the {len(vocabulary):,} of the model")
    return at


def item_indices(generation: Generation, raw: Iterable[int | str]) -> list[int]:
    """Indices of items; -1 for those that the model does not know."""
    keys = [key(generation, "item", one) for one in raw]
    found: list[int] = generation.recommender.item_vocabulary.indices_of_few(keys).tolist()
    return found
