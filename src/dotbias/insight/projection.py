"""Projections of vectors to a plane: t-SNE, principal components, UMAP.

Each takes vectors of length 1, so that distances follow the cosine, and gives positions. A further one
is one more entry of ``METHODS``.
"""

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dotbias.errors import SettingError
from dotbias.extras import install
from dotbias.insight.map_quality import nearest
from dotbias.models.base import Array
from dotbias.progress import Advance

# Iterations of t-SNE: early exaggeration by 12, then none (Belkina et al. 2019; openTSNE's defaults).
_EXAGGERATED, _PLAIN = 250, 500
_STEPS_SHOWN = 10
# Standard deviation of the first coordinate at the start (Kobak & Berens 2019).
_START = 1e-4
# The perplexity without a wish: 30, and 1 % of the points where that is more (Kobak & Berens 2019), up
# to what still takes seconds.
_USUAL, _SHARE, _MOST = 30.0, 0.01, 100.0


@dataclass(frozen=True)
class ProjectionOptions:
    """What a projection needs beside the vectors.

    Args:
        perplexity: of t-SNE, the number of neighbours that a point looks at; UMAP looks at half as many.
        seed: of everything that is drawn.
        n_threads: how many to use; None for all cores. Positions do not hang on it.
        advance: told of the steps that are done, of its ``n_steps``.
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


def by_tsne(vectors: Array, options: ProjectionOptions) -> Array:
    """t-SNE (van der Maaten & Hinton 2008), started from the principal components, shape (n, 2).

    Started so, the large parts of the map mean something, and the same vectors give the same map
    (Kobak & Berens 2019). openTSNE does the work.
    """
    affinity, knn, tsne = (_library(m) for m in ("affinity", "nearest_neighbors", "tsne"))
    rows, cosines = nearest(vectors, min(int(3 * options.perplexity), len(vectors) - 1))
    distances = np.sqrt(np.maximum(2 - 2 * cosines, 0)).astype(np.float64)
    jobs = -1 if options.n_threads is None else options.n_threads
    affinities = affinity.PerplexityBasedNN(
        perplexity=options.perplexity,
        n_jobs=jobs,
        random_state=options.seed,
        knn_index=knn.PrecomputedNeighbors(rows.astype(np.int64), distances),
    )

    def on_step(_iteration: int, divergence: float, _positions: Any) -> None:
        options.advance(_STEPS_SHOWN, f"divergence {divergence:.3f}")

    start = by_pca(vectors, options).astype(np.float64)
    positions = tsne.TSNEEmbedding(
        start * (_START / start[:, 0].std()),
        affinities,
        n_jobs=jobs,
        random_state=options.seed,
        callbacks=[on_step],
        callbacks_every_iters=_STEPS_SHOWN,
    )
    positions.optimize(_EXAGGERATED, exaggeration=12, momentum=0.5, inplace=True)
    positions.optimize(_PLAIN, momentum=0.8, inplace=True)
    return np.asarray(positions, np.float32)


def by_pca(vectors: Array, _options: ProjectionOptions) -> Array:
    """The first two principal components, shape (n, 2)."""
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1]  # (f, 2)
    # Eigenvectors have no sign of their own.
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    positions: Array = (centred @ axes).astype(np.float32)
    return positions


def by_umap(vectors: Array, options: ProjectionOptions) -> Array:
    """UMAP (McInnes et al. 2018), started from the principal components, shape (n, 2)."""
    try:
        umap = importlib.import_module("umap")
    except ImportError as error:
        raise SettingError(f'UMAP needs the extra "umap": {install("umap")}') from error
    start = by_pca(vectors, options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed leaves it one thread
        reducer = umap.UMAP(
            n_neighbors=_umap_neighbours(options),
            init=start * (10 / np.abs(start).max()),
            random_state=options.seed,
        )
        return np.asarray(reducer.fit_transform(vectors), np.float32)


def _umap_neighbours(options: ProjectionOptions) -> int:
    return max(round(options.perplexity / 2), 2)


@dataclass(frozen=True, kw_only=True)
class Projection:
    """A way to place vectors on a plane.

    Args:
        label: its name in words.
        project: gives positions, shape (n, 2), for vectors of length 1, shape (n, f).
        settings: what of ``ProjectionOptions`` it goes by, in words.
        axes: what is to be said of its axes.
        n_steps: the number of steps of which it tells ``advance``; None where it tells of none.
    """

    label: str
    project: Callable[[Array, ProjectionOptions], Array]
    settings: Callable[[ProjectionOptions], str]
    axes: str = (
        "Axes, and distances between far parts of the map, mean nothing: near is what counts."
    )
    n_steps: int | None = None


METHODS = {
    "t-sne": Projection(
        label="t-SNE",
        project=by_tsne,
        settings=lambda options: f"perplexity {options.perplexity:.3g}, seed {options.seed}",
        n_steps=_EXAGGERATED + _PLAIN,
    ),
    "pca": Projection(
        label="principal components",
        project=by_pca,
        settings=lambda _: "the first two",
        axes="From left to right is the first component, from bottom to top the second; what differs "
        "in the others alone lies in one place.",
    ),
    "umap": Projection(
        label="UMAP",
        project=by_umap,
        settings=lambda options: f"{_umap_neighbours(options)} neighbours, seed {options.seed}",
    ),
}


def _library(module: str) -> Any:
    try:
        return importlib.import_module(f"openTSNE.{module}")
    except ImportError as error:
        raise SettingError(f't-SNE needs the extra "map": {install("map")}') from error
