"""What the compiled inner loops share, and the loop that takes one rating at a time.

Letters as in docs/notation.md: ``p`` (n_users, k) and ``q`` (n_items, k) are the embeddings, ``b_u``
and ``b_i`` the biases, ``r`` a rating, ``e`` the error of its prediction, ``g`` the derivative of the
loss by the sum of dot product and biases.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import prange
from numba.extending import register_jitable
from numba.np.unsafe.ndarray import to_fixed_tuple

from dotbias.compiled import compiled
from dotbias.random import normal
from dotbias.solvers.arithmetic import fma, row_dot
from dotbias.solvers.descent.losses import Loss, Squared
from dotbias.solvers.descent.negatives import unchosen


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
def _store_1(state: Any, row: Any, f: Any, slots: Any) -> None:
    state[0, row, f] = slots[0]


@register_jitable
def _store_2(state: Any, row: Any, f: Any, slots: Any) -> None:
    state[0, row, f], state[1, row, f] = slots[0], slots[1]


@register_jitable
def _store_3(state: Any, row: Any, f: Any, slots: Any) -> None:
    state[0, row, f], state[1, row, f], state[2, row, f] = slots[0], slots[1], slots[2]


# Tuples have a fixed length in compiled code, and a loop over one is not vectorised, so each number of
# slots has functions of its own.
LOAD = (_load_0, _load_1, _load_2, _load_3)
STORE = (_store_0, _store_1, _store_2, _store_3)


@register_jitable
def _undisturbed(g: Any, key: Any, row: Any, f: Any, std: Any) -> Any:  # noqa: ARG001
    return g


@register_jitable
def _disturbed(g: Any, key: Any, row: Any, f: Any, std: Any) -> Any:
    return g + std * normal(key, row, f)


NOISE = (_undisturbed, _disturbed)


@cache
def error_and_slope(loss: type[Loss]) -> Callable[..., Any]:
    """A function of ``z``, a rating and the form of the output, for a loss of the error: the error of
    the prediction that ``z`` stands for, and the derivative of its loss by ``z``.
    """
    slope = register_jitable(loss.slope)

    def judged(z: Any, r: Any, low: Any, width: Any, sigmoid: Any) -> Any:
        if sigmoid:
            s = np.float32(1) / (np.float32(1) + math.exp(-z))
            e = low + width * s - r
            return e, slope(e) * width * s * (np.float32(1) - s)
        e = z - r
        return e, slope(e)

    return register_jitable(judged)


def is_ours(update: Callable[..., Any]) -> bool:
    """Whether a rule is one of the project's own, whose machine code is kept on disk.

    A rule from elsewhere is compiled in every process: what is kept of it could only be loaded where its
    module can be imported, which a notebook's cannot.
    """
    return (update.__module__ or "").startswith("dotbias.")


@cache
def walk_kernel(
    update: Callable[..., Any],
    n_slots: int,
    n_coefficients: int,
    noisy: bool,
    loss: type[Loss] = Squared,
) -> Callable[..., Any]:
    """The compiled walk over ratings, one at a time, for one update rule and one loss.

    The objective of one example is its loss plus
    ``½ (λ_p |p_u|² + λ_q |q_i|² + λ_bu b_u² + λ_bi b_i²)``;
    all its parameters move at once, each by the rule. An example is a rating, or an item that was chosen
    or drawn, or a pair of two such, in which both items move.

    Args:
        update: the rule's function (see ``dotbias.solvers.descent.rules``), inlined into the loop.
        n_slots: numbers of state per parameter, 0 to 3.
        n_coefficients: length of ``c``.
        noisy: whether normal noise is added to the gradients.
        loss: what is minimised, inlined too.

    Returns:
        A function that takes one chunk of ratings after the other and moves the parameters in place.
        The ranges of one chunk are shared out to threads. It returns the sum of the losses of each
        chunk, of predictions made before their own update, shape (n_chunks,). Arguments:
        ``users, items, ratings``; ``ranges`` (n_chunks, n_ranges, 2), first and last row plus one;
        ``p, q, b_u, b_i`` with biases shaped (n, 1); their states, each (n_slots, *shape);
        ``offset, low, width, sigmoid``, the constant of the prediction and the form of the output;
        ``rates`` (n_chunks, 4), learning rates in the order of the groups;
        ``coefficients`` (n_chunks, n_coefficients); ``decay_u`` (n_users, 2) and ``decay_i``
        (n_items, 2), ``λ`` of each row's factors and bias; ``decoupled``, whether weight decay acts
        beside the gradient; ``clip``, the largest norm of the
        gradient of one rating, or 0; ``noise`` (n_chunks,), its standard deviation, and ``keys``
        (n_chunks,), its seeds; ``negatives`` (``Negatives``), and ``pools`` (n_chunks, n_ranges, 2),
        from which stretch of their pool each range draws.
    """
    update = register_jitable(update)
    load, store, disturbed = LOAD[n_slots], STORE[n_slots], NOISE[noisy]
    judged = error_and_slope(loss)
    value, slope = register_jitable(loss.value), register_jitable(loss.slope)
    # Constants to the compiler, which leaves out what they rule out.
    samples, pairs = loss.samples(), loss.of == "pair"
    first = 1 if pairs else 0

    def walk(
        users: Any,
        items: Any,
        ratings: Any,
        ranges: Any,
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
        sigmoid: Any,
        rates: Any,
        coefficients: Any,
        decay_u: Any,
        decay_i: Any,
        decoupled: Any,
        clip: Any,
        noise: Any,
        keys: Any,
        negatives: Any,
        pools: Any,
    ) -> Any:
        n_chunks, n_ranges, k = ranges.shape[0], ranges.shape[1], p.shape[1]
        one = np.float32(1)
        losses = np.zeros((n_chunks, n_ranges))
        pool, starts, known, n_negatives, seed = negatives
        for chunk in range(n_chunks):
            c: Any = to_fixed_tuple(coefficients[chunk], n_coefficients)  # type: ignore[call-arg]
            lr_p, lr_q = rates[chunk, 0], rates[chunk, 1]
            lr_bu, lr_bi = rates[chunk, 2], rates[chunk, 3]
            std, key = noise[chunk], keys[chunk]
            for a in prange(n_ranges):
                range_losses = 0.0
                for row in range(ranges[chunk, a, 0], ranges[chunk, a, 1]):
                    # Unsigned indices spare the check for negative ones.
                    u, chosen = np.uint32(users[row]), np.uint32(items[row])
                    for draw in range(first, 1 + n_negatives if samples else 1):
                        i = j = chosen
                        if samples and draw > 0:
                            begin, end = pools[chunk, a, 0], pools[chunk, a, 1]
                            j = np.uint32(
                                unchosen(u, row, draw, begin, end, pool, starts, known, seed)
                            )
                            if not pairs:
                                i = j
                        z = offset + b_u[u, 0] + b_i[i, 0]
                        z += row_dot(p, u, q, i)
                        if pairs:
                            z_j = offset + b_u[u, 0] + b_i[j, 0]
                            z_j += row_dot(p, u, q, j)
                            x = z - z_j
                            g = slope(x)
                        elif samples:
                            sign = one if draw == 0 else -one
                            x = sign * z
                            g = sign * slope(x)
                        else:
                            x, g = judged(z, ratings[row], low, width, sigmoid)
                        range_losses += value(x)
                        if pairs and i == j:  # there was nothing else to draw
                            continue
                        if clip > 0:
                            norm = np.float32(2) + row_dot(p, u, p, u) + row_dot(q, i, q, i)
                            if pairs:
                                norm += row_dot(p, u, p, u) + row_dot(q, j, q, j)
                                norm -= np.float32(2) * row_dot(q, i, q, j)
                            norm = abs(g) * math.sqrt(norm)
                            if norm > clip:
                                g *= clip / norm
                        l_p, l_bu, l_q, l_bi = (
                            decay_u[u, 0],
                            decay_u[u, 1],
                            decay_i[i, 0],
                            decay_i[i, 1],
                        )
                        keep_p = keep_q = keep_bu = keep_bi = one
                        if decoupled:
                            keep_p, keep_q = one - lr_p * l_p, one - lr_q * l_q
                            keep_bu, keep_bi = one - lr_bu * l_bu, one - lr_bi * l_bi
                            l_p = l_q = l_bu = l_bi = np.float32(0)
                        if pairs:
                            l_qj, l_bj = decay_i[j, 0], decay_i[j, 1]
                            keep_qj = keep_bj = one
                            if decoupled:
                                keep_qj, keep_bj = one - lr_q * l_qj, one - lr_bi * l_bj
                                l_qj = l_bj = np.float32(0)
                        own = key + np.uint64(draw)
                        for f in range(k):
                            p_uf, q_if = p[u, f], q[i, f]
                            y_f = q_if
                            if pairs:
                                q_jf = q[j, f]
                                y_f = q_if - q_jf
                                g_q = fma(-g, p_uf, l_qj * q_jf)
                                g_q = disturbed(g_q, own, row, 2 * k + 2 + f, std)
                                step, slots = update(g_q, load(s_q, j, f), lr_q, c)
                                q[j, f] = fma(q_jf, keep_qj, -step)
                                store(s_q, j, f, slots)
                            g_p = disturbed(fma(g, y_f, l_p * p_uf), own, row, f, std)
                            step, slots = update(g_p, load(s_p, u, f), lr_p, c)
                            p[u, f] = fma(p_uf, keep_p, -step)
                            store(s_p, u, f, slots)
                            g_q = disturbed(fma(g, p_uf, l_q * q_if), own, row, k + f, std)
                            step, slots = update(g_q, load(s_q, i, f), lr_q, c)
                            q[i, f] = fma(q_if, keep_q, -step)
                            store(s_q, i, f, slots)
                        if not pairs:  # it is in both scores
                            g_bu = disturbed(fma(l_bu, b_u[u, 0], g), own, row, 2 * k, std)
                            step, slots = update(g_bu, load(s_bu, u, 0), lr_bu, c)
                            b_u[u, 0] = fma(b_u[u, 0], keep_bu, -step)
                            store(s_bu, u, 0, slots)
                        g_bi = disturbed(fma(l_bi, b_i[i, 0], g), own, row, 2 * k + 1, std)
                        step, slots = update(g_bi, load(s_bi, i, 0), lr_bi, c)
                        b_i[i, 0] = fma(b_i[i, 0], keep_bi, -step)
                        store(s_bi, i, 0, slots)
                        if pairs:
                            g_bi = disturbed(fma(l_bj, b_i[j, 0], -g), own, row, 3 * k + 2, std)
                            step, slots = update(g_bi, load(s_bi, j, 0), lr_bi, c)
                            b_i[j, 0] = fma(b_i[j, 0], keep_bj, -step)
                            store(s_bi, j, 0, slots)
                losses[chunk, a] += range_losses
        return losses.sum(axis=1)

    return compiled(parallel=True, kept=is_ours(update))(walk)  # type: ignore[no-any-return]
