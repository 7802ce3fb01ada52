"""Finding items by what people type."""

import re
import unicodedata
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dotbias.data.vocabulary import Index, Vocabulary

_NO_LETTERS = re.compile(r"[\W_]+")
_YEAR = re.compile(r" \d{4}$")
_MOST_WORDS = 20


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


class Search:
    """Items whose titles hold all words of a query, or the beginnings of words.

    Args:
        vocabulary: the items, with titles or, without, their ids.
        counts: how often each was rated: of those that fit alike, the best known come first, shape (n,).
    """

    def __init__(self, vocabulary: Vocabulary, counts: NDArray[np.integer]) -> None:
        names = vocabulary.ids.cast(pl.String)
        if vocabulary.titles is not None:
            names = vocabulary.titles.fill_null(names)
        # A blank before each word, so that words are found where they begin.
        self._names = pl.Series("name", [f" {plain_text(name)}" for name in names], pl.String)
        self._counts = counts

    def same(self, title: str) -> int:
        """Index of the item with this title: the same words in any order, with or without the year at
        its end; of several the best known. -1 where there is none.

        >>> titles = pl.Series(["Matrix, The (1999)", "Léon (1994)"])
        >>> search = Search(Vocabulary(pl.Series([1, 2]), titles), np.array([9, 5]))
        >>> search.same("The Matrix"), search.same("leon 1994"), search.same("The")
        (0, 1, -1)
        """
        return self._by_words.get(_in_order(plain_text(title)), -1)

    @cached_property
    def _by_words(self) -> dict[str, int]:
        """Items by the words of their titles, with the year and without it."""
        rarest_first = np.argsort(self._counts, kind="stable").tolist()
        names = [self._names[at].strip() for at in rarest_first]
        # What a title is as a whole counts before what another one is without its year.
        without = {
            _in_order(_YEAR.sub("", name)): at for name, at in zip(names, rarest_first, strict=True)
        }
        whole = {_in_order(name): at for name, at in zip(names, rarest_first, strict=True)}
        return {**without, **whole}

    def find(self, query: str, allowed: NDArray[np.bool_] | None = None) -> Index:
        """Indices of the items that fit, the best first: the whole title, its beginning, all others.

        Args:
            query: words in any order and case, with or without accents.
            allowed: which items may be found, shape (n,); all by default.

        >>> titles = pl.Series(["Matrix, The (1999)", "Léon (1994)", "The Matrix Reloaded (2003)"])
        >>> search = Search(Vocabulary(pl.Series([1, 2, 3]), titles), np.array([9, 5, 7]))
        >>> search.find("the matrix").tolist(), search.find("leon").tolist()
        ([0, 2], [1])
        """
        text = plain_text(query)
        fits = np.ones(len(self._names), np.bool_) if allowed is None else allowed.copy()
        for word in text.split()[:_MOST_WORDS]:
            fits &= self._names.str.contains(f" {word}", literal=True).to_numpy()
        found = np.flatnonzero(fits)
        names = self._names.gather(found)
        same = names.str.strip_chars() == text
        # "Matrix, The (1999)" is The Matrix: the same words in another order, perhaps with a year.
        bare = names.str.replace(_YEAR.pattern, "").str.strip_chars()
        ordered = (bare.str.len_bytes() == len(text.encode())).to_numpy(writable=True)
        for at in np.flatnonzero(ordered).tolist():
            ordered[at] = _in_order(bare[at]) == _in_order(text)
        begins = names.str.starts_with(f" {text}")
        quality = 4 * same.to_numpy() + 2 * ordered + begins.to_numpy()
        order = np.lexsort((found, -self._counts[found], -quality))
        index: Index = found[order].astype(np.int32)
        return index
