"""The baseline: what is left of a rating when taste is left out."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dotbias.data.ratings import Ratings
from dotbias.models.bilinear import BilinearModel
from dotbias.models.parameters import Parameters, check_constants, constants
from dotbias.models.row_form import OTHER, Linear, RowForm, Side


@dataclass(frozen=True, kw_only=True)
class Baseline(BilinearModel):
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

    def formula(self, parameters: Parameters, side: Side) -> RowForm:
        """A row is a bias alone."""
        check_constants(parameters)
        return RowForm(
            parameters=parameters,
            bias=f"{side}_bias",
            held=f"{OTHER[side]}_bias",
            terms={},
            response=Linear(float(parameters["global_mean"][0])),
        )
