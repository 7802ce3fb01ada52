"""Losses: what gradient descent minimises, as a function of one number.

A loss is a class with two pure functions of a scalar, compiled into the inner loops as the update rules
are: ``value(x)``, and its derivative ``slope(x)``. What ``x`` is, its kind says (``Loss.of``):

- ``"error"``: ``r̂ - r`` of a known pair, in units of the ratings' standard deviation;
- ``"preference"``: ``z`` of a pair that the user has chosen, ``-z`` of one drawn from those that they
  have not;
- ``"pair"``: ``z_ui - z_uj``, of an item that the user has chosen and one drawn from those that they
  have not.

All are float32 or float64, so a plain ``1`` would turn single precision into double; NumPy's functions
take scalars and arrays alike. A loss named in ``LOSSES`` is known to the solver, the command line, the
finder, the race and the tests.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np

from dotbias.errors import SettingError

if TYPE_CHECKING:
    from dotbias.models.dot_bias import DotBias

Of: TypeAlias = Literal["error", "preference", "pair"]

_HALF, _ONE = np.float32(0.5), np.float32(1)


class Loss(ABC):
    """Base of all losses."""

    of: ClassVar[Of]
    """What the loss is a function of."""

    label: ClassVar[str]
    """The name of the figure that it is reported as (``figure``)."""

    mean_label: ClassVar[str]
    """The name of its mean, which the learning-rate finder follows."""

    short: ClassVar[str] = "loss"
    """The figure in names of columns."""

    nothing: ClassVar[float] = 0.0
    """``x`` where nothing is known yet: any error of a standard deviation, or no difference."""

    @staticmethod
    @abstractmethod
    def value(x: Any) -> Any:
        """The loss of one example."""

    @staticmethod
    @abstractmethod
    def slope(x: Any) -> Any:
        """Its derivative."""

    @classmethod
    def samples(cls) -> bool:
        """Whether the loss needs items that the user has not chosen."""
        return cls.of != "error"

    @classmethod
    def examples(cls, n_negatives: int) -> int:
        """How many values of the loss belong to each known pair."""
        return {"error": 1, "preference": 1 + n_negatives, "pair": n_negatives}[cls.of]

    @classmethod
    def figure(cls, mean: float, std: float) -> float:  # noqa: ARG003
        """A mean loss as it is reported; ``std`` is the unit of errors."""
        return mean

    @classmethod
    def check(cls, model: "DotBias") -> None:
        """Refuse a model whose output is not what the loss judges.

        Raises:
            SettingError: for preferences where it judges ratings, and the other way round.
        """
        scores = "preference" if cls.samples() else "rating"
        if model.scores != scores:
            wanted = "'preference'" if cls.samples() else "'linear' or 'sigmoid'"
            raise SettingError(
                f"loss={name_of(cls)!r} judges {scores}s: it needs DotBias(output={wanted}), "
                f"not output={model.output!r}"
            )


class Squared(Loss):
    """``½ x²`` of the error ``x = r̂ - r``; reported as RMSE in rating units."""

    of: ClassVar[Of] = "error"
    label, mean_label, short = "RMSE", "MSE", "rmse"
    nothing = 1.0

    @staticmethod
    def value(x: Any) -> Any:
        """``½ x²``."""
        return _HALF * x * x

    @staticmethod
    def slope(x: Any) -> Any:
        """``x``."""
        return x

    @classmethod
    def figure(cls, mean: float, std: float) -> float:
        """The RMSE in rating units."""
        return std * float(np.sqrt(2 * mean))


class Logistic(Loss):
    """``-log σ(z)`` of a chosen item and ``-log σ(-z)`` of drawn ones: a logistic regression on whether
    an item was chosen, with sampled negatives.

    Goldberg & Levy (2014, arXiv 1402.3722) write out the same objective for word embeddings, Johnson
    (2014) for recommendations.
    """

    of: ClassVar[Of] = "preference"
    label = mean_label = "log loss"

    @staticmethod
    def value(x: Any) -> Any:
        """``log(1 + exp(-x))``, without overflow."""
        return np.log(_ONE + np.exp(-np.abs(x))) + np.maximum(-x, _ONE - _ONE)

    @staticmethod
    def slope(x: Any) -> Any:
        """``-1 / (1 + exp(x))``."""
        return -_ONE / (_ONE + np.exp(x))


class BPR(Logistic):
    """``-log σ(z_ui - z_uj)``: Bayesian personalised ranking (Rendle et al. 2009, eq. for BPR-Opt).

    The user's bias is in both scores and drops out, so it stays at zero.
    """

    of: ClassVar[Of] = "pair"
    label = mean_label = "BPR loss"


LOSSES: dict[str, type[Loss]] = {"squared": Squared, "logistic": Logistic, "bpr": BPR}


def name_of(loss: type[Loss]) -> str:
    """The name of a loss in ``LOSSES``."""
    return next(name for name, known in LOSSES.items() if known is loss)
