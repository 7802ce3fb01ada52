"""The model of preferences: a dot product of two embeddings, which says who chooses what."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.errors import SettingError
from dotbias.memory import check_memory
from dotbias.models.base import Observed, Scores
from dotbias.models.bilinear import BilinearModel
from dotbias.models.parameters import (
    MOST_FACTORS,
    Array,
    Parameters,
    check_constants,
    checked_array,
    constants,
)
from dotbias.models.row_form import OTHER, Linear, RowForm, Side
from dotbias.models.scoring import Scoring
from dotbias.settings import setting

# Rows of a table that are taken to double precision at once.
_CHUNK = 10_000
# Keeps the total of nothing from being divided by.
_TINY = 1e-30


@dataclass(frozen=True, kw_only=True)
class DotProduct(BilinearModel):
    """Dot product of two embeddings, without biases: a preference, not a rating.

    Score: ``p_u · q_i`` (Hu, Koren & Volinsky 2008). It is about 1 where a user is expected to have
    chosen the item and 0 where not, and orders lists; what is liked more may exceed 1. Someone who
    was not there at training gets the mean of all users' embeddings, the taste of the crowd; an item
    that was not, 0.

    Beside its groups its parameters say what it was fitted to: the target of a known pair is
    ``t = target[0] + target[1] · value``, and its weight
    ``c = confidence[0] + confidence[1] · log(1 + value) + confidence[2] · value``. With ``saturation``,
    ``(α, K1, B)``, it is ``α`` times the BM25 weight of the value more; for that ``user_counts`` says
    how many items each user has, and ``item_totals`` what the values of each item add up to. In the
    regression of an item a pair weighs ``user_weight`` times as much, ``balance[1] · n^-balance[0]`` for
    a user of n known pairs.

    Of a model that was fitted to all pairs ``unobserved_weight``, ``a₀``, and ``penalty``, ``λ`` of the
    users and of the items, say how: the prior of a row is ``a₀ Σ w y yᵀ + λ I`` over all rows ``y`` of
    the other side, ``w`` being the weights of users.

    With ``n_svd_factors`` an embedding ends in a second part, from the singular value decomposition of
    the whole table, in which a pair that nobody knows weighs as much as a known one (PureSVD: Cremonesi,
    Koren & Turrin 2010), and the score is the sum of two dot products. Known pairs are then drawn to
    half their target by either part. The second part of a row is a projection,
    ``Σ c t y / s`` over its known pairs, with ``s`` the ``singular_values``.

    Args:
        n_factors: length of each embedding, or of its first part.
        n_svd_factors: length of its second part.
        init_std: standard deviation of the lengths that embeddings start from.
    """

    n_factors: int = setting(128, at_least=1, at_most=MOST_FACTORS)
    n_svd_factors: int = setting(0, at_least=0, at_most=MOST_FACTORS)
    init_std: float = setting(0.3, at_least=0)

    groups: ClassVar[tuple[str, ...]] = ("user_factors", "item_factors")

    @property
    def scores(self) -> Scores:
        """Preferences."""
        return "preference"

    def initialise(self, ratings: Ratings, rng: np.random.Generator) -> Parameters:
        """Normal factors, and zeros of an SVD, float32; every known pair counts as 1."""
        k, n_svd = self.n_factors, self.n_svd_factors
        taken = (ratings.n_users + ratings.n_items) * (k + n_svd) + 2 * k**2  # and two priors
        check_memory(taken, f"DotProduct(n_factors={k}, n_svd_factors={n_svd})")
        std = np.float32(self.init_std / np.sqrt(k))

        def drawn(n: int) -> Array:
            return np.pad(rng.standard_normal((n, k), np.float32) * std, ((0, 0), (0, n_svd)))

        svd: Parameters = {"singular_values": np.ones(n_svd, np.float32)}
        return (
            (svd if n_svd else {})
            | constants(ratings)
            | {
                "user_factors": drawn(ratings.n_users),
                "item_factors": drawn(ratings.n_items),
                "target": np.array([1, 0], np.float32),
                "confidence": np.array([1, 0, 0], np.float32),
                "balance": np.array([0, 1], np.float32),
                "user_weight": np.ones(ratings.n_users, np.float32),
                "stranger": np.zeros(k + n_svd, np.float32),
            }
        )

    def fitted(self, parameters: Parameters) -> "DotProduct":
        """This model with the numbers of factors that the parameters have."""
        width = checked_array(parameters, "user_factors", (None, None)).shape[1]
        n_svd = n_projected(parameters)
        return replace(self, n_factors=width - n_svd, n_svd_factors=n_svd)

    @property
    def share(self) -> float:
        """The part of its target that a pair is drawn to by each part of the embeddings."""
        return 0.5 if self.n_svd_factors else 1.0

    @property
    def refused_target(self) -> float:
        """As ``Model.refused_target``, for each part."""
        return self.share * super().refused_target

    @property
    def label(self) -> str:
        """What it is, in a sentence."""
        svd = f" and {self.n_svd_factors} of an SVD" if self.n_svd_factors else ""
        return f"{super().label} of {self.n_factors} factors{svd}"

    def check(self, parameters: Parameters, n_users: int, n_items: int) -> None:
        """As ``Model.check``; also what the model was fitted to."""
        super().check(parameters, n_users, n_items)
        checked_array(parameters, "stranger", parameters["user_factors"].shape[1:])
        checked_array(parameters, "target", (2,))
        if not 0 <= checked_array(parameters, "balance", (2,))[0] <= 1:
            raise SettingError("the first number of the array balance must be from 0 to 1")
        if checked_array(parameters, "user_weight", (n_users,)).min(initial=1) <= 0:
            raise SettingError("the array user_weight must be above 0")
        at_least_0: list[tuple[str, tuple[int, ...]]] = [("confidence", (3,))]
        if "penalty" in parameters:
            at_least_0 += [("unobserved_weight", (1,)), ("penalty", (2,))]
        if "saturation" in parameters:
            at_least_0 += [("saturation", (3,)), ("user_counts", (n_users,))]
            at_least_0 += [("item_totals", (n_items,))]
        for name, shape in at_least_0:
            if checked_array(parameters, name, shape).min() < 0:
                raise SettingError(f"the array {name} must be at least 0")
        if "saturation" in parameters and parameters["saturation"][2] > 1:
            raise SettingError("the last number of the array saturation, B, must be at most 1")

    def formula(self, parameters: Parameters, side: Side) -> RowForm:
        """A row is an embedding, which meets that of the partner in a dot product."""
        check_constants(parameters)
        return RowForm(
            parameters=parameters,
            bias=None,
            held=None,
            terms={f"{side}_factors": f"{OTHER[side]}_factors"},
            response=Linear(0.0),
            projected=n_projected(parameters),
        )

    def predict(self, parameters: Parameters, users: Index, items: Index) -> Array:
        """Preference of each pair, shape (n,)."""
        preference = super().predict(parameters, users, items)
        at = np.flatnonzero((users < 0) & (items >= 0))
        if len(at):
            from dotbias.models.pairs import dot_products

            preference[at] = dot_products(
                parameters["stranger"][None, :],
                parameters["item_factors"],
                np.zeros(len(at), np.int32),
                items[at],
            )
        return preference

    def scoring(self, parameters: Parameters, users: Index) -> Scoring:
        """Dot products; strangers have the mean embedding."""
        scoring = self.formula(parameters, "user").scoring(users)
        scoring.user_vectors[users < 0] = parameters["stranger"]
        return scoring

    def score_all(self, parameters: Parameters, users: Index) -> Array:
        """Preference of every item for each user, shape (n_users, n_items)."""
        x, y, _ = self.scoring(parameters, users)
        scores: Array = x @ y.T
        return scores

    def observed(
        self,
        parameters: Parameters,
        side: Side,
        starts: NDArray[np.integer[Any]],
        partners: Index,
        values: Array,
    ) -> Observed:
        """Targets and weights of known pairs; what nobody chose has the target 0 and is in the prior."""
        at_zero, slope = parameters["target"]
        constant, log, linear = parameters["confidence"]
        if slope:
            targets = slope * values
            targets += at_zero
        else:  # one number in the place of all
            targets = np.broadcast_to(at_zero, values.shape)
        bm25 = "saturation" in parameters
        of_users = side == "item" and parameters["balance"][0] > 0
        if log == linear == 0 and constant == 1 and not (bm25 or of_users):
            return Observed(targets, None)
        weights = constant + linear * values
        if log:
            weights += log * np.log1p(values)
        if bm25:
            weights += _bm25(parameters, side, starts, partners, values)
        if of_users:
            weights = weights * parameters["user_weight"][partners]
        return Observed(targets.astype(np.float32, copy=False), weights.astype(np.float32))

    def derived(self, parameters: Parameters, rated: csr_array) -> Parameters:
        """The mean taste; what users weigh; the priors, since all rows of the other side pull at a row;
        and what BM25 counts.
        """
        form, counts = self.formula(parameters, "user").regressed, np.diff(rated.indptr)
        p, q = (form.parameters[name] for name in self.groups)
        weights = user_weights(parameters["balance"], counts)
        own: Parameters = {
            "stranger": mean_row(parameters["user_factors"]),
            "user_weight": weights,
        }
        if "penalty" in parameters:
            a0, (of_users, of_items) = parameters["unobserved_weight"][0], parameters["penalty"]
            if "item_prior_growth" in parameters:
                scale, _, power = parameters["item_prior_growth"]
                own["item_prior_growth"] = np.array([scale, a0 * len(p), power], np.float32)
                of_items = scale * (a0 * len(p)) ** power
            pull = a0 * _gram(q)
            own["user_prior_precision"] = prior_precision(pull, float(of_users))
            pull = a0 * _gram(p * np.sqrt(weights)[:, None])
            own["item_prior_precision"] = prior_precision(pull, float(of_items))
            own["penalty"] = np.array([of_users, of_items], np.float32)
        if "saturation" in parameters:
            own |= bm25_sides(counts, rated.sum(axis=0, dtype=np.float64))
        return own

    def stranger(self, parameters: Parameters, side: Side) -> Array | None:
        """Of users the mean embedding."""
        return np.append(np.float32(0), parameters["stranger"]) if side == "user" else None

    def item_vectors(self, parameters: Parameters) -> Array:
        """The embeddings of items, shape (n_items, n_factors + n_svd_factors)."""
        return parameters["item_factors"]

    def user_vectors(self, parameters: Parameters) -> Array:
        """The embeddings of users, shape (n_users, n_factors + n_svd_factors)."""
        return parameters["user_factors"]


def n_projected(parameters: Parameters) -> int:
    """How many numbers the second part of an embedding has."""
    if "singular_values" not in parameters:
        return 0
    return len(checked_array(parameters, "singular_values", (None,)))


def with_joined_parts(parameters: Parameters) -> Parameters:
    """Parameters of version 0.8.0, which had the second parts in arrays of their own, as they are now.

    Raises:
        SettingError: for a second part without a first, or of another shape.
    """
    joined = dict(parameters)
    for side in OTHER:
        if (name := f"{side}_svd") in joined:
            first = checked_array(joined, f"{side}_factors", (None, None))
            second = checked_array(joined, name, (len(first), n_projected(joined)))
            joined[f"{side}_factors"] = np.hstack([first, second])
            del joined[name]
    return joined


def mean_row(table: Array) -> Array:
    """The mean of all rows, shape (width,)."""
    mean: Array = table.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def user_weights(balance: Array, counts: NDArray[np.int64]) -> Array:
    """What each user weighs, shape (n,): ``balance[1] · n^-balance[0]``, as with one pair where there is
    none.
    """
    exponent, spread = map(float, balance)
    return (spread * np.maximum(counts, 1).astype(np.float64) ** -exponent).astype(np.float32)


def prior_precision(pull: NDArray[np.float64], penalty: float) -> Array:
    """Precision of a row that all rows of the other side pull to 0, shape (1 + k, 1 + k); its first
    number stands for the bias that there is not.

    Args:
        pull: ``a₀ Σ y yᵀ``, shape (k, k).
        penalty: ``λ``.
    """
    k = len(pull)
    precision = np.zeros((1 + k, 1 + k), np.float32)
    with np.errstate(over="ignore"):  # whoever solves with it says that it is not finite
        precision[1:, 1:] = pull + penalty * np.eye(k)
    return precision


def _gram(rows: Array) -> NDArray[np.float64]:
    """``Σ x xᵀ`` over the rows of a table, shape (k, k)."""
    gram = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(rows), _CHUNK):
        wide = rows[start : start + _CHUNK].astype(np.float64)
        gram += wide.T @ wide
    return gram


def bm25_sides(user_counts: NDArray[Any], item_totals: NDArray[Any]) -> Parameters:
    """What BM25 asks of both sides: how many items a user has, and what an item's values add up to."""
    return {
        "user_counts": user_counts.astype(np.float32),
        "item_totals": item_totals.astype(np.float32),
    }


def _bm25(
    parameters: Parameters,
    side: Side,
    starts: NDArray[np.integer[Any]],
    partners: Index,
    values: Array,
) -> NDArray[np.float64]:
    """``α`` times Robertson's weight of each value, with items as documents and users as terms (see
    ``ImplicitALS``); what is folded in brings its own count or total.
    """
    alpha, k1, b = parameters["saturation"].astype(np.float64)
    lengths, all_totals = np.diff(starts), parameters["item_totals"]
    n_items: NDArray[Any]
    totals: NDArray[Any]
    if side == "user":
        n_items, totals = np.repeat(lengths, lengths), all_totals[partners]
    else:
        n_items = parameters["user_counts"][partners]
        row = np.repeat(np.arange(len(lengths)), lengths)
        totals = np.bincount(row, values, len(lengths))[row]
    idf = np.maximum(np.log(len(all_totals)) - np.log1p(n_items), 0)
    length = 1 - b + b * totals / max(float(all_totals.mean(dtype=np.float64)), _TINY)
    weights: NDArray[np.float64] = alpha * idf * values * (k1 + 1) / (values + k1 * length)
    return weights
