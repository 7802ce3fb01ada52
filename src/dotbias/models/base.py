"""What every model is: settings, named parameter groups, and a formula."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.errors import SettingError
from dotbias.models.parameters import Array as Array
from dotbias.models.parameters import Parameters as Parameters
from dotbias.models.parameters import check_numbers, refuse_not_finite
from dotbias.models.row_form import RowForm, Side
from dotbias.models.scoring import Scoring, scored
from dotbias.settings import Settings

if TYPE_CHECKING:
    from torch import nn

AnyModel = TypeVar("AnyModel", bound="Model")
Scores: TypeAlias = Literal["rating", "preference"]

# Where a class states its formula, and what answers for that formula alone.
FORMULA = ("predict", "score_all", "formula")
_FROM_FORMULA = ("row_form", "scoring")  # by BilinearModel
_ANSWERS = (*_FROM_FORMULA, "to_torch", "std")


class Observed(NamedTuple):
    """What a regression is on.

    Args:
        targets: what each rating says, shape (n,).
        weights: how much its squared error counts, shape (n,); None where all count 1.
    """

    targets: Array
    weights: Array | None

    def checked(self, n: int) -> "Observed":
        """These, as compiled loops may read them.

        Raises:
            SettingError: unless there is one finite number for each of n ratings, and no weight below 0.
        """
        for name, array in (("targets", self.targets), ("weights", self.weights)):
            if array is None:
                continue
            if not isinstance(array, np.ndarray) or array.shape != (n,) or array.dtype.kind != "f":
                raise SettingError(
                    f"Model.observed must give {name} as one row of {n:,} numbers, one for each rating"
                )
            refuse_not_finite(f"{name} of Model.observed", array)
        if self.weights is not None and self.weights.min(initial=0) < 0:
            raise SettingError("Model.observed must give weights that are at least 0")
        return self


@dataclass(frozen=True, kw_only=True)
class Model(Settings, ABC):
    """A formula and its settings. The parameters live apart, in a ``Parameters`` dictionary.

    An index of -1 stands for a user or item that was not there at training: its factors and its bias
    count as zero, so the prediction falls back on the other side's bias and on the global mean.
    """

    groups: ClassVar[tuple[str, ...]]
    """Names of the trained parameter groups, each an array with one row per user or item."""

    @property
    def scores(self) -> Scores:
        """What a prediction is: a rating, on the scale of those that were given, or a preference, a
        number of no unit, the higher the sooner someone chooses the item.
        """
        return "rating"

    @property
    def refused_target(self) -> float:
        """What a preference is drawn to of an item that someone is not interested in."""
        # With films rated 1 and 2 on ml-100k in the place of such items, a fifth fewer of the other such
        # films came up in the first ten than when they were left out, for 1.5 % of nDCG. A lower target
        # or a higher weight costs more for each of them, and 0 says next to nothing of someone of whom
        # little is known.
        return -0.25

    @abstractmethod
    def initialise(self, ratings: Ratings, rng: np.random.Generator) -> Parameters:
        """Parameters before training, with one row for each user and item of the ratings."""

    @abstractmethod
    def predict(self, parameters: Parameters, users: Index, items: Index) -> Array:
        """Predicted rating of each pair, shape (n,), within the scale; indices may be -1."""

    @abstractmethod
    def score_all(self, parameters: Parameters, users: Index) -> Array:
        """Score of every item for each user, shape (n_users, n_items): the predicted rating before it
        is cut off at the ends of the scale, so that items beyond the end keep their order.
        """

    def scoring(self, parameters: Parameters, users: Index) -> Scoring:
        """What lists of items are ordered by: the order of ``score_all``, in a form that can be scanned
        without the table of all scores where the model has one.
        """
        return scored(self.score_all(parameters, users))

    def __init_subclass__(cls, **options: Any) -> None:
        """A class with a formula of its own inherits no answer that was given for another one."""
        super().__init_subclass__(**options)
        own = vars(cls).keys()
        if own.isdisjoint(FORMULA):
            return
        for name in _ANSWERS:
            follows = name in _FROM_FORMULA and "formula" in own
            if name not in own and not follows:
                setattr(cls, name, vars(Model)[name])

    def fitted(self, parameters: Parameters) -> "Model":  # noqa: ARG002
        """This model with the settings that fitting chose, such as the number of factors."""
        return self

    def check(self, parameters: Parameters, n_users: int, n_items: int) -> None:
        """Refuse arrays that are not parameters of this model for so many users and items.

        Raises:
            SettingError: naming the array that is missing, not finite, or of another type or shape.
        """
        check_numbers(parameters)
        for name in self.groups:
            array = parameters.get(name)
            if array is None:
                raise SettingError(f"the array {name} is missing from the parameters")
            if array.shape[:1] not in ((n_users,), (n_items,)):
                raise SettingError(
                    f"the array {name} must have a row for each of {n_users:,} users or {n_items:,} "
                    f"items, not the shape {array.shape}"
                )

    @property
    def label(self) -> str:
        """What it is, in a sentence."""
        return type(self).__name__

    def observed(
        self,
        parameters: Parameters,  # noqa: ARG002
        side: Side,  # noqa: ARG002
        starts: NDArray[np.integer[Any]],  # noqa: ARG002
        partners: Index,  # noqa: ARG002
        values: Array,
    ) -> "Observed":
        """What the regression of some rows is on: the ratings themselves, unless a model says otherwise.

        Args:
            parameters: the fitted arrays.
            side: what the rows are.
            starts: where each row's ratings start, and the end of the last, shape (m + 1,).
            partners: index of the other side of each rating, shape (n,).
            values: the ratings, or counts, shape (n,).
        """
        return Observed(values, None)

    def derived(self, parameters: Parameters, rated: csr_array) -> Parameters:  # noqa: ARG002
        """The arrays that follow from the rows as they are and from what is known of them, anew: what
        ``partial_fit`` must not leave as it was at training. None, unless a model says so.

        Args:
            parameters: the fitted arrays.
            rated: all that is known, shape (n_users, n_items).
        """
        return {}

    def stranger(self, parameters: Parameters, side: Side) -> Array | None:  # noqa: ARG002
        """The row, bias first, of a user (or item) of whom nothing is known, shape (width,); None stands
        for the mean of the prior.
        """
        return None

    # -- what a model may offer; each refuses where it does not --------------------------------------

    def row_form(self, parameters: Parameters, side: Side) -> RowForm:  # noqa: ARG002
        """What this model is in one row of users (or items), with everything else held.

        Folding in, growing, explaining and the objective rest on it alone.

        Raises:
            SettingError: for a model that is not linear in each row, or does not say how.
        """
        raise SettingError(
            f"{type(self).__name__} does not say what it is in one row (Model.row_form): users, items "
            "and ratings can be added, and predictions explained, with models that are linear in each "
            "row (DotBias, Baseline)"
        )

    def bias(self, parameters: Parameters, side: Side) -> Array | None:  # noqa: ARG002
        """The bias of each user (or item), shape (n,); None for a model without."""
        return None

    def item_vectors(self, parameters: Parameters) -> Array:  # noqa: ARG002
        """Vectors whose cosine says how similar two items are, shape (n_items, n_factors).

        Raises:
            SettingError: for a model without any.
        """
        raise SettingError(f"{type(self).__name__} has no embeddings to compare items by")

    def user_vectors(self, parameters: Parameters) -> Array:  # noqa: ARG002
        """The same of users, shape (n_users, n_factors).

        Raises:
            SettingError: for a model without any.
        """
        raise SettingError(f"{type(self).__name__} has no embeddings to compare users by")

    def std(self, parameters: Parameters, users: Index, items: Index) -> Array:  # noqa: ARG002
        """Standard deviation of the rating that each pair would get, shape (n,).

        Raises:
            SettingError: for a model without samples.
        """
        raise SettingError(
            f"{type(self).__name__} has no samples to take a standard deviation from: fit a "
            "DotBias with Gibbs(keep_samples=50), on the command line --solver gibbs --keep-samples 50"
        )

    def to_torch(self, parameters: Parameters) -> "nn.Module":  # noqa: ARG002
        """The model as a PyTorch module, in evaluation mode.

        Its ``forward(user, item)`` takes two tensors of indices, int64 of shape (n,), and gives ratings,
        shape (n,), before they are cut off at the ends of the scale.

        Raises:
            SettingError: for a model that has no such form, or when PyTorch is not installed.
        """
        raise SettingError(f"{type(self).__name__} has no form in PyTorch")

    def summary(self) -> dict[str, Any]:
        """The settings as plain data, for a model file or JSON."""
        return asdict(self)


def initialised(model: Model, ratings: Ratings, rng: np.random.Generator) -> Parameters:
    """What a solver starts from: ``model.initialise``, checked before any loop reads it.

    Raises:
        SettingError: when the arrays are not parameters of the model for these ratings, or for a model
            that predicts ratings where there are only counts or events.
    """
    if model.scores == "rating":
        ratings.require_ratings()
    parameters = model.initialise(ratings, rng)
    try:
        model.check(parameters, ratings.n_users, ratings.n_items)
    except SettingError as error:
        raise SettingError(f"initialise of {type(model).__name__}: {error}") from None
    if model.fitted(parameters) != model:
        raise SettingError(
            f"initialise of {type(model).__name__}: the arrays are those of "
            f"{model.fitted(parameters)}, not of {model}"
        )
    return parameters


def has_formula_of(model: Model, kind: type[AnyModel]) -> TypeGuard[AnyModel]:
    """Whether a model is of a kind and predicts by its formula, not by one that a subclass has put in
    its place: what a solver that knows the formula asks.
    """
    if not isinstance(model, kind) or model.groups != kind.groups:
        return False
    return all(getattr(type(model), n, None) is getattr(kind, n, None) for n in FORMULA)
