"""Ways to place vectors on a plane: t-SNE, principal components, UMAP.

Each takes vectors of length 1, so that distances follow the cosine, and gives positions. A further way
is one more entry of ``METHODS``.
"""

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dotbias.errors import SettingError
from dotbias.insight.map_quality import nearest
from dotbias.models.base import Array
from dotbias.progress import Advance

# Iterations of t-SNE: early exaggeration by 12, then none (Belkina et al. 2019; openTSNE's defaults).
_EXAGGERATED, _PLAIN = 250, 500
_STEPS_SHOWN = 25
# Standard deviation of the first coordinate at the start (Kobak & Berens 2019).
_START = 1e-4
# The perplexity without a wish: 30, and 1 % of the points where that is more (Kobak & Berens 2019), up
# to what still takes seconds.
_USUAL, _SHARE, _MOST = 30.0, 0.01, 100.0


@dataclass(frozen=True)
class Placing:
    """What a way to place vectors needs beside them.

    Args:
        perplexity: of t-SNE, the number of neighbours that a point looks at; UMAP looks at half as many.
        seed: of everything that is drawn.
        n_threads: how many to use; None for all cores. Positions do not hang on it.
        advance: told of the steps that are done, of ``n_steps`` of the method.
    """

    perplexity: float
    seed: int
    n_threads: int | None
    advance: Advance


def perplexity_for(n_points: int, wish: float | None) -> float:
    """The perplexity that suits so many points.

    Raises:
        SettingError: when the one that is wished for is below 1 or too high for them.

    >>> [perplexity_for(n, None) for n in (13, 3_000, 5_000, 30_000)]
    [4.0, 30.0, 50.0, 100.0]
    """
    highest = (n_points - 1) / 3  # each point looks at three times as many neighbours
    if wish is None:
        return min(max(_USUAL, min(_SHARE * n_points, _MOST)), highest)
    if not 1 <= wish <= highest:
        raise SettingError(
            f"perplexity={wish:g}: perplexity must be from 1 to {highest:g} for {n_points:,} points, a "
            f"third of the neighbours they have"
        )
    return wish


def by_tsne(vectors: Array, how: Placing) -> Array:
    """t-SNE (van der Maaten & Hinton 2008), started from the principal components, shape (n, 2).

    Started so, the large parts of the map mean something, and the same vectors give the same map
    (Kobak & Berens 2019). openTSNE does the work.
    """
    affinity, knn, tsne = (_library(m) for m in ("affinity", "nearest_neighbors", "tsne"))
    rows, cosines = nearest(vectors, min(int(3 * how.perplexity), len(vectors) - 1))
    distances = np.sqrt(np.maximum(2 - 2 * cosines, 0)).astype(np.float64)
    jobs = -1 if how.n_threads is None else how.n_threads
    affinities = affinity.PerplexityBasedNN(
        perplexity=how.perplexity,
        n_jobs=jobs,
        random_state=how.seed,
        knn_index=knn.PrecomputedNeighbors(rows.astype(np.int64), distances),
    )

    def on_step(_iteration: int, divergence: float, _positions: Any) -> None:
        how.advance(_STEPS_SHOWN, f"divergence {divergence:.3f}")

    start = by_pca(vectors, how).astype(np.float64)
    positions = tsne.TSNEEmbedding(
        start * (_START / start[:, 0].std()),
        affinities,
        n_jobs=jobs,
        random_state=how.seed,
        callbacks=[on_step],
        callbacks_every_iters=_STEPS_SHOWN,
    )
    positions.optimize(_EXAGGERATED, exaggeration=12, momentum=0.5, inplace=True)
    positions.optimize(_PLAIN, momentum=0.8, inplace=True)
    return np.asarray(positions, np.float32)


def by_pca(vectors: Array, _how: Placing) -> Array:
    """The first two principal components, shape (n, 2)."""
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1]  # (f, 2)
    # Eigenvectors have no sign of their own.
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    positions: Array = (centred @ axes).astype(np.float32)
    return positions


def by_umap(vectors: Array, how: Placing) -> Array:
    """UMAP (McInnes et al. 2018), started from the principal components, shape (n, 2)."""
    try:
        umap = importlib.import_module("umap")
    except ImportError as error:
        raise SettingError('UMAP needs the extra "umap": pip install "dotbias[umap]"') from error
    start = by_pca(vectors, how)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed leaves it one thread
        reducer = umap.UMAP(
            n_neighbors=_umap_neighbours(how),
            init=start * (10 / np.abs(start).max()),
            random_state=how.seed,
        )
        return np.asarray(reducer.fit_transform(vectors), np.float32)


def _umap_neighbours(how: Placing) -> int:
    return max(round(how.perplexity / 2), 2)


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to place vectors.

    Args:
        label: its name in words.
        place: gives positions, shape (n, 2), for vectors of length 1, shape (n, f).
        settings: what of ``Placing`` it goes by, in words.
        axes: what is to be said of its axes.
        n_steps: the number of steps of which it tells ``advance``; None where it tells of none.
    """

    label: str
    place: Callable[[Array, Placing], Array]
    settings: Callable[[Placing], str]
    axes: str = (
        "Axes, and distances between far parts of the map, mean nothing: near is what counts."
    )
    n_steps: int | None = None


METHODS = {
    "t-sne": Method(
        label="t-SNE",
        place=by_tsne,
        settings=lambda how: f"perplexity {how.perplexity:.3g}, seed {how.seed}",
        n_steps=_EXAGGERATED + _PLAIN,
    ),
    "pca": Method(
        label="principal components",
        place=by_pca,
        settings=lambda _: "the first two",
        axes="From left to right is the first component, from bottom to top the second; what differs "
        "in the others alone lies in one place.",
    ),
    "umap": Method(
        label="UMAP",
        place=by_umap,
        settings=lambda how: f"{_umap_neighbours(how)} neighbours, seed {how.seed}",
    ),
}


def _library(module: str) -> Any:
    try:
        return importlib.import_module(f"openTSNE.{module}")
    except ImportError as error:
        raise SettingError('t-SNE needs the extra "map": pip install "dotbias[map]"') from error
