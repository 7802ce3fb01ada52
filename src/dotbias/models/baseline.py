"""The baseline: what is left of a rating when taste is left out."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.models.base import (
    Array,
    Model,
    Parameters,
    Scoring,
    clip_to_scale,
    constants,
    gather,
)


@dataclass(frozen=True, kw_only=True)
class Baseline(Model):
    """Global mean plus a bias for each user and item.

    Prediction: ``μ + b_u + b_i``, clipped to the scale (Koren, Bell & Volinsky 2009, eq. 3).
    Estimated in closed form by ``ClosedForm``.
    """

    groups: ClassVar[tuple[str, ...]] = ("user_bias", "item_bias")

    def initialise(self, ratings: Ratings, rng: np.random.Generator) -> Parameters:  # noqa: ARG002
        """All biases zero."""
        return constants(ratings) | {
            "user_bias": np.zeros(ratings.n_users, np.float32),
            "item_bias": np.zeros(ratings.n_items, np.float32),
        }

    def predict(self, parameters: Parameters, users: Index, items: Index) -> Array:
        """Predicted rating of each pair, shape (n,)."""
        b_u = gather(parameters["user_bias"], users)
        b_i = gather(parameters["item_bias"], items)
        return clip_to_scale(parameters, parameters["global_mean"] + b_u + b_i)

    def score_all(self, parameters: Parameters, users: Index) -> Array:
        """``μ + b_u + b_i`` of every item for each user, shape (n_users, n_items)."""
        b_u = gather(parameters["user_bias"], users)
        return parameters["global_mean"] + b_u[:, None] + parameters["item_bias"][None, :]

    def scoring(self, parameters: Parameters, users: Index) -> Scoring:
        """``b_i``, the same for all users."""
        none = self.item_vectors(parameters)
        return Scoring(
            np.zeros((len(users), 0), np.float32), none, parameters["item_bias"][None, :]
        )

    def item_vectors(self, parameters: Parameters) -> Array:
        """Items have no vectors here: shape (n_items, 0)."""
        return np.zeros((len(parameters["item_bias"]), 0), np.float32)

    def user_vectors(self, parameters: Parameters) -> Array:
        """Nor have users: shape (n_users, 0)."""
        return np.zeros((len(parameters["user_bias"]), 0), np.float32)
