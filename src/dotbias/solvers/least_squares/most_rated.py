"""The most rated items, as an embedding of one factor: lists that know nothing of a user."""

import time
from dataclasses import dataclass

import numpy as np

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models.base import Model, Parameters, has_formula_of, initialised
from dotbias.models.dot_product import DotProduct
from dotbias.settings import generator
from dotbias.solvers.base import Epoch, History, OnEpoch, Solver


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
        if model.n_factors != 1:
            raise SettingError(f"MostRated estimates DotProduct(n_factors=1), not {model}")
        started = time.perf_counter()
        share = ratings.item_counts / ratings.n_users
        ones = np.ones((ratings.n_users, 1), np.float32)
        one = np.ones(1, np.float32)
        # A row that is folded in is held at 1: nothing that it chose weighs anything beside the prior.
        stiff = np.diag(np.array([0, 1e12], np.float32))
        parameters = initialised(model, ratings, generator(seed)) | {
            "user_factors": ones,
            "item_factors": share.astype(np.float32)[:, None],
            "stranger": one,
            "unobserved_weight": one,
            "user_prior_mean": np.array([0, 1], np.float32),
            "user_prior_precision": stiff,
            "item_prior_mean": np.zeros(2, np.float32),
            "item_prior_precision": np.diag(np.array([0, ratings.n_users], np.float32)),
            "prior_per_rating": np.zeros(1, np.float32),
        }
        seconds = time.perf_counter() - started
        rmse = float(np.sqrt(np.mean((1 - share[ratings.items]) ** 2)))
        epoch = Epoch(1, 1, 0.0, rmse, None, seconds, len(ratings) / max(seconds, 1e-9))
        if on_epoch is not None:
            on_epoch(epoch)
        return parameters, History([epoch], best_epoch=1, seconds=seconds)
