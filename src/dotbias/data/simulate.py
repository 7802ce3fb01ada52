"""Ratings, counts and events from a known truth, to see what a fit recovers and how far it is from the
best.
"""

import math
import numbers
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtr

from dotbias.compiled import compiled
from dotbias.data.ratings import KINDS, Kind, Ratings, Scale
from dotbias.data.vocabulary import Index, Vocabulary
from dotbias.errors import DataError, SettingError
from dotbias.memory import check_memory
from dotbias.settings import generator
from dotbias.shown import Shown

# With _HEAD, this exponent gives the users of MovieLens 1M: the busiest 1 % have 6 times, the
# median user half the mean number of ratings.
_ACTIVITY = 1.5
# Share of the ranks over which the power law is flat: without it the first rank would have it all.
_HEAD = 0.1
# No user gets fewer ratings than this where there are enough to go round.
_FEWEST = 5
# The mean rating and the standard deviations of its parts, as shares of the scale's width. On a
# scale from 0.5 to 5: mean 3.5, biases 0.45, dot products 0.54.
_MEAN, _BIAS, _DOT = 2 / 3, 0.10, 0.12
# How many items people come to know, for each that they choose by taste.
_SEEN = 4
# Counts grow with preference up to about e to this power.
_LOG_COUNT = 10.0
# Weights are whole numbers that sum to about this: sums stay exact, in int64 and in float64.
_WEIGHT_SUM = 2.0**50


@dataclass(frozen=True, eq=False)
class Truth(Shown):
    """What simulated ratings were drawn from.

    A rating is ``global_mean + b_u + b_i + p_u . q_i`` plus normal noise, clipped to the scale and
    rounded to the nearest step. Row u of a table belongs to the raw id u + 1. Of counts and events it is
    the ratings that people would have given, and ``expected`` and ``noise_floor`` speak of those.

    Args:
        global_mean: the rating of a user and an item without a bias.
        user_bias: shape (n_users,), float32, normal.
        item_bias: shape (n_items,), float32, normal.
        user_factors: shape (n_users, n_factors), float32, normal.
        item_factors: shape (n_items, n_factors), float32, normal.
        noise: standard deviation of the noise, in rating units.
        scale: lowest and highest possible rating.
        step: distance between two possible ratings.
    """

    global_mean: float
    user_bias: NDArray[np.float32]
    item_bias: NDArray[np.float32]
    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]
    noise: float
    scale: Scale
    step: float

    def expected(self, ratings: Ratings) -> NDArray[np.float64]:
        """The mean of the ratings that each row could have had: no prediction has a smaller RMSE.

        Args:
            ratings: n ratings with the simulation's ids, such as a part of its ratings.

        Returns:
            Shape (n,), the effect of clipping and rounding included.

        Raises:
            DataError: for an id that the simulation does not have.
        """
        return self.scale.lowest + self.step * self._steps_up(ratings)[0]

    def noise_floor(self, ratings: Ratings) -> float:
        """The RMSE of ``expected`` over all the ratings that these rows could have had.

        Only the rows' users and items count, not the ratings they happened to get.

        Raises:
            DataError: for an id that the simulation does not have.
        """
        return self.step * math.sqrt(self._steps_up(ratings)[1].mean())

    def _steps_up(self, ratings: Ratings) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and variance of K, each row's number of steps above the lowest rating; (n,) each."""
        u = _rows(ratings.user_vocabulary, len(self.user_bias), "user")
        i = _rows(ratings.item_vocabulary, len(self.item_bias), "item")
        scores = self._scores(u[ratings.user_indices], i[ratings.item_indices]).astype(np.float64)
        noise = max(self.noise, 1e-9)  # without noise the cdf below is a step
        mean, square = np.zeros((2, len(ratings)))
        for k, level in enumerate(_levels(self.scale, self.step)[1:], start=1):
            reached = ndtr((scores - (level - self.step / 2)) / noise)
            mean += reached  # E[K] = sum of P(K >= k)
            square += (2 * k - 1) * reached  # E[K^2] = sum of (2k - 1) P(K >= k)
        return mean, np.maximum(square - mean**2, 0)

    def _scores(self, users: Index, items: Index) -> NDArray[np.float32]:
        """Ratings before noise, clipping and rounding, shape (n,), for rows of the tables."""
        b_u, b_i, p, q = self.user_bias, self.item_bias, self.user_factors, self.item_factors
        mean = np.float32(self.global_mean)
        scores: NDArray[np.float32] = _dot_bias(users, items, mean, b_u, b_i, p, q)
        return scores


