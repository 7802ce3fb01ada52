"""The shallow model: an embedding and a bias for each user and item."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.errors import SettingError
from dotbias.memory import check_memory
from dotbias.models.base import Scores
from dotbias.models.bilinear import LARGEST_PREDICTION, BilinearModel
from dotbias.models.parameters import (
    DRAWN,
    DRAWN_WITH_FEATURES,
    MOST_FACTORS,
    SAMPLES,
    Array,
    Parameters,
    check_constants,
    check_no_eigenvalue_below,
    check_size,
    checked_array,
    constants,
)
from dotbias.models.row_form import OTHER, Linear, RowForm, Side, Sigmoid
from dotbias.models.strangers import unknown_variance
from dotbias.models.torch_extra import require_torch
from dotbias.settings import setting

if TYPE_CHECKING:
    from torch import nn

# Squares of ratings may be larger than ratings may.
_LARGEST_VARIANCE = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True)
class DotBias(BilinearModel):
    """Dot product of two embeddings plus both biases.

    Prediction, with ``z = μ + b_u + b_i + p_u · q_i``:

    - ``output="linear"``: ``z``, clipped to the scale (Koren, Bell & Volinsky 2009, eq. 4);
    - ``output="sigmoid"``: ``low + (high - low) · sigmoid(z)``, where ``low`` and ``high`` lie
      ``margin`` outside the scale so that its ends can be reached. Here ``μ`` is the logit of the
      global mean, so that a user and an item never seen get just that mean;
    - ``output="preference"``: ``z`` without ``μ``, no rating at all: the higher, the sooner the user
      chooses the item. It is fitted by ``GradientDescent`` with a loss that judges choices.

    Args:
        n_factors: length of each embedding.
        output: how ``z`` becomes a rating.
        margin: how far the sigmoid's range exceeds the scale on both sides, in rating units.
        init_std: standard deviation of the normal distribution from which embeddings start, for
            ratings whose own is 1 (see ``units``); biases start at zero.
    """

    n_factors: int = setting(256, at_least=1, at_most=MOST_FACTORS)
    output: Literal["linear", "sigmoid", "preference"] = setting(
        "linear", choices=("linear", "sigmoid", "preference")
    )
    margin: float = setting(0.5, above=0)
    init_std: float = setting(0.005, at_least=0)

    groups: ClassVar[tuple[str, ...]] = ("user_factors", "item_factors", "user_bias", "item_bias")

    @property
    def scores(self) -> Scores:
        """What it predicts, by its output."""
        return "preference" if self.output == "preference" else "rating"

    def initialise(self, ratings: Ratings, rng: np.random.Generator) -> Parameters:
        """Normal factors and zero biases, float32."""
        n_users, n_items, k = ratings.n_users, ratings.n_items, self.n_factors
        check_memory((n_users + n_items) * k, f"{type(self).__name__}(n_factors={k})")
        std = np.float32(self.init_std * self.units(ratings.std)["user_factors"])
        return constants(ratings) | {
            "user_factors": rng.standard_normal((n_users, k), np.float32) * std,
            "item_factors": rng.standard_normal((n_items, k), np.float32) * std,
            "user_bias": np.zeros(n_users, np.float32),
            "item_bias": np.zeros(n_items, np.float32),
        }

    def units(self, std: float) -> dict[str, float]:
        """What each group is multiplied by when all ratings are multiplied by ``std``.

        Settings that are stated in these units suit a scale from 1 to 5 as well as one from 0 to
        100. In the sigmoid form parameters have no unit: the stretching alone carries it.
        """
        linear = self.output == "linear"
        powers = {"user_factors": 0.5, "item_factors": 0.5, "user_bias": 1.0, "item_bias": 1.0}
        return {group: std**power if linear else 1.0 for group, power in powers.items()}

    def fitted(self, parameters: Parameters) -> "DotBias":
        """This model with the number of factors that the parameters have."""
        factors = checked_array(parameters, "user_factors", (None, None))
        return replace(self, n_factors=factors.shape[1])

    @property
    def label(self) -> str:
        """What it is, in a sentence."""
        return f"{super().label} of {self.n_factors} factors"

    def check(self, parameters: Parameters, n_users: int, n_items: int) -> None:
        """As ``Model.check``; samples too, where some are kept."""
        super().check(parameters, n_users, n_items)
        if not parameters.keys().isdisjoint(SAMPLES):
            self._check_samples(parameters, n_users, n_items)

    def _check_samples(self, parameters: Parameters, n_users: int, n_items: int) -> None:
        """Refuse samples that are none of the model's."""
        n, _, width = checked_array(parameters, "user_samples", (None, n_users + 1, None)).shape
        checked_array(parameters, "item_samples", (n, n_items + 1, width))
        checked_array(parameters, "user_noise", (n_users + 1,))
        checked_array(parameters, "item_noise", (n_items + 1,))
        checked_array(parameters, "noise_variance", (1,))
        if n == 0 or width == 0:
            raise SettingError(
                f"the array user_samples has no numbers: its shape is {(n, n_users + 1, width)}"
            )
        variances = ("user_noise", "item_noise", "noise_variance")
        for name in variances:
            if parameters[name].min() < 0:
                raise SettingError(f"the array {name} holds variances and must be at least 0")
        p, q = (
            np.abs(parameters[f"{side}_samples"]).max((0, 1)).astype(np.float64) for side in OTHER
        )
        most = float(p[0] + q[0] + p[1:] @ q[1:])
        variance = math.prod(float(parameters[name].max()) for name in variances)
        if most > LARGEST_PREDICTION or variance > _LARGEST_VARIANCE:
            raise SettingError(
                f"the arrays {', '.join(DRAWN)} make predictions too large for single precision: "
                f"up to {most:.2g}"
            )
        if parameters.keys().isdisjoint(DRAWN_WITH_FEATURES):
            return
        n_features = len(checked_array(parameters, "user_feature_effects", (None, None)))
        checked_array(parameters, "user_feature_samples", (n, n_features, width))
        checked_array(parameters, "user_feature_means", (n, width))
        for name in ("user_feature_samples", "user_feature_means"):
            check_size(name, parameters[name])
        name = "user_feature_covariances"
        for covariance in checked_array(parameters, name, (n, width, width)):
            if covariance.diagonal().min() <= 0:
                raise SettingError(f"the array {name} must be above 0 on its diagonals")
            check_no_eigenvalue_below(np.finfo(np.float64).tiny, name, covariance)

    def stretch(self, parameters: Parameters) -> tuple[float, float]:
        """Lowest rating and width of the sigmoid's range, in rating units."""
        low, high = map(float, parameters["scale"])
        return low - self.margin, high - low + 2 * self.margin

    def offset(self, parameters: Parameters) -> float:
        """The constant ``μ`` of the prediction: global mean, its logit in the sigmoid form, or 0."""
        if self.output == "preference":
            return 0.0
        mean = float(parameters["global_mean"][0])
        if self.output == "linear":
            return mean
        low, width = self.stretch(parameters)
        share = (mean - low) / width
        return float(np.log(share / (1 - share)))

    def formula(self, parameters: Parameters, side: Side) -> RowForm:
        """A row is a bias and an embedding, which meets that of the partner in a dot product."""
        check_constants(parameters)
        other, offset = OTHER[side], self.offset(parameters)
        sigmoid = self.output == "sigmoid"
        return RowForm(
            parameters=parameters,
            bias=f"{side}_bias",
            held=f"{other}_bias",
            terms={f"{side}_factors": f"{other}_factors"},
            response=Sigmoid(offset, *self.stretch(parameters)) if sigmoid else Linear(offset),
        )

    def row_form(self, parameters: Parameters, side: Side) -> RowForm:
        """As ``Model.row_form``.

        Raises:
            SettingError: for preferences, which were fitted to choices among items, not to values of
                single pairs.
        """
        if self.output == "preference":
            raise SettingError(
                "a row of DotBias(output='preference') is no regression on its ratings: users, items "
                "and ratings come in with a new fit, and its scores are not explained"
            )
        return super().row_form(parameters, side)

    def item_vectors(self, parameters: Parameters) -> Array:
        """The embeddings of items, shape (n_items, n_factors)."""
        return parameters["item_factors"]

    def user_vectors(self, parameters: Parameters) -> Array:
        """The embeddings of users, shape (n_users, n_factors)."""
        return parameters["user_factors"]

    def std(self, parameters: Parameters, users: Index, items: Index) -> Array:
        """Standard deviation of the rating that each pair would get, shape (n,), from kept samples.

        It is that of the samples' predictions, the noise of single ratings included, before clipping.
        A user or item never seen may be as far from the mean of its kind as others are.

        Raises:
            SettingError: when no samples were kept.
        """
        if "user_samples" not in parameters:
            return super().std(parameters, users, items)
        total, squares, unknown = np.zeros((3, len(users)))
        # Index -1 is the last row, and there the samples have the stranger.
        for p, q in zip(parameters["user_samples"], parameters["item_samples"], strict=True):
            x, y = p[users], q[items]  # (n, 1 + k)
            z = x[:, 0] + y[:, 0] + np.einsum("nk,nk->n", x[:, 1:], y[:, 1:], dtype=np.float64)
            total += z
            squares += z**2
            unknown += unknown_variance((p, q), (users, items))
        n = len(parameters["user_samples"])
        noise = parameters["user_noise"][users] * parameters["item_noise"][items]
        variance = np.maximum(squares / n - (total / n) ** 2, 0) + unknown / n
        variance += parameters["noise_variance"][0] * noise
        return np.sqrt(variance).astype(np.float32)

    def spread(self, parameters: Parameters, users: Index, items: Index) -> Array:
        """The name of ``std`` in version 0.5."""
        return self.std(parameters, users, items)

    # -- PyTorch ---------------------------------------------------------------------------------

    def to_torch(self, parameters: Parameters) -> "nn.Module":
        """The same formula as a ``torch.nn.Module``, to differentiate, to train on or to build in.

        Its ``forward(user, item)`` takes two tensors of indices, int64 of shape (n,), and gives what
        ``predict`` does before it cuts off at the ends of the scale, to rounding; -1 is a row of zeros
        there too. It is a copy, in evaluation mode. Samples of ``Gibbs`` are left behind: they belong
        to the fit.

        Raises:
            SettingError: when PyTorch is not installed.

        >>> import dotbias as db
        >>> ratings, _ = db.simulate(n_users=50, n_items=40, n_ratings=1000, seed=1)
        >>> rec = db.fit(ratings, db.DotBias(n_factors=4))
        >>> module = rec.model.to_torch(rec.parameters)
        >>> [name for name, _ in module.named_parameters()]
        ['user_factors', 'item_factors', 'user_bias', 'item_bias']
        >>> model, parameters = db.DotBias.from_torch(module)
        >>> model == rec.model, bool((parameters["user_bias"] == rec.parameters["user_bias"]).all())
        (True, True)
        """
        require_torch()
        from dotbias.models.dot_bias_torch import DotBiasModule

        return DotBiasModule(self, parameters).eval()

    @staticmethod
    def from_torch(source: "nn.Module | Mapping[str, Any]") -> tuple["DotBias", Parameters]:
        """The way back from ``to_torch``: model and parameters, copied, in single precision.

        Args:
            source: the module, another one that has it as a part, or the state dict of either, as
                ``torch.load`` gives it back.

        Returns:
            What ``to_torch`` was called with and on, but for samples and training. To have a
            ``Recommender`` again: ``dataclasses.replace(rec, parameters=parameters)``.

        Raises:
            DataError: when names or shapes are not those of such a module, or numbers are not finite.
            SettingError: when it is neither module nor state dict, or PyTorch is not installed.
        """
        require_torch()
        from dotbias.models.dot_bias_torch import read_module

        return read_module(DotBias, source)

    @staticmethod
    def from_fastai(
        source: "nn.Module | Mapping[str, Any]",
        *,
        y_range: tuple[float, float] | None,
        scale: tuple[float, float],
        na_row: bool = True,
    ) -> tuple["DotBias", Parameters]:
        """Model and parameters from fast.ai's ``EmbeddingDotBias``, whose predictions they repeat.

        fast.ai keeps a row 0, ``"#na#"``, for whatever it has not seen, and does not train it. Here
        index -1 stands for that, a row of zeros, so row 0 is dropped: index ``n`` here is ``n + 1``
        there, and belongs to ``learn.dls.classes["user"][n + 1]`` (or what the column is called).
        There is no global mean inside, so what is not seen at all gets the middle of ``y_range``, or 0
        without it.

        Args:
            source: ``learn.model``, or its state dict: ``torch.save(learn.model.state_dict(), path)``
                writes one that ``torch.load`` reads where fast.ai is not installed.
            y_range: what the model was made with; None where its output is not stretched.
            scale: lowest and highest possible rating, where predictions are cut off. ``y_range`` must
                exceed it by the same amount on both sides, which becomes the ``margin``.
            na_row: whether row 0 is that of ``"#na#"``. Tables of a model that was made without
                fast.ai's data loaders have none.

        Raises:
            DataError: when names or shapes are not those of such a model, or numbers are not finite.
            SettingError: for ranges that do not fit, for what is neither module nor state dict, or when
                PyTorch is not installed.
        """
        require_torch()
        from dotbias.models.dot_bias_torch import read_fastai

        return read_fastai(DotBias, source, y_range=y_range, scale=scale, na_row=na_row)
