"""Networks: any PyTorch module that turns a user and an item into a rating, as a model."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.errors import SettingError
from dotbias.models.base import Model
from dotbias.models.parameters import Array, Parameters, check_numbers, clip_to_scale, constants
from dotbias.models.torch_extra import require_torch
from dotbias.settings import setting

if TYPE_CHECKING:
    from torch import nn

NETWORK_GROUPS = ("embeddings", "hidden", "output", "biases")

# What is no parameter or buffer of the module.
CONSTANTS = ("global_mean", "scale", "n_rows")
# Pairs whose ratings are predicted at once: bounds what a hidden layer of 1,000 needs to 260 MB.
_CHUNK = 65_536


@dataclass(frozen=True, kw_only=True)
class TorchModel(Model):
    """Base of models whose formula is a PyTorch module.

    The module's ``forward(user, item)`` takes two tensors of indices, int64 of shape (n,), and gives
    ratings, float of shape (n,). Predictions are cut off at the ends of the scale. Its tables have one
    row more than there are users (or items): the last one stands for those who were not there at
    training, and takes part in it because ids are masked at random.

    Args:
        masked: share of the users, and of the items, of each training batch that are taken for unknown.
    """

    masked: float = setting(0.02, at_least=0, below=1, keyword=True)

    groups: ClassVar[tuple[str, ...]] = NETWORK_GROUPS

    @abstractmethod
    def module(self, n_users: int, n_items: int, constants: Parameters) -> "nn.Module":
        """The untrained module, drawn from PyTorch's global generator.

        Args:
            n_users, n_items: rows of its tables, the one for the unknown included.
            constants: ``global_mean`` and ``scale``, as in ``Parameters``.
        """

    def initialise(self, ratings: Ratings, rng: np.random.Generator) -> Parameters:
        """The module's parameters and buffers by their names, and the constants."""
        torch = require_torch()
        fixed = constants(ratings)
        rows: Any = np.array([ratings.n_users + 1, ratings.n_items + 1], np.int64)
        with torch.random.fork_rng():
            torch.manual_seed(int(rng.integers(2**63)))
            module = self._checked(rows, fixed)
        return fixed | {"n_rows": rows} | state_of(module)

    def to_torch(self, parameters: Parameters) -> "nn.Module":
        """The module with these parameters, in evaluation mode.

        Raises:
            SettingError: when they are not those of such a module, or PyTorch is not installed.
        """
        torch = require_torch()
        with torch.random.fork_rng():
            module = self._checked(parameters["n_rows"], parameters)
        load_state(module, parameters)
        module.eval()
        return module

    def _checked(self, rows: Any, fixed: Parameters) -> "nn.Module":
        torch = require_torch()
        n_users, n_items = map(int, rows)
        module: Any = self.module(n_users, n_items, fixed)
        if not isinstance(module, torch.nn.Module):
            raise SettingError(
                f"{type(self).__name__} must be given what makes a torch.nn.Module, not a "
                f"{type(module).__name__}"
            )
        return module  # type: ignore[no-any-return]

    def predict(self, parameters: Parameters, users: Index, items: Index) -> Array:
        """Predicted rating of each pair, shape (n,)."""
        return clip_to_scale(parameters, self._rate(parameters, users, items))

    def score_all(self, parameters: Parameters, users: Index) -> Array:
        """Rating of every item for each user before clipping, shape (n_users, n_items)."""
        n_items = int(parameters["n_rows"][1]) - 1
        every = np.tile(np.arange(n_items, dtype=np.int32), len(users))
        rates = self._rate(parameters, np.repeat(users, n_items), every)
        return rates.reshape(len(users), n_items)

    def _rate(self, parameters: Parameters, users: Index, items: Index) -> Array:
        torch = require_torch()
        module = self.to_torch(parameters)
        n_users, n_items = map(int, parameters["n_rows"])
        out = np.empty(len(users), np.float32)
        with torch.inference_mode():
            for start in range(0, len(users), _CHUNK):
                chunk = slice(start, start + _CHUNK)
                # Index -1 is the last row, that of the unknown.
                u = torch.from_numpy(users[chunk] % np.int64(n_users))
                i = torch.from_numpy(items[chunk] % np.int64(n_items))
                out[chunk] = rated(module, u, i).numpy()
        if np.isnan(out).any():
            raise SettingError(
                f"{type(module).__name__} gives NaN: its parameters are too large, or the module is not "
                "the one that was fitted; fit it again with a lower learning rate"
            )
        return out

    def check(self, parameters: Parameters, n_users: int, n_items: int) -> None:
        """As ``Model.check``: names and shapes are those of the module's state."""
        self.check_rows(parameters, n_users, n_items)
        self.to_torch(parameters)

    def check_rows(self, parameters: Parameters, n_users: int, n_items: int) -> None:
        """Refuse what would be refused of any module; makes none.

        Raises:
            SettingError: naming the array.
        """
        check_numbers(parameters)
        rows = parameters.get("n_rows", np.empty(0)).tolist()
        if rows != [n_users + 1, n_items + 1]:
            raise SettingError(
                f"the array n_rows must be [{n_users + 1}, {n_items + 1}], one more than there are "
                f"users and items, not {rows if len(str(rows)) < 60 else 'something longer'}"
            )

    def item_vectors(self, parameters: Parameters) -> Array:
        """The table ``item_factors`` without the row of the unknown.

        Raises:
            SettingError: for a module without that table.
        """
        table = parameters.get("item_factors.weight")
        return super().item_vectors(parameters) if table is None else table[:-1]

    def user_vectors(self, parameters: Parameters) -> Array:
        """The table ``user_factors``, likewise."""
        table = parameters.get("user_factors.weight")
        return super().user_vectors(parameters) if table is None else table[:-1]


