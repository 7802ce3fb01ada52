"""Biases in closed form."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dotbias.data.ratings import Ratings
from dotbias.data.stripes import Columns, Side
from dotbias.errors import SettingError
from dotbias.models.base import Model, Parameters, has_formula_of, initialised
from dotbias.models.baseline import Baseline
from dotbias.settings import generator, setting
from dotbias.solvers.base import Epoch, History, OnEpoch, Solver
from dotbias.solvers.decay import MOST_DECAY


@dataclass(frozen=True, kw_only=True)
class ClosedForm(Solver):
    """Regularised biases, items first (Koren 2010, "Factor in the neighbors", section 2.1).

    ``b_i = Σ_u (r_ui - μ) / (n_i + λ_i)`` and then ``b_u = Σ_i (r_ui - μ - b_i) / (n_u + λ_u)``:
    each is the exact minimiser of the squared error plus ``λ b²`` *per row* with the rest held.

    Args:
        user_decay: ``λ_u``, in ratings: a user with that many ratings has its bias halved.
        item_decay: ``λ_i``, in ratings.
    """

    user_decay: float = setting(5.0, at_least=0, at_most=MOST_DECAY)
    item_decay: float = setting(3.0, at_least=0, at_most=MOST_DECAY)

    @property
    def default_model(self) -> Model:
        """Biases alone."""
        return Baseline()

    def fit(
        self,
        model: Model,
        ratings: Ratings,
        *,
        seed: int = 0,
        on_epoch: OnEpoch | None = None,
    ) -> tuple[Parameters, History]:
        """Both biases; takes one pass over the ratings per side."""
        if not has_formula_of(model, Baseline):
            raise SettingError(f"ClosedForm estimates Baseline, not {type(model).__name__}")
        started = time.perf_counter()
        parameters = initialised(model, ratings, generator(seed))
        mean = np.float64(ratings.global_mean)
        biases: dict[Side, NDArray[np.float64]] = {}

        def left() -> Iterator[tuple[Columns, NDArray[np.float64]]]:
            """Ratings, and what the biases so far leave of them."""
            for part in ratings.chunks():
                residual = part.values - mean
                for side, bias in biases.items():
                    residual -= bias[part.of(side)]
                yield part, residual

        sides: tuple[tuple[Side, NDArray[np.int64], float], ...] = (
            ("item", ratings.item_counts, self.item_decay),
            ("user", ratings.user_counts, self.user_decay),
        )
        for side, counts, decay in sides:
            sums = np.zeros(len(counts))
            for part, residual in left():
                sums += np.bincount(part.of(side), residual, len(counts))
            # Without a rating and without decay nothing is known: such a bias stays zero.
            biases[side] = sums / np.where(counts + decay > 0, counts + decay, 1)
            parameters[f"{side}_bias"] = biases[side].astype(np.float32)
            parameters[f"{side}_prior_mean"] = np.zeros(1, np.float32)
            parameters[f"{side}_prior_precision"] = np.array([decay], np.float32)
        parameters["prior_per_rating"] = np.zeros(1, np.float32)
        rmse = math.sqrt(sum((residual**2).sum() for _, residual in left()) / len(ratings))
        seconds = time.perf_counter() - started
        epoch = Epoch(1, 1, 0.0, rmse, None, seconds, len(ratings) / max(seconds, 1e-9))
        if on_epoch is not None:
            on_epoch(epoch)
        return parameters, History([epoch], best_epoch=1, seconds=seconds)
