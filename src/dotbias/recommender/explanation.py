"""Why a user gets a prediction: the sum that it is, rating by rating."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dotbias.data.vocabulary import Index
from dotbias.models.parameters import Array, Parameters
from dotbias.models.row_form import RowForm
from dotbias.recommender.facts import Facts
from dotbias.recommender.fitted import Fitted, RawId, check_k
from dotbias.solvers.least_squares.contributions import Contributions, contributions

if TYPE_CHECKING:
    from dotbias.pictures import BarPicture

RATED = "rated item"
"""The part of a rating, in the column ``part``."""

# Share of the scale below which a difference is rounding, or as good as.
_NEGLIGIBLE = 2e-4
# The difference between what the model's own vector of a user predicts and what the parts do.
_LEFT = "what the fit left"
# Parts that are not shown where they would read 0.000.
_SOMETIMES = [_LEFT, "assumed of everyone", "cut off"]
_SHOWN = 5e-4

_LEFT_BY = {
    "Gibbs": "is a mean of samples",
    "GradientDescent": "was left by gradient descent after {epochs}",
    "ALS": "was solved before the last step of the items",
}
_UNSAID = "is not quite what their ratings give by regression"


@dataclass(frozen=True, eq=False, kw_only=True)
class Explanation:
    """One prediction as a sum of parts.

    The parts are those of the prediction by the folded-in vector, which the user's ratings give by
    regression with everything else held. ``folded_in + difference``, cut off at the ends of the scale,
    is the prediction of the model.

    The part of a rating is what it does through the factors. What all of them do to the user's bias is
    one part of its own, so a low rating may add to a prediction: more than that bias takes off for it.

    Args:
        user: the user's id; None for one who was not there at training.
        item: the item's id.
        title: its title, or the id as text.
        prediction: what ``predict`` says, which the parts add up to.
        folded_in: prediction by the folded-in vector, before it is cut off.
        difference: what the model's own vector predicts beyond it, before it is cut off.
        exact: whether ``difference`` is rounding: less than 0.02 % of the scale.
        left_by: how the model's own vector of the user came about, in words.
        table: what ``frame`` returns.
    """

    user: RawId | None
    item: RawId
    title: str
    prediction: float
    folded_in: float
    difference: float
    exact: bool
    left_by: str
    table: pl.DataFrame

    def frame(self) -> pl.DataFrame:
        """All parts.

        Columns ``part``, ``item``, ``title``, ``rating`` (the user's), ``similarity`` (cosine of the
        embeddings of this item and the explained one), ``contribution``. The contributions add up to
        the prediction. First come ``"global mean"``, ``"user bias"``, ``"item bias"``,
        ``"what the fit left"`` (the difference), and, where they are not 0, ``"assumed of everyone"``
        (the prior's mean) and ``"cut off"`` (at the end of the scale). Then comes each
        ``"rated item"``, the largest part, of either sign, first; none for a ``Baseline``.
        """
        return self.table

    def summary(self, k: int = 10) -> pl.DataFrame:
        """The same with the k largest rated items; all others are one row at the end.

        Raises:
            SettingError: for a ``k`` below 1.
        """
        check_k(k)
        rated = self.table["part"] == RATED
        fixed, items = self.table.filter(~rated), self.table.filter(rated)
        n_others = items.height - k
        if n_others <= 0:
            return self.table
        name = f"the other {n_others:,} rated items" if n_others > 1 else "the other rated item"
        others = pl.DataFrame({"part": [name], "contribution": [items["contribution"][k:].sum()]})
        return pl.concat([fixed, items.head(k), others], how="diagonal")

    def shown(self, k: int = 10) -> pl.DataFrame:
        """``summary`` for people: columns ``part`` (in words), ``rating``, ``contribution``.

        What the fit left, and what is assumed or cut off, is left out where it is too small to be seen.

        Raises:
            SettingError: for a ``k`` below 1.
        """
        table = self.summary(k)
        is_rated, itself = pl.col("part") == RATED, pl.col("item") == self.item
        name = pl.coalesce("title", pl.col("item").cast(pl.String))
        words = (
            pl.when(is_rated & itself)
            .then("this item itself: " + name)
            .when(is_rated)
            .then(name)
            .otherwise("part")
        )
        seen = ~pl.col("part").is_in(_SOMETIMES) | (pl.col("contribution").abs() >= _SHOWN)
        return table.filter(seen).select(words.alias("part"), "rating", "contribution")

    @property
    def heading(self) -> str:
        """What is explained, in one line."""
        whom = "this user" if self.user is None else f"user {self.user}"
        return f"{self.prediction:.3f} is predicted for {whom} and {self.title}"

    @property
    def sentence(self) -> str:
        """Which vector the parts are those of, and by how much the model's own differs."""
        if self.exact:
            return (
                "The parts are exact: the user's vector is what their ratings give by regression."
            )
        own = self.folded_in + self.difference
        before = "" if self._uncut else ", before they are cut off at the end of the scale"
        return (
            f"The model's vector of the user {self.left_by}. The parts explain the vector that the same "
            f"ratings give by regression, which predicts {self.folded_in:.3f} instead of {own:.3f}"
            f'{before}: that is "{_LEFT}".'
        )

    @property
    def _uncut(self) -> bool:
        return "cut off" not in self.table["part"]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        return {
            "user": self.user,
            "item": self.item,
            "title": self.title,
            "prediction": self.prediction,
            "folded_in": self.folded_in,
            "difference": self.difference,
            "exact": self.exact,
            "explains": self.sentence,
            "parts": self.table.to_dicts(),
        }

    def __str__(self) -> str:
        rows = [
            (part, "" if rating is None else f"{rating:g}", f"{contribution:+.3f}")
            for part, rating, contribution in self.shown().iter_rows()
        ]
        rows = [("", "rating", "part"), *rows]
        name, *numbers = (max(map(len, column)) for column in zip(*rows, strict=True))
        lines = [
            f"{part:<{name}}  {rating:>{numbers[0]}}  {contribution:>{numbers[1]}}"
            for part, rating, contribution in rows
        ]
        return "\n".join([self.heading, *lines, self.sentence])

    def picture(self, k: int = 10) -> "BarPicture":
        """The parts as bars, without the global mean, from which they set out.

        Raises:
            SettingError: for a ``k`` below 1.
        """
        from dotbias.pictures import Bar, BarPicture

        bars = tuple(
            Bar(
                name=part if rating is None else f"{rating:g} for {part}",
                value=contribution,
                label=f"{contribution:+.3f}",
            )
            for part, rating, contribution in self.shown(k)[1:].iter_rows()
        )
        mean = self.table["contribution"][0]
        return BarPicture(
            title=self.heading,
            bars=bars,
            x_label=f"what each part adds to the global mean, {mean:.3f}",
            note=f"Before each title stands the user's rating of it. {self.sentence}",
        )


def explain(rec: Fitted, user: RawId, item: RawId) -> Explanation:
    """See ``Recommender.explain``."""
    u = rec.user_vocabulary.find(user, noun="user")
    own = rec.rated[[u]]
    found = explain_row(rec, rec.parameters, u, own.indices, own.data, item)
    return replace(found, user=rec.user_vocabulary.raw(u), left_by=_left_by(rec.facts))


def explain_row(
    rec: Fitted, parameters: Parameters, row: int, rated: Index, values: Array, item: RawId
) -> Explanation:
    """What a row of users predicts for an item, explained by the ratings that the row rests on.

    Args:
        rec: the model.
        parameters: its parameters, or the same with other users.
        row: index of the user in them.
        rated: indices of the items that the user has rated, shape (n,).
        values: those ratings, shape (n,).
        item: the item's id, title, or a part of one title.
    """
    i = rec.item_vocabulary.find(item)
    parts = contributions(rec.model, rec.parameters, rated, values, i)
    pair = np.array([row], np.int32), np.array([i], np.int32)
    prediction = float(rec.model.predict(parameters, *pair)[0])
    uncut = float(rec.model.score_all(parameters, pair[0])[0, i])
    low, high = map(float, parameters["scale"])
    cut_off = min(max(uncut, low), high) - uncut if rec.model.scores == "rating" else 0.0
    difference = prediction - cut_off - parts.total
    return Explanation(
        user=None,
        item=rec.item_vocabulary.raw(i),
        title=rec.item_vocabulary.label(i),
        prediction=prediction,
        folded_in=parts.total,
        difference=difference,
        exact=abs(difference) < _NEGLIGIBLE * (high - low),
        left_by=_UNSAID,
        table=_table(rec, parts, difference, cut_off, rated, values, i),
    )


def _left_by(facts: Facts) -> str:
    """How the vectors of users came about, in words."""
    if facts.partial_fits:  # which have moved some of them
        return _UNSAID
    n = facts.history.best_epoch
    return _LEFT_BY.get(facts.solver_name or "", _UNSAID).format(
        epochs="1 epoch" if n == 1 else f"{n} epochs"
    )


def _table(
    rec: Fitted,
    parts: Contributions,
    difference: float,
    cut_off: float,
    rated: Index,
    values: Array,
    item: int,
) -> pl.DataFrame:
    fixed = {
        "global mean": parts.global_mean,
        "user bias": parts.user_bias,
        "item bias": parts.item_bias,
        _LEFT: difference,
        "assumed of everyone": parts.assumed,
        "cut off": cut_off,
    }
    optional = ("assumed of everyone", "cut off")
    kept = {part: value for part, value in fixed.items() if value or part not in optional}
    form = rec.model.row_form(rec.parameters, "user")
    if form.width == 1:  # nothing that a rating could act through but the user's bias
        rated, values, parts = rated[:0], values[:0], parts._replace(rated=parts.rated[:0])
    order = np.argsort(-np.abs(parts.rated), kind="stable")
    rated = rated[order]
    items = pl.DataFrame(
        {
            "part": [RATED] * len(rated),
            **rec.named(rated),
            "rating": values[order],
            "similarity": _cosines(form, rated, item),
            "contribution": parts.rated[order],
        },
        schema_overrides={"part": pl.String},
    )
    first = pl.DataFrame({"part": list(kept), "contribution": list(kept.values())})
    return pl.concat([first, items], how="diagonal").select(items.columns)


def _cosines(form: RowForm, items: Index, item: int) -> NDArray[np.float64]:
    """Cosine of each item's embedding with that of one item; 0 for an embedding of zeros."""
    q = form.others(np.append(items, np.int32(item)))[:, 1:].astype(np.float64)
    q, asked = q[:-1], q[-1]
    lengths = np.linalg.norm(q, axis=1) * np.linalg.norm(asked)
    lengths[lengths == 0] = 1
    cosines: NDArray[np.float64] = q @ asked / lengths
    return cosines
