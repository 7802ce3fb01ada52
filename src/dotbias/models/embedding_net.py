"""The network of the embeddings: both are joined and go through hidden layers."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dotbias.errors import SettingError
from dotbias.memory import check_memory
from dotbias.models.network import CONSTANTS, TorchModel
from dotbias.models.parameters import MOST_FACTORS, Parameters
from dotbias.models.torch_extra import require_torch
from dotbias.settings import setting

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class EmbeddingNet(TorchModel):
    """Embeddings of user and item, joined, through hidden layers to one number.

    ``x = dropout([p_u, q_i])``, then for each hidden layer ``x = dropout(relu(norm(W x + b)))``, then
    ``z = w · x + b``. Prediction:

    - ``output="sigmoid"``: ``low + (high - low) · sigmoid(z)``, where ``low`` and ``high`` lie
      ``margin`` outside the scale (``min - 0.5`` to ``max + 0.5`` in fast.ai's lesson 5 of 2017);
    - ``output="linear"``: ``z``, clipped to the scale.

    Embeddings start uniform in ±0.01, linear layers normal with a variance of two over their inputs (He
    et al. 2015), their biases at zero, but for the last, which starts where the prediction is the global
    mean. Users and items that were not there at training take the mean of their table's rows.

    Args:
        n_factors: length of the embeddings, of both or as (user, item).
        hidden: sizes of the hidden layers; at least one.
        embedding_dropout: share of the joined embeddings that each training step leaves out (Srivastava
            et al. 2014).
        dropout: the same of each hidden layer.
        batch_norm: whether each hidden layer is normalised before its activation (Ioffe & Szegedy 2015).
        output: how ``z`` becomes a rating.
        margin: how far the sigmoid's range exceeds the scale on both sides, in rating units.
        masked: see ``TorchModel``.
    """

    n_factors: int | tuple[int, int] = 50
    hidden: tuple[int, ...] = (100,)
    embedding_dropout: float = setting(0.05, at_least=0, below=1)
    dropout: float = setting(0.3, at_least=0, below=1)
    batch_norm: bool = setting(False, choices=(False, True))
    output: Literal["sigmoid", "linear"] = setting("sigmoid", choices=("sigmoid", "linear"))
    margin: float = setting(0.5, above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        # A file gives lists back.
        for name in ("n_factors", "hidden"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        both = self._both_factors
        if len(both) != 2 or not all(map(_is_size, both)):
            self._refuse(
                "n_factors",
                self.n_factors,
                f"a whole number from 1 to {MOST_FACTORS}, or two of them",
            )
        if (
            not isinstance(self.hidden, tuple)
            or not self.hidden
            or not all(map(_is_size, self.hidden))
        ):
            self._refuse("hidden", self.hidden, "one or more whole numbers from 1, such as (100,)")

    @property
    def _both_factors(self) -> tuple[int, ...]:
        """Length of the embeddings of users and of items."""
        return self.n_factors if isinstance(self.n_factors, tuple) else (self.n_factors,) * 2

    def check(self, parameters: Parameters, n_users: int, n_items: int) -> None:
        """As ``Model.check``, from the settings alone: a module is not made, PyTorch not needed."""
        self.check_rows(parameters, n_users, n_items)
        wanted = self.shapes(n_users + 1, n_items + 1)
        for name in (parameters.keys() | wanted.keys()) - set(CONSTANTS):
            if name not in wanted or name not in parameters:
                what = "missing from the parameters" if name in wanted else f"none of {self}"
                raise SettingError(f"the array {name} is {what}")
            # A file keeps the single number of a buffer as an array of one.
            if parameters[name].shape not in (wanted[name], wanted[name] or (1,)):
                raise SettingError(
                    f"the array {name} must have the shape {wanted[name]}, not {parameters[name].shape}"
                )
            if name.endswith("running_var") and parameters[name].min() < 0:
                raise SettingError(f"the array {name} holds variances and must be at least 0")
        low, high = parameters["scale"].tolist()
        if not low - self.margin < float(parameters["global_mean"][0]) < high + self.margin:
            raise SettingError("the array global_mean must lie within the scale")

    def shapes(self, n_users: int, n_items: int) -> dict[str, tuple[int, ...]]:
        """Name and shape of each array of the module's state; arguments as of ``module``."""
        k_user, k_item = self._both_factors
        shapes: dict[str, tuple[int, ...]] = {
            "user_factors.weight": (n_users, k_user),
            "item_factors.weight": (n_items, k_item),
        }
        # Linear layer, perhaps normalisation, activation, dropout.
        n_parts, n_inputs = 3 + self.batch_norm, k_user + k_item
        for layer, size in enumerate(self.hidden):
            at = layer * n_parts
            shapes |= {f"hidden.{at}.weight": (size, n_inputs), f"hidden.{at}.bias": (size,)}
            if self.batch_norm:
                of_each = ("weight", "bias", "running_mean", "running_var")
                shapes |= {f"hidden.{at + 1}.{name}": (size,) for name in of_each}
                shapes[f"hidden.{at + 1}.num_batches_tracked"] = ()
            n_inputs = size
        return shapes | {"output.weight": (1, n_inputs), "output.bias": (1,)}

    def module(self, n_users: int, n_items: int, constants: Parameters) -> "nn.Module":
        """An ``EmbeddingNetModule``."""
        require_torch()
        from dotbias.models.modules import EmbeddingNetModule

        taken = sum(math.prod(shape) for shape in self.shapes(n_users, n_items).values())
        check_memory(taken, f"EmbeddingNet(n_factors={self.n_factors}, hidden={self.hidden})")
        low, high = map(float, constants["scale"])
        mean = float(constants["global_mean"][0])
        k_user, k_item = self._both_factors
        stretch = (low - self.margin, high + self.margin) if self.output == "sigmoid" else None
        return EmbeddingNetModule(
            (n_users, k_user),
            (n_items, k_item),
            hidden=self.hidden,
            embedding_dropout=self.embedding_dropout,
            dropout=self.dropout,
            batch_norm=self.batch_norm,
            rating_range=stretch,
            mean=mean,
        )


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_FACTORS
