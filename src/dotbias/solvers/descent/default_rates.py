"""Default rates and lengths of runs: what suits a rule, a batch and the ratings where nobody says.

A step follows the mean over its batch of ``B`` ratings, so a rate that suits single ratings
(``Rule.usual_rate``) is too low for large batches. How it has to grow depends on the rule:

- Where the step is in proportion to the gradient (SGD, momentum), a rate ``B`` times as high moves a
  row as far per rating as before: the linear scaling rule (Goyal et al. 2017, arXiv 1706.02677). It
  ends at ``1 / L``, up to which a step of full-batch descent never rises (Nesterov 2004, section 2.1.5),
  with ``L`` the largest curvature: of the biases it is at most the largest ``n_u + n_i`` of any rating,
  over the number of ratings (Anderson & Morley 1985, of the signless Laplacian of a graph).
- Where the step has the length of the rate whatever the gradient (Adam and its kin), the rate grows as
  ``√m``: the square root scaling rule (Malladi et al. 2022, arXiv 2205.10287), with ``m``, the ratings
  that a row has in the batch, in the place of ``B``, as over those alone it is averaged. Of sparse
  ratings that is hardly more than 1 up to batches of hundreds. By the same rule rows with fewer
  ratings, and so with fewer steps, get longer ones: what counts is ``m`` as a share of the row's.
- Adadelta is of the second kind only while gradients are well above ``√ε``. Below, its step is ``η g``,
  and the rate that of SGD; the busiest rows, which bound that one, stay above.

How close they come to the finder's rates: ``benchmarks/rules_by_batch.py``.
"""

import math

import numpy as np

from dotbias.data.ratings import Ratings
from dotbias.solvers.descent.rules import SGD, Adadelta, GroupRule, Rule

USUAL_EPOCHS = 40
"""Passes over the ratings where batches are small beside them."""

LEAST_STEPS = 300
"""Fewer leave embeddings near where they started, whatever the rate."""


USUAL_COUNT = 500
"""Ratings of a row, in the mean over ratings, for which ``usual_rate`` of adaptive rules is meant."""


def default_epochs(batch_size: int | None, n_ratings: int) -> int:
    """As many as are usual, or more where an epoch has few steps.

    >>> default_epochs(1, 100_000), default_epochs(1024, 100_000), default_epochs(None, 100_000)
    (40, 40, 300)
    """
    steps = 1 if batch_size is None else math.ceil(n_ratings / batch_size)
    return max(USUAL_EPOCHS, math.ceil(LEAST_STEPS / steps))


def default_rate(rule: Rule, batch_size: int | None, ratings: Ratings) -> float:
    """The learning rate of a rule that has none of its own.

    Args:
        rule: the rule; its own rate does not matter.
        batch_size: ratings of a step; None takes them all.
        ratings: the training ratings.
    """
    if isinstance(rule, GroupRule):  # it finds its rate by itself
        return rule.usual_rate
    n = len(ratings)
    size = n if batch_size is None else min(batch_size, n)
    if size == 1 and not rule.adaptive:
        return rule.usual_rate
    users, items = ratings.user_counts, ratings.item_counts
    if not rule.adaptive:
        busiest = max(
            int((users[part.users] + items[part.items]).max()) for part in ratings.chunks()
        )
        return min(size * rule.usual_rate, n / busiest)
    # How many ratings the row of a rating has in the mean, on the busier side: in all, and in its batch.
    squares = int(np.dot(users, users)), int(np.dot(items, items))
    in_all = max(squares) / n
    in_batch = 1 + (size - 1) / n * in_all
    rate = math.sqrt(in_batch * USUAL_COUNT / in_all) * rule.usual_rate
    if isinstance(rule, Adadelta):
        rate = max(rate, min(size * SGD.usual_rate, 2 * n / (sum(squares) / n)))
    return rate
