"""Ratings as ordered categories: an ordered probit (Albert & Chib 1993, section 4)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr, ndtri

from dotbias.errors import SettingError
from dotbias.models.base import Array

# More different ratings than this are no star scale.
_MOST_LEVELS = 25
# Share of proposals that the random walk of the thresholds is tuned to accept (Roberts, Gelman & Gilks
# 1997); the tuning fades out as the chain goes on.
_ACCEPTED, _FADING = 0.3, 0.6
# Cumulative probabilities stay this far from 0 and 1, so that every draw is finite.
_EDGE = 1e-12


@dataclass(eq=False)
class Ordinal:
    """The thresholds of a chain: a rating is the level whose interval holds its latent number.

    The latent number is the row's prediction plus normal noise, of variance 1 but for
    the weights of its rows.

    Args:
        levels: the ratings that occur, ascending, shape (n_levels,).
        codes: level of each training rating, shape (n,).
        thresholds: between neighbouring levels, ascending, shape (n_levels - 1,).
        step: of the random walk.
        n_draws: so far.
    """

    levels: NDArray[np.float64]
    codes: NDArray[np.int64]
    thresholds: NDArray[np.float64]
    step: float = 0.02
    n_draws: int = 0

    @classmethod
    def of(cls, values: Array) -> "Ordinal":
        """Thresholds that give each level its share of the ratings where predictions are zero.

        Raises:
            SettingError: for fewer than two different ratings, or too many to be a star scale.
        """
        levels, codes = np.unique(values, return_inverse=True)
        if not 2 <= len(levels) <= _MOST_LEVELS:
            raise SettingError(
                f"likelihood='ordinal' is for scales of 2 to {_MOST_LEVELS} different ratings, and "
                f"these have {len(levels):,}: use 'normal'"
            )
        below = np.cumsum(np.bincount(codes))[:-1] / len(codes)
        return cls(levels.astype(np.float64), codes, ndtri(below))

    def draw(
        self,
        predictions: NDArray[np.float64],
        precision: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> Array:
        """Move the thresholds by one step, and draw the latent number of each rating, shape (n,).

        Thresholds move given the predictions alone, the latent numbers summed out: with them held, the
        thresholds could hardly move at all (Cowles 1996).
        """
        gaps = np.log(np.diff(self.thresholds))
        proposed = np.concatenate([[self.thresholds[0]], gaps])
        proposed += self.step * rng.standard_normal(len(proposed))
        first, gaps_to = proposed[0], proposed[1:]
        moved = first + np.concatenate([[0.0], np.cumsum(np.exp(gaps_to))])
        # A flat prior of the thresholds, in terms of their gaps' logarithms.
        root = np.sqrt(precision)
        before = self._log_likelihood(self.thresholds, predictions, root)
        gain = self._log_likelihood(moved, predictions, root) - before
        accepted = np.log(rng.random()) < gain + float(np.sum(gaps_to - gaps))
        if accepted:
            self.thresholds = moved
        self.n_draws += 1
        self.step *= float(np.exp((accepted - _ACCEPTED) / self.n_draws**_FADING))
        low, high = self._bounds(self.thresholds)
        below = ndtr(root * (low[self.codes] - predictions))
        inside = ndtr(root * (high[self.codes] - predictions)) - below
        share = np.clip(below + rng.random(len(predictions)) * inside, _EDGE, 1 - _EDGE)
        latent: Array = (predictions + ndtri(share) / root).astype(np.float32)
        return latent

    def expected(
        self, predictions: NDArray[np.float64], precision: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean of the rating and of its square, each of shape (n,), noise included."""
        root = np.sqrt(precision)
        mean = np.full(len(predictions), self.levels[0])
        square = np.full(len(predictions), self.levels[0] ** 2)
        for threshold, below, above in zip(
            self.thresholds, self.levels[:-1], self.levels[1:], strict=True
        ):
            reached = ndtr(root * (predictions - threshold))
            mean += (above - below) * reached
            square += (above**2 - below**2) * reached
        return mean, square

    def _log_likelihood(
        self,
        thresholds: NDArray[np.float64],
        predictions: NDArray[np.float64],
        root: NDArray[np.float64],
    ) -> float:
        low, high = self._bounds(thresholds)
        a = root * (low[self.codes] - predictions)
        b = root * (high[self.codes] - predictions)
        # In the upper tail the difference of two numbers near 1 says nothing: mirror it.
        flip = a > 0
        a, b = np.where(flip, -b, a), np.where(flip, -a, b)
        top = log_ndtr(b)
        return float(np.sum(top + np.log1p(-np.exp(np.minimum(log_ndtr(a) - top, -1e-12)))))

    def _bounds(
        self, thresholds: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.append(-np.inf, thresholds), np.append(thresholds, np.inf)
