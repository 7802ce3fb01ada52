"""Titles and genres for simulated items, so that lists of them can be read."""

from itertools import cycle, islice

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dotbias.data.simulate import Truth

_FIRST = (
    "Amber Borrowed Brass Cobalt Crooked Drowsy Eleventh Folded Ginger Hollow Inland Juniper Knitted "
    "Lopsided Marbled Nettle Oblong Paper Quilted Rusty Saffron Tilted Unpaid Velvet Walnut Zigzag"
)
_SECOND = (
    "Accordion Almanac Barometer Cartographer Dovecote Envelope Ferryman Gazette Herbarium Inkwell "
    "Jigsaw Kettle Lighthouse Metronome Notary Orchard Parliament Quarry Roundabout Sundial Tramline "
    "Umbrella Viaduct Weathercock Yardstick"
)
_YEARS = range(1950, 2020)
# One for each end of each planted direction.
_GENRES = (
    "Comedy Drama Adventure Romance Mystery Thriller Fantasy Documentary Animation Crime Musical War "
    "Western Horror Family Sci-Fi"
)
# An item has a second genre where that direction is at least so much of its first.
_SECOND_SHARE = 0.8


def invented_titles(truth: Truth) -> pl.DataFrame:
    """A title with a year, and genres, of each item of a simulation; the same for the same items.

    Genres follow from the planted factors: each end of a direction is one, and an item has those of the
    directions in which it lies farthest out. So they say something about taste, as those of films do.
    Of more than eight directions the ends share names; without directions there are no genres.

    Returns:
        A frame of ``id``, ``title`` and ``genres`` (several separated by bars), a row for each raw id.

    >>> from dotbias.data.simulate import simulate
    >>> invented_titles(simulate(50, 40, 1000, n_factors=2, seed=1).truth).row(0)
    (1, 'The Amber Accordion (1950)', 'Romance')
    """
    factors = truth.item_factors
    n_items = len(factors)
    names = [f"{first} {second}" for second in _SECOND.split() for first in _FIRST.split()]
    # A step without a divisor in common with the length goes through all, in no order that shows.
    order = [names[267 * n % len(names)] for n in range(min(n_items, len(names)))]
    years = [_YEARS[29 * n % len(_YEARS)] for n in range(n_items)]
    parts = ["", *(f" {part}" for part in range(2, 2 + n_items // len(names)))]
    titles = [
        f"The {name}{parts[n // len(names)]} ({year})"
        for n, (name, year) in enumerate(zip(islice(cycle(order), n_items), years, strict=True))
    ]
    return pl.DataFrame(
        {
            "id": range(1, n_items + 1),
            "title": titles,
            "genres": [_genres(row) for row in factors],
        },
        {"id": pl.Int64, "title": pl.String, "genres": pl.String},
    )


def _genres(factors: NDArray[np.float32]) -> str | None:
    """The genres of an item with these factors, shape (n_factors,)."""
    far, genres = np.abs(factors), _GENRES.split()
    order = np.argsort(-far, kind="stable")[:2]
    named = [genres[(2 * k + (factors[k] < 0)) % len(genres)] for k in order]
    if len(order) == 2 and far[order[1]] < _SECOND_SHARE * far[order[0]]:
        named.pop()
    return "|".join(named) or None
