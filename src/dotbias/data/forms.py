"""Forms: how ratings may be written other than as a number."""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

import polars as pl

from dotbias.errors import SettingError

NOTHING = (
    *("", "NULL", "Null", "null", "\\N", "NA", "<NA>", "N/A", "n/a", "#N/A", "nan", "NaN", "NAN"),
    *("None", "NaT"),
)
"""What stands for nothing where a user, an item, a time or a cell of a wide table should be."""

_DECIMAL = r"[-+]?\d+(?:[.,]\d+)?"
_YES = (
    "true",
    "yes",
    "y",
    "t",
    "up",
    "like",
    "liked",
    "thumbs up",
    "👍",
    "recommended",
    "positive",
)
_NO = (
    "false",
    "no",
    "n",
    "f",
    "down",
    "dislike",
    "disliked",
    "thumbs down",
    "👎",
    "not recommended",
    "negative",
)


class Form(NamedTuple):
    """A way to write ratings.

    Args:
        pattern: of a whole rating in lower case, without blanks around it.
        numbers: an expression of the numbers (as text or number), given one of such texts.
    """

    pattern: str
    numbers: Callable[[pl.Expr], pl.Expr]


def _first_number(text: pl.Expr) -> pl.Expr:
    return text.str.extract(rf"({_DECIMAL})").str.replace(",", ".", literal=True)


def _stars(text: pl.Expr) -> pl.Expr:
    drawn = text.str.count_matches(r"[★⭐*]|½") - 0.5 * text.str.count_matches("½")
    return (
        pl.when(text.str.contains(r"\d"))
        .then(_first_number(text).cast(pl.Float64, strict=False))
        .otherwise(drawn)
    )


def _yes(text: pl.Expr) -> pl.Expr:
    return pl.when(text.is_in(_YES)).then(1.0).when(text.is_in(_NO)).then(0.0)


FORMS = {
    "stars": Form(
        rf"{_DECIMAL} ?(?:stars?|★|⭐)|{_DECIMAL} (?:out )?of \d+(?: stars?)?|[★⭐*]+½?[☆✩]*|½",
        _stars,
    ),
    "percent": Form(rf"{_DECIMAL} ?%", _first_number),
    "fraction": Form(rf"{_DECIMAL} ?/ ?\d+", _first_number),
    "yes-no": Form("|".join(map(re.escape, (*_YES, *_NO))), _yes),
}


def recognised(texts: Iterable[str]) -> str | None:
    """The form that all of these ratings have, or None.

    >>> recognised(["3 stars", "4.5 stars"]), recognised(["3 stars", "4"]), recognised(["Good"])
    ('stars', None, None)
    """
    texts = [text.lower() for text in texts]
    for name, form in FORMS.items():
        if texts and all(re.fullmatch(form.pattern, text) for text in texts):
            return name
    return None


@lru_cache(maxsize=1 << 14)
def has_form(text: str) -> bool:
    """Whether a cell is a rating that is not written as a number.

    >>> has_form("4 stars"), has_form("Yes"), has_form("4"), has_form("Heat")
    (True, True, False, False)
    """
    return recognised([text]) is not None


def decimal_commas(texts: Iterable[str]) -> bool:
    """Whether these are numbers of which some have a decimal comma, none one between thousands.

    >>> decimal_commas(["3", "3,5"]), decimal_commas(["3", "1,200"]), decimal_commas(["3", "x"])
    (True, False, False)
    """
    parts = [re.fullmatch(r"([-+]?\d+)(?:([.,])(\d+))?", text) for text in texts]
    commas = [part for part in parts if part and part[2] == ","]
    thousands = all(len(part[3]) == 3 for part in commas)
    return bool(commas) and all(parts) and not thousands


def numbers(text: pl.Expr, form: str | None, decimal: str | None) -> pl.Expr:
    """Ratings of a form as numbers, Float32; null where they are not of it.

    A form that somebody has named also has plain numbers in it.

    Raises:
        SettingError: for words whose numbers are none.
    """
    plain = text.str.replace(",", ".", literal=True) if decimal == "," else text
    single = plain.cast(pl.Float32, strict=False)
    if form is None or form == "number":
        return single
    lower = text.str.to_lowercase()
    if form not in FORMS:
        words = _words(form)
        return lower.replace_strict(words, default=None, return_dtype=pl.Float32).fill_null(single)
    known = FORMS[form]
    fits = lower.str.contains(rf"^(?:{known.pattern})$")
    return pl.when(fits).then(known.numbers(lower).cast(pl.Float32, strict=False)).otherwise(single)


def _words(form: str) -> dict[str, float]:
    try:
        pairs = (pair.rpartition("=") for pair in form.split(","))
        return {word.strip().lower(): float(number) for word, _, number in pairs}
    except ValueError:
        raise SettingError(
            f"rating_as={form!r}: words stand with their numbers, as in good=3,bad=1"
        ) from None
