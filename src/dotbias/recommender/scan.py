"""The compiled scan of all items: score them and keep the best, in one pass.

What takes time is to read the items' vectors. What the rest of a vector adds to a score is at most the
product of two lengths, so most vectors need not be read to their ends to know that others are better.
The sooner long ones come, the less of the rest is read.

Dot products are summed in the order of ``dotbias.models.pairs``, so an item's score has the
same bits here as in its prediction.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

from dotbias.compiled import compiled
from dotbias.models.scoring import LANES, SPAN
from dotbias.solvers.arithmetic import folded, loop

# Registers of products that are added in one round of a dot product's loop.
_REGISTERS = 4
# Items whose vectors stay in the second cache while the users of a block go over them.
_TILE = 512
# How far rounding may take a dot product, relative to the product of the lengths: twice what it may for
# each term, and for lengths that were rounded themselves; and where numbers are as small as can be.
_ROUNDING, _MORE_TERMS, _SMALLEST = 2.0**-22, 8, 1e-36


def _add_products_code(
    typing_context: Any,  # noqa: ARG001
    left: Any,  # noqa: ARG001
    right: Any,  # noqa: ARG001
    n: Any,  # noqa: ARG001
    sums: Any,  # noqa: ARG001
) -> Any:
    """Add the products of n numbers, a multiple of ``LANES``, at two addresses to ``LANES`` sums at a
    third one; gives what these come to together.

    Not the ``dot`` of the solvers: products are rounded before they are added, as predictions have it.
    """
    signature = types.float32(*[types.intp] * 4)

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        left, right, n, sums = arguments
        integer = n.type
        vector = ir.VectorType(ir.FloatType(), LANES)
        kept = builder.inttoptr(sums, vector.as_pointer())

        def load(start: Any, at: Any) -> Any:
            address = builder.add(start, builder.mul(at, ir.Constant(integer, 4)))
            loaded = builder.load(builder.inttoptr(address, vector.as_pointer()))
            loaded.align = 4
            return loaded

        def add(n_registers: int) -> Any:
            def products(at: Any, lanes: Any) -> Any:
                """One register after the other, all to the same lanes."""
                (total,) = lanes
                for register in range(n_registers):
                    here = builder.add(at, ir.Constant(integer, register * LANES))
                    total = builder.fadd(total, builder.fmul(load(left, here), load(right, here)))
                return [total]

            return products

        step = LANES * _REGISTERS
        most = builder.sub(n, builder.srem(n, ir.Constant(integer, step)))
        first = ir.Constant(integer, 0)
        lanes = loop(builder, first, most, step, add(_REGISTERS), [load(sums, first)])
        (total,) = loop(builder, most, n, LANES, add(1), lanes)
        builder.store(total, kept).align = 4
        return folded(builder, total)

    return signature, generate


_add_products: Any = intrinsic(_add_products_code)


@register_jitable
def _comes_after(rare: Any, score: Any, item: Any, other_score: Any, other: Any) -> Any:
    """Whether an item is named after another one."""
    if rare[item] != rare[other]:
        return rare[item]
    return score < other_score or (score == other_score and item > other)


@register_jitable
def _sift_down(rare: Any, scores: Any, items: Any, end: Any) -> None:
    """Let the item at the root of a heap sink to its place; below each come those named before it."""
    at = 0
    while 2 * at + 1 < end:
        child = 2 * at + 1
        if child + 1 < end and _comes_after(
            rare, scores[child + 1], items[child + 1], scores[child], items[child]
        ):
            child += 1
        if not _comes_after(rare, scores[child], items[child], scores[at], items[at]):
            return
        scores[at], scores[child] = scores[child], scores[at]
        items[at], items[child] = items[child], items[at]
        at = child


@register_jitable
def _sift_up(rare: Any, scores: Any, items: Any, at: Any) -> None:
    """Let the last item of a heap rise to its place."""
    while at > 0:
        parent = (at - 1) // 2
        if not _comes_after(rare, scores[at], items[at], scores[parent], items[parent]):
            return
        scores[at], scores[parent] = scores[parent], scores[at]
        items[at], items[parent] = items[parent], items[at]
        at = parent


@register_jitable
def _full(rare: Any, items: Any, count: Any) -> Any:
    """Whether a list is full of items that are not rare."""
    return count == len(items) and not rare[items[0]]


@register_jitable
def _is_among(ascending: Any, start: Any, end: Any, item: Any) -> Any:
    """Whether an item is among ``ascending[start:end]``."""
    while start < end:
        middle = (start + end) // 2
        if ascending[middle] < item:
            start = middle + 1
        elif ascending[middle] > item:
            end = middle
        else:
            return True
    return False


@compiled(nogil=True)
def scan(
    user_vectors: Any,
    item_vectors: Any,
    bias: Any,
    lengths: Any,
    starts: Any,
    excluded: Any,
    candidates: Any,
    longest_first: Any,
    rare: Any,
    scores: Any,
    items: Any,
) -> None:
    """The best items of each user, best first.

    Args:
        user_vectors, item_vectors, bias: as in ``Scoring``, C-contiguous.
        lengths: of the item vectors, and of what is left of them after each ``SPAN``, shape
            (n_items, number of spans); no rows where nobody knows.
        starts, excluded: user n must not get the items ``excluded[starts[n]:starts[n + 1]]``, ascending.
        candidates: the only items to choose from, each once, such as may be good ones first.
        longest_first: whether no vector among them is longer than one before it.
        rare: which items come after all others, shape (n_items,).
        scores: filled with the scores of the best, shape (n, k); what it holds where a list has ended is
            left there.
        items: filled with the best items, shape (n, k), likewise.
    """
    n, width = user_vectors.shape
    k = scores.shape[1]
    whole = width - width % LANES
    shared = len(bias) == 1
    found = [0 for _ in range(n)]
    sums, n_spans, known = np.zeros(LANES, np.float32), lengths.shape[1], len(lengths) > 0
    reach = np.zeros((n, n_spans))
    for row in range(n):
        square = 0.0
        for f in range(width - 1, -1, -1):
            square += np.float64(user_vectors[row, f]) ** 2
            if f % SPAN == 0:
                reach[row, f // SPAN] = np.sqrt(square)
    rounding = _ROUNDING * (width + _MORE_TERMS)
    highest = np.full(len(bias), -np.inf)
    ends = known and longest_first
    if ends:
        for row in range(len(bias)):
            for item in candidates:
                highest[row] = max(highest[row], bias[row, item])
    for first in range(0, len(candidates), _TILE):
        tile = candidates[first : first + _TILE]
        for row in range(n):
            own_bias = bias[0 if shared else row]
            best, chosen = scores[row], items[row]
            count = found[row]
            full = _full(rare, chosen, count)
            # What a score must reach to be looked at more closely.
            floor = best[0] if full else np.float32(-np.inf)
            if full and ends:
                # What none of the rest can reach, for no vector is longer.
                most = reach[row, 0] * lengths[tile[0], 0] * (1 + rounding) + _SMALLEST
                if np.float32(most + highest[0 if shared else row]) < floor:
                    continue
            left = user_vectors.ctypes.data + 4 * width * row
            for item in tile:
                if full and rare[item]:
                    continue
                right = item_vectors.ctypes.data + 4 * width * item
                score = np.float32(0)
                sums[:] = 0
                hopeless: Any = False
                for span in range(n_spans):
                    if full and known:
                        most = score + reach[row, span] * lengths[item, span]
                        most += rounding * reach[row, 0] * lengths[item, 0] + _SMALLEST
                        most += own_bias[item]
                        # Rounded as scores are: whatever is below the floor before, is so then.
                        hopeless = np.float32(most) < floor
                        if hopeless:
                            break
                    at = span * SPAN
                    score = _add_products(
                        left + 4 * at, right + 4 * at, min(SPAN, whole - at), sums.ctypes.data
                    )
                if hopeless:
                    continue
                for f in range(whole, width):
                    score += user_vectors[row, f] * item_vectors[item, f]
                score += own_bias[item]
                if not (score >= floor and score > -np.inf):  # as NaN is not
                    continue
                if count == k and not _comes_after(rare, best[0], chosen[0], score, item):
                    continue
                if _is_among(excluded, starts[row], starts[row + 1], item):
                    continue
                if count < k:
                    best[count], chosen[count] = score, item
                    _sift_up(rare, best, chosen, count)
                    count += 1
                else:
                    best[0], chosen[0] = score, item
                    _sift_down(rare, best, chosen, k)
                full = _full(rare, chosen, count)
                floor = best[0] if full else np.float32(-np.inf)
            found[row] = count
    for row in range(n):
        best, chosen = scores[row], items[row]
        # The root is named last: to the end with it, and so on.
        for end in range(found[row] - 1, 0, -1):
            best[0], best[end] = best[end], best[0]
            chosen[0], chosen[end] = chosen[end], chosen[0]
            _sift_down(rare, best, chosen, end)
