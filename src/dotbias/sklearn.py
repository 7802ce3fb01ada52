"""An estimator for scikit-learn (extra ``sklearn``): pipelines, cross-validation, grid search."""

from typing import Any, Self

import numpy as np
import polars as pl

from dotbias.data.read import read_ratings
from dotbias.errors import DataError, SettingError
from dotbias.extras import install
from dotbias.fitting.choosing import BUDGET
from dotbias.fitting.fit import default_solver, fit
from dotbias.fitting.named import ModelLike, SolverLike, model_and_solver
from dotbias.models import DotBias
from dotbias.models.parameters import Array
from dotbias.recommender.recommender import Recommender, pairs_of
from dotbias.settings import Settings

try:
    from sklearn.base import BaseEstimator, RegressorMixin
    from sklearn.utils.validation import check_is_fitted
except ImportError:
    raise SettingError(
        f"this needs scikit-learn, which is not installed: {install('sklearn')}"
    ) from None


class RatingRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts ratings of pairs of user and item, as scikit-learn's regressors predict.

    Each row of ``X`` is a pair: an array of shape (n, 2) with the user's id first, or a frame with the
    two columns under any usual name. Users and items that training has not seen are predicted from what
    is known without them.

    Settings of model and solver are parameters too, by their names: ``solver__n_iterations``,
    ``model__n_factors``, ``solver__rule__lr``.

    Args:
        model, solver, budget: as for ``dotbias.fit``, also by name.
        scale: lowest and highest possible rating; by default the range of ``y``.
        random_state: the seed, a whole number.

    Attributes:
        recommender_: the ``Recommender`` that was fitted.

    >>> from sklearn.model_selection import GridSearchCV
    >>> import dotbias as db
    >>> table = db.simulate(n_users=60, n_items=40, n_ratings=1500, seed=1)[0].to_frame()
    >>> search = GridSearchCV(
    ...     RatingRegressor("dot-bias", "als", random_state=0), {"model__n_factors": [2, 8]}, cv=2
    ... )
    >>> search.fit(table.select("user", "item").to_numpy(), table["rating"]).best_params_
    {'model__n_factors': 2}
    """

    def __init__(
        self,
        model: ModelLike = None,
        solver: SolverLike = None,
        *,
        budget: float = BUDGET,
        scale: tuple[float, float] | None = None,
        random_state: int = 0,
    ) -> None:
        self.model = model
        self.solver = solver
        self.budget = budget
        self.scale = scale
        self.random_state = random_state

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name; with ``deep`` also the settings of model and solver, ``solver__lr``."""
        params: dict[str, Any] = super().get_params(deep=False)
        if deep:
            for name in ("model", "solver"):
                if isinstance(params[name], Settings):
                    inner = params[name].get_params()
                    params |= {f"{name}__{key}": value for key, value in inner.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name. Settings are never changed: others take their place.

        Raises:
            SettingError: for a setting that model or solver do not have, or a value outside its range.
        """
        inner: dict[str, dict[str, Any]] = {}
        for name in [name for name in params if name.startswith(("model__", "solver__"))]:
            part, _, setting = name.partition("__")
            inner.setdefault(part, {})[setting] = params.pop(name)
        super().set_params(**params)
        for part, settings in inner.items():
            model, solver = model_and_solver(self.model, self.solver)
            if part == "model":
                made: Settings = model or (DotBias() if solver is None else solver.default_model)
            else:
                made = solver or default_solver(DotBias() if model is None else model)
            setattr(self, part, made.set_params(**settings))
        return self

    def fit(self, X: Any, y: Any) -> Self:
        """Fit to ratings ``y``, shape (n,), of pairs ``X``; where a pair comes again, to the mean.

        Raises:
            DataError: for ids or ratings that are none.
            SettingError: as ``dotbias.fit``.
        """
        users, items = _columns(X)
        columns = {"user": users, "item": items, "rating": y}
        try:
            table = pl.DataFrame({name: pl.Series(list(own)) for name, own in columns.items()})
        except (pl.exceptions.PolarsError, TypeError) as error:
            raise DataError(f"X and y are no pairs and ratings: {error}") from error
        ratings = read_ratings(table, kind="ratings", duplicates="mean", scale=self.scale)
        named = self.model is not None or self.solver is not None
        self.recommender_: Recommender = fit(
            ratings,
            self.model,
            self.solver,
            purpose=None if named else "predict",
            budget=self.budget,
            seed=self.random_state,
            progress=False,  # a search makes many fits
        )
        if not self.recommender_.has("rating"):
            raise SettingError(f"solver={self.solver!r} predicts no ratings")
        self.n_features_in_ = 2
        return self

    def predict(self, X: Any) -> Array:
        """Predicted ratings of pairs, shape (n,)."""
        check_is_fitted(self)
        users, items = _columns(X)
        predictions: Array = self.recommender_.predict(users, items)
        return predictions


def _columns(X: Any) -> tuple[Any, Any]:
    """Users and items of pairs in a frame or an array."""
    if hasattr(type(X), "columns"):
        return pairs_of(X)
    table = np.asarray(X) if not isinstance(X, np.ndarray) else X
    if table.ndim != 2 or table.shape[1] != 2:
        raise DataError(f"X must be pairs of user and item, shape (n, 2), not {table.shape}")
    return table[:, 0].tolist(), table[:, 1].tolist()
