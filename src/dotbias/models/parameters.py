"""The arrays of a fitted model, and the checks that they pass before anything reads them."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dotbias.data.arrays import LARGEST
from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.errors import SettingError

# Embeddings any longer are a slip of the finger, and would end in a lack of memory.
MOST_FACTORS = 100_000

# As many numbers are looked at at a time, so that a look at many takes little memory.
_LOOKED_AT = 1 << 22

Array: TypeAlias = NDArray[np.float32]
Parameters: TypeAlias = dict[str, Array]
"""Arrays by name: the trained groups, and the constants ``global_mean`` (1,) and ``scale`` (2,)."""

# What a standard deviation needs beside them: samples of the fit, and their noise.
DRAWN = ("user_samples", "item_samples", "user_noise", "item_noise", "noise_variance")
# Of users whose features are known: their effects in each sample, and what these leave open.
DRAWN_WITH_FEATURES = ("user_feature_samples", "user_feature_means", "user_feature_covariances")
SAMPLES = (*DRAWN, *DRAWN_WITH_FEATURES)


def constants(ratings: Ratings) -> Parameters:
    """The parameters that are read off the training ratings, not trained."""
    return {
        "global_mean": np.array([ratings.global_mean], np.float32),
        "scale": np.array(ratings.scale, np.float32),
    }


def clip_to_scale(parameters: Parameters, ratings: Array) -> Array:
    """Ratings cut off at the ends of the scale."""
    low, high = parameters["scale"]
    clipped: Array = np.minimum(np.maximum(ratings, low), high)  # for few a quarter of ``np.clip``
    return clipped


def gather(bias: Array, rows: Index) -> Array:
    """The bias of each row index, shape (n,); zero for -1."""
    if len(bias) == 0:
        return np.zeros(len(rows), np.float32)
    return np.where(rows >= 0, bias[rows], np.float32(0))


def checked_array(parameters: Parameters, name: str, shape: tuple[int | None, ...]) -> Array:
    """An array of the parameters in single precision.

    Args:
        parameters: all of them.
        name: its name.
        shape: what it must have; None is any length.

    Raises:
        SettingError: when it is missing, of another type or of another shape.
    """
    array = parameters.get(name)
    if array is None:
        raise SettingError(f"the array {name} is missing from the parameters")
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise SettingError(f"the array {name} must be of type float32, not {kind}")
    found = array.shape
    if found != shape and (
        len(found) != len(shape)
        or any(want not in (None, got) for want, got in zip(shape, found, strict=True))
    ):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise SettingError(
            f"the array {name} must have the shape ({wanted}{',' * (len(shape) == 1)}), not "
            f"{array.shape}"
        )
    return array


def refuse_not_finite(name: str, array: NDArray[Any]) -> None:
    """Refuse an array with NaN or infinity in it.

    Raises:
        SettingError: naming the array, and where the first such number is.
    """
    numbers = array.reshape(-1)
    for begin in range(0, len(numbers), _LOOKED_AT):
        finite = np.isfinite(numbers[begin : begin + _LOOKED_AT])
        if not finite.all():
            at = np.unravel_index(begin + int(np.argmin(finite)), array.shape)
            where = ", ".join(map(str, at))
            raise SettingError(f"the array {name} is not finite: {array[at]} at [{where}]")


def check_size(name: str, array: Array) -> None:
    """Refuse an array whose numbers are larger than ratings may be.

    Raises:
        SettingError: naming the array.
    """
    most = float(np.abs(array).max(initial=0))
    if most > LARGEST:
        raise SettingError(f"the array {name} is too large for single precision: up to {most:.2g}")


def check_no_eigenvalue_below(least: float, name: str, matrix: Array) -> None:
    """Refuse what is neither a precision nor a covariance.

    Args:
        least: what its smallest eigenvalue may be, as a share of its largest number. It may be the
            inverse of something in single precision: 0 asks for more than rounding leaves.
        name: of its array.
        matrix: shape (w, w).

    Raises:
        SettingError: naming the array.
    """
    square = matrix.astype(np.float64)
    most = float(np.abs(square).max())
    if np.abs(square - square.T).max() > 1e-3 * most:
        raise SettingError(f"the array {name} must be symmetric")
    if np.linalg.eigvalsh(square).min() < least * most:
        raise SettingError(f"the array {name} must have no eigenvalue below 0")


def check_numbers(parameters: Parameters) -> None:
    """Refuse parameters that are not all finite numbers, or whose constants are none.

    Raises:
        SettingError: naming the array.
    """
    for name, array in parameters.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
            kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise SettingError(f"the array {name} must hold numbers, not {kind}")
        refuse_not_finite(name, array)
    check_constants(parameters)


def check_constants(parameters: Parameters) -> None:
    """Refuse parameters without the global mean, or without a scale.

    Raises:
        SettingError: naming the array.
    """
    checked_array(parameters, "global_mean", (1,))
    low, high = checked_array(parameters, "scale", (2,)).tolist()
    if low > high:
        raise SettingError(f"the array scale must go from low to high, not from {low} to {high}")


def at_length_one(vectors: Array) -> Array:
    """Vectors divided by their lengths, shape (n, k); those of zeros stay."""
    norms: Array = np.sqrt(np.einsum("nk,nk->n", vectors, vectors))  # (n,)
    norms[norms == 0] = 1
    return vectors / norms[:, None]
