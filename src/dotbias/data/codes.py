"""Codes: numbers that stand for no rating, such as -1, 0 on a scale from 1 to 10, or 99."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

# Less of the rows than this may be a slip of the finger; more of a 0 than this is no opinion.
_SHARE, _SHARE_OF_ZEROS = 0.02, 0.1
_FEWEST = 5
_SAMPLED = 1 << 16
_MOST_CODES = 3
_LARGEST_BYTE = 255


def recognised(values: NDArray[np.float32]) -> tuple[float, ...]:
    """Values, apart from all others, that many rows have.

    Apart is what lies beyond the others by more than they do from each other, below 0, at over five
    times the largest (a small table may have but the low and the high ratings of its scale), or at 255,
    the largest of a byte; a lone negative number under others from 0 or 1 on; and a 0 under others from
    1 on, if it is far more frequent than the lowest of them. Of fewer than three other values nothing is
    said: they may be thumbs.

    Args:
        values: ratings, shape (n,).

    >>> recognised(np.array([-1, 5, 3, -1, 4, 2, -1, -1, -1], np.float32))
    (-1.0,)
    >>> recognised(np.array([1, 5, 3, 1, 4, 2], np.float32))
    ()
    """
    step = -(-len(values) // _SAMPLED)
    if step > 1 and not _apart(values[::step]):  # what a large share has shows in any sample
        return ()
    return _apart(values)


def _apart(values: NDArray[np.float32]) -> tuple[float, ...]:
    known, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    if len(known) < 4:
        return ()
    enough = max(_SHARE * len(values), _FEWEST)
    gaps = np.diff(known)
    for below in (True, False):
        for n in range(_MOST_CODES, 0, -1):
            if len(known) - n < 3:
                continue
            codes, rest = (known[:n], known[n:]) if below else (known[-n:], known[:-n])
            share = counts[:n].sum() if below else counts[-n:].sum()
            gap = gaps[n - 1] if below else gaps[-n]
            inside = codes[-1] - codes[0]
            over = min(max(5 * abs(rest).max(), 1), _LARGEST_BYTE - 1)
            beyond = codes[-1] < -1 if below else codes[0] > over
            far = gap > rest[-1] - rest[0] and gap > inside and beyond
            if far and share >= enough:
                return tuple(map(float, codes))
    lowest, following = float(known[0]), float(known[1])
    share = counts[0] / len(values)
    if lowest <= -1 and following >= 0 and counts[0] >= enough and lowest == round(lowest):
        return (lowest,)
    spike = counts[0] > max(3 * counts[1], enough) and share >= _SHARE_OF_ZEROS
    return (0.0,) if lowest == 0 and following >= 1 and spike else ()


def numbers(texts: Iterable[str]) -> list[float]:
    """Those of some codes that are numbers, in single precision."""
    found = []
    for text in texts:
        try:
            found.append(float(np.float32(text)))
        except ValueError:
            continue
    return found