class Simulation(NamedTuple):
    """Simulated ratings and the truth they were drawn from."""

    ratings: Ratings
    truth: Truth


def simulate(
    n_users: int = 1000,
    n_items: int = 500,
    n_ratings: int = 100_000,
    *,
    n_factors: int = 8,
    noise: float = 0.5,
    scale: tuple[float, float] = (0.5, 5.0),
    step: float = 0.5,
    popularity: float = 2.0,
    kind: Kind = "ratings",
    by_taste: bool = False,
    seed: int = 0,
) -> Simulation:
    """Ratings with planted biases and factors, spread over users and items as in MovieLens.

    The rank r of n items is drawn with weight ``(r / n + 0.1) ** -popularity``, and no user rates
    an item twice. The users' numbers of ratings follow the same law with exponent 1.5, from about
    5 ratings (where there are enough) to all items. Which items a user rates does not depend on
    the user's taste, unless ``by_taste``: then each user comes to know four times as many items, drawn
    by their popularity alone, and rates those that promise the highest ratings. A promise has noise as
    strong as that of the rating, and independent of it.

    Counts and events come of such choices always, by the rating itself, noise included. A count is one
    more than a Poisson number whose mean is the exponential of how far that rating is above the average,
    in units of the dot products' standard deviation.

    Raw ids are 1 to n_users and 1 to n_items, in no order of activity or
    popularity; those without a rating do not occur.

    Args:
        n_users: number of users.
        n_items: number of items.
        n_ratings: number of ratings, all of different (user, item) pairs.
        n_factors: length of the planted factors; 0 plants biases alone.
        noise: standard deviation of the noise before rounding, in rating units.
        scale: lowest and highest possible rating, which sets the spread of biases and factors.
        step: distance between two possible ratings; must divide the scale.
        popularity: exponent of the items' popularity; 0 makes all items equally popular.
        kind: "ratings", or "counts" or "events" of people who rate nothing.
        by_taste: whether people rate what they expect to like, as goes without saying of counts and
            events.
        seed: of all that is random: the same settings and seed give the same ratings.

    Raises:
        SettingError: for a setting outside its range, or more ratings than pairs.

    >>> ratings, truth = simulate(50, 40, 1000, n_factors=2, seed=1)
    >>> ratings
    Ratings(1,000 ratings, 50 users, 40 items, scale 0.5-5)
    >>> truth.user_factors.shape, round(truth.noise_floor(ratings), 2)
    ((50, 2), 0.51)
    >>> simulate(50, 40, 1000, kind="events", seed=1).ratings
    Ratings(1,000 interactions, 50 users, 40 items, events)
    """
    if kind not in KINDS:
        _refuse("kind", kind, f"one of {', '.join(KINDS)}")
    for name, value, least in (
        ("n_users", n_users, 1),
        ("n_items", n_items, 1),
        ("n_ratings", n_ratings, 1),
        ("n_factors", n_factors, 0),
        ("seed", seed, 0),
    ):
        if not isinstance(value, numbers.Integral) or value < least:
            _refuse(name, value, f"a whole number at least {least}")
    for name, number in (("noise", noise), ("popularity", popularity)):
        if not isinstance(number, numbers.Real) or not 0 <= number < math.inf:
            _refuse(name, number, "a number at least 0")
    if n_ratings > n_users * n_items:
        most = f"at most {n_users:,} users x {n_items:,} items = {n_users * n_items:,}"
        _refuse("n_ratings", n_ratings, f"{most}: no user rates an item twice")
    # The planted embeddings, and of each rating its user, item, value and what it is drawn by.
    taken = (n_users + n_items) * (n_factors + 4) + 8 * n_ratings
    sizes = f"n_users={n_users}, n_items={n_items}, n_ratings={n_ratings}, n_factors={n_factors}"
    check_memory(taken, f"simulate({sizes})")
    limits = Scale.of(scale)
    levels = _levels(limits, step)

    rng = generator(seed)
    truth = _plant(n_users, n_items, n_factors, noise, limits, float(step), rng)
    counts = rng.permutation(_spread(n_ratings, _power_law(n_users, _ACTIVITY), n_items))
    weights = rng.permutation(_power_law(n_items, popularity))
    chooses = by_taste or kind != "ratings"
    seen = np.minimum(_SEEN * counts, n_items) if chooses else counts
    users = np.repeat(np.arange(n_users, dtype=np.int32), seen)
    items = _draw_items(seen, _sum_tree(weights), rng.random(len(users)))
    scores = truth._scores(users, items)

    def noisy() -> NDArray[np.float32]:
        drawn: NDArray[np.float32] = rng.standard_normal(len(scores), np.float32)
        return scores + np.float32(noise) * drawn

    if chooses:
        promised = noisy()
        chosen = _highest(promised, seen, counts)
        # What is rated gets noise of its own: else a choice would tell of it, and ``expected`` be wrong.
        users, items = users[chosen], items[chosen]
        scores = (scores if kind == "ratings" else promised)[chosen]
    values = None
    if kind == "ratings":
        values = _nearest(levels, noisy())
    elif kind == "counts":
        above = (scores - truth.global_mean) / (_DOT * (limits.highest - limits.lowest))
        values = 1 + rng.poisson(np.exp(np.minimum(above, _LOG_COUNT)))
    ratings = Ratings.from_columns(
        pl.Series(users + 1),
        pl.Series(items + 1),
        values,
        kind=kind,
        titles=pl.DataFrame(
            {"id": range(1, n_items + 1), "title": [f"Item {i + 1}" for i in range(n_items)]}
        ),
        scale=truth.scale if kind == "ratings" else None,
    )
    return Simulation(ratings, truth)


