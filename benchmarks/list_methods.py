"""Methods that make lists of ten, each run in a process of its own by ``lists.py``.

    python list_methods.py NAME rows.npz lists.npz SECONDS < settings.json

``settings.json`` is a list of settings to try, in order, until so many seconds are over; the first is
tried in any case. For each, the lists go to ``lists.npz`` and the seconds of the fit to stdout. Only the
method's own library is imported, so that any Python will do that has it, with NumPy and SciPy.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.sparse import csr_matrix

K = 10
# Scores of a block of users against all items stay below this many numbers.
_BLOCK = 16_000_000

Array: TypeAlias = NDArray[Any]
Settings: TypeAlias = dict[str, Any]
Lists: TypeAlias = Callable[[], Array]
"""Gives item indices, best first, shape (m, K), of a fitted method."""


@dataclass(frozen=True)
class Data:
    """Training rows, and what is known of the m users who get a list.

    Args:
        users, items, values: the training rows, shape (n,) each; every user and item has one.
        owners, chosen, given: owner, item and rating of what is known of those who get lists, by the
            owner, a number below m; of users of the training part, their training rows.
        n_lists: m.
        known: whether they are the users of the training part, in order.
        seed, n_threads: of the fit.
    """

    users: Array
    items: Array
    values: Array
    owners: Array
    chosen: Array
    given: Array
    n_lists: Array
    known: Array
    seed: int = 0
    n_threads: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.users.max()) + 1, int(self.items.max()) + 1

    def tables(
        self, weigh: Callable[[Array], Array] = np.ones_like
    ) -> tuple[csr_matrix, csr_matrix]:
        """Training rows as a sparse table, (n_users, n_items), and what those who get lists have,
        (m, n_items); of ones, or of what is made of each rating.
        """
        n_users, n_items = self.shape
        return (
            csr_matrix((weigh(self.values), (self.users, self.items)), (n_users, n_items)),
            csr_matrix(
                (weigh(self.given), (self.owners, self.chosen)), (int(self.n_lists), n_items)
            ),
        )

    def weighted(self, weights: str) -> tuple[csr_matrix, csr_matrix]:
        """Both tables, of ones, or of ratings over their mean."""
        return self.tables(np.ones_like if weights == "ones" else self.over_mean)

    def over_mean(self, ratings: Array) -> Array:
        """Ratings as weights: a rating of 0 is a choice too."""
        return np.maximum(ratings / self.values.mean(), np.float32(0.01))

    def targets(self, slope: float) -> tuple[csr_matrix, csr_matrix]:
        """Both tables, of targets ``1 + slope · z`` with z the rating in units of its spread."""
        mean, std = self.values.mean(), self.values.std()
        return self.tables(lambda ratings: 1 + slope * (ratings - mean) / std)

    def by_owner(self) -> Iterator[tuple[Array, Array]]:
        """Items and ratings of each of those who get lists."""
        starts = np.searchsorted(self.owners, np.arange(int(self.n_lists) + 1))
        return ((self.chosen[a:b], self.given[a:b]) for a, b in pairwise(starts))

    def best(self, scores: Callable[[slice], Array]) -> Array:
        """The items with the highest scores that each user does not have."""
        had, m = self.tables()[1], int(self.n_lists)
        step = max(1, _BLOCK // self.shape[1])
        tops = []
        for start in range(0, m, step):
            block = slice(start, min(start + step, m))
            of_block = np.array(scores(block), np.float32)
            own = had[block].tocoo()
            of_block[own.row, own.col] = -np.inf
            found = np.argpartition(-of_block, K, axis=1)[:, :K]
            order = np.argsort(-np.take_along_axis(of_block, found, axis=1), axis=1, kind="stable")
            tops.append(np.take_along_axis(found, order, axis=1))
        return np.concatenate(tops)

    def by_factors(self, p: Array, q: Array, bias: Array | float = 0.0) -> Array:
        return self.best(lambda block: p[block] @ q.T + bias)

    def first_users(self, n: int) -> "Data":
        """A small part, to be fitted once before anything is timed: compiled code loads."""
        some = np.flatnonzero(self.users < n)
        some = some[np.argsort(self.users[some], kind="stable")]
        items = np.unique(self.items[some], return_inverse=True)[1].astype(self.items.dtype)
        rows = self.users[some], items, self.values[some]
        known = {"n_lists": 1 + rows[0].max(), "known": np.array(True)}
        return Data(*rows, *rows, **known, seed=self.seed, n_threads=self.n_threads)


# -- what needs no library ------------------------------------------------------------------------


def most_rated(data: Data) -> Lists:
    counts = np.bincount(data.items)
    ranks = np.empty(len(counts), np.float32)
    ranks[np.argsort(-counts, kind="stable")] = -np.arange(len(counts))
    return lambda: data.best(
        lambda block: np.broadcast_to(ranks, (block.stop - block.start, len(ranks)))
    )


def ease(data: Data, penalty: float, slope: float = 0.0) -> Lists:
    """Steck (2019), "Embarrassingly shallow autoencoders for sparse data", equation 8.

    ``P = (XᵀX + λ)⁻¹``, and a user's score of an item i that they do not have is ``-(x P)_i / P_ii``.
    With fewer users than items ``λ P = I - Xᵀ (X Xᵀ + λ)⁻¹ X``.
    """
    x, had = (table.astype(np.float64) for table in data.targets(slope))
    n_users, n_items = x.shape
    if n_users < n_items:
        z = _inverse((x @ x.T).toarray(), penalty) @ x.toarray()
        diagonal = 1 - np.asarray(x.multiply(z).sum(axis=0)).ravel()
        return lambda: data.best(lambda block: ((had[block] @ x.T) @ z) / diagonal)
    p = _inverse((x.T @ x).toarray(), penalty)
    diagonal = np.diag(p).copy()
    return lambda: data.best(lambda block: -(had[block] @ p) / diagonal)


def _inverse(gram: Array, penalty: float) -> Array:
    """``(A + λ I)⁻¹`` of a symmetric A, by its Cholesky factor."""
    gram[np.diag_indices_from(gram)] += penalty
    factor, _ = lapack.dpotrf(gram, lower=True, overwrite_a=True)
    inverse, _ = lapack.dpotri(factor, lower=True, overwrite_c=True)
    return np.tril(inverse) + np.tril(inverse, -1).T


# -- implicit -------------------------------------------------------------------------------------


def implicit_als(data: Data, penalty: float, alpha: float, weights: str, factors: int) -> Lists:
    from implicit.cpu.als import AlternatingLeastSquares

    x, had = data.weighted(weights)
    # What is best for the penalty grows with the weights.
    settings: Settings = {"alpha": alpha, "regularization": alpha * penalty, "factors": factors}
    model = AlternatingLeastSquares(**settings, num_threads=data.n_threads, random_state=data.seed)
    model.fit(x, show_progress=False)

    def lists() -> Array:
        p = model.user_factors
        if not data.known:
            p = model.recalculate_user(np.arange(had.shape[0]), had)
        return data.by_factors(p, model.item_factors)

    return lists


def implicit_bpr(data: Data, **settings: Any) -> Lists:
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    model = BayesianPersonalizedRanking(
        **settings, num_threads=data.n_threads, random_state=data.seed
    )
    model.fit(data.tables()[0], show_progress=False)
    return lambda: data.by_factors(model.user_factors, model.item_factors)


def item_knn(data: Data, similarity: str, weights: str = "ones", **settings: Any) -> Lists:
    from implicit import nearest_neighbours

    x, had = data.weighted(weights)
    if similarity != "BM25":
        settings.pop("B", None)
    model = getattr(nearest_neighbours, f"{similarity}Recommender")(
        **settings, num_threads=data.n_threads
    )
    model.fit(x, show_progress=False)
    return lambda: data.best(lambda block: (had[block] @ model.similarity).toarray())


# -- others ---------------------------------------------------------------------------------------


def cornac_bpr(data: Data, **settings: Any) -> Lists:
    from cornac.models import BPR

    model = BPR(**settings, seed=data.seed)  # with a seed, one thread
    train, users, items = _cornac(data)
    model.fit(train)
    return lambda: data.by_factors(
        model.u_factors[users], model.i_factors[items], model.i_biases[items]
    )


def cornac_wmf(data: Data, **settings: Any) -> Lists:
    from cornac.models import WMF

    model = WMF(**settings, seed=data.seed, verbose=False)
    train, users, items = _cornac(data)
    model.fit(train)
    return lambda: data.by_factors(model.U[users], model.V[items])


def _cornac(data: Data) -> tuple[Any, Array, Array]:
    """Rows in cornac's form, and its index of each user and item."""
    from cornac.data import Dataset

    ones = [1.0] * len(data.users)
    train = Dataset.from_uir(list(zip(data.users.tolist(), data.items.tolist(), ones, strict=True)))
    n_users, n_items = data.shape
    return (
        train,
        np.array([train.uid_map[n] for n in range(n_users)]),
        np.array([train.iid_map[n] for n in range(n_items)]),
    )


