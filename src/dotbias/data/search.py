"""Finding items by what people type."""

import re
import unicodedata
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dotbias.data.vocabulary import Index, Vocabulary

_NO_LETTERS = re.compile(r"[\W_]+")
_YEAR = re.compile(r" \d{4}$")
_BRACKETED_YEAR, _BRACKETS = re.compile(r"\(\d{4}\)\s*$"), re.compile(r"\(([^()]*)\)")
_ALIAS = re.compile(r"^\s*(a\.?k\.?a\.?)\s", re.IGNORECASE)
_MOST_WORDS = 20
# How well a title fits: it is the query; it has the same words, but for the year; 1 where it begins so.
_SAME, _WORDS = 4, 2
# Titles that are compared with a misspelt query.
_COMPARED = 200


def plain_text(text: str) -> str:
    """Text as it is compared: small letters without accents, words with one blank between them.

    >>> plain_text("Léon: The Professional (1994)")
    'leon the professional 1994'
    """
    parts = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(part for part in parts if not unicodedata.combining(part))
    return _NO_LETTERS.sub(" ", bare).strip()


def _in_order(text: str) -> str:
    """Words in the order of the alphabet, so that "Matrix, The" is "The Matrix"."""
    return " ".join(sorted(text.split()))


def _other_spellings(title: str) -> "Iterator[tuple[str, bool]]":
    """What else a title such as ``City of God (Cidade de Deus) (2002)`` or ``Star Wars: A New Hope
    (1977)`` is called, as plain text without its year; and whether that is a name by itself.
    """
    body = _BRACKETED_YEAR.sub("", title)
    bare = _BRACKETS.sub(" ", body)
    names = [(bare, True), *((_ALIAS.sub("", other), True) for other in _BRACKETS.findall(body))]
    before, colon, _ = bare.partition(":")
    if colon:
        names.append((before, False))
    for name, is_whole in names:
        text = plain_text(name)
        if text and name != title:
            yield text, is_whole