@dataclass(frozen=True, kw_only=True)
class Network(TorchModel):
    """A PyTorch module of your own as a model: trained, evaluated, saved and served like the others.

    Groups of parameters, for rates, weight decay and freezing, go by name: ``biases`` are all whose
    name has ``bias`` in it, and those of batch normalisation; ``output`` are those of a module named
    ``output``; ``embeddings`` the weights of other ``nn.Embedding``; ``hidden`` all the rest. Items are
    compared by the embedding named ``item_factors``, if there is one.

    A model file holds the parameters, never code: to load one, say what makes the module,
    ``Recommender.load(path, model=Network(make))``.

    Args:
        make: called with the numbers of rows of the user and of the item tables; gives the module. The
            class of a module will do.

    >>> import dotbias as db
    >>> from torch import nn
    >>> class Biases(nn.Module):
    ...     def __init__(self, n_users, n_items):
    ...         super().__init__()
    ...         self.user_bias, self.item_bias = nn.Embedding(n_users, 1), nn.Embedding(n_items, 1)
    ...
    ...     def forward(self, user, item):
    ...         return 3 + self.user_bias(user)[:, 0] + self.item_bias(item)[:, 0]
    >>> ratings, _ = db.simulate(n_users=50, n_items=40, n_ratings=1000, seed=1)
    >>> rec = db.fit(ratings, db.Network(Biases), db.GradientDescent(db.Adam(lr=0.05), batch_size=64))
    >>> rec.predict(1, 2) > 0
    True
    """

    make: Callable[[int, int], "nn.Module"] = field(kw_only=False)

    def module(self, n_users: int, n_items: int, constants: Parameters) -> "nn.Module":  # noqa: ARG002
        """What ``make`` makes."""
        return self.make(n_users, n_items)

    def summary(self) -> dict[str, Any]:
        """The settings as plain data: of ``make`` the name alone."""
        name = getattr(self.make, "__qualname__", type(self.make).__name__)
        return {"make": name, "masked": self.masked}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.make):
            raise SettingError(
                f"Network(make={self.make!r}): make must be a function (or class) that is called with "
                "the numbers of users and items and gives a torch.nn.Module"
            )


def state_of(module: "nn.Module") -> Parameters:
    """The module's parameters and buffers by their names, copied, as arrays in single precision."""
    state = module.state_dict()
    for name in CONSTANTS:
        if name in state:
            raise SettingError(f"the module must not have a parameter or buffer named {name!r}")
    arrays = {name: t.detach().cpu().numpy() for name, t in state.items()}
    return {
        name: array.astype(np.float32) if array.dtype.kind == "f" else array.copy()
        for name, array in arrays.items()
    }


def load_state(module: "nn.Module", parameters: Parameters) -> None:
    """Put parameters and buffers into a module.

    Raises:
        SettingError: when names or shapes differ.
    """
    torch = require_torch()
    given = {name: a for name, a in parameters.items() if name not in CONSTANTS}
    wanted = module.state_dict()
    if given.keys() != wanted.keys():
        missing, extra = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
        raise SettingError(
            f"the module is not the one that was fitted: missing {missing}, not known to it {extra}"
        )
    for name, array in given.items():
        # A file keeps the single number of a buffer as an array of one.
        if array.size != wanted[name].numel():
            raise SettingError(
                f"the module is not the one that was fitted: {name} has the shape "
                f"{tuple(wanted[name].shape)}, not {array.shape}"
            )
    tensors = {n: torch.tensor(a).reshape(wanted[n].shape) for n, a in given.items()}
    module.load_state_dict(tensors)


def rated(module: "nn.Module", users: Any, items: Any) -> Any:
    """The module's ratings of the pairs.

    Raises:
        SettingError: when it gives anything but a tensor of shape (n,).
    """
    torch = require_torch()
    ratings = module(users, items)
    if not isinstance(ratings, torch.Tensor) or ratings.shape != users.shape:
        shape = (
            tuple(ratings.shape) if isinstance(ratings, torch.Tensor) else type(ratings).__name__
        )
        raise SettingError(
            f"forward(user, item) of {type(module).__name__} must give a tensor of shape (n,), here "
            f"({len(users)},), not {shape}"
        )
    return ratings
