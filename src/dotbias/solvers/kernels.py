"""The compiled inner loop of gradient descent: one rating at a time over the grid.

Letters as in docs/notation.md: ``p`` (n_users, k) and ``q`` (n_items, k) are the embeddings, ``b_u``
and ``b_i`` the biases, ``r`` a rating, ``e`` the error of its prediction.
"""

import hashlib
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit, prange
from numba.extending import register_jitable


@register_jitable
def _load_0(state: Any, row: Any, f: Any) -> Any:  # noqa: ARG001
    return ()


@register_jitable
def _load_1(state: Any, row: Any, f: Any) -> Any:
    return (state[0, row, f],)


@register_jitable
def _load_2(state: Any, row: Any, f: Any) -> Any:
    return (state[0, row, f], state[1, row, f])


@register_jitable
def _load_3(state: Any, row: Any, f: Any) -> Any:
    return (state[0, row, f], state[1, row, f], state[2, row, f])


@register_jitable
def _store_0(state: Any, row: Any, f: Any, slots: Any) -> None:
    pass


@register_jitable
def _store(state: Any, row: Any, f: Any, slots: Any) -> None:
    for slot in range(len(slots)):
        state[slot, row, f] = slots[slot]


# Tuples have a fixed length in compiled code, so each number of slots has functions of its own.
_LOAD = (_load_0, _load_1, _load_2, _load_3)
_STORE = (_store_0, _store, _store, _store)


@cache
def epoch_kernel(update: Callable[..., Any], n_slots: int, output: str) -> Callable[..., float]:
    """The compiled epoch for one update rule and one output.

    The objective of one rating is
    ``½ (r̂ - r)² + ½ (λ_p |p_u|² + λ_q |q_i|² + λ_bu b_u² + λ_bi b_i²)``;
    all its parameters move at once, each by the rule.

    Args:
        update: the rule's function (see ``dotbias.solvers.rules``), inlined into the loop.
        n_slots: numbers of state per parameter, 0 to 3.
        output: ``"linear"`` or ``"sigmoid"``.

    Returns:
        A function that walks the grid once, moves the parameters in place and returns the sum of
        squared errors of the predictions made on the way, each before its own update. Arguments:
        ``users, items, ratings, starts`` of the grid; ``diagonals``, their order (n_blocks,);
        ``p, q, b_u, b_i`` with biases shaped (n, 1); their states, each (n_slots, *shape);
        ``offset, low, width``, the constant of the prediction and the sigmoid's range; ``lr`` and
        ``decay``, shape (4,) in the order of the groups; ``hyper``, the rule's settings.
    """
    update = register_jitable(update)
    load, store = _LOAD[n_slots], _STORE[n_slots]
    sigmoid = output == "sigmoid"
    code = update.__code__
    text = repr((code.co_code, code.co_consts, code.co_names))
    fingerprint = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
    # A rule from elsewhere is compiled in every process: what the cache holds of it could only be
    # loaded where its module can be imported, which a notebook's cannot.
    ours = (update.__module__ or "").startswith("dotbias.")

    @njit(parallel=True, cache=ours, fastmath=True, error_model="numpy")
    def epoch(
        users: Any,
        items: Any,
        ratings: Any,
        starts: Any,
        diagonals: Any,
        p: Any,
        q: Any,
        b_u: Any,
        b_i: Any,
        s_p: Any,
        s_q: Any,
        s_bu: Any,
        s_bi: Any,
        offset: Any,
        low: Any,
        width: Any,
        lr: Any,
        decay: Any,
        hyper: Any,
    ) -> Any:
        # Being a free variable makes this part of the disk cache's key, which would otherwise know
        # an edited rule only by its name.
        _ = fingerprint
        n_blocks, k = len(diagonals), p.shape[1]
        lr_p, lr_q, lr_bu, lr_bi = lr[0], lr[1], lr[2], lr[3]
        l_p, l_q, l_bu, l_bi = decay[0], decay[1], decay[2], decay[3]
        squares = np.zeros(n_blocks)
        for diagonal in diagonals:
            for a in prange(n_blocks):
                block = a * n_blocks + (a + diagonal) % n_blocks
                block_squares = 0.0
                for row in range(starts[block], starts[block + 1]):
                    # Unsigned indices spare the check for negative ones.
                    u, i = np.uint32(users[row]), np.uint32(items[row])
                    z = offset + b_u[u, 0] + b_i[i, 0]
                    dot = np.float32(0)
                    for f in range(k):
                        dot += p[u, f] * q[i, f]
                    z += dot
                    if sigmoid:
                        s = np.float32(1) / (np.float32(1) + math.exp(-z))
                        e = low + width * s - ratings[row]
                        g = e * width * s * (np.float32(1) - s)
                    else:
                        e = z - ratings[row]
                        g = e
                    block_squares += e * e
                    for f in range(k):
                        p_uf, q_if = p[u, f], q[i, f]
                        step, slots = update(g * q_if + l_p * p_uf, load(s_p, u, f), lr_p, hyper)
                        p[u, f] = p_uf - step
                        store(s_p, u, f, slots)
                        step, slots = update(g * p_uf + l_q * q_if, load(s_q, i, f), lr_q, hyper)
                        q[i, f] = q_if - step
                        store(s_q, i, f, slots)
                    step, slots = update(g + l_bu * b_u[u, 0], load(s_bu, u, 0), lr_bu, hyper)
                    b_u[u, 0] -= step
                    store(s_bu, u, 0, slots)
                    step, slots = update(g + l_bi * b_i[i, 0], load(s_bi, i, 0), lr_bi, hyper)
                    b_i[i, 0] -= step
                    store(s_bi, i, 0, slots)
                squares[a] += block_squares
        return squares.sum()

    return epoch
