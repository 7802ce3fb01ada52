"""``DotBias`` as a PyTorch module, the way back, and fast.ai's ``EmbeddingDotBias``."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from dotbias.errors import DataError, SettingError
from dotbias.models.feature_prior import FEATURE_PRIOR
from dotbias.models.parameters import SAMPLES, Array, Parameters

if TYPE_CHECKING:
    from dotbias.models.dot_bias import DotBias

Source: TypeAlias = nn.Module | Mapping[str, Any]

_CONSTANTS = ("global_mean", "scale")
# What folding in needs beside them, if the solver has left it.
_PRIOR = (
    "prior_per_rating",
    "user_prior_mean",
    "user_prior_precision",
    "item_prior_mean",
    "item_prior_precision",
    *FEATURE_PRIOR,
)
# Where PyTorch keeps what ``get_extra_state`` gives.
_SETTINGS = "_extra_state"
_FASTAI = ("u_weight.weight", "i_weight.weight", "u_bias.weight", "i_bias.weight")
# Two margins that differ by less, relative to the range, differ by rounding.
_ROUNDING = 1e-6


class DotBiasModule(nn.Module):
    """The formula of ``DotBias`` for automatic differentiation.

    Its parameters are ``user_factors`` (n_users, k), ``item_factors`` (n_items, k), ``user_bias``
    (n_users,) and ``item_bias`` (n_items,), in rating units. The other arrays are buffers; samples of
    ``Gibbs`` are left out, as they describe the fit and not the formula. The settings travel in the
    state dict.

    Args:
        model: the settings.
        parameters: the fitted arrays, which are copied.
    """

    user_factors: nn.Parameter
    item_factors: nn.Parameter
    user_bias: nn.Parameter
    item_bias: nn.Parameter
    global_mean: Tensor
    scale: Tensor

    def __init__(self, model: "DotBias", parameters: Parameters) -> None:
        super().__init__()
        self.settings = model
        for name in model.groups:
            self.register_parameter(name, nn.Parameter(torch.tensor(parameters[name])))
        for name, array in parameters.items():
            if name not in (*model.groups, *SAMPLES):
                self.register_buffer(name, torch.tensor(array))

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """Ratings of n pairs of indices before they are clipped to the scale, shape (n,).

        Args:
            user, item: indices, int64, shape (n,); -1 stands for a row of zeros.
        """
        u, i = user.clamp(min=0), item.clamp(min=0)
        dot = (self.user_factors[u] * self.item_factors[i]).sum(dim=1)  # (n,)
        b_u = self.user_bias[u].where(user >= 0, 0)
        b_i = self.item_bias[i].where(item >= 0, 0)
        z = b_u + b_i + dot.where((user >= 0) & (item >= 0), 0)
        if self.settings.output == "preference":
            return z
        if self.settings.output == "linear":
            return z + self.global_mean
        low = self.scale[0] - self.settings.margin
        width = self.scale[1] + self.settings.margin - low
        offset = torch.logit((self.global_mean - low) / width)  # (1,)
        return low + width * torch.sigmoid(z + offset)

    def get_extra_state(self) -> dict[str, Any]:
        """The settings, for the state dict."""
        return asdict(self.settings)

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take the settings over from a state dict."""
        self.settings = type(self.settings)(**state)


def read_module(kind: "type[DotBias]", source: Source) -> tuple["DotBias", Parameters]:
    """See ``DotBias.from_torch``."""
    call = "from_torch"
    state = dict(_state(source, kind.groups, call))
    _check_names(state, (*kind.groups, *_CONSTANTS, _SETTINGS), call, optional=_PRIOR)
    settings = state.pop(_SETTINGS)
    try:
        model = kind(**settings)
    except TypeError as error:
        raise DataError(f"{call}: {_SETTINGS} holds no settings of DotBias: {error}") from error
    parameters = {name: _array(value, name, call) for name, value in state.items()}
    _check_shapes(parameters, kind.groups, call)
    for name, shape in (("global_mean", (1,)), ("scale", (2,))):
        _check_shape(name, parameters[name], shape, call)
    if parameters["scale"][0] > parameters["scale"][1]:
        raise DataError(f"{call}: scale must have the lower end first, not {parameters['scale']}")
    low, width = model.stretch(parameters)
    mean = float(parameters["global_mean"][0])
    if model.output == "sigmoid" and not low < mean < low + width:
        raise DataError(
            f"{call}: global_mean must lie between the ends of the sigmoid's range, {low:g} and "
            f"{low + width:g}, not at {mean:g}"
        )
    return model.fitted(parameters), parameters


