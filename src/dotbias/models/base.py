"""What every model is: settings, named parameter groups, and a formula."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

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


def gather(bias: Array, rows: Index) -> Array:
    """The bias of each row index, shape (n,); zero for -1."""
    if len(bias) == 0:
        return np.zeros(len(rows), np.float32)
    return np.where(rows >= 0, bias[rows], np.float32(0))


def clip_to_scale(parameters: Parameters, ratings: Array) -> Array:
    """Ratings cut off at the ends of the scale."""
    low, high = parameters["scale"]
    return np.clip(ratings, low, high)
