"""The model of preferences: a dot product of two embeddings, which says who chooses what."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.errors import SettingError
from dotbias.models.base import Observed, Scores
from dotbias.models.bilinear import BilinearModel
from dotbias.models.parameters import (
    MOST_FACTORS,
    Array,
    Parameters,
    check_constants,
    checked_array,
    constants,
)
from dotbias.models.row_form import OTHER, Linear, RowForm, Side
from dotbias.models.scoring import Scoring, row_sums
from dotbias.settings import setting


@dataclass(frozen=True, kw_only=True)
class DotProduct(BilinearModel):
    """Dot product of two embeddings, without biases: a preference, not a rating.

    Score: ``p_u · q_i`` (Hu, Koren & Volinsky 2008). It is about 1 where a user is expected to have
    chosen the item and 0 where not, and orders lists; what is liked more may exceed 1. Someone who
    was not there at training gets the mean of all users' embeddings, the taste of the crowd; an item
    that was not, 0.

    Beside its groups its parameters say what it was fitted to: the target of a known pair is
    ``t = target[0] + target[1] · value``, and its weight
    ``c = confidence[0] + confidence[1] · log(1 + value) + confidence[2] · value``. In the regression of
    an item a pair weighs ``user_weight`` times as much, ``balance[1] · n^-balance[0]`` for a user of n
    known pairs.

    Args:
        n_factors: length of each embedding.
        init_std: standard deviation of the lengths that embeddings start from.
    """

    n_factors: int = setting(128, at_least=1, at_most=MOST_FACTORS)
    init_std: float = setting(0.1, at_least=0)

    groups: ClassVar[tuple[str, ...]] = ("user_factors", "item_factors")

    @property
    def scores(self) -> Scores:
        """Preferences."""
        return "preference"

    def initialise(self, ratings: Ratings, rng: np.random.Generator) -> Parameters:
        """Normal factors, float32; every known pair counts as 1."""
        k = self.n_factors
        std = np.float32(self.init_std / np.sqrt(k))
        return constants(ratings) | {
            "user_factors": rng.standard_normal((ratings.n_users, k), np.float32) * std,
            "item_factors": rng.standard_normal((ratings.n_items, k), np.float32) * std,
            "target": np.array([1, 0], np.float32),
            "confidence": np.array([1, 0, 0], np.float32),
            "balance": np.array([0, 1], np.float32),
            "user_weight": np.ones(ratings.n_users, np.float32),
            "stranger": np.zeros(k, np.float32),
        }

    def fitted(self, parameters: Parameters) -> "DotProduct":
        """This model with the number of factors that the parameters have."""
        factors = checked_array(parameters, "user_factors", (None, None))
        return replace(self, n_factors=factors.shape[1])

    @property
    def label(self) -> str:
        """What it is, in a sentence."""
        return f"{super().label} of {self.n_factors} factors"

    def check(self, parameters: Parameters, n_users: int, n_items: int) -> None:
        """As ``Model.check``; also what the model was fitted to."""
        super().check(parameters, n_users, n_items)
        checked_array(parameters, "stranger", parameters["user_factors"].shape[1:])
        checked_array(parameters, "target", (2,))
        confidence = checked_array(parameters, "confidence", (3,))
        checked_array(parameters, "balance", (2,))
        if checked_array(parameters, "user_weight", (n_users,)).min(initial=1) <= 0:
            raise SettingError("the array user_weight must be above 0")
        if confidence.min() < 0:
            raise SettingError("the array confidence must be at least 0")

    def formula(self, parameters: Parameters, side: Side) -> RowForm:
        """A row is an embedding, which meets that of the partner in a dot product."""
        check_constants(parameters)
        return RowForm(
            parameters=parameters,
            bias=None,
            held=None,
            terms={f"{side}_factors": f"{OTHER[side]}_factors"},
            response=Linear(0.0),
        )

    def predict(self, parameters: Parameters, users: Index, items: Index) -> Array:
        """Preference of each pair, shape (n,)."""
        preference = super().predict(parameters, users, items)
        at = np.flatnonzero((users < 0) & (items >= 0))
        if len(at):
            q = parameters["item_factors"][items[at]]
            preference[at] = row_sums(q * parameters["stranger"])
        return preference

    def scoring(self, parameters: Parameters, users: Index) -> Scoring:
        """Dot products; strangers have the mean embedding."""
        scoring = self.formula(parameters, "user").scoring(users)
        scoring.user_vectors[users < 0] = parameters["stranger"]
        return scoring

    def score_all(self, parameters: Parameters, users: Index) -> Array:
        """Preference of every item for each user, shape (n_users, n_items)."""
        x, y, _ = self.scoring(parameters, users)
        scores: Array = x @ y.T
        return scores

    def observed(
        self,
        parameters: Parameters,
        side: Side,
        starts: NDArray[np.integer[Any]],  # noqa: ARG002
        partners: Index,
        values: Array,
    ) -> Observed:
        """Targets and weights of known pairs; what nobody chose has the target 0 and is in the prior."""
        at_zero, slope = parameters["target"]
        constant, log, linear = parameters["confidence"]
        if slope:
            targets = slope * values
            targets += at_zero
        else:  # one number in the place of all
            targets = np.broadcast_to(at_zero, values.shape)
        of_users = side == "item" and parameters["balance"][0] > 0
        if log == linear == 0 and constant == 1 and not of_users:
            return Observed(targets, None)
        weights = constant + linear * values
        if log:
            weights += log * np.log1p(values)
        if of_users:
            weights = weights * parameters["user_weight"][partners]
        return Observed(targets.astype(np.float32, copy=False), weights.astype(np.float32))

    def counted(self, parameters: Parameters, user_counts: NDArray[np.int64]) -> Parameters:
        """``user_weight``: users with many known pairs weigh less for each."""
        exponent, spread = map(float, parameters["balance"])
        return {"user_weight": (spread * balanced(user_counts, exponent)).astype(np.float32)}

    def stranger(self, parameters: Parameters, side: Side) -> Array | None:
        """Of users the mean embedding."""
        return np.append(np.float32(0), parameters["stranger"]) if side == "user" else None

    def item_vectors(self, parameters: Parameters) -> Array:
        """The embeddings of items, shape (n_items, n_factors)."""
        return parameters["item_factors"]

    def user_vectors(self, parameters: Parameters) -> Array:
        """The embeddings of users, shape (n_users, n_factors)."""
        return parameters["user_factors"]


def balanced(counts: NDArray[np.int64], exponent: float) -> NDArray[np.float64]:
    """``n^-exponent`` of each count, shape (n,); nothing counts as 1."""
    powers: NDArray[np.float64] = np.maximum(counts, 1).astype(np.float64) ** -exponent
    return powers
