"""At which learning rate descent diverges, found by trying."""

import itertools
import math
from collections.abc import Callable, Iterator

# How far from a guess the end of the stable rates is looked for: it is near more often than not.
_LOOKS = (1.05, 1.2, 2.0, 10.0, 100.0)


def divergence_rate(
    descend: Callable[[float], Iterator[float]],
    guess: float,
    *,
    n_steps: int = 200,
    precision: float = 0.01,
    rise: float = 1.05,
) -> float | None:
    """The lowest rate at which descent from here is seen to diverge, by bisection of short runs.

    A run diverges when its loss is not finite, or exceeds that of its start ``rise`` times.

    Args:
        descend: gives the losses of a run at a rate, the first of them at its start.
        guess: where to look first.
        n_steps: steps of a run.
        precision: relative width of what is left between a rate that diverges and one that does not.
        rise: see above.

    Returns:
        The rate, or None when all from a hundredth of the guess to a hundred times as much do the same.
    """

    def diverges(rate: float) -> bool:
        losses = itertools.islice(descend(rate), n_steps + 1)
        limit = rise * next(losses)
        return not all(loss <= limit for loss in losses)

    down, near = diverges(guess), guess
    for reach in _LOOKS:
        further = guess / reach if down else guess * reach
        if diverges(further) != down:
            break
        near = further
    else:
        return None
    low, high = sorted((near, further))
    while high / low > 1 + precision:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if diverges(middle) else (middle, high)
    return high
