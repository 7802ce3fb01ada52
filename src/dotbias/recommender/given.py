"""What is known of one user or item: what the row is solved from."""

from typing import NamedTuple

import numpy as np

from dotbias.data.vocabulary import Index
from dotbias.models.base import Model, Observed
from dotbias.models.parameters import Array, Parameters
from dotbias.models.row_form import Side

# The target and the weight of an item that someone is not interested in. With films rated 1 and 2 on
# ml-100k in this part, a fifth fewer of the other such films came up in the first ten than when they
# were left out, for 1.5 % of nDCG. A lower target or a higher weight costs more for each of them, and 0
# as a target says next to nothing of someone of whom little is known.
_REFUSED_TARGET, _REFUSED_WEIGHT = -0.25, 1.0


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
                np.append(targets, np.full(n, _REFUSED_TARGET, np.float32)),
                np.append(weights, np.full(n, _REFUSED_WEIGHT, np.float32)),
            ),
        )
