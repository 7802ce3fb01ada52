"""What colours the points of a map: groups, or amounts on a scale."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dotbias.pictures.palette import GROUP_COLOURS
from dotbias.shown import Shown


@dataclass(frozen=True, kw_only=True, eq=False)
class Groups(Shown):
    """A colour for each group of points.

    Args:
        name: what the groups are, "genre".
        names: of the groups; the first eight have a colour, all others share a grey.
        of_point: the group that colours each point, -1 for none, shape (n,).
        members: all groups of each point, where it may have several; without it those of ``of_point``.
    """

    name: str
    names: tuple[str, ...]
    of_point: ArrayLike
    members: Sequence[Sequence[int]] | None = None

    @property
    def n_coloured(self) -> int:
        """How many of the groups have a colour."""
        return min(len(self.names), len(GROUP_COLOURS["light"]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Amounts(Shown):
    """A colour on a scale for each point.

    Args:
        name: what the numbers are.
        values: of the points, shape (n,); what is not finite is grey.
        log: whether the scale is logarithmic; numbers that are not above 0 are grey on it.
    """

    name: str
    values: ArrayLike
    log: bool = False

    def on_scale(self) -> tuple[NDArray[np.float64], tuple[float, float]]:
        """Where each number stands between the two ends, from 0 to 1, and the ends.

        The ends are the numbers that a hundredth lies beyond on either side, so that a single one far
        away does not take all the colours; NaN is grey.
        """
        values = np.array(self.values, np.float64)
        if self.log:
            values[~(values > 0)] = np.nan
            values = np.log10(values)
        values[~np.isfinite(values)] = np.nan
        if np.isnan(values).all():
            return values, (0.0, 1.0)
        low, high = (float(end) for end in np.nanquantile(values, [0.01, 0.99]))
        share = np.clip((values - low) / ((high - low) or 1.0), 0, 1)
        return share, (10**low, 10**high) if self.log else (low, high)
