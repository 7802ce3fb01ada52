"""The loss of a model as a function of all its parameters, and its derivatives (PyTorch)."""

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, grad_and_value, hessian, jacrev, jvp, vjp

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models.network import rated

Floats: TypeAlias = NDArray[np.float64]

# Up to so many parameters a Hessian is made in full: 72 MB in double precision.
LARGEST_MATRIX = 3000
# The same for a Jacobian, in numbers.
_LARGEST_JACOBIAN = 25_000_000
# Numbers that one intermediate array of a chunk of ratings holds: few enough for a processor's cache,
# enough to outweigh the pass over all parameters that each chunk costs too.
_SMALL_CHUNK, _LARGE_CHUNK = 1_000_000, 4_000_000
# In full matrices each rating counts once for every parameter.
_CHUNK_OF_MATRIX = 20_000_000

with warnings.catch_warnings():
    # What PyTorch loads where it first needs forward mode warns of PyTorch itself.
    warnings.simplefilter("ignore", DeprecationWarning)
    jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))


class LossSurface:
    """The full-batch loss of a module, with its gradient, Jacobian and Hessian.

    With ``w`` all parameters in one row, ``r̂`` the module's ratings and ``s`` their std,
    ``L(w) = (1/n) Σ ½ ((r̂ - r) / s)² + ½ Σ d w²``. The Gauss-Newton matrix ``JᵀJ / (n s²) + diag(d)``
    leaves out of the Hessian what the curvature of the predictions themselves adds, which is small where
    the errors are; it has no negative eigenvalue.

    All rows are NumPy arrays in double precision. Ratings are taken chunk by chunk, so memory hardly
    grows with their number.

    Args:
        module: ``forward(user, item)`` as in ``Model.to_torch``; copied, in evaluation mode. Parameters
            that need no gradient are held.
        ratings: what it is measured on; its indices are those of the module.
        std: ``s``; that of the ratings by default.
        decay: ``d`` by parameter name, each a number or an array that fits the parameter's shape; 0
            for those not named.
        units: what ``w`` is multiplied by to give the module's parameter, by name; 1 by default.
        dtype: precision of the arithmetic inside.

    Raises:
        SettingError: for names that the module does not have, or a module that does not give one rating
            for each pair.

    >>> import dotbias as db
    >>> ratings, _ = db.simulate(n_users=20, n_items=10, n_ratings=100, seed=1)
    >>> rec = db.fit(ratings, db.DotBias(n_factors=2))
    >>> surface = LossSurface(rec.to_torch(), ratings)
    >>> v = np.ones(surface.n_parameters)
    >>> bool(np.allclose(surface.hvp(v), surface.hessian() @ v))
    True
    """

    def __init__(
        self,
        module: nn.Module,
        ratings: Ratings,
        *,
        std: float | None = None,
        decay: Mapping[str, ArrayLike] | None = None,
        units: Mapping[str, float] | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.module = copy.deepcopy(module).to(dtype).eval()
        for part in self.module.modules():
            if isinstance(part, nn.Embedding):
                part.sparse = False
        self.ratings, self.dtype = ratings, dtype
        self.std = ratings.std if std is None else std
        trained = {n: p.detach() for n, p in self.module.named_parameters() if p.requires_grad}
        if not trained:
            raise SettingError(f"{type(module).__name__} has no parameters that need a gradient")
        for what, given in (("decay", decay or {}), ("units", units or {})):
            for name in given:
                if name not in trained:
                    known = ", ".join(trained)
                    raise SettingError(
                        f"{what} names no parameter {name!r}: the parameters are {known}"
                    )
        self.shapes = {name: tuple(p.shape) for name, p in trained.items()}
        self._units = {name: float((units or {}).get(name, 1.0)) for name in trained}
        self.w = self._flat({name: p / self._units[name] for name, p in trained.items()})
        self.decay = self._row(
            {n: np.broadcast_to((decay or {}).get(n, 0.0), s) for n, s in self.shapes.items()}
        )
        self._decay = torch.as_tensor(self.decay, dtype=dtype)
        self._users, self._items = (
            torch.from_numpy(a.astype(np.int64))
            for a in (ratings.user_indices, ratings.item_indices)
        )
        self._values = torch.tensor(ratings.values, dtype=dtype)
        with torch.no_grad():
            rated(self.module, self._users[:2], self._items[:2])
        # What one rating needs at the widest place, by the widest row of a parameter.
        self._width = max(p[0].numel() if p.ndim else 1 for p in trained.values())

    @property
    def n_parameters(self) -> int:
        """How many numbers ``w`` has."""
        return len(self.w)

    def by_name(self, row: Floats) -> dict[str, Floats]:
        """A row of all parameters taken apart, each part in its parameter's shape."""
        parts = np.split(row, np.cumsum([math.prod(s) for s in self.shapes.values()])[:-1])
        return {n: p.reshape(s) for (n, s), p in zip(self.shapes.items(), parts, strict=True)}

    # -- the loss and its gradient -----------------------------------------------------------------

    def loss(self, w: Floats | None = None) -> float:
        """``L(w)``; here, without ``w``."""
        at = self._at(w)
        with torch.no_grad():
            total = sum(float(self._share(at, rows)) for rows in self._chunks())
            return total + float(self._penalty(at))

    def gradient(self, w: Floats | None = None) -> Floats:
        """The gradient of the loss, shape (n_parameters,)."""
        return self._loss_and_gradient(self._at(w))[1].numpy().astype(np.float64)

    def gradient_norms(self, groups: Mapping[str, str] | None = None) -> dict[str, float]:
        """Euclidean norm of the gradient by parameter, or by group.

        Args:
            groups: group of each parameter, by its name.
        """
        squares: dict[str, float] = {}
        for name, part in self.by_name(self.gradient()).items():
            group = name if groups is None else groups[name]
            squares[group] = squares.get(group, 0.0) + float((part**2).sum())
        return {group: math.sqrt(total) for group, total in squares.items()}

    def descend(self, rate: float) -> Iterator[float]:
        """Full-batch gradient descent from here: the loss before each step, without end."""
        w = self._at(None)
        while True:
            loss, gradient = self._loss_and_gradient(w)
            yield loss
            w = w - rate * gradient

    def plane(
        self, directions: tuple[Floats, Floats], extents: tuple[float, float], n: int = 15
    ) -> tuple[Floats, Floats, Floats]:
        """The loss on a plane through here.

        Args:
            directions: two rows, each of shape (n_parameters,).
            extents: how far to go along each, to either side.
            n: points along each.

        Returns:
            Steps along the first (n,) and the second (n,), and the loss ``heights[second, first]``.
        """
        x, y = (np.linspace(-extent, extent, n) for extent in extents)
        first, second = directions
        heights = [[self.loss(self.w + a * first + b * second) for a in x] for b in y]
        return x, y, np.array(heights)

    # -- products with vectors ---------------------------------------------------------------------

    def hvp(self, v: ArrayLike) -> Floats:
        """Hessian of the loss times a vector: forward mode over reverse mode (Pearlmutter 1994)."""
        at, along = self._at(None), self._at(np.asarray(v))
        total = self._decay * along
        for rows in self._chunks():
            total += jvp(grad(partial(self._share, rows=rows)), (at,), (along,))[1]
        return total.numpy().astype(np.float64)

    def gnvp(self, v: ArrayLike) -> Floats:
        """Gauss-Newton matrix times a vector (Schraudolph 2002)."""
        at, along = self._at(None), self._at(np.asarray(v))
        total = self._decay * along
        for rows in self._chunks():
            predict = self._predictor(self._users[rows], self._items[rows])
            moved = jvp(predict, (at,), (along,))[1]
            total += vjp(predict, at)[1](moved / (len(self.ratings) * self.std**2))[0]
        return total.numpy().astype(np.float64)

    def jvp(self, v: ArrayLike, users: ArrayLike, items: ArrayLike) -> Floats:
        """How the predictions of n pairs of indices move along ``v``: ``J v``, shape (n,)."""
        at, along = self._at(None), self._at(np.asarray(v))
        pairs = _pairs(users, items)
        parts = [
            jvp(self._predictor(*(p[rows] for p in pairs)), (at,), (along,))[1]
            for rows in self._chunks(len(pairs[0]))
        ]
        return torch.cat(parts).numpy().astype(np.float64)

    def vjp(self, c: ArrayLike, users: ArrayLike, items: ArrayLike) -> Floats:
        """Gradient of ``Σ c r̂`` over n pairs of indices: ``Jᵀ c``, shape (n_parameters,)."""
        at, pairs = self._at(None), _pairs(users, items)
        weights = torch.as_tensor(np.asarray(c), dtype=self.dtype)
        if weights.shape != pairs[0].shape:
            raise SettingError(
                f"vjp: c must have one number for each of the {len(pairs[0])} pairs, not the shape "
                f"{tuple(weights.shape)}"
            )
        total = torch.zeros_like(at)
        for rows in self._chunks(len(weights)):
            total += vjp(self._predictor(*(p[rows] for p in pairs)), at)[1](weights[rows])[0]
        return total.numpy().astype(np.float64)

    # -- matrices in full --------------------------------------------------------------------------

    def jacobian(self, users: ArrayLike, items: ArrayLike) -> Floats:
        """Derivatives of the predictions of n pairs of indices, shape (n, n_parameters).

        Raises:
            SettingError: when that is too large to be had in full.
        """
        pairs = _pairs(users, items)
        size = len(pairs[0]) * self.n_parameters
        if size > _LARGEST_JACOBIAN:
            raise SettingError(
                f"a Jacobian of {len(pairs[0]):,} ratings and {self.n_parameters:,} parameters is too "
                f"large, more than {_LARGEST_JACOBIAN:,} numbers: take its products with vectors, jvp "
                "and vjp, or fewer pairs"
            )
        at = self._at(None)
        step = max(1, _CHUNK_OF_MATRIX // self.n_parameters)
        parts = [
            jacrev(self._predictor(*(p[rows] for p in pairs)))(at)
            for rows in _spans(len(pairs[0]), step)
        ]
        return torch.cat(parts).numpy().astype(np.float64)

    def hessian(self) -> Floats:
        """The Hessian of the loss, shape (n_parameters, n_parameters).

        Raises:
            SettingError: for more than 3,000 parameters.
        """
        self._check_size("Hessian", "hvp")
        at, total = self._at(None), torch.diag(self._decay)
        step = max(1, _CHUNK_OF_MATRIX // (self.n_parameters * self._width))
        for rows in _spans(len(self.ratings), step):
            total += hessian(partial(self._share, rows=rows))(at)
        return total.numpy().astype(np.float64)

    def gauss_newton(self) -> Floats:
        """The Gauss-Newton matrix, shape (n_parameters, n_parameters).

        Raises:
            SettingError: for more than 3,000 parameters.
        """
        self._check_size("Gauss-Newton matrix", "gnvp")
        total = np.diag(self.decay)
        users, items = self.ratings.user_indices, self.ratings.item_indices
        for rows in _spans(len(users), max(1, _CHUNK_OF_MATRIX // self.n_parameters)):
            jacobian = self.jacobian(users[rows], items[rows])
            total += jacobian.T @ jacobian / (len(users) * self.std**2)
        return total

    def _check_size(self, what: str, product: str) -> None:
        if self.n_parameters > LARGEST_MATRIX:
            raise SettingError(
                f"a {what} of {self.n_parameters:,} parameters is too large, the limit is "
                f"{LARGEST_MATRIX:,}: take its products with vectors, {product}, or its eigenvalues"
            )

    # -- inside ------------------------------------------------------------------------------------

    def _at(self, w: Floats | None) -> Tensor:
        row = self.w if w is None else np.asarray(w, np.float64)
        if row.shape != self.w.shape:
            raise SettingError(
                f"a vector of all parameters has the shape ({self.n_parameters},), not {row.shape}"
            )
        return torch.tensor(row, dtype=self.dtype)

    def _flat(self, parts: Mapping[str, Tensor]) -> Floats:
        return self._row({name: part.numpy() for name, part in parts.items()})

    def _row(self, parts: Mapping[str, ArrayLike]) -> Floats:
        return np.concatenate([np.ravel(parts[name]) for name in self.shapes]).astype(np.float64)

    def _chunks(self, n: int | None = None) -> Iterator[slice]:
        numbers = min(max(self.n_parameters, _SMALL_CHUNK), _LARGE_CHUNK)
        return _spans(len(self.ratings) if n is None else n, max(1, numbers // self._width))

    def _predictor(self, users: Tensor, items: Tensor) -> Callable[[Tensor], Tensor]:
        """The predictions of these pairs as a function of ``w``."""
        sizes = [math.prod(shape) for shape in self.shapes.values()]

        def predict(w: Tensor) -> Tensor:
            parts = zip(self.shapes.items(), torch.split(w, sizes), strict=True)
            tensors = {n: part.view(s) * self._units[n] for (n, s), part in parts}
            predictions: Tensor = functional_call(self.module, tensors, (users, items))
            return predictions

        return predict

    def _share(self, w: Tensor, rows: slice) -> Tensor:
        """What some ratings add to the loss."""
        predictions = self._predictor(self._users[rows], self._items[rows])(w)
        error = (predictions - self._values[rows]) / self.std
        return 0.5 * (error**2).sum() / len(self.ratings)

    def _penalty(self, w: Tensor) -> Tensor:
        return 0.5 * (self._decay * w**2).sum()

    def _loss_and_gradient(self, w: Tensor) -> tuple[float, Tensor]:
        loss, gradient = float(self._penalty(w)), self._decay * w
        for rows in self._chunks():
            part, share = grad_and_value(partial(self._share, rows=rows))(w)
            gradient += part
            loss += float(share)
        return loss, gradient


def _pairs(users: ArrayLike, items: ArrayLike) -> tuple[Tensor, Tensor]:
    u, i = (torch.as_tensor(np.atleast_1d(a).astype(np.int64)) for a in (users, items))
    if u.ndim != 1 or u.shape != i.shape:
        raise SettingError(
            f"users and items must be two rows of the same length, not {tuple(u.shape)} and "
            f"{tuple(i.shape)}"
        )
    return u, i


def _spans(n: int, step: int) -> Iterator[slice]:
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))