def lightfm(data: Data, n_epochs: int, penalty: float, **settings: Any) -> Lists:
    from lightfm import LightFM

    model = LightFM(**settings, item_alpha=penalty, user_alpha=penalty, random_state=data.seed)
    model.fit(data.tables()[0].tocoo(), epochs=n_epochs, num_threads=data.n_threads)
    return lambda: data.by_factors(model.user_embeddings, model.item_embeddings, model.item_biases)


def lenskit_als(data: Data, penalty: float, weight: float, **settings: Any) -> Lists:
    import pandas as pd
    from lenskit.als import ImplicitMFScorer
    from lenskit.data import ItemList, from_interactions_df
    from lenskit.training import TrainingOptions

    weights = data.over_mean(data.values)
    frame = {"user_id": data.users, "item_id": data.items, "rating": weights}
    train = from_interactions_df(pd.DataFrame(frame))
    model = ImplicitMFScorer(weight=weight, regularization=(1 + weight) * penalty, **settings)
    model.train(train, TrainingOptions(rng=data.seed))

    def lists() -> Array:
        had = (
            ItemList(item_ids=items, rating=data.over_mean(ratings))
            for items, ratings in data.by_owner()
        )
        p = np.array([model.new_user_embedding(None, of_one)[0] for of_one in had])
        q = model.item_embeddings[train.items.numbers(np.arange(data.shape[1]))]
        return data.by_factors(p, q)

    return lists


