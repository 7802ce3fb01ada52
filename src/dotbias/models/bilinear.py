"""Models that are linear in each row: all of their predictions come from their row form."""

from abc import abstractmethod
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from dotbias.data.vocabulary import Index
from dotbias.errors import ModelFileError, SettingError
from dotbias.models.base import Model
from dotbias.models.feature_prior import FeaturePrior
from dotbias.models.parameters import (
    Array,
    Parameters,
    check_no_eigenvalue_below,
    check_size,
    checked_array,
    clip_to_scale,
    gather,
)
from dotbias.models.row_form import OTHER, Prior, RowForm, Side
from dotbias.models.scoring import Scoring

# Ratings that single precision can hold, with room for sums over many of them.
LARGEST_PREDICTION = 1e33
# Eigenvalues of a precision that was inverted in single precision, relative to its largest number.
_ROUNDED = -1e-4


@dataclass(frozen=True, kw_only=True)
class BilinearModel(Model):
    """Base of models that are linear in each user's row with items held, and in each item's with users
    held, up to a response function.

    A subclass states its ``formula`` and nothing else: predictions, folding in, growing, explaining and
    the objective all follow from it, so that they cannot disagree.
    """

    @abstractmethod
    def formula(self, parameters: Parameters, side: Side) -> RowForm:
        """The prediction as a function of one row of users (or items), with everything else held.

        Raises:
            SettingError: for items, where their rows cannot be solved: predictions need that of users.
        """

    def row_form(self, parameters: Parameters, side: Side) -> RowForm:
        """The formula itself."""
        return self.formula(parameters, side)

    def check(self, parameters: Parameters, n_users: int, n_items: int) -> None:
        """As ``Model.check``: every array of the formula, and of the prior where there is one."""
        super().check(parameters, n_users, n_items)
        form = self.formula(parameters, "user")
        checked_array(parameters, form.groups[0], (n_users, *parameters[form.groups[0]].shape[1:]))
        if form.n_partners != n_items:
            name = form.held_groups[0]
            checked_array(parameters, name, (n_items, *parameters[name].shape[1:]))
        for side in OTHER:
            try:
                form = self.row_form(parameters, side)
            except SettingError:  # the arrays are right: it is the model that refuses this side
                continue
            with suppress(ModelFileError):  # parameters need no prior until rows are added
                priors: dict[str, Prior | FeaturePrior | None] = {
                    f"{side}_prior": Prior.of(form, side),
                    f"{side}_feature": FeaturePrior.of(form, side),
                }
                for name, prior in priors.items():
                    if prior is not None:
                        check_size(f"{name}_mean", prior.mean)
                        check_no_eigenvalue_below(_ROUNDED, f"{name}_precision", prior.precision)
        most = max(form.largest(), float(np.abs(parameters["scale"]).max()))
        if not most < LARGEST_PREDICTION:
            raise SettingError(
                f"the arrays {', '.join((*form.groups, *form.held_groups, 'scale'))} "
                f"make predictions as large as {most:.2g}, too large for single precision"
            )

    def bias(self, parameters: Parameters, side: Side) -> Array | None:
        """The bias of each user (or item), shape (n,); None for a model without."""
        form = self.formula(parameters, "user")
        name = form.bias if side == "user" else form.held
        return None if name is None else parameters[name]

    def predict(self, parameters: Parameters, users: Index, items: Index) -> Array:
        """Predicted rating of each pair, shape (n,)."""
        form = self.formula(parameters, "user")
        predictions = form.response.rating(form.z(users, items))
        return clip_to_scale(parameters, predictions) if self.scores == "rating" else predictions

    def score_all(self, parameters: Parameters, users: Index) -> Array:
        """Rating of every item for each user before clipping, shape (n_users, n_items)."""
        form = self.formula(parameters, "user")
        x, y, h = form.scoring(users)
        z = x @ y.T  # (n_users, n_items)
        z += gather(form.own_bias, users)[:, None]
        z += h
        return form.response.rating(z)

    def scoring(self, parameters: Parameters, users: Index) -> Scoring:
        """Of a user's ``z`` all but their own bias, which orders nothing."""
        return self.formula(parameters, "user").scoring(users)
