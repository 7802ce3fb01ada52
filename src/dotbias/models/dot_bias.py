"""The shallow model: an embedding and a bias for each user and item."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from scipy.special import expit

from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.errors import SettingError
from dotbias.models.base import Array, Model, Parameters, clip_to_scale, constants, gather
from dotbias.settings import setting

# What ``spread`` needs beside the parameters: samples of the fit, and their noise.
SAMPLES = ("user_samples", "item_samples", "user_noise", "item_noise", "noise_variance")
# Rows per chunk of bulk predictions: bounds the two gathered factor tables to about 50 MB each.
_CHUNK_FLOATS = 12_000_000


@dataclass(frozen=True, kw_only=True)
class DotBias(Model):
    """Dot product of two embeddings plus both biases.

    Prediction, with ``z = μ + b_u + b_i + p_u · q_i``:

    - ``output="linear"``: ``z``, clipped to the scale (Koren, Bell & Volinsky 2009, eq. 4);
    - ``output="sigmoid"``: ``low + (high - low) · sigmoid(z)``, where ``low`` and ``high`` lie
      ``margin`` outside the scale so that its ends can be reached. Here ``μ`` is the logit of the
      global mean, so that a user and an item never seen get just that mean.

    Args:
        n_factors: length of each embedding.
        output: how ``z`` becomes a rating.
        margin: how far the sigmoid's range exceeds the scale on both sides, in rating units.
        init_std: standard deviation of the normal distribution from which embeddings start, for
            ratings whose own is 1 (see ``units``); biases start at zero.
    """

    n_factors: int = setting(256, at_least=1)
    output: Literal["linear", "sigmoid"] = setting("linear", choices=("linear", "sigmoid"))
    margin: float = setting(0.5, above=0)
    init_std: float = setting(0.005, at_least=0)

    groups: ClassVar[tuple[str, ...]] = ("user_factors", "item_factors", "user_bias", "item_bias")

    def initialise(self, ratings: Ratings, rng: np.random.Generator) -> Parameters:
        """Normal factors and zero biases, float32."""
        n_users, n_items, k = ratings.n_users, ratings.n_items, self.n_factors
        std = np.float32(self.init_std * self.units(ratings.spread)["user_factors"])
        return constants(ratings) | {
            "user_factors": rng.standard_normal((n_users, k), np.float32) * std,
            "item_factors": rng.standard_normal((n_items, k), np.float32) * std,
            "user_bias": np.zeros(n_users, np.float32),
            "item_bias": np.zeros(n_items, np.float32),
        }

    def units(self, spread: float) -> dict[str, float]:
        """What each group is multiplied by when all ratings are multiplied by ``spread``.

        Settings that are stated in these units suit a scale from 1 to 5 as well as one from 0 to
        100. In the sigmoid form parameters have no unit: the stretching alone carries it.
        """
        linear = self.output == "linear"
        powers = {"user_factors": 0.5, "item_factors": 0.5, "user_bias": 1.0, "item_bias": 1.0}
        return {group: spread**power if linear else 1.0 for group, power in powers.items()}

    def fitted(self, parameters: Parameters) -> "DotBias":
        """This model with the number of factors that the parameters have."""
        return replace(self, n_factors=parameters["user_factors"].shape[1])

    def stretch(self, parameters: Parameters) -> tuple[float, float]:
        """Lowest rating and width of the sigmoid's range, in rating units."""
        low, high = map(float, parameters["scale"])
        return low - self.margin, high - low + 2 * self.margin

    def offset(self, parameters: Parameters) -> float:
        """The constant ``μ`` of the prediction: global mean, or its logit in the sigmoid form."""
        mean = float(parameters["global_mean"][0])
        if self.output == "linear":
            return mean
        low, width = self.stretch(parameters)
        share = (mean - low) / width
        return float(np.log(share / (1 - share)))

    def predict(self, parameters: Parameters, users: Index, items: Index) -> Array:
        """Predicted rating of each pair, shape (n,)."""
        out = np.empty(len(users), np.float32)
        step = max(1, _CHUNK_FLOATS // self.n_factors)
        for start in range(0, len(users), step):
            chunk = slice(start, start + step)
            out[chunk] = self._predict_chunk(parameters, users[chunk], items[chunk])
        return out

    def _predict_chunk(self, parameters: Parameters, users: Index, items: Index) -> Array:
        p_u = parameters["user_factors"][users]  # (n, k)
        q_i = parameters["item_factors"][items]  # (n, k)
        dot = np.einsum("nk,nk->n", p_u, q_i)
        known = (users >= 0) & (items >= 0)  # index -1 has read the last row: drop what it gave
        b_u = gather(parameters["user_bias"], users)
        b_i = gather(parameters["item_bias"], items)
        z = b_u + b_i + np.where(known, dot, np.float32(0))
        return clip_to_scale(parameters, self._to_rating(parameters, z))

    def spread(self, parameters: Parameters, users: Index, items: Index) -> Array:
        """Standard deviation of the rating that each pair would get, shape (n,), from kept samples.

        It is that of the samples' predictions, the noise of single ratings included, before clipping.
        Of a user or item never seen the samples know the mean of its kind, not how far it may be from
        it.

        Raises:
            SettingError: when no samples were kept.
        """
        if "user_samples" not in parameters:
            raise SettingError(
                "this model has no samples to take a standard deviation from: fit it with "
                "Gibbs(keep_samples=50), on the command line --solver gibbs --keep-samples 50"
            )
        total, squares = np.zeros((2, len(users)))
        # Index -1 is the last row, and there the samples have the stranger.
        for p, q in zip(parameters["user_samples"], parameters["item_samples"], strict=True):
            x, y = p[users], q[items]  # (n, 1 + k)
            z = x[:, 0] + y[:, 0] + np.einsum("nk,nk->n", x[:, 1:], y[:, 1:], dtype=np.float64)
            total += z
            squares += z**2
        n = len(parameters["user_samples"])
        noise = parameters["user_noise"][users] * parameters["item_noise"][items]
        variance = np.maximum(squares / n - (total / n) ** 2, 0)
        variance += parameters["noise_variance"][0] * noise
        return np.sqrt(variance).astype(np.float32)

    def score_all(self, parameters: Parameters, users: Index) -> Array:
        """Rating of every item for each user before clipping, shape (n_users, n_items)."""
        known = (users >= 0)[:, None]  # (n, 1)
        p_u = np.where(known, parameters["user_factors"][users], np.float32(0))  # (n, k)
        z = p_u @ parameters["item_factors"].T  # (n, n_items)
        z += gather(parameters["user_bias"], users)[:, None]
        z += parameters["item_bias"][None, :]
        return self._to_rating(parameters, z)

    def _to_rating(self, parameters: Parameters, z: Array) -> Array:
        z = z + np.float32(self.offset(parameters))
        if self.output == "linear":
            return z
        low, width = self.stretch(parameters)
        rating: Array = np.float32(low) + np.float32(width) * expit(z)
        return rating