# -- dotbias --------------------------------------------------------------------------------------


def dotbias(data: Data) -> Lists:
    import dotbias as db

    return _lists(db.fit(_ratings(data), seed=data.seed), data)


def dotbias_by_rating(data: Data) -> Lists:
    import dotbias as db

    return _lists(db.fit(_ratings(data), purpose="predict", seed=data.seed), data)


def dotbias_implicit_als(data: Data, n_factors: int = 128, **settings: Any) -> Lists:
    import dotbias as db

    model = db.DotProduct(n_factors=n_factors)
    solver = db.ImplicitALS(**settings, n_threads=data.n_threads)
    return _lists(db.fit(_ratings(data), model, solver, seed=data.seed), data)


def dotbias_lists_alone(data: Data) -> Lists:
    import dotbias as db

    return _lists(db.fit(_ratings(data), purpose="recommend", seed=data.seed), data)


def dotbias_most_rated(data: Data) -> Lists:
    import dotbias as db

    return _lists(db.fit(_ratings(data), solver=db.MostRated()), data)


def dotbias_iterations(data: Data, n_iterations: int) -> Lists:
    """The model that the default would take, under the usual penalty."""
    import dotbias as db
    from dotbias.fitting.preference import usual_model
    from dotbias.solvers.least_squares.implicit_als import USUAL_DECAY

    ratings = _ratings(data)
    how = {"n_iterations": n_iterations, "n_threads": data.n_threads}
    solver = db.ImplicitALS(weight_decay=USUAL_DECAY, **how)
    return _lists(db.fit(ratings, usual_model(ratings), solver, seed=data.seed), data)


def _ratings(data: Data) -> Any:
    import polars as pl

    import dotbias as db
    from dotbias.data.vocabulary import Vocabulary

    vocabularies = (Vocabulary(pl.Series(range(n))) for n in data.shape)
    return db.Ratings(data.users, data.items, data.values, *vocabularies)


def _lists(rec: Any, data: Data) -> Lists:
    """What ``recommend`` gives: by preference, where there is a model of it."""

    def of_all() -> Array:
        if data.known:
            return rec.top_items(np.arange(int(data.n_lists), dtype=np.int32), K)
        tops = np.full((int(data.n_lists), K), -1)
        for own, (items, ratings) in zip(tops, data.by_owner(), strict=True):
            rows = zip(items.tolist(), ratings.tolist(), strict=True)
            found = rec.fold_in_user(rows).recommend(K)["item"].to_numpy()
            own[: len(found)] = found
        return tops

    return of_all


# -- the table of methods -------------------------------------------------------------------------


@dataclass(frozen=True)
class Method:
    """One way to make lists.

    Args:
        fit: takes the data and settings, and gives lists.
        library: what it imports, besides NumPy and SciPy.
        space: values to try of each setting; none are tried where it is empty.
        folds_in: whether it has lists for users who were not there at training.
    """

    fit: Callable[..., Lists]
    library: str
    space: dict[str, Sequence[Any]]
    folds_in: bool = True

    def draw(self, n: int, seed: int) -> list[Settings]:
        """n settings at random, in which the values of each setting are equally frequent."""
        return drawn(self.space, n, seed)


def drawn(space: Mapping[str, Sequence[Any]], n: int, seed: int) -> list[Settings]:
    """At most n settings at random, in which the values of each setting are equally frequent."""
    if not space:
        return [{}]
    rng = np.random.default_rng(seed)
    columns = {
        name: [values[at] for at in np.resize(rng.permutation(len(values)), n)]
        for name, values in space.items()
    }
    for values in columns.values():
        rng.shuffle(values)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return list({json.dumps(one): one for one in rows}.values())


# As many values as settings are tried, of what decides most.
_PENALTIES = (20, 50, 100, 150, 200, 300, 400, 500, 700, 1000, 1500, 2000)
_WEAK_PENALTIES = (2, 3, 4, 5, 7, 10, 13, 18, 24, 32, 44, 60)