class Search:
    """Items whose titles hold all words of a query, or the beginnings of words.

    Args:
        vocabulary: the items, with titles or, without, their ids.
        counts: how often each was rated: of those that fit alike, the best known come first, shape (n,).
    """

    def __init__(self, vocabulary: "Vocabulary", counts: NDArray[np.integer]) -> None:
        names = vocabulary.ids.cast(pl.String)
        if vocabulary.titles is not None:
            names = vocabulary.titles.fill_null(names)
        # A blank before each word, so that words are found where they begin.
        self._names = pl.Series("name", [f" {plain_text(name)}" for name in names], pl.String)
        self._titles = names
        self._counts = counts

    def same(self, title: str) -> int:
        """Index of the item with this title: the same words in any order, with or without the year at
        its end, or another title that it has in brackets; of several the best known. What stands before
        a colon is enough where the year is there. -1 where there is none.

        >>> from dotbias.data.vocabulary import Vocabulary
        >>> titles = pl.Series(["Matrix, The (1999)", "Léon (1994)"])
        >>> search = Search(Vocabulary(pl.Series([1, 2]), titles), np.array([9, 5]))
        >>> search.same("The Matrix"), search.same("leon 1994"), search.same("The")
        (0, 1, -1)
        >>> titles = pl.Series(["Seven (a.k.a. Se7en) (1995)", "Léon: The Professional (Léon) (1994)"])
        >>> search = Search(Vocabulary(pl.Series([1, 2]), titles), np.array([9, 5]))
        >>> search.same("Se7en (1995)"), search.same("Seven"), search.same("Léon: The Professional")
        (0, 0, 1)
        """
        return self._by_words.get(_in_order(plain_text(title)), -1)

    @cached_property
    def _by_words(self) -> dict[str, int]:
        """Items by the words of their titles, and of what else they are called, with the year and
        without it.
        """
        others: dict[str, int] = {}
        other_years, without, whole = others.copy(), others.copy(), others.copy()
        for at in np.argsort(self._counts, kind="stable").tolist():  # the best known last
            name = self._names[at].strip()
            whole[_in_order(name)] = without[_in_order(_YEAR.sub("", name))] = at
            year = _YEAR.search(name)
            for spelling, is_whole in _other_spellings(self._titles[at]):
                if is_whole:
                    others[_in_order(spelling)] = at
                if year:
                    other_years[_in_order(spelling + year[0])] = at
        # What a title is as a whole counts before what another one is in part.
        return others | other_years | without | whole

    def find(self, query: str, allowed: NDArray[np.bool_] | None = None) -> "Index":
        """Indices of the items that fit, the best first: the whole title, its words, its beginning, all
        others. Where no word begins so, parts of words fit.

        Args:
            query: words in any order and case, with or without accents.
            allowed: which items may be found, shape (n,); all by default.

        >>> from dotbias.data.vocabulary import Vocabulary
        >>> titles = pl.Series(["Matrix, The (1999)", "Léon (1994)", "The Matrix Reloaded (2003)"])
        >>> search = Search(Vocabulary(pl.Series([1, 2, 3]), titles), np.array([9, 5, 7]))
        >>> search.find("the matrix").tolist(), search.find("leon").tolist()
        ([0, 2], [1])
        """
        return self._found(query, allowed)[0]

    def meant(self, query: str) -> "Index":
        """Indices of the items that may be meant by a name, the best first: those with this very title;
        else those whose title has these words and no more, but for the year; else all that fit.

        >>> from dotbias.data.vocabulary import Vocabulary
        >>> titles = pl.Series(["Toy Story 2 (1999)", "Toy Story (1995)", "Matrix, The (1999)"])
        >>> search = Search(Vocabulary(pl.Series([1, 2, 3]), titles), np.zeros(3, int))
        >>> search.meant("toy story").tolist(), search.meant("The Matrix").tolist()
        ([1], [2])
        >>> search.meant("toy").tolist(), search.meant("...").tolist()
        ([0, 1], [])
        """
        if not plain_text(query):
            return np.empty(0, np.int32)
        found, quality = self._found(query, None)
        least = next((tier for tier in (_SAME, _WORDS) if (quality >= tier).any()), 0)
        return found[quality >= least]

    def near(self, query: str, k: int = 3) -> "Index":
        """Indices of the items whose titles are most like a query in which something is misspelt.

        >>> from dotbias.data.vocabulary import Vocabulary
        >>> titles = pl.Series(["Toy Story (1995)", "Heat (1995)"])
        >>> search = Search(Vocabulary(pl.Series([1, 2]), titles), np.zeros(2, int))
        >>> search.near("Toy Stroy").tolist(), search.near("something else").tolist()
        ([0], [])
        """
        text = plain_text(query)
        # To compare letter by letter takes long: those alone that share most with the query.
        shared = np.zeros(len(self._names), np.int16)
        for part in {text[at : at + 2] for at in range(len(text) - 1)}:
            shared += self._names.str.contains(part, literal=True).to_numpy()
        likely = np.argsort(-shared, kind="stable")[:_COMPARED]
        likely = likely[shared[likely] > 0]
        bare = {at: _YEAR.sub("", self._names[at]).strip() for at in likely.tolist()}
        near = get_close_matches(text, bare.values(), n=k)
        alike = [at for name in near for at, own in bare.items() if own == name]
        return np.array(list(dict.fromkeys(alike))[:k], np.int32)

    def _found(
        self, query: str, allowed: NDArray[np.bool_] | None
    ) -> "tuple[Index, NDArray[np.int64]]":
        """What ``find`` gives, and how well each fits."""
        text = plain_text(query)
        fits = self._with_words(text, allowed, " ")
        if not fits.any():
            fits = self._with_words(text, allowed, "")
        found = np.flatnonzero(fits)
        names = self._names.gather(found)
        same = names.str.strip_chars() == text
        # "Matrix, The (1999)" is The Matrix: the same words in another order, perhaps with a year.
        ordered = np.zeros(len(found), np.bool_)
        for each in (
            names.str.strip_chars(),
            names.str.replace(_YEAR.pattern, "").str.strip_chars(),
        ):
            alike = (each.str.len_bytes() == len(text.encode())).to_numpy()
            for at in np.flatnonzero(alike).tolist():
                ordered[at] |= _in_order(each[at]) == _in_order(text)
        begins = names.str.starts_with(f" {text}")
        quality = _SAME * same.to_numpy() + _WORDS * ordered + begins.to_numpy()
        order = np.lexsort((found, -self._counts[found], -quality))
        return found[order].astype(np.int32), quality[order]

    def _with_words(
        self, text: str, allowed: NDArray[np.bool_] | None, before: str
    ) -> NDArray[np.bool_]:
        """Which names hold all words of a text, each with something before it."""
        fits = np.ones(len(self._names), np.bool_) if allowed is None else allowed.copy()
        for word in text.split()[:_MOST_WORDS]:
            fits &= self._names.str.contains(before + word, literal=True).to_numpy()
        return fits