def read_fastai(
    kind: "type[DotBias]",
    source: Source,
    *,
    y_range: tuple[float, float] | None,
    scale: tuple[float, float],
    na_row: bool,
) -> tuple["DotBias", Parameters]:
    """See ``DotBias.from_fastai``."""
    call = "from_fastai"
    lowest, highest = _range("scale", scale)
    model, middle = kind(), 0.0
    if y_range is not None:
        low, high = _range("y_range", y_range)
        model = kind(output="sigmoid", margin=_margin((low, high), (lowest, highest)))
        middle = (low + high) / 2  # whose logit is 0
    state = _state(source, _FASTAI, call)
    _check_names(state, _FASTAI, call)
    tables = {name: _array(value, name, call) for name, value in state.items()}
    _check_shapes(tables, _FASTAI, call, bias_width=(1,))
    first = 1 if na_row else 0
    for name, table in tables.items():
        if len(table) <= first:
            raise DataError(f"{call}: {name} has no row but that of '#na#'")
    rows = (tables[name][first:] for name in _FASTAI)
    parameters = dict(zip(kind.groups, rows, strict=True)) | {
        "global_mean": np.array([middle], np.float32),
        "scale": np.array([lowest, highest], np.float32),
    }
    for name in ("user_bias", "item_bias"):
        parameters[name] = parameters[name][:, 0]
    return model.fitted(parameters), {n: np.ascontiguousarray(a) for n, a in parameters.items()}


def _state(source: Source, wanted: Sequence[str], call: str) -> Mapping[str, Any]:
    """The state dict of the module that has the names that are wanted, which may be a part."""
    state = source.state_dict() if isinstance(source, nn.Module) else source
    if not isinstance(state, Mapping):
        raise SettingError(
            f"{call} reads a torch.nn.Module or its state dict, not a {type(source).__name__}"
        )
    names = [name for name in state if isinstance(name, str)]
    prefixes = {
        name.removesuffix(end)
        for name in names
        for end in wanted
        if name == end or name.endswith(f".{end}")
    }
    if len(prefixes) > 1:
        found = ", ".join(map(repr, sorted(prefixes)))
        raise DataError(
            f"{call}: the state holds several such modules, under {found}: give one of them"
        )
    prefix = prefixes.pop() if prefixes else ""
    return {name.removeprefix(prefix): state[name] for name in names if name.startswith(prefix)}


def _check_names(
    state: Mapping[str, Any], wanted: Sequence[str], call: str, *, optional: Sequence[str] = ()
) -> None:
    """Nothing may be missing; what is there beside would change predictions in ways unknown."""
    for name in wanted:
        if name not in state:
            there = ", ".join(map(repr, state)) or "nothing"
            raise DataError(f"{call}: the state has no {name!r}, but {there}")
    for name in state:
        if name not in (*wanted, *optional):
            raise DataError(f"{call}: the state has {name!r}, for which DotBias has no place")


def _array(value: Any, name: str, call: str) -> Array:
    """A tensor or array, copied, in single precision."""
    try:
        tensor = torch.as_tensor(value)
        array: Array = tensor.detach().to("cpu", torch.float32, copy=True).numpy()
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{call}: {name} is no table of numbers: {error}") from error
    if not np.isfinite(array).all():
        raise DataError(f"{call}: {name} holds numbers that are not finite")
    return array


def _check_shapes(
    tables: Parameters, names: Sequence[str], call: str, *, bias_width: tuple[int, ...] = ()
) -> None:
    """Factors of both sides have one width, and each has its bias.

    Args:
        tables: what is checked.
        names: of user factors, item factors, user bias and item bias.
        call: named in messages.
        bias_width: shape of one row of a bias.
    """
    users, items, user_bias, item_bias = names
    for name in (users, items):
        if tables[name].ndim != 2 or 0 in tables[name].shape:
            raise DataError(
                f"{call}: {name} must have rows and columns, not the shape {tables[name].shape}"
            )
    width = tables[users].shape[1]
    _check_shape(items, tables[items], (len(tables[items]), width), call)
    _check_shape(user_bias, tables[user_bias], (len(tables[users]), *bias_width), call)
    _check_shape(item_bias, tables[item_bias], (len(tables[items]), *bias_width), call)


def _check_shape(name: str, array: Array, shape: tuple[int, ...], call: str) -> None:
    if array.shape != shape:
        raise DataError(f"{call}: {name} must have the shape {shape}, not {array.shape}")


def _range(name: str, ends: Any) -> tuple[float, float]:
    try:
        low, high = map(float, ends)
        right = math.isfinite(low) and math.isfinite(high) and low < high
    except (TypeError, ValueError):
        right = False
    if not right:
        raise SettingError(
            f"from_fastai({name}={ends!r}): {name} must be two finite numbers, the lower first"
        )
    return low, high


def _margin(y_range: tuple[float, float], scale: tuple[float, float]) -> float:
    """How far the range exceeds the scale, on both sides."""
    below, above = scale[0] - y_range[0], y_range[1] - scale[1]
    if below <= 0 or abs(below - above) > _ROUNDING * (y_range[1] - y_range[0]):
        raise SettingError(
            f"from_fastai(y_range={y_range}, scale={scale}): y_range must exceed the scale by the same "
            "amount, above 0, on both sides. The scale only says where predictions are cut off: one "
            "that fits y_range will do"
        )
    return below
