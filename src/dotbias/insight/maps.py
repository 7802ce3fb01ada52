"""The map of an embedding: items or users on a plane, near each other where their vectors agree."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from dotbias.data.vocabulary import Index, Vocabulary
from dotbias.errors import DataError, SettingError
from dotbias.insight.exports import write_parquet, write_projector
from dotbias.insight.map_quality import Quality, nearest, quality
from dotbias.insight.projection import METHODS, ProjectionOptions, perplexity_for
from dotbias.models.base import Scores
from dotbias.models.parameters import Array, at_length_one
from dotbias.progress import Progress, progress_bar
from dotbias.recommender.fitted import MIN_RATINGS
from dotbias.recommender.recommender import Recommender
from dotbias.settings import generator
from dotbias.shown import Part, Shown

if TYPE_CHECKING:
    from dotbias.pictures import Groups, MapPicture

Entities: TypeAlias = Literal["items", "users"]

MAX_POINTS = 30_000
_N_NEIGHBOURS = 10
# Fewer points make no map.
_FEWEST = 5
# Below these a map is called poor.
_TRUSTED, _PRESERVED = 0.85, 0.1
_N_CLUSTERS = 8
_NAMED_AFTER = 3  # titles in the name of a cluster
# Categories may be as many as items; a legend of more than so many says nothing.
_MOST_GENRES = 50


@dataclass(frozen=True, eq=False)
class EmbeddingMap(Shown):
    """Items or users on a plane; see ``embedding_map``.

    Args:
        side: what the points are.
        table: a row for each of the n points: ``item`` or ``user``, ``title`` (of items), ``x``, ``y``,
            ``n_ratings``, ``bias`` (where the model has biases), ``genres`` (where they are known) and
            ``cluster``.
        vectors: what was mapped, of length 1, shape (n, f).
        neighbours: rows of the nearest others in the space of the vectors, nearest first, shape (n, m).
        similarities: their cosines, shape (n, m).
        method: how the points were placed.
        settings: what that took, in words.
        quality: how far the map can be believed.
        left_out: which users or items are not on it, in words; empty where all are.
    """

    side: Entities
    table: pl.DataFrame
    vectors: Array
    neighbours: Index
    similarities: Array
    method: str
    settings: str
    quality: Quality
    left_out: str

    @property
    def evidence(self) -> dict[str, str]:
        """The two figures of quality, in words."""
        k = self.quality.k
        return {
            f"trustworthiness at {k} neighbours": f"{self.quality.trustworthiness:.3f}",
            f"of the {k} nearest, also near on the map": f"{self.quality.preservation:.0%}",
        }

    @property
    def warning(self) -> str:
        """What is wrong with the map; empty where it can be believed."""
        poor = []
        if self.quality.trustworthiness < _TRUSTED:
            poor.append(
                f"trustworthiness {self.quality.trustworthiness:.2f} is below {_TRUSTED:g}: many "
                f"neighbours on the map are none in the embedding"
            )
        if self.quality.preservation < _PRESERVED:
            poor.append(
                f"only {self.quality.preservation:.0%} of the nearest neighbours are near on the map"
            )
        return f"This map is poor: {' and '.join(poor)}." if poor else ""

    @property
    def note(self) -> str:
        """What is shown and how it came about."""
        method = METHODS[self.method]
        parts = [
            f"{self.table.height:,} {self.side}, placed by {method.label} ({self.settings}) from the "
            "cosines of their embeddings, without biases.",
            self.left_out,
            method.axes,
        ]
        return " ".join(part for part in parts if part)

    def __repr__(self) -> str:
        return (
            f"EmbeddingMap({self.table.height:,} {self.side}, {METHODS[self.method].label}, "
            f"trustworthiness {self.quality.trustworthiness:.3f})"
        )

    def __str__(self) -> str:
        figures = [f"{name}: {figure}" for name, figure in self.evidence.items()]
        return "\n".join([self.note, *figures, *([self.warning] if self.warning else [])])

    def _parts(self) -> Iterable[Part]:
        yield from (self.note, self.evidence, self.warning)

    def labels(self) -> list[str]:
        """A title for each point, or its id where there is none."""
        ids = self.table[self.side[:-1]].cast(pl.String)
        if "title" not in self.table.columns:
            return [f"{self.side[:-1]} {id}" for id in ids]
        return self.table["title"].fill_null(ids).to_list()

    def genres(self) -> pl.DataFrame:
        """What the embedding knows of genres: evidence where the fit was not given them as features.

        Returns:
            For each genre, of more than 50 for the commonest: ``genre``, ``n_items``, ``share`` of all
            points, ``among_neighbours``, its share among the nearest neighbours of its own items, and
            ``excess``, the difference; those with the largest excess first. No rows where genres are
            not known.
        """
        rows = []
        for genre, own in self._genre_sets().items():
            share = float(own.mean())
            near = self.neighbours[own]
            rows.append((genre, int(own.sum()), share, float(own[near].mean())))
        schema = ["genre", "n_items", "share", "among_neighbours"]
        found = pl.DataFrame(rows, schema, orient="row").with_columns(
            excess=pl.col("among_neighbours") - pl.col("share")
        )
        return found.sort("excess", descending=True)

    def _genre_sets(self) -> dict[str, NDArray[np.bool_]]:
        """Which points have each genre, by name."""
        if "genres" not in self.table.columns:
            return {}
        lists = self.table["genres"].fill_null("").str.split("|").to_list()
        counts = Counter(name for own in lists for name in set(own) if name)
        commonest = sorted(counts, key=lambda name: (-counts[name], name))[:_MOST_GENRES]
        return {name: np.array([name in own for own in lists]) for name in sorted(commonest)}

    # -- pictures and files ------------------------------------------------------------------------

    def picture(self, *, theme: Literal["light", "dark"] = "light") -> "MapPicture":
        """The map to look at: ``.save("map.html")`` is a page, ``.save("map.png")`` an image.

        Args:
            theme: of the image; the page follows its reader.
        """
        from dotbias.pictures import Amounts, MapPicture

        n_ratings = self.table["n_ratings"].to_numpy()
        numbers: list[Amounts] = [
            Amounts(name=name, values=self.table[column].to_numpy(), log=log)
            for name, column, log in (
                ("bias", "bias", False),
                ("number of ratings", "n_ratings", True),
            )
            if column in self.table.columns
        ]
        genres, clusters = self._genre_groups(), self._cluster_groups()
        return MapPicture(
            title=f"{self.side.capitalize()} by their embeddings",
            note=self.note,
            warning=self.warning,
            evidence=self.evidence,
            x=self.table["x"].to_numpy(),
            y=self.table["y"].to_numpy(),
            labels=self.labels(),
            facts=self._facts(),
            colourings=(*([] if genres is None else [genres]), clusters, *numbers),
            sizes=n_ratings,
            neighbours=self.neighbours,
            similarities=self.similarities,
            theme=theme,
        )

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Draw the map in a file: see ``picture``; ``force`` replaces one that is no picture of ours."""
        return self.picture().save(path, force=force)

    def export_projector(self, folder: str | Path, *, force: bool = False) -> Path:
        """Write the vectors for TensorBoard's projector: see ``dotbias.insight.exports``."""
        return write_projector(folder, self.table, self.vectors, force=force)

    def export_parquet(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the map for embedding-atlas: see ``dotbias.insight.exports``."""
        return write_parquet(path, self.table, self.neighbours, self.similarities, force=force)

    def _facts(self) -> dict[str, Any]:
        """What the page says of each point beside its label."""
        facts: dict[str, Any] = {"ratings": self.table["n_ratings"].to_numpy()}
        if "title" in self.table.columns:  # which may be missing, or that of several items
            facts["id"] = self.table[self.side[:-1]].to_numpy()
        if "bias" in self.table.columns:
            facts["bias"] = self.table["bias"].to_numpy()
        if "genres" in self.table.columns:
            facts["genres"] = (
                self.table["genres"].fill_null("").str.replace_all("|", ", ", literal=True)
            )
        return facts

    def _genre_groups(self) -> "Groups | None":
        """Colours by genre: those of the largest; the rarest of several that a point has."""
        from dotbias.pictures import Groups

        known = self.genres()
        if known.height == 0:
            return None
        names = tuple(known.sort("n_items", "genre", descending=[True, False])["genre"])
        sets = self._genre_sets()
        of_point = np.full(self.table.height, -1)
        # Those without a colour first, lest one of them hides one that has a colour.
        for coloured in (False, True):
            for place, name in enumerate(names):
                if (place < _N_CLUSTERS) == coloured:
                    of_point[sets[name]] = place
        members: list[list[int]] = [[] for _ in range(self.table.height)]
        for place, name in enumerate(names):
            for row in np.flatnonzero(sets[name]).tolist():
                members[row].append(place)
        return Groups(name="genre", names=names, of_point=of_point, members=members)

    def _cluster_groups(self) -> "Groups":
        from dotbias.pictures import Groups

        names = tuple(name for name, _ in Counter(self.table["cluster"]).most_common())
        place = {name: number for number, name in enumerate(names)}
        of_point = np.array([place[name] for name in self.table["cluster"]])
        return Groups(name="cluster", names=names, of_point=of_point)


def embedding_map(
    rec: Recommender,
    of: Entities = "items",
    *,
    by: Scores | None = None,
    method: Literal["t-sne", "pca", "umap"] = "t-sne",
    perplexity: float | None = None,
    min_ratings: int = MIN_RATINGS,
    max_points: int = MAX_POINTS,
    seed: int = 0,
    n_threads: int | None = None,
    progress: Progress = "auto",
) -> EmbeddingMap:
    """Place items or users on a plane by the cosines of their embeddings, as ``similar`` compares them.

    Args:
        rec: the fitted model.
        of: what to place.
        by: whose embeddings, as in ``similar``; items have the bias of the model of ratings where there
            is one.
        method: ``t-sne`` keeps neighbours together and needs the extra ``map``; ``pca`` is a plain
            projection, which keeps few; ``umap`` needs the extra of its name.
        perplexity: how many neighbours a point looks at: by default 30, and 1 % of the points where that
            is more, up to 100. Of few points a third of what they have. UMAP looks at half as many.
        min_ratings: items or users with fewer training ratings are left out: their vectors have hardly
            moved from where they started, and say little.
        max_points: of more, those with the most ratings are placed.
        seed: of what is drawn. The same model, settings and seed give the same map, for any number of
            threads.
        n_threads: how many threads to use; all cores by default.
        progress: whether to show a bar, on a terminal or in a notebook; False never does.

    Raises:
        SettingError: for a setting outside its range, a model without embeddings or of one factor, or a
            library that is not installed.
        DataError: for too few users or items, or vectors that are all the same.

    >>> import dotbias as db
    >>> rec = db.fit(db.simulate(n_ratings=20_000, seed=1)[0], db.DotBias(n_factors=8))
    >>> world = db.embedding_map(rec, method="pca")
    >>> world.table.columns
    ['item', 'title', 'x', 'y', 'n_ratings', 'bias', 'cluster']
    """
    if of not in ("items", "users"):
        raise SettingError(f"of={of!r}: of must be 'items' or 'users'")
    if method not in METHODS:
        raise SettingError(f"method={method!r}: method must be one of {', '.join(METHODS)}")
    for name, value, least in (
        ("min_ratings", min_ratings, 0),
        ("max_points", max_points, _FEWEST),
        ("n_threads", n_threads, 1),
    ):
        if value is not None and value < least:
            raise SettingError(f"{name}={value}: {name} must be at least {least}")
    compared = rec.compared_by(by)
    vectors, counts = _vectors(compared, of)
    known = np.flatnonzero(counts >= min_ratings)
    rows = np.sort(known[np.argsort(-counts[known], kind="stable")[:max_points]])
    if len(rows) < _FEWEST:
        raise DataError(
            f"{len(rows)} of {len(counts):,} {of} have at least {min_ratings} ratings: a map needs "
            f"{_FEWEST}; lower min_ratings (on the command line --min-ratings)"
        )
    unit = at_length_one(vectors[rows])
    if np.ptp(unit, axis=0).max() == 0:
        raise DataError(f"the vectors of all {len(rows):,} {of} point the same way: nothing to map")
    perplexity = perplexity_for(len(rows), perplexity)
    projection = METHODS[method]
    with progress_bar(f"projecting {of}", projection.n_steps, enabled=progress) as advance:
        options = ProjectionOptions(perplexity, seed, n_threads, advance)
        positions = projection.project(unit, options)
    neighbours, similarities = nearest(unit, min(_N_NEIGHBOURS, len(rows) - 1))
    k = min(_N_NEIGHBOURS, len(rows) // 2)
    return EmbeddingMap(
        side=of,
        table=_table(rec, of, rows, positions, counts, _clusters(unit, seed)),
        vectors=unit,
        neighbours=neighbours,
        similarities=similarities,
        method=method,
        settings=projection.settings(options),
        quality=quality(unit, positions, neighbours, k=k, seed=seed),
        left_out=_left_out(of, len(counts), len(known), len(rows), min_ratings),
    )


def _vectors(rec: Recommender, of: Entities) -> tuple[Array, NDArray[np.int64]]:
    """All vectors of a side, shape (n, f), and the number of ratings of each."""
    if of == "items":
        vectors, counts = rec.model.item_vectors(rec.parameters), rec.item_counts
    else:
        vectors = rec.model.user_vectors(rec.parameters)
        counts = np.diff(rec.rated.indptr).astype(np.int64)
    if vectors.shape[1] == 1:
        raise SettingError(
            f"this {type(rec.model).__name__} has one factor, by which {of} can only point the same way "
            "or the opposite one: a map needs at least 2; principal_components (on the command line "
            "`dotbias components`) lists the items at both ends of one"
        )
    return vectors, counts


def _clusters(unit: Array, seed: int) -> NDArray[np.intp]:
    """The k-means cluster of each vector, shape (n,)."""
    rng = generator(seed)
    n = min(_N_CLUSTERS, len(np.unique(unit, axis=0)))
    _, cluster = kmeans2(unit.astype(np.float64), n, minit="++", rng=rng, iter=30)
    found: NDArray[np.intp] = cluster.astype(np.intp)
    return found


def _table(
    rec: Recommender,
    of: Entities,
    rows: NDArray[np.intp],
    positions: Array,
    counts: NDArray[np.int64],
    cluster: NDArray[np.intp],
) -> pl.DataFrame:
    vocabulary = rec.item_vocabulary if of == "items" else rec.user_vocabulary
    columns: dict[str, Any] = {of[:-1]: vocabulary.ids.gather(rows)}
    if of == "items":
        columns["title"] = rec.named(rows.astype(np.int32))["title"]
    columns |= {"x": positions[:, 0], "y": positions[:, 1], "n_ratings": counts[rows]}
    bias = rec.model.bias(rec.parameters, "item" if of == "items" else "user")
    if bias is not None:
        columns["bias"] = bias[rows]
    if of == "items" and vocabulary.genres is not None:
        columns["genres"] = vocabulary.genres.gather(rows)
    names = _cluster_names(vocabulary.take(rows.astype(np.int32)), counts[rows], cluster)
    return pl.DataFrame(columns | {"cluster": names})


def _cluster_names(
    vocabulary: Vocabulary, counts: NDArray[np.int64], cluster: NDArray[np.intp]
) -> list[str]:
    """The name of each point's cluster: its best-known titles, or a number by size."""
    order = [number for number, _ in Counter(cluster.tolist()).most_common()]
    names = {}
    for place, number in enumerate(order, start=1):
        own = np.flatnonzero(cluster == number)
        known = own[np.argsort(-counts[own], kind="stable")[:_NAMED_AFTER]]
        known_by = ", ".join(vocabulary.label(row) for row in known)
        names[number] = f"{place}: {known_by}" if vocabulary.titles is not None else f"{place}"
    return [names[number] for number in cluster.tolist()]


def _left_out(of: Entities, n_all: int, n_known: int, n_placed: int, min_ratings: int) -> str:
    parts = []
    if n_known < n_all:
        parts.append(
            f"{n_all - n_known:,} {of} with fewer than {min_ratings} ratings are left out."
        )
    if n_placed < n_known:
        parts.append(f"Of the others, the {n_placed:,} with the most ratings are shown.")
    return " ".join(parts)
