"""The most rated items, as an embedding of one factor: lists that know nothing of a user."""

import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models.base import Model, Parameters, has_formula_of, initialised
from dotbias.models.dot_product import DotProduct
from dotbias.settings import generator
from dotbias.solvers.base import Epoch, History, OnEpoch, Solver

# Precision that holds a user at 1, and the weight of a choice.
_STIFF = 1e12
_EPSILON = 2.0**-24


@dataclass(frozen=True, kw_only=True)
class MostRated(Solver):
    """``p = 1`` for everyone, and ``q_i`` the share of the users who have the item.

    For these ``p`` that ``q`` is the least-squares solution of "chose it: 1, did not: 0". What
    recommendations must beat, and what they fall back on where they do not.
    """

    @property
    def default_model(self) -> Model:
        """One factor."""
        return DotProduct(n_factors=1)

    def fit(
        self, model: Model, ratings: Ratings, *, seed: int = 0, on_epoch: OnEpoch | None = None
    ) -> tuple[Parameters, History]:
        """One pass over the ratings.

        Raises:
            SettingError: for a model other than ``DotProduct(n_factors=1)``.
        """
        if not has_formula_of(model, DotProduct):
            raise SettingError(f"MostRated estimates DotProduct, not {type(model).__name__}")
        if model != DotProduct(n_factors=1, init_std=model.init_std):
            raise SettingError(f"MostRated estimates DotProduct(n_factors=1), not {model}")
        started = time.perf_counter()
        parameters = initialised(model, ratings, generator(seed))
        parameters |= shares(ratings.n_users, ratings.item_counts)
        share = parameters["item_factors"][:, 0]
        seconds = time.perf_counter() - started
        squares = (1 - share.astype(np.float64)) ** 2
        rmse = math.sqrt(float(np.dot(ratings.item_counts, squares)) / len(ratings))
        epoch = Epoch(1, 1, 0.0, rmse, None, seconds, len(ratings) / max(seconds, 1e-9))
        if on_epoch is not None:
            on_epoch(epoch)
        return parameters, History([epoch], best_epoch=1, seconds=seconds)


def shares(n_users: int, item_counts: NDArray[np.int64]) -> Parameters:
    """The embeddings, and what folding in needs, from how many of the users have each item.

    A row is ``(P m + Σ c t y) / (P + Σ c y²)``. Of users ``P`` is so large that they stay at 1. Of items
    ``P`` is the number of users, and each choice has the weight ``c = ε`` and the target ``t = 1/ε``: it
    adds 1 above and as good as nothing below, so that what is folded in is a share too.
    """
    one = np.ones(1, np.float32)
    stiff, all_users = (np.diag(np.array([0, p], np.float32)) for p in (_STIFF, n_users))
    return {
        "user_factors": np.ones((n_users, 1), np.float32),
        "item_factors": (item_counts / n_users).astype(np.float32)[:, None],
        "stranger": one,
        "target": np.array([1 / _EPSILON, 0], np.float32),
        "confidence": np.array([_EPSILON, 0, 0], np.float32),
        "user_prior_mean": np.array([0, 1], np.float32),
        "user_prior_precision": stiff,
        "item_prior_mean": np.zeros(2, np.float32),
        "item_prior_precision": all_users,
        "prior_per_rating": np.zeros(1, np.float32),
    }
