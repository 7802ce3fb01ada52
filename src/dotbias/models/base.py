"""What every model is: settings, named parameter groups, and a formula."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.errors import SettingError
from dotbias.settings import Settings

if TYPE_CHECKING:
    from torch import nn

Array: TypeAlias = NDArray[np.float32]
Parameters: TypeAlias = dict[str, Array]
"""Arrays by name: the trained groups, and the constants ``global_mean`` (1,) and ``scale`` (2,)."""

# Sums that a dot product keeps side by side: they fill a vector register of today's laptops.
LANES = 8


class Scoring(NamedTuple):
    """What orders all items for each of n users: the higher ``x_u · y_i + b_i``, the better.

    Args:
        user_vectors: ``x_u``, shape (n, w); w may be 0.
        item_vectors: ``y_i``, shape (n_items, w).
        bias: ``b_i``, shape (1, n_items), or of each user's own, shape (n, n_items).
    """

    user_vectors: Array
    item_vectors: Array
    bias: Array


@dataclass(frozen=True, kw_only=True)
class Model(Settings, ABC):
    """A formula and its settings. The parameters live apart, in a ``Parameters`` dictionary.

    An index of -1 stands for a user or item that was not there at training: its factors and its bias
    count as zero, so the prediction falls back on the other side's bias and on the global mean.
    """

    groups: ClassVar[tuple[str, ...]]
    """Names of the trained parameter groups, each an array with one row per user or item."""

    @abstractmethod
    def initialise(self, ratings: Ratings, rng: np.random.Generator) -> Parameters:
        """Parameters before training, with one row for each user and item of the ratings."""

    @abstractmethod
    def predict(self, parameters: Parameters, users: Index, items: Index) -> Array:
        """Predicted rating of each pair, shape (n,), within the scale; indices may be -1."""

    @abstractmethod
    def score_all(self, parameters: Parameters, users: Index) -> Array:
        """Score of every item for each user, shape (n_users, n_items): the predicted rating before it
        is cut off at the ends of the scale, so that items beyond the end keep their order.
        """

    def scoring(self, parameters: Parameters, users: Index) -> Scoring:
        """What lists of items are ordered by: the order of ``score_all``, in a form that can be scanned
        without the table of all scores where the model has one.
        """
        return scored(self.score_all(parameters, users))

    def fitted(self, parameters: Parameters) -> "Model":  # noqa: ARG002
        """This model with the settings that fitting chose, such as the number of factors."""
        return self

    def to_torch(self, parameters: Parameters) -> "nn.Module":  # noqa: ARG002
        """The model as a PyTorch module, in evaluation mode.

        Its ``forward(user, item)`` takes two tensors of indices, int64 of shape (n,), and gives ratings,
        shape (n,), before they are cut off at the ends of the scale.

        Raises:
            SettingError: for a model that has no such form, or when PyTorch is not installed.
        """
        raise SettingError(f"{type(self).__name__} has no form in PyTorch")

    def summary(self) -> dict[str, Any]:
        """The settings as plain data, for a model file or JSON."""
        return asdict(self)

    def item_vectors(self, parameters: Parameters) -> Array:
        """Vectors whose cosine says how similar two items are, shape (n_items, n_factors)."""
        return parameters["item_factors"]

    def user_vectors(self, parameters: Parameters) -> Array:
        """The same of users, shape (n_users, n_factors)."""
        return parameters["user_factors"]


def constants(ratings: Ratings) -> Parameters:
    """The parameters that are read off the training ratings, not trained."""
    return {
        "global_mean": np.array([ratings.global_mean], np.float32),
        "scale": np.array(ratings.scale, np.float32),
    }


def scored(scores: Array) -> Scoring:
    """Given scores as what orders the items: shape (n, n_items)."""
    n, n_items = scores.shape
    return Scoring(np.zeros((n, 0), np.float32), np.zeros((n_items, 0), np.float32), scores)


def row_sums(products: Array) -> Array:
    """The sum of each row of a table of shape (n, w), such as the products of a dot product: shape (n,).

    The order of the sum is fixed, so that compiled loops can give the same bits: ``LANES`` sums side by
    side, folded in half until one is left, and then one by one what was too few for all lanes.
    """
    n, width = products.shape
    whole = width - width % LANES
    lanes = np.zeros((n, LANES), np.float32)
    for start in range(0, whole, LANES):
        lanes += products[:, start : start + LANES]
    half = LANES // 2
    while half >= 1:
        lanes = lanes[:, :half] + lanes[:, half:]
        half //= 2
    total: Array = lanes[:, 0]
    for rest in range(whole, width):
        total += products[:, rest]
    return total


def gather(bias: Array, rows: Index) -> Array:
    """The bias of each row index, shape (n,); zero for -1."""
    if len(bias) == 0:
        return np.zeros(len(rows), np.float32)
    return np.where(rows >= 0, bias[rows], np.float32(0))


def clip_to_scale(parameters: Parameters, ratings: Array) -> Array:
    """Ratings cut off at the ends of the scale."""
    low, high = parameters["scale"]
    return np.clip(ratings, low, high)
