"""What somebody is asked to rate first."""

import numpy as np

from dotbias.models.parameters import at_length_one
from dotbias.recommender.start_list import start_list


def test_each_next_one_is_the_farthest_from_those_before_it() -> None:
    rng = np.random.default_rng(0)
    vectors = at_length_one(rng.standard_normal((60, 4)).astype(np.float32))
    counts = rng.integers(1, 100, 60)
    found = start_list(vectors, counts, n_known=30).tolist()
    known = set(np.argsort(-counts, kind="stable")[:30].tolist())
    assert set(found) == known
    assert counts[found[0]] == counts.max()
    for place in range(1, 30):
        left = known - set(found[:place])
        nearest = {item: (vectors[found[:place]] @ vectors[item]).max() for item in left}
        assert nearest[found[place]] <= min(nearest.values()) + 1e-6


def test_without_embeddings_the_most_rated_come_first_and_what_nobody_rated_never() -> None:
    counts = np.array([3, 0, 9, 5])
    assert start_list(None, counts).tolist() == [2, 3, 0]
    alike = np.ones((4, 1), np.float32)
    assert start_list(alike, counts).tolist() == [2, 3, 0]
    assert start_list(alike, np.zeros(4, int)).tolist() == []
