"""How large biases, factors and effects are, as the ratings themselves say it.

Rows and the spread that they are drawn with hold each other: one cannot grow without the other, so a
chain that draws them in turn takes hundreds of samples to find how large they should be. A move that
scales both at once is drawn from what the ratings say of the scale (Liu & Sabatti 2000, generalised
Gibbs sampling; for effects it is the non-centred step of Yu & Meng 2011).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# The parts of a prediction in ``kernels.part_sums``: what effects moved the bias and the factors by,
# the bias, the factors. A move by ``f`` turns them by ``1 + (f - 1) move``.
EFFECTS = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]])
BIAS = np.diag([1, 0, 1, 0])
FACTORS = np.diag([0, 1, 0, 1])
# A prediction is its bias and its factors' product: they hold what effects moved them by.
_WHOLE = np.array([0, 0, 1, 1])

# Width of the slice sampler's steps in the logarithm of a scale, and how many it takes at most.
_WIDTH, _STEPS = 0.1, 20


class Parts:
    """How the likelihood of a mode's ratings goes with the scales of its parts.

    Args:
        sums: of ``kernels.part_sums``, over all blocks: (5, 4).
        noise_precision: α.
    """

    def __init__(self, sums: NDArray[np.float64], noise_precision: float) -> None:
        upper = noise_precision * np.triu(sums[:4])
        self.products = upper + np.triu(upper, 1).T
        self.errors = noise_precision * sums[4]

    def draw_scale(
        self,
        move: NDArray[np.int_],
        log_prior: Callable[[float], float],
        rng: np.random.Generator,
    ) -> float:
        """Draw the factor by which a move scales its parts, and scale them.

        Args:
            move: ``EFFECTS``, ``BIAS`` or ``FACTORS``.
            log_prior: what else the logarithm ``u`` of the factor changes, with respect to ``du``.
            rng: source of the draws.
        """
        changed = _WHOLE @ move
        slope, curvature = changed @ self.errors, changed @ self.products @ changed

        def log_density(u: float) -> float:
            more = float(np.expm1(u))
            return float(slope * more - curvature * more**2 / 2) + log_prior(u)

        more = float(np.expm1(slice_draw(log_density, rng)))
        self.errors = self.errors - more * self.products @ changed
        turn = np.eye(4) + more * move
        self.errors, self.products = turn @ self.errors, turn @ self.products @ turn.T
        return 1 + more


def slice_draw(log_density: Callable[[float], float], rng: np.random.Generator) -> float:
    """A step from 0 that leaves a distribution as it is (Neal 2003, figures 3 and 5)."""
    level = log_density(0.0) - rng.exponential()
    low = -_WIDTH * rng.random()
    high = low + _WIDTH
    below = int(_STEPS * rng.random())
    for _ in range(below):
        if log_density(low) <= level:
            break
        low -= _WIDTH
    for _ in range(_STEPS - 1 - below):
        if log_density(high) <= level:
            break
        high += _WIDTH
    while True:
        new = low + (high - low) * rng.random()
        if log_density(new) >= level:
            return float(new)
        low, high = (new, high) if new < 0 else (low, new)