METHODS = {
    "dotbias": Method(dotbias, "dotbias", {}),
    "dotbias, by rating": Method(dotbias_by_rating, "dotbias", {}),
    "dotbias ImplicitALS, tuned": Method(
        dotbias_implicit_als,
        "dotbias",
        {
            "n_factors": (64, 128, 256),
            "weight_decay": tuple(np.geomspace(0.015, 0.2, 12).round(3).tolist()),
            "unobserved_weight": (0.1, 0.25, 0.5, 1.0),
            "liking": (0.15, 0.25, 0.35),
        },
    ),
    "most rated": Method(most_rated, "numpy", {}),
    "EASE": Method(ease, "numpy", {"penalty": _PENALTIES}),
    "EASE, targets by rating": Method(
        ease, "numpy", {"penalty": _PENALTIES, "slope": (0.15, 0.25, 0.35, 0.5)}
    ),
    "implicit ALS": Method(
        implicit_als,
        "implicit",
        {
            "penalty": _WEAK_PENALTIES,
            "alpha": (1, 2, 4),
            "weights": ("ones", "ratings"),
            "factors": (64, 128),
        },
    ),
    "implicit BPR": Method(
        implicit_bpr,
        "implicit",
        {
            "factors": (32, 64),
            "learning_rate": (0.003, 0.005, 0.01, 0.02),
            "regularization": (0.01, 0.02, 0.03, 0.05),
            "iterations": (50, 100, 150),
        },
        folds_in=False,
    ),
    "item-kNN": Method(
        item_knn,
        "implicit",
        {
            "similarity": ("Cosine", "TFIDF", "BM25"),
            "K": (20, 50, 100, 200),
            "B": (0.2, 0.5, 0.8),
            "weights": ("ones", "ratings"),
        },
    ),
    "LensKit ImplicitMF": Method(
        lenskit_als,
        "lenskit",
        {
            "penalty": _WEAK_PENALTIES,
            "weight": (1.0, 2.0, 4.0),
            "use_ratings": (False, True),
            "embedding_size": (64, 128),
        },
    ),
    "LightFM": Method(
        lightfm,
        "lightfm",
        {
            "no_components": (32, 64),
            "loss": ("warp",),
            "learning_rate": (0.01, 0.02, 0.05),
            "penalty": (0.0, 1e-6, 1e-5, 1e-4),
            "n_epochs": (15, 30, 60),
        },
        folds_in=False,
    ),
    "cornac BPR": Method(
        cornac_bpr,
        "cornac",
        {
            "k": (32, 64),
            "learning_rate": (0.005, 0.01, 0.02, 0.05),
            "lambda_reg": (0.003, 0.01, 0.02, 0.03),
            "max_iter": (100, 200, 300),
        },
        folds_in=False,
    ),
    "cornac WMF": Method(
        cornac_wmf,
        "cornac",
        {
            "k": (32, 64),
            "learning_rate": (0.0003, 0.001),
            "lambda_u": (0.01, 0.1, 1.0),
            "lambda_v": (0.01, 1.0, 10.0),
            "b": (0.1, 0.2, 0.4, 1.0),
        },
        folds_in=False,
    ),
}

CURVE = {
    "dotbias, most rated": Method(dotbias_most_rated, "dotbias", {}),
    **{
        f"dotbias, {n} iteration{'s' * (n > 1)}": Method(
            partial(dotbias_iterations, n_iterations=n), "dotbias", {}
        )
        for n in (1, 2, 4, 8)
    },
    "dotbias, lists alone": Method(dotbias_lists_alone, "dotbias", {}),
}
"""What one waits for and gets, the more the later: for ``benchmarks/peers``."""


def main(name: str, rows: str, out: str, seconds: str) -> None:
    method = METHODS[name]
    with np.load(rows, allow_pickle=False) as stored:
        data = Data(**stored)
    tries = json.load(sys.stdin)
    method.fit(data.first_users(30), **tries[0])
    begun = time.perf_counter()
    tops, took = [], []
    for settings in tries:
        if took and time.perf_counter() - begun > float(seconds):
            break
        started = time.perf_counter()
        try:
            lists = method.fit(data, **settings)
            took.append(time.perf_counter() - started)
            tops.append(lists())
        except (ValueError, ArithmeticError) as error:  # some fits diverge
            print(f"{name} {settings}: {error}", file=sys.stderr)
            took.append(time.perf_counter() - started)
            tops.append(np.full((int(data.n_lists), K), -1))
    with Path(out).open("wb") as file:
        np.savez(file, tops=np.array(tops, np.int32))
    version = sys.modules[method.library].__version__
    print(json.dumps({"seconds": took, "version": f"{method.library} {version}"}))


if __name__ == "__main__":
    main(*sys.argv[1:])
