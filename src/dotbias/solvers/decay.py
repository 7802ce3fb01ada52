"""Weight decay: how strongly each group of parameters is shrunk, and in which form."""

import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models.base import Parameters
from dotbias.models.dot_bias import DotBias
from dotbias.settings import Settings, setting

# Chosen on validation parts of training rows alone (benchmarks/choose_defaults.py).
DEFAULT_DECAY: Mapping[str, float] = {
    "user_factors": 0.04,
    "item_factors": 0.06,
    "user_bias": 0.03,
    "item_bias": 0.1,
}
# Likewise (benchmarks/networks.py). Biases and batch normalisation are left alone.
NETWORK_DECAY: Mapping[str, float] = {
    "embeddings": 0.01,
    "hidden": 0.0001,
    "output": 0.0001,
    "biases": 0.0,
}

# Far below that, every parameter is zero; above, single precision would overflow.
MOST_DECAY = 1e12


@dataclass(frozen=True)
class WeightDecay(Settings):
    """How parameters are shrunk.

    With ``n`` ratings of a row, the objective contains for each row ``w`` of a group

    - ``per="rating"``: ``½ n λ |w|²``, the weighted-λ form (Zhou et al. 2008): the decay acts once for
      each rating of the row;
    - ``per="row"``: ``½ λ |w|²``, the ridge form of Ng's lectures: the same for a row of three ratings
      and one of three thousand. ``λ_row = n λ_rating`` converts.

    Coupled decay (L2) is part of the gradient, and an adaptive rule divides it like the rest.
    Decoupled decay acts beside it, ``w ← w - η λ w`` (Loshchilov & Hutter 2019); for plain SGD the two
    are the same up to terms of the order ``η²``.

    Args:
        amount: ``λ`` of all groups, or a mapping from group name to its ``λ``; groups not named, or all
            with None, keep the solver's defaults (for gradient descent ``DEFAULT_DECAY``, with
            ``per="row"`` times the mean number of ratings of a row).
        per: what ``λ`` counts for.
        decoupled: whether it acts beside the gradient; None leaves that to the rule (AdamW: yes). Not
            for ``ALS``, which takes no steps.

    Raises:
        SettingError: for an amount that is negative, or a group that no model has.
    """

    amount: float | Mapping[str, float] | None = None
    per: Literal["rating", "row"] = setting("rating", choices=("rating", "row"), keyword=True)
    decoupled: bool | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.amount if isinstance(self.amount, Mapping) else {"": self.amount}
        for name, value in given.items():
            if isinstance(self.amount, Mapping):
                self._check_group(name, (*DEFAULT_DECAY, *NETWORK_DECAY))
            elif value is None:
                continue
            number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if value is None or not number or not 0 <= value <= MOST_DECAY:
                of = f" of {name}" if name else ""
                large = value is not None and number and value > 0
                wanted = f"at most {MOST_DECAY:g}" if large else "at least 0"
                raise SettingError(f"weight_decay{of} must be {wanted}, not {value!r}")

    def _check_group(self, name: str, groups: Iterable[str]) -> None:
        if name not in groups:
            known = ", ".join(groups)
            raise SettingError(f"weight_decay names no group {name!r}: the groups are {known}")

    def by_group(self, default: Mapping[str, float]) -> dict[str, float]:
        """``λ`` of each group of these defaults, which hold where nothing was named.

        Raises:
            SettingError: for a group that is none of theirs.
        """
        if isinstance(self.amount, Mapping):
            for name in self.amount:
                self._check_group(name, default)
            return dict(default) | dict(self.amount)
        return dict(default) if self.amount is None else dict.fromkeys(default, float(self.amount))

    def of_network(self) -> dict[str, float]:
        """``λ`` of each group of a network; only an amount of their own decays the biases.

        Raises:
            SettingError: for a group that networks do not have.
        """
        amounts = self.by_group(NETWORK_DECAY)
        return amounts if isinstance(self.amount, Mapping) else amounts | {"biases": 0.0}

    def table(self, counts: Mapping[str, NDArray[np.int64]]) -> dict[str, float]:
        """``λ`` of each group of ``DotBias``, given the number of ratings of each of its rows.

        Raises:
            SettingError: for a group that it does not have.
        """
        default = {
            name: value * (counts[name].mean() if self.per == "row" else 1.0)
            for name, value in DEFAULT_DECAY.items()
        }
        return self.by_group(default)

    def of_rows(self, counts: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[np.float64]]:
        """``Λ`` of each row, by group, where the objective contains ``½ Λ |w|²``: shape (n_rows,)."""
        table = self.table(counts)
        return {
            name: table[name] * (n if self.per == "rating" else np.ones_like(n)).astype(np.float64)
            for name, n in counts.items()
        }


def as_weight_decay(value: "float | Mapping[str, float] | WeightDecay | None") -> WeightDecay:
    """A plain amount is that of the default form."""
    return value if isinstance(value, WeightDecay) else WeightDecay(value)


def row_counts(ratings: Ratings) -> dict[str, NDArray[np.int64]]:
    """Number of ratings of each row of each group."""
    users, items = ratings.user_counts, ratings.item_counts
    return dict(zip(DotBias.groups, (users, items, users, items), strict=True))


def prior_constants(
    decay: WeightDecay,
    model: DotBias,
    counts: Mapping[str, NDArray[np.int64]],
    std: float,
) -> Parameters:
    """The decay as constants of the fitted model, in rating units: what it takes to fit one more row.

    With the other side held, a row ``x`` of bias and factors minimises
    ``½ Σ (r̂ - r)² + ½ w (x - m)ᵀ P (x - m)`` over its ratings, where ``w`` is their number if
    ``prior_per_rating`` is 1, and 1 if it is 0. For a decay, ``m`` is zero and ``P`` diagonal.

    Args:
        decay: ``λ`` of each group, which counts in units of the ratings' std.
        model: gives the units of its groups.
        counts: number of ratings of each row of each group.
        std: standard deviation of the training ratings.

    Returns:
        ``user_prior_mean``, ``user_prior_precision``, ``item_prior_mean`` and ``item_prior_precision``,
        each of shape (1 + n_factors,), and ``prior_per_rating``, shape (1,).
    """
    table, units = decay.table(counts), model.units(std)
    precision = {name: table[name] * (std / unit) ** 2 for name, unit in units.items()}
    constants = {"prior_per_rating": np.array([decay.per == "rating"], np.float32)}
    for side in ("user", "item"):
        diagonal = np.full(1 + model.n_factors, precision[f"{side}_factors"], np.float32)
        diagonal[0] = precision[f"{side}_bias"]
        constants[f"{side}_prior_mean"] = np.zeros_like(diagonal)
        constants[f"{side}_prior_precision"] = diagonal
    return constants
