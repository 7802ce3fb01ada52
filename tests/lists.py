"""Figures of lists in plain Python, for tests of what measures them."""

import math

OF_ONE = ("precision", "recall", "ndcg", "map", "mrr", "hit_rate")


def slow_figures(items, liked, k):
    """The figures of one plain list and one plain set, each written out as its definition."""
    hits = [item in liked for item in items]
    best = sum(1 / math.log2(j + 1) for j in range(1, min(k, len(liked)) + 1))
    precisions = [sum(hits[:j]) / j for j, h in enumerate(hits, 1) if h]
    return {
        "precision": sum(hits) / k,
        "recall": sum(hits) / len(liked),
        "ndcg": sum(1 / math.log2(j + 1) for j, h in enumerate(hits, 1) if h) / best,
        "map": sum(precisions) / min(k, len(liked)),
        "mrr": next((1 / j for j, h in enumerate(hits, 1) if h), 0.0),
        "hit_rate": float(any(hits)),
    }


def slow_gini(lists, n_items):
    """Half the mean difference of any two items' numbers of places, divided by the mean number."""
    places = [item for items in lists for item in items]
    counts = [places.count(item) for item in range(n_items)]
    apart = sum(abs(a - b) for a in counts for b in counts)
    return apart / (2 * n_items * sum(counts)) if places else 0.0


def slow_metrics(lists, relevant, k, n_items):
    """The figures of plain lists of items from 0 to ``n_items - 1`` and plain sets."""
    of_users = [slow_figures(*pair, k) for pair in zip(lists, relevant, strict=True)]
    return {
        **{name: sum(of_one[name] for of_one in of_users) / len(lists) for name in OF_ONE},
        "coverage": len({item for items in lists for item in items}) / n_items,
        "gini": slow_gini(lists, n_items),
    }
