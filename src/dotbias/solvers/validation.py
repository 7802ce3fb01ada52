"""Validation rows: held out of the training rows, to measure the error on and to stop early."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models.base import Model, Parameters


class Validation:
    """Validation rows taken from the training rows, and the best parameters seen on them."""

    def __init__(self, ratings: Ratings, rest: NDArray[Any], held: NDArray[Any]) -> None:
        self.rest, self.scale = ratings, ratings.scale
        self.users = self.items = np.empty(0, np.int32)
        self.values = np.empty(0, np.float32)
        if len(held):  # whose columns need not be in memory
            self.rest = ratings.rows(rest)
            self.users, self.items = ratings.user_indices[held], ratings.item_indices[held]
            self.values = ratings.values[held]
        features = ratings.features
        self.codes = {} if features is None else features.take_rows(held).ratings
        self.best_figure, self.best_epoch = np.inf, 0
        self.best: Parameters = {}

    @classmethod
    def hold_out(cls, ratings: Ratings, share: float, rng: np.random.Generator) -> "Validation":
        """Set a random share of the rows aside; 0 sets none."""
        n_held = round(len(ratings) * share)
        if share and not 0 < n_held < len(ratings):
            raise SettingError(f"validation_size={share} leaves no rows on one side")
        if n_held == 0:
            return cls(ratings, np.empty(0, np.int64), np.empty(0, np.int64))
        n = len(ratings.values)  # which ratings on disk refuse
        order = rng.permutation(n)
        return cls(ratings, np.sort(order[n_held:]), order[:n_held])

    def loss(self, model: Model, parameters: Parameters) -> float:
        """Mean squared error on the validation rows."""
        error = model.predict(parameters, self.users, self.items) - self.values
        return float(np.mean(error.astype(np.float64) ** 2))

    def rmse(self, model: Model, candidate: Callable[[], Parameters], epoch: int) -> float | None:
        """RMSE on the validation rows, remembering the parameters when it is the best so far."""
        return self.watch(lambda p: float(np.sqrt(self.loss(model, p))), candidate, epoch)

    def watch(
        self,
        figure: Callable[[Parameters], float],
        candidate: Callable[[], Parameters],
        epoch: int,
    ) -> float | None:
        """A figure of the validation rows, remembering the parameters when it is the lowest so far."""
        if len(self.values) == 0:
            return None
        parameters = candidate()
        found = figure(parameters)
        if found < self.best_figure:
            self.best_figure, self.best_epoch, self.best = found, epoch, parameters
        return found

    def rmse_of(self, predictions: NDArray[Any]) -> float:
        """RMSE of given predictions, clipped to the scale."""
        error = np.clip(predictions, *self.scale) - self.values
        return float(np.sqrt(np.mean(error.astype(np.float64) ** 2)))

    def waited(self, epoch: int) -> int:
        """Epochs since the best one; 0 without validation rows."""
        return epoch - self.best_epoch if len(self.values) else 0
