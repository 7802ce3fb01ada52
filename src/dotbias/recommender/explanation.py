"""Why a user gets a prediction, or a place on the list: the sum that it is, rating by rating."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dotbias.data.ratings import Kind
from dotbias.data.vocabulary import Index
from dotbias.errors import SettingError
from dotbias.models.base import Scores
from dotbias.models.parameters import Parameters
from dotbias.models.row_form import RowForm
from dotbias.recommender.facts import Facts
from dotbias.recommender.fitted import Fitted, RawId, check_k
from dotbias.recommender.given import Given
from dotbias.shown import Part, Rows, Shown
from dotbias.solvers.least_squares.contributions import (
    Contributions,
    contributions,
    contributions_to,
)

if TYPE_CHECKING:
    from dotbias.pictures import BarPicture

RATED = "rated item"
"""The part of a rating, in the column ``part``."""
CHOSEN = "chosen item"
"""The part of a count or an event there."""
REFUSED = "not interested"
"""The part of an item that someone is not interested in."""

# What the parts of a user are, in words, by the kind of the data: each one, its number, and all.
_WORDS: dict[Kind, tuple[str, str | None, str]] = {
    "ratings": (RATED, "rating", "ratings"),
    "counts": (CHOSEN, "count", "counts"),
    "events": (CHOSEN, None, "choices"),
}
# Share of the scale, or of 1 for preferences, below which a difference is rounding, or as good as.
_NEGLIGIBLE = 2e-4
# The difference between what the model's own vector of a user predicts and what the parts do.
_LEFT = "what the fit left"
# What the mean of the prior puts into the factors: the same for all users, or what features say.
_ASSUMED, _TOLD = "assumed of everyone", "what features say"
# Parts that are not shown where they would read 0.000.
_SOMETIMES = [_LEFT, _ASSUMED, "cut off"]
_SHOWN = 5e-4

_LEFT_BY = {
    "Gibbs": "is a mean of samples",
    "GradientDescent": "was left by gradient descent after {epochs}",
    "ALS": "was solved before the last step of the items",
}
_UNSAID = "is not quite what a regression gives"


@dataclass(frozen=True, eq=False, kw_only=True)
class Explanation(Shown):
    """One prediction, or one preference, as a sum of parts.

    The parts are those of the prediction by the folded-in vector, which the user's ratings give by
    regression with everything else held. ``folded_in + difference``, cut off at the ends of the scale,
    is the prediction of the model.

    The part of a rating is what it does through the factors. What all of them do to the user's bias is
    one part of its own, so a low rating may add to a prediction: more than that bias takes off for it.

    A preference has no mean, no biases and no scale: its parts are what the user has rated or chosen.

    Args:
        of: what is explained: the predicted rating, or the preference.
        kind: what the model was fitted to: ratings, counts or events.
        user: the user's id; None for one who was not there at training.
        item: the item's id.
        title: its title, or the id as text.
        prediction: what ``predict`` says, or the preference, which the parts add up to.
        folded_in: prediction by the folded-in vector, before it is cut off.
        difference: what the model's own vector predicts beyond it, before it is cut off.
        exact: whether ``difference`` is rounding: less than 0.02 % of the scale, or 0.0002.
        for_all: whether the model says the same of everyone (``MostRated``).
        left_by: how the model's own vector of the user came about, in words.
        basis: what was known at training, ``both``, ``user``, ``item`` or ``neither``.
        table: what ``frame`` returns.
    """

    of: Scores
    kind: Kind
    user: RawId | None
    item: RawId
    title: str
    prediction: float
    folded_in: float
    difference: float
    exact: bool
    for_all: bool
    left_by: str
    table: pl.DataFrame
    basis: str = "both"

    def frame(self) -> pl.DataFrame:
        """All parts.

        Columns ``part``, ``item``, ``title``, ``rating`` (the user's, or the count; null for an event),
        ``similarity`` (cosine of the embeddings of this item and the explained one), ``contribution``.
        The contributions add up to the prediction. First come ``"global mean"``, ``"user bias"``,
        ``"item bias"``, ``"what the fit left"`` (the difference), and, where they are not 0,
        ``"assumed of everyone"`` (the prior's mean; ``"what features say"`` where they are known) and
        ``"cut off"`` (at the end of the scale); of a preference only the fourth and the fifth. Then
        comes each ``"rated item"`` (``"chosen item"`` where there are no ratings, ``"not interested"``
        for what the user does not want), the largest part, of either sign, first; none for a
        ``Baseline`` or where all users get the same.
        """
        return self.table

    def summary(self, k: int = 10) -> pl.DataFrame:
        """The same with the k largest rated items; all others are one row at the end.

        Raises:
            SettingError: for a ``k`` below 1.
        """
        check_k(k)
        rated = self.table["item"].is_not_null()
        fixed, items = self.table.filter(~rated), self.table.filter(rated)
        n_others = items.height - k
        if n_others <= 0:
            return self.table
        noun = _WORDS[self.kind][0]
        name = f"the other {n_others:,} {noun}s" if n_others > 1 else f"the other {noun}"
        others = pl.DataFrame({"part": [name], "contribution": [items["contribution"][k:].sum()]})
        return pl.concat([fixed, items.head(k), others], how="diagonal")

    def shown(self, k: int = 10) -> pl.DataFrame:
        """``summary`` for people: columns ``part`` (in words), ``rating``, ``contribution``.

        The rating is a ``count`` where the data are counts, and no column where they are events. What
        the fit left, and what is assumed or cut off, is left out where it is too small to be seen.

        Raises:
            SettingError: for a ``k`` below 1.
        """
        table = self.summary(k)
        own = pl.col("item").cast(pl.String)  # an unknown item may be text where ids are integers
        is_item, itself = pl.col("item").is_not_null(), own == str(self.item)
        name = pl.coalesce("title", own)
        words = (
            pl.when(pl.col("part") == REFUSED)
            .then(REFUSED + ": " + name)
            .when(is_item & itself)
            .then("this item itself: " + name)
            .when(is_item)
            .then(name)
            .otherwise("part")
        )
        seen = ~pl.col("part").is_in(_SOMETIMES) | (pl.col("contribution").abs() >= _SHOWN)
        _, number, _ = _WORDS[self.kind]
        numbers = [] if number is None else [pl.col("rating").alias(number)]
        return table.filter(seen).select(words.alias("part"), *numbers, "contribution")

    @property
    def heading(self) -> str:
        """What is explained, in one line."""
        whom = "this user" if self.user is None else f"user {self.user}"
        if self.of == "preference":
            return f"{self.prediction:.3f} is the preference of {whom} for {self.title}"
        return f"{self.prediction:.3f} is predicted for {whom} and {self.title}"

    @property
    def sentence(self) -> str:
        """Which vector the parts are those of, and by how much the model's own differs."""
        if self.for_all:
            return (
                "It is the share of all users who have the item, and the same for everyone: this model "
                "lists the most rated items."
            )
        *_, known = _WORDS[self.kind]
        if _TOLD in self.table["part"]:
            known = f"features and {known}"
        if self.basis != "both":
            unknown = {"user": "the item", "item": "the user"}.get(self.basis, "either of them")
            anyone = {"user": "for any item", "item": "for anybody"}.get(self.basis, "for any two")
            return f"Nothing is known of {unknown}: this is what is predicted {anyone}."
        if self.exact:
            return (
                f"The parts are exact: the user's vector is what their {known} give by regression."
            )
        own = self.folded_in + self.difference
        before = "" if self._uncut else ", before they are cut off at the end of the scale"
        says = "predicts" if self.of == "rating" else "has a preference of"
        return (
            f"The model's vector of the user {self.left_by}. The parts explain the vector that the same "
            f"{known} give by regression, which {says} {self.folded_in:.3f} instead of {own:.3f}"
            f'{before}: that is "{_LEFT}".'
        )

    @property
    def _uncut(self) -> bool:
        return "cut off" not in self.table["part"]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        return {
            "of": self.of,
            "user": self.user,
            "item": self.item,
            "title": self.title,
            "prediction": self.prediction,
            "folded_in": self.folded_in,
            "difference": self.difference,
            "exact": self.exact,
            "basis": self.basis,
            "explains": self.sentence,
            "parts": self.table.to_dicts(),
        }

    def _parts(self) -> Iterable[Part]:
        yield from (self.heading, Rows(self.shown()), self.sentence)

    def __str__(self) -> str:
        shown = self.shown()
        rows = [
            (part, *("" if n is None else f"{n:g}" for n in number), f"{contribution:+.3f}")
            for part, *number, contribution in shown.iter_rows()
        ]
        rows = [("", *shown.columns[1:-1], "part"), *rows]
        name, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
        lines = [
            "  ".join(
                [f"{part:<{name}}", *(f"{n:>{w}}" for n, w in zip(rest, widths, strict=True))]
            )
            for part, *rest in rows
        ]
        return "\n".join([self.heading, *lines, self.sentence])

    def picture(self, k: int = 10) -> "BarPicture":
        """The parts as bars, without the global mean, from which those of a rating set out.

        Raises:
            SettingError: for a ``k`` below 1, or where there are no parts.
        """
        from dotbias.pictures import Bar, BarPicture

        shown, x_label = self.shown(k), "what each part adds to the preference"
        if self.of == "rating":
            mean, shown = shown["contribution"][0], shown[1:]
            x_label = f"what each part adds to the global mean, {mean:.3f}"
        bars = []
        for part, *numbers, contribution in shown.iter_rows():
            (number,) = numbers or [None]
            name = part if number is None else f"{number:g} for {part}"
            bars.append(Bar(name=name, value=contribution, label=f"{contribution:+.3f}"))
        if not bars:
            raise SettingError(f"there is nothing to draw. {self.sentence}")
        _, word, _ = _WORDS[self.kind]
        before = "" if word is None else f"Before each title stands the user's {word} of it. "
        return BarPicture(
            title=self.heading,
            bars=tuple(bars),
            x_label=x_label,
            note=self.sentence if self.for_all else before + self.sentence,
        )


def explain(
    rec: Fitted, user: RawId, item: RawId, of: Scores | None = None, *, strict: bool = False
) -> Explanation:
    """See ``Recommender.explain``."""
    alone = rec.by(rec.ranked_by(of))
    at = rec.indices("user", user, strict=strict)
    index = int(at[0])
    given = Given(*rec.rated_by(index))
    found = explain_row(alone, alone.parameters, index, given, item, strict=strict)
    raw = rec.in_own_type("user", user, at)[0]
    return replace(found, user=raw, left_by=_left_by(alone.facts))


def ratings_behind(
    rec: Fitted, given: Given, items: Index, k: int
) -> list[tuple[Index, NDArray[np.float64]]]:
    """Which ratings put items on somebody's list: parts of what ``explain_row`` says, of all in one go.

    Args:
        rec: the model, alone.
        given: what somebody has rated.
        items: indices of the items of the list, shape (m,).
        k: how many for each item.

    Returns:
        For each item the indices of those that somebody has rated and that add the most to its score,
        the most first, shape (at most k,), and what they add; none where all users get the same.
    """
    form = rec.model.row_form(rec.parameters, "user")
    if form.width == 1 or rec.for_all or len(given.rated) == 0:
        return [(np.empty(0, np.int32), np.empty(0, np.float64))] * len(items)
    rated, values, observed = given.regression(rec.model, rec.parameters, "user")
    found = []
    for parts in contributions_to(
        rec.model, rec.parameters, rated, values, items, observed=observed
    ):
        own = parts.rated[: len(given.rated)]
        most = np.argsort(-own, kind="stable")[:k]
        most = most[own[most] > 0]
        found.append((given.rated[most], own[most]))
    return found


def explain_row(
    rec: Fitted,
    parameters: Parameters,
    row: int,
    given: Given,
    item: RawId,
    *,
    features: csr_array | None = None,
    strict: bool = False,
) -> Explanation:
    """What a row of users predicts for an item, explained by the ratings that the row rests on.

    Args:
        rec: the model, alone.
        parameters: its parameters, or the same with other users.
        row: index of the user in them; -1 for one of whom nothing is known.
        given: what the row rests on.
        item: the item's id, title, or a part of one title.
        features: of the user, shape (1, n_features), where they are known.
        strict: whether an unknown item is an error.
    """
    at = rec.indices("item", item, strict=strict)
    i, raw = int(at[0]), rec.in_own_type("item", item, at)[0]
    rated, values, observed = given.regression(rec.model, rec.parameters, "user")
    parts = contributions(
        rec.model, rec.parameters, rated, values, i, observed=observed, features=features
    )
    pair = np.array([row], np.int32), at
    prediction = float(rec.model.predict(parameters, *pair)[0])
    cut_off, width = 0.0, 1.0
    if rec.model.scores == "rating":
        form = rec.model.row_form(parameters, "user")
        uncut = float(form.response.rating(form.z(*pair))[0])
        low, high = map(float, parameters["scale"])
        cut_off, width = min(max(uncut, low), high) - uncut, high - low
    difference = prediction - cut_off - parts.total
    return Explanation(
        of=rec.model.scores,
        kind=rec.facts.kind,
        user=None,
        item=raw,
        title=str(raw) if i < 0 else rec.item_vocabulary.label(i),
        prediction=prediction,
        folded_in=parts.total,
        difference=difference,
        exact=abs(difference) < _NEGLIGIBLE * width,
        for_all=rec.for_all,
        left_by=_UNSAID,
        table=_table(
            rec, parts, difference, cut_off, given, i, _ASSUMED if features is None else _TOLD
        ),
        basis=rec.basis(row, i, 1)[0],
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
    given: Given,
    item: int,
    assumed: str,
) -> pl.DataFrame:
    fixed = {
        "global mean": parts.global_mean,
        "user bias": parts.user_bias,
        "item bias": parts.item_bias,
        _LEFT: difference,
        assumed: parts.assumed,
        "cut off": cut_off,
    }
    form = rec.model.row_form(rec.parameters, "user")
    always = [*fixed][:4] if form.lead else [_LEFT]
    kept = {part: value for part, value in fixed.items() if value or part in always}
    noun, number, _ = _WORDS[rec.facts.kind]
    contributed = parts.rated
    n, n_refused = len(given.rated), len(contributed) - len(given.rated)
    names = np.array([noun] * n + [REFUSED] * n_refused, object)
    partners = np.append(given.rated, given.refused[:n_refused])
    values = [*given.values.tolist(), *[None] * n_refused]
    if number is None:
        values = [None] * len(values)
    order = np.argsort(-np.abs(contributed), kind="stable")
    if form.width == 1 or rec.for_all:  # nothing that a rating could act through but a bias
        order = order[:0]
    rated = partners[order]
    items = pl.DataFrame(
        {
            "part": pl.Series("part", names[order].tolist(), pl.String),
            **rec.named(rated),
            "rating": pl.Series("rating", [values[at] for at in order], pl.Float32),
            "similarity": _cosines(form, rated, item),
            "contribution": contributed[order],
        }
    )
    first = pl.DataFrame({"part": list(kept), "contribution": list(kept.values())})
    return pl.concat([first, items], how="diagonal")[items.columns]


def _cosines(form: RowForm, items: NDArray[np.int32], item: int) -> NDArray[np.float64]:
    """Cosine of each item's embedding with that of one item; 0 for an embedding of zeros, or where
    nothing is known of that item.
    """
    if item < 0:
        return np.zeros(len(items))
    q = form.others(np.append(items, np.int32(item)))[:, 1:].astype(np.float64)
    q, asked = q[:-1], q[-1]
    lengths = np.linalg.norm(q, axis=1) * np.linalg.norm(asked)
    lengths[lengths == 0] = 1
    cosines: NDArray[np.float64] = q @ asked / lengths
    return cosines
