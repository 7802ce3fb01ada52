"""What a row is taken for before its ratings where its features are known."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dotbias.errors import DataError, SettingError
from dotbias.models.parameters import Array, checked_array, refuse_not_finite
from dotbias.models.row_form import OTHER, Prior, RowForm, Side

FEATURE_PRIOR = tuple(
    f"{side}_feature_{what}" for side in OTHER for what in ("mean", "effects", "precision")
)
"""Names of the arrays that hold it, where a solver has left them (``Gibbs``)."""

# Half the digits of single precision's range, so that squares and a precision times it are finite.
_LARGEST_MOVE = 1e15


class FeaturePrior(NamedTuple):
    """How features move the mean of a row's prior, and how far rows are from there.

    A row of features ``f`` has the prior mean ``a + Gᵀ f`` and a precision of its own: where features
    tell something, it is nearer to its mean than one of whom nothing is known.

    Args:
        mean: ``a``, shape (width,).
        effects: ``G``, shape (n_features, width), the bias first.
        precision: shape (width, width).
    """

    mean: Array
    effects: Array
    precision: Array

    @classmethod
    def of(cls, form: RowForm, side: Side) -> "FeaturePrior | None":
        """That of one side; None where the model was fitted without its features. No features move what
        is projected.

        Raises:
            SettingError: for arrays that are not of the row's width, or not finite.
        """
        width = form.width
        shapes = {"mean": (width,), "effects": (None, width), "precision": (width, width)}
        names = {what: f"{side}_feature_{what}" for what in shapes}
        if form.projected or all(name not in form.parameters for name in names.values()):
            return None
        arrays = {}
        for what, name in names.items():
            arrays[what] = checked_array(form.parameters, name, shapes[what])
            refuse_not_finite(name, arrays[what])
        return cls(**arrays)

    def moved(self, features: csr_array) -> Array:
        """``Gᵀ f`` of each row, shape (n, width).

        Args:
            features: shape (n, n_features).

        Raises:
            SettingError: for another number of features.
            DataError: for features that lead to numbers too large for single precision.
        """
        if features.shape[1] != len(self.effects):
            raise SettingError(
                f"there are {features.shape[1]:,} features of a row, and the model was fitted to "
                f"{len(self.effects):,}"
            )
        moved: NDArray[np.float64] = features.astype(np.float64) @ self.effects
        most = float(np.abs(moved).max(initial=0))
        if most > _LARGEST_MOVE:
            raise DataError(
                f"features move a row by {most:.2g}: one of their numbers is far too large, beside "
                "those that the model was fitted to"
            )
        return moved.astype(np.float32)


def prior_of_rows(
    form: RowForm, side: Side, n_rows: int, features: csr_array | None
) -> tuple[Prior, Array | None]:
    """The prior of rows of one side, and how far features move the mean of each, shape (n, width).

    Args:
        form: of that side.
        side: which.
        n_rows: how many rows there are.
        features: of each, shape (n_rows, n_features); None where they are not known.

    Raises:
        ModelFileError: as ``Prior.of``.
        SettingError: for features that the model was not fitted to, or of another number of rows.
    """
    prior = Prior.of(form, side)
    if features is None:
        return prior, None
    told = FeaturePrior.of(form, side)
    if told is None:
        raise SettingError(no_features(side))
    if features.shape[0] != n_rows:
        raise SettingError(f"there are {features.shape[0]:,} rows of features for {n_rows:,} rows")
    return prior._replace(mean=told.mean, precision=told.precision), told.moved(features)


def no_features(side: Side) -> str:
    """What to say of features that a model cannot use."""
    return (
        f"this model was not fitted to features of {side}s, so that they tell it nothing: give them to "
        f"the fit, Gibbs on ratings.with_features({side}s=…) (on the command line --{side}-features)"
    )
