"""Ways to place vectors: what they keep together, and what they refuse."""

import sys

import numpy as np
import pytest

from dotbias.errors import SettingError
from dotbias.insight.map_quality import nearest, quality
from dotbias.insight.projection import METHODS, ProjectionOptions, by_pca, by_tsne, perplexity_for

N_CLUSTERS, PER_CLUSTER = 6, 50


def ignore(_amount, _text):
    pass


def how(perplexity=30.0, seed=0, n_threads=1, advance=ignore):
    return ProjectionOptions(perplexity, seed, n_threads, advance)


@pytest.fixture(scope="module")
def clusters():
    """Unit vectors around six centres in space, and the centre of each."""
    rng = np.random.default_rng(0)
    of_vector = np.repeat(np.arange(N_CLUSTERS), PER_CLUSTER)
    centres = rng.standard_normal((N_CLUSTERS, 20))
    vectors = centres[of_vector] + 0.5 * rng.standard_normal((len(of_vector), 20))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), of_vector


def knn_accuracy(positions, of_vector):
    """Share of the points most of whose ten neighbours on the map are of their own cluster."""
    distances = np.linalg.norm(positions[:, None] - positions, axis=2)
    np.fill_diagonal(distances, np.inf)
    near = of_vector[np.argsort(distances, axis=1)[:, :10]]
    return np.mean([np.bincount(row).argmax() for row in near] == of_vector)


@pytest.mark.parametrize("method", ["t-sne", "umap"])
def test_clusters_stay_apart_that_a_random_start_mixes(method, clusters):
    vectors, of_vector = clusters
    pytest.importorskip({"t-sne": "openTSNE", "umap": "umap"}[method])
    before = np.random.default_rng(1).standard_normal((len(vectors), 2))
    assert knn_accuracy(before, of_vector) < 0.5
    assert knn_accuracy(METHODS[method].project(vectors, how()), of_vector) > 0.95


def test_the_same_seed_gives_the_same_map_on_any_number_of_threads(clusters):
    pytest.importorskip("openTSNE")
    vectors = clusters[0][::2]
    first = by_tsne(vectors, how(n_threads=1))
    np.testing.assert_array_equal(by_tsne(vectors, how(n_threads=1)), first)
    np.testing.assert_array_equal(by_tsne(vectors, how(n_threads=2)), first)


def test_progress_reaches_its_total(clusters):
    pytest.importorskip("openTSNE")
    seen = []
    by_tsne(clusters[0][::4], how(10.0, advance=lambda amount, text: seen.append((amount, text))))
    assert sum(amount for amount, _ in seen) == METHODS["t-sne"].n_steps
    assert seen[0][1].startswith("divergence ")


def test_principal_components_are_those_of_the_singular_values(clusters):
    vectors = clusters[0].astype(np.float64)
    u, s, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(by_pca(clusters[0], how())), np.abs(u * s)[:, :2], atol=1e-5)


def test_t_sne_keeps_more_neighbours_than_principal_components(clusters):
    pytest.importorskip("openTSNE")
    vectors, _ = clusters
    neighbours = nearest(vectors, 10)[0]
    kept = {
        method: quality(vectors, METHODS[method].project(vectors, how()), neighbours, k=10, seed=0)
        for method in ("t-sne", "pca")
    }
    assert kept["t-sne"].preservation > kept["pca"].preservation + 0.1
    assert kept["t-sne"].trustworthiness > kept["pca"].trustworthiness


def test_the_fewest_points_can_be_placed():
    pytest.importorskip("openTSNE")
    vectors = np.eye(5, dtype=np.float32)
    assert np.isfinite(by_tsne(vectors, how(perplexity_for(5, None)))).all()


def test_equal_vectors_among_others_can_be_placed(clusters):
    pytest.importorskip("openTSNE")
    vectors = clusters[0][::3].copy()
    vectors[:60] = vectors[0]
    assert np.isfinite(by_tsne(vectors, how(10.0))).all()


@pytest.mark.parametrize("wish", [0.5, 34.0, -1, float("nan")])
def test_a_perplexity_outside_its_range_is_refused(wish):
    with pytest.raises(SettingError, match=r"must be from 1 to 33 for 100 points"):
        perplexity_for(100, wish)
    assert perplexity_for(100, 33) == 33


@pytest.mark.parametrize(
    ("method", "module", "extra"), [("t-sne", "openTSNE.affinity", "map"), ("umap", "umap", "umap")]
)
def test_a_library_that_is_missing_is_named(method, module, extra, clusters, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingError, match=rf"pip install .*\[{extra}\]"):
        METHODS[method].project(clusters[0], how())