def _refuse(name: str, value: Any, wanted: str) -> NoReturn:
    raise SettingError(f"simulate({name}={value!r}): {name} must be {wanted}")


def _levels(scale: Scale, step: float) -> NDArray[np.float64]:
    """The possible ratings, ascending."""
    lowest, highest = scale
    if not isinstance(step, numbers.Real) or not 0 < step <= highest - lowest:
        _refuse("step", step, f"above 0 and at most {highest - lowest:g}, the scale's width")
    n_steps = round((highest - lowest) / step)
    if not math.isclose(n_steps * step, highest - lowest):
        _refuse("step", step, f"a whole fraction of {highest - lowest:g}, the scale's width")
    return np.linspace(lowest, highest, n_steps + 1)


def _nearest(levels: NDArray[np.float64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """The possible rating nearest to each score, shape (n,); the scores are used up."""
    last = len(levels) - 1
    scores -= np.float32(levels[0])
    scores *= np.float32(last / (levels[-1] - levels[0]))
    np.clip(np.rint(scores, out=scores), 0, last, out=scores)
    return levels.astype(np.float32)[scores.astype(np.int32)]


def _plant(
    n_users: int,
    n_items: int,
    n_factors: int,
    noise: float,
    scale: Scale,
    step: float,
    rng: np.random.Generator,
) -> Truth:
    width = scale.highest - scale.lowest
    # The dot product of k pairs of normal factors of standard deviation s has sqrt(k) s^2.
    std = math.sqrt(_DOT * width / math.sqrt(max(n_factors, 1)))

    def normal(std: float, *shape: int) -> NDArray[np.float32]:
        return np.float32(std) * rng.standard_normal(shape, np.float32)

    return Truth(
        global_mean=scale.lowest + _MEAN * width,
        user_bias=normal(_BIAS * width, n_users),
        item_bias=normal(_BIAS * width, n_items),
        user_factors=normal(std, n_users, n_factors),
        item_factors=normal(std, n_items, n_factors),
        noise=float(noise),
        scale=scale,
        step=step,
    )


def _power_law(n: int, exponent: float) -> NDArray[np.float64]:
    """Weights of the ranks 1 to n, descending from 1."""
    rank = np.arange(1, n + 1) / n + _HEAD
    weights: NDArray[np.float64] = (rank / rank[0]) ** -exponent
    return weights


def _spread(total: int, weights: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Whole numbers that sum to total, in proportion to descending weights, within bounds.

    None is above ``most``, and none below ``_FEWEST`` unless total or ``most`` force it.
    """
    n = len(weights)
    least = min(_FEWEST, total // n)
    total, most = total - least * n, most - least
    # If the first k are full, the others share what these leave; the smallest k that keeps the
    # others from overflowing is right. The last weight is its own remainder, hence the tolerance.
    remainder = np.cumsum(weights[::-1])[::-1]
    rates = (total - most * np.arange(n)) / remainder
    rate = rates[np.argmax(rates * weights <= most * (1 + 1e-9))]
    shares = np.minimum(rate * weights, most)
    counts: NDArray[np.int64] = np.floor(shares).astype(np.int64)
    left = total - int(counts.sum())
    counts[np.argsort(counts - shares, kind="stable")[:left]] += 1  # the largest fractions
    return counts + least


def _sum_tree(weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """A binary tree whose leaves are the weights as whole numbers and whose nodes are sums.

    Node 1 is the root, nodes 2n and 2n + 1 are the children of node n, and item i is the leaf
    half the tree's length + i.
    """
    n_leaves = 1 << (len(weights) - 1).bit_length()
    tree = np.zeros(2 * n_leaves, np.int64)
    whole = np.rint(weights * (_WEIGHT_SUM / weights.sum())).astype(np.int64)
    tree[n_leaves : n_leaves + len(weights)] = np.maximum(whole, 1)
    while n_leaves > 1:
        tree[n_leaves // 2 : n_leaves] = tree[n_leaves : 2 * n_leaves].reshape(-1, 2).sum(1)
        n_leaves //= 2
    return tree


@compiled()
def _draw_items(
    counts: NDArray[np.int64], tree: NDArray[np.int64], uniforms: NDArray[np.float64]
) -> Index:
    """Different items for each user, shape (n,): one after the other, by the weights still left.

    A drawn item's weight is taken out of the tree until its user is done, so one uniform number
    gives one item however many a user rates. Whole weights make taking out and putting back exact.
    """
    leaves = len(tree) // 2
    items = np.empty(len(uniforms), np.int32)
    end = 0
    for count in counts:
        start, end = end, end + count
        weights = np.empty(count, np.int64)
        for row in range(start, end):
            target = np.int64(uniforms[row] * tree[1])
            node = 1
            while node < leaves:
                node *= 2
                if target >= tree[node]:
                    target -= tree[node]
                    node += 1
            items[row] = node - leaves
            weights[row - start] = tree[node]
            _add_up(tree, node, -tree[node])
        for row in range(start, end):
            _add_up(tree, leaves + items[row], weights[row - start])
    return items


@compiled()
def _add_up(tree: NDArray[np.int64], node: int, weight: int) -> None:
    while node > 0:
        tree[node] += weight
        node //= 2


def _highest(
    scores: NDArray[np.float32], seen: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The rows of each user's highest scores, ascending, shape (n,).

    Args:
        scores: of each user's rows, one user after the other, shape (m,).
        seen: number of rows of each user.
        counts: how many of them to keep.
    """
    ends = np.cumsum(seen)
    chosen = [
        end - n + np.sort(np.argpartition(scores[end - n : end], n - k)[n - k :])
        for end, n, k in zip(ends, seen, counts, strict=True)
        if k > 0
    ]
    return np.concatenate(chosen)


@compiled()
def _dot_bias(
    users: Index,
    items: Index,
    mean: np.float32,
    b_u: NDArray[np.float32],
    b_i: NDArray[np.float32],
    p: NDArray[np.float32],
    q: NDArray[np.float32],
) -> NDArray[np.float32]:
    scores = np.empty(len(users), np.float32)
    for row in range(len(users)):
        u, i = users[row], items[row]
        dot = np.float32(0)
        for f in range(p.shape[1]):
            dot += p[u, f] * q[i, f]
        scores[row] = mean + b_u[u] + b_i[i] + dot
    return scores


def _rows(vocabulary: Vocabulary, n: int, noun: str) -> Index:
    """Rows of the truth's tables for a vocabulary of raw ids."""
    rows = Vocabulary(pl.int_range(1, n + 1, eager=True)).indices(vocabulary.ids)
    if rows.min() < 0:
        stranger = vocabulary.raw(int(rows.argmin()))
        raise DataError(f"{noun} {stranger!r} was not simulated: the {noun} ids are 1 to {n}")
    return rows
