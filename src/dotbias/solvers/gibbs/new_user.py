"""How sure a prediction is for somebody who was not there at training, from kept samples."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dotbias.data.vocabulary import Index
from dotbias.models.parameters import Array, Parameters

Table = NDArray[np.float64]

# Items whose rows of all samples are gathered at once.
_CHUNK = 1_000


class UserPriors(NamedTuple):
    """What users are in each of S samples: rows ``(bias, factors)`` of a normal distribution.

    Args:
        mean: shape (S, 1 + k).
        precision: shape (S, 1 + k, 1 + k).
    """

    mean: Table
    precision: Table

    @classmethod
    def of(cls, parameters: Parameters) -> "UserPriors | None":
        """Mean and precision over the users of each sample; None where no samples are kept."""
        if "user_samples" not in parameters:
            return None
        # Without the stranger, the last of each sample.
        found = [normal_of(rows[:-1].astype(np.float64)) for rows in parameters["user_samples"]]
        means, covariances = zip(*found, strict=True)
        return cls(np.stack(means), np.linalg.inv(np.stack(covariances)))

    @classmethod
    def with_features(cls, parameters: Parameters, features: csr_array) -> "UserPriors | None":
        """The same of users with these features, shape (1, n_features): around the mean that they say,
        with the covariance of what they leave open. None where no samples are kept.
        """
        if "user_feature_samples" not in parameters:
            return None
        effects = parameters["user_feature_samples"].astype(np.float64)
        moved = np.stack([(features @ of_sample)[0] for of_sample in effects])
        precisions: Table = np.linalg.inv(parameters["user_feature_covariances"].astype(np.float64))
        return cls(parameters["user_feature_means"] + moved, precisions)


def normal_of(rows: Table) -> tuple[Table, Table]:
    """Mean (w,) and covariance (w, w) of rows (n, w). Of few rows the covariance is drawn towards its
    diagonal, as if by w more.
    """
    n, width = rows.shape
    mean = rows.mean(axis=0)
    centred = rows - mean
    scatter = centred.T @ centred
    variances = np.diag(scatter) / n + np.finfo(np.float32).eps
    return mean, (scatter + width * np.diag(variances)) / (n + width)


def std_of_new_user(
    parameters: Parameters, priors: UserPriors, rated: Index, values: Array, items: Index
) -> Array:
    """Standard deviation of the ratings that a user would give to items, from kept samples.

    In each sample the user's row is normal a posteriori: with ``y = (1, q)`` and the bias ``b`` of each
    rated item, and ``v`` the variance of the noise of its ratings,

    ``A = P + Σ y yᵀ / v``, ``x = A⁻¹ (P m + Σ y (r - μ - b) / v)``.

    The variance of a rating is the mean over samples of ``yᵀ A⁻¹ y``, the variance over samples of
    ``b + xᵀ y`` (the law of total variance), and the noise. As ``DotBias.std``, before clipping.

    Args:
        parameters: of a ``DotBias`` with samples.
        priors: what its users are.
        rated: indices of the items that the user has rated, shape (n,).
        values: those ratings, shape (n,).
        items: indices of the m items asked about; -1 for one of which nothing is known.

    Returns:
        In rating units, shape (m,).
    """
    samples = parameters["item_samples"]
    variance = float(parameters["noise_variance"][0]) * float(parameters["user_noise"][-1])
    noise = variance * parameters["item_noise"].astype(np.float64)
    y, b = _rows(samples, rated)  # (S, n, 1 + k) and (S, n)
    weighted = y / noise[rated][:, None]
    targets = values.astype(np.float64) - float(parameters["global_mean"][0]) - b
    normal = priors.precision + np.swapaxes(weighted, 1, 2) @ y
    right = np.einsum("skl,sl->sk", priors.precision, priors.mean)
    right += np.einsum("snk,sn->sk", weighted, targets)
    x = np.linalg.solve(normal, right[:, :, None])[:, :, 0]  # (S, 1 + k)
    std = np.empty(len(items), np.float32)
    for start in range(0, len(items), _CHUNK):
        part = slice(start, start + _CHUNK)
        asked, bias = _rows(samples, items[part])  # (S, m, 1 + k) and (S, m)
        solved = np.linalg.solve(normal, np.swapaxes(asked, 1, 2))
        z = bias + np.einsum("smk,sk->sm", asked, x)
        within = np.einsum("smk,skm->sm", asked, solved).mean(axis=0)
        std[part] = np.sqrt(within + z.var(axis=0) + noise[items[part]])
    return std


def _rows(samples: Array, items: Index) -> tuple[Table, Table]:
    """``(1, q)`` and the bias of items in each sample."""
    rows = samples[:, items].astype(np.float64)
    bias = rows[:, :, 0].copy()
    rows[:, :, 0] = 1
    return rows, bias
