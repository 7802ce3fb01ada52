"""What a model is in one row of users or items, with everything else held."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from dotbias.data.stripes import OTHER as OTHER
from dotbias.data.stripes import Side as Side
from dotbias.data.vocabulary import Index
from dotbias.errors import ModelFileError, SettingError
from dotbias.models.parameters import Array, Parameters, checked_array, gather, refuse_not_finite
from dotbias.models.scoring import Scoring


@dataclass(frozen=True)
class Response(ABC):
    """How the linear predictor ``z`` becomes a rating, the more the higher: the response function of a
    regression.

    Args:
        offset: what is added to every ``z`` first.
    """

    linear: ClassVar[bool] = False
    """Whether a rating is ``offset + z``."""

    offset: float

    @abstractmethod
    def rating(self, z: NDArray[Any]) -> NDArray[Any]:
        """The rating before it is cut off at the ends of the scale; shape and precision of ``z``."""

    @abstractmethod
    def derivatives(self, z: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """First and second derivative of the rating in ``z``."""


@dataclass(frozen=True)
class Linear(Response):
    """``r̂ = offset + z``."""

    linear: ClassVar[bool] = True

    def rating(self, z: NDArray[Any]) -> NDArray[Any]:
        """Of the shape and precision of ``z``."""
        return z + self.offset

    def derivatives(self, z: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Ones and zeros."""
        return np.ones_like(z), np.zeros_like(z)


