"""What is known of one user or item: what the row is solved from."""

from typing import NamedTuple

import numpy as np

from dotbias.data.vocabulary import Index
from dotbias.models.base import Model, Observed
from dotbias.models.parameters import Array, Parameters
from dotbias.models.row_form import Side

_REFUSED_WEIGHT = 1.0


class Given(NamedTuple):
    """Ratings, counts or events of one row, and what someone is not interested in.

    Args:
        rated: indices of the items that were rated, or of the users who rated, shape (n,).
        values: those ratings, shape (n,).
        refused: indices of the items that someone is not interested in, shape (m,).
    """

    rated: Index
    values: Array
    refused: Index = np.empty(0, np.int32)

    def regression(
        self, model: Model, parameters: Parameters, side: Side
    ) -> tuple[Index, Array, Observed]:
        """Partners, ratings, and targets with weights of the row's regression.

        A model of ratings knows nothing of what was refused: nobody has rated it.
        """
        starts = np.array([0, len(self.rated)])
        targets, weights = model.observed(parameters, side, starts, self.rated, self.values)
        n = len(self.refused)
        if n == 0 or model.scores == "rating":
            return self.rated, self.values, Observed(targets, weights)
        if weights is None:
            weights = np.ones(len(targets), np.float32)
        return (
            np.append(self.rated, self.refused),
            np.append(self.values, np.zeros(n, np.float32)),
            Observed(
                np.append(targets, np.full(n, model.refused_target, np.float32)),
                np.append(weights, np.full(n, _REFUSED_WEIGHT, np.float32)),
            ),
        )