@dataclass(frozen=True)
class Sigmoid(Response):
    """``r̂ = low + width · sigmoid(offset + z)``."""

    low: float
    width: float

    def rating(self, z: NDArray[Any]) -> NDArray[Any]:
        """Of the shape and precision of ``z``."""
        rating: NDArray[Any] = self.low + self.width * expit(z + self.offset)
        return rating

    def derivatives(self, z: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """``width σ (1 - σ)``, and that times ``1 - 2 σ``."""
        share = expit(z + self.offset)
        slope = self.width * share * (1 - share)
        return slope, slope * (1 - 2 * share)


@dataclass(frozen=True, eq=False, kw_only=True)
class RowForm:
    """What a model is in one row of a side: linear in the row up to a response function.

    A row ``x`` is its bias and then its other groups side by side, the terms. With ``h`` the partner's
    bias and ``y = (1, ...)`` what the partner has for each term, ``z = h + y · x`` and ``r̂ = f(z)``. A
    model without biases has zeros in their place, which nothing moves, and ``y = (0, ...)``.

    A row is found by regression. Its last numbers may be a projection instead: sums over what is known,
    divided by ``singular_values`` (``fold_in``).

    Args:
        parameters: the fitted arrays.
        bias: name of the row's own bias, an array of shape (n,); None for a model without biases.
        held: name of its partners' bias, shape (m,); None likewise.
        terms: name of each further group of the row, shape (n, w), and of what its partners have for it,
            shape (m, w).
        response: ``f``.
        projected: how many of a row's last numbers are a projection, the ends of its last term.

    Raises:
        SettingError: when arrays are missing or their types and shapes do not fit together.
    """

    parameters: Parameters
    bias: str | None
    held: str | None
    terms: Mapping[str, str]
    response: Response
    projected: int = 0

    def __post_init__(self) -> None:
        n, m = (
            None if name is None else len(checked_array(self.parameters, name, (None,)))
            for name in (self.bias, self.held)
        )
        for own, other in self.terms.items():
            n, width = checked_array(self.parameters, own, (n, None)).shape
            m = len(checked_array(self.parameters, other, (m, width)))
        if self.projected:
            values = checked_array(self.parameters, "singular_values", (self.projected,))
            if values.min() <= 0:
                raise SettingError("the array singular_values must be above 0")
            if width < self.projected:
                raise SettingError(
                    f"the array singular_values has {self.projected} numbers, and {own} only {width} "
                    "columns"
                )

    @cached_property
    def regressed(self) -> "RowForm":
        """Rows without what is projected."""
        if not self.projected:
            return self
        kept = {
            name: self.parameters[name][:, : -self.projected] for name in [*self.terms.items()][-1]
        }
        return replace(self, parameters=self.parameters | kept, projected=0)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the arrays that make up a row."""
        own = tuple(self.terms)
        return own if self.bias is None else (self.bias, *own)

    @property
    def held_groups(self) -> tuple[str, ...]:
        """Names of the arrays that the partners bring."""
        others = tuple(self.terms.values())
        return others if self.held is None else (self.held, *others)

    @property
    def n_rows(self) -> int:
        """Number of rows of this side."""
        return len(self.parameters[self.groups[0]])

    @property
    def n_partners(self) -> int:
        """Number of rows of the other side."""
        return len(self.parameters[self.held_groups[0]])

    @property
    def singular_values(self) -> Array:
        """What the sums of each number that is projected are divided by, shape (w,)."""
        return self.parameters["singular_values"]

    @cached_property
    def own_bias(self) -> Array:
        """The bias of each row, shape (n,); zeros for a model without."""
        if self.bias is None:
            return np.zeros(self.n_rows, np.float32)
        return self.parameters[self.bias]

    @cached_property
    def held_bias(self) -> Array:
        """The bias of each partner, shape (m,); zeros for a model without."""
        if self.held is None:
            return np.zeros(self.n_partners, np.float32)
        return self.parameters[self.held]

    @property
    def lead(self) -> int:
        """What ``y`` starts with: 1, or 0 for a model without biases."""
        return int(self.bias is not None)

    @property
    def width(self) -> int:
        """How many numbers a row has."""
        return 1 + sum(int(self.parameters[own].shape[1]) for own in self.terms)

    def widened(self, row: Array) -> Array:
        """A row of bias and terms with zeros for what is projected, shape (width,)."""
        return np.pad(row, (0, self.width - len(row)))

    def rows(self, indices: Index) -> Array:
        """Some rows as a table, the bias first: shape (n, width)."""
        return np.hstack([self.own_bias[indices, None], self._terms(self.terms, indices)])

    def others(self, indices: Index) -> Array:
        """What some partners are to a row: ``h``, then ``y`` without its lead, shape (n, width)."""
        terms = self._terms(self.terms.values(), indices)
        return np.hstack([self.held_bias[indices, None], terms])

    def split(self, rows: Array) -> Parameters:
        """The groups that a table of rows holds: the way back from ``rows``."""
        ends = np.cumsum([1, *(self.parameters[own].shape[1] for own in self.terms)])
        bias, *tables = np.split(rows, ends[:-1], axis=1)
        groups = dict(zip(self.terms, tables, strict=True))
        return groups if self.bias is None else {self.bias: bias[:, 0], **groups}

    def largest(self) -> float:
        """No prediction and no slope of one is larger than this; infinite where that is not finite."""
        p = self.parameters
        most = [float(np.abs(bias).max(initial=0)) for bias in (self.own_bias, self.held_bias)]
        for pair in self.terms.items():
            lengths = (np.einsum("nk,nk->n", p[n], p[n], dtype=np.float64) for n in pair)
            most.append(float(np.sqrt(np.prod([squares.max(initial=0) for squares in lengths]))))
        edge = self.response.rating(np.array([-sum(most), 0.0, sum(most)]))
        return float(np.abs(edge).max()) if np.isfinite(edge).all() else np.inf

    def z(self, rows: Index, partners: Index, *, double: bool = False) -> NDArray[Any]:
        """``z`` of each pair, shape (n,); -1 counts as a row of zeros.

        Args:
            rows, partners: indices, shape (n,).
            double: whether to add up in double precision. In single precision the sum is taken as
                scans of all items take it, so that predictions keep the order of lists.
        """
        if not double:
            # Imported here: who predicts nothing need not wait for Numba to load.
            from dotbias.models.pairs import dot_products

            own, held = (
                None if name is None else self.parameters[name] for name in (self.bias, self.held)
            )
            return dot_products(*self._tables, rows, partners, own_bias=own, held_bias=held)
        x, y = self._terms(self.terms, rows), self._terms(self.terms.values(), partners)
        known = (rows >= 0) & (partners >= 0)  # -1 has read the last row
        z: NDArray[Any] = np.where(known, np.einsum("nk,nk->n", x, y, dtype=np.float64), 0.0)
        return z + gather(self.held_bias, partners) + gather(self.own_bias, rows)

    @cached_property
    def _tables(self) -> tuple[Array, Array]:
        """The terms of all rows and of all partners side by side: (n, width - 1), (m, width - 1)."""
        if not self.terms:
            return np.empty((self.n_rows, 0), np.float32), np.empty(
                (self.n_partners, 0), np.float32
            )
        return self._terms(self.terms, None), self._terms(self.terms.values(), None)

    def scoring(self, rows: Index) -> Scoring:
        """What orders the partners of some rows: all of ``z`` but the row's own bias."""
        x = self._terms(self.terms, rows)
        x[rows < 0] = 0
        return Scoring(x, self._tables[1], self.held_bias[None, :])

    def _terms(self, names: Iterable[str], indices: Index | None) -> Array:
        """Groups side by side, of some rows or as they are: shape (n, width - 1)."""
        tables = [self.parameters[name] for name in names]
        if indices is not None:
            if not tables:
                return np.empty((len(indices), 0), np.float32)
            tables = [table.take(indices, axis=0) for table in tables]
        return tables[0] if len(tables) == 1 else np.hstack(tables)


class Prior(NamedTuple):
    """What a row is taken for before its ratings, as the solver of the model has left it.

    Args:
        mean: ``m``, the bias and then the other numbers of a row that are found by regression, shape
            (width,).
        precision: ``P`` of the penalty ``½ w (x - m)ᵀ P (x - m)``, shape (width, width).
        per_rating: whether ``w`` is the row's number of ratings; 1 if not.
        growth: scale, offset and exponent of what ``ridge`` adds to the diagonal of ``P``.
    """

    mean: Array
    precision: Array
    per_rating: bool
    growth: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @classmethod
    def of(cls, form: RowForm, side: Side) -> "Prior":
        """The prior of one side.

        Raises:
            ModelFileError: for parameters without one, such as an older version has saved.
            SettingError: for one that is not of the row's width, or not finite.
        """
        names = f"{side}_prior_mean", f"{side}_prior_precision", "prior_per_rating"
        if any(name not in form.parameters for name in names):
            raise ModelFileError(
                "this model does not say how strongly its rows are shrunk, because an older version of "
                "dotbias saved it or because it was not fitted here: fit it again to add users, items "
                "or ratings"
            )
        width = form.regressed.width
        square = form.parameters[names[1]].ndim == 2
        mean = checked_array(form.parameters, names[0], (width,))
        precision = checked_array(form.parameters, names[1], (width, width) if square else (width,))
        per_rating = checked_array(form.parameters, names[2], (1,))
        for name in names:
            refuse_not_finite(name, form.parameters[name])
        full = precision if square else np.diag(precision)
        if full.diagonal().min() < 0:
            raise SettingError(f"the array {names[1]} must be at least 0 on its diagonal")
        growth = form.parameters.get(f"{side}_prior_growth", np.zeros(3, np.float32))
        if growth.shape != (3,) or not np.isfinite(growth).all() or growth.min() < 0:
            raise SettingError(f"the array {side}_prior_growth must hold three numbers, at least 0")
        if growth[2] > 1:
            raise SettingError(f"the exponent in {side}_prior_growth must be at most 1")
        scale, offset, exponent = map(float, growth)
        full = np.ascontiguousarray(full)
        return cls(mean, full, bool(per_rating[0]), (scale, offset, exponent))

    def weights(self, counts: NDArray[np.integer[Any]]) -> Array:
        """``w`` of rows with so many ratings, shape (n,)."""
        return row_weights(counts, per_rating=self.per_rating)

    def ridge(self, counts: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """What rows with so many ratings add to the diagonal of ``P``, shape (n,): with the growth
        ``(s, o, ν)`` it is ``s ((n + o)^ν - o^ν)``, a penalty scaled by frequency.
        """
        scale, offset, exponent = self.growth
        added: NDArray[np.float64] = scale * ((counts + offset) ** exponent - offset**exponent)
        return added

    def pull(self, counts: NDArray[np.integer[Any]], away: Array) -> NDArray[np.floating[Any]]:
        """Gradient of the penalty of rows that are so far from the mean, shape (n, width)."""
        back: NDArray[np.floating[Any]] = self.weights(counts)[:, None] * (away @ self.precision)
        back += self.ridge(counts)[:, None] * away
        return back


def row_weights(counts: NDArray[np.integer[Any]], *, per_rating: bool) -> Array:
    """``w`` of each row, shape (n,): its number of ratings, or 1."""
    return (counts if per_rating else np.ones_like(counts)).astype(np.float32)
