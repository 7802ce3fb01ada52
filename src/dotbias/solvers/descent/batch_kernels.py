"""The compiled loop over mini-batches, up to the full batch.

A step has four parts: which rows the batch touches, the slope of each of its scores, the gradient of
each touched row, and the move of the rows. A score is that of a user and an item: of each rating, and
where the loss samples, of items that are drawn beside it. Scores and rows are shared out to threads;
every row's sum is taken by one thread in the order of the batch, so the bits do not depend on the number
of threads.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import prange
from numba.extending import register_jitable
from numba.np.unsafe.ndarray import to_fixed_tuple

from dotbias.compiled import compiled
from dotbias.solvers.arithmetic import dot, fma, row_dot
from dotbias.solvers.descent.kernels import NOISE, RuleForm, error_and_slope, steps_of
from dotbias.solvers.descent.losses import Loss, Squared
from dotbias.solvers.descent.negatives import unchosen

# Squared errors that are summed in the precision of the ratings, before double precision takes over.
_PANEL = 1024


class SideTables(NamedTuple):
    """The users, or the items: their parameters, and room for the gradients of one batch.

    Args:
        factors, bias: the parameters, (n, k) and (n, 1).
        s_factors, s_bias: their states, (n_slots, n, k) and (n_slots, n, 1).
        decay: (n, 2), weight decay of each row's factors and bias: per rating of the batch if only
            touched rows move, per step if all do.
        g_factors, g_bias: (m + 1, k) and (m + 1, 1), gradients of up to m touched rows; the last row
            stays zero, for the rows that are not touched.
        place: (n,), row of the gradients that belongs to a row, m if none does.
        touched: (m,), the rows that the batch touches, in the order of their first ratings.
        begin: (m + 1,), where the ratings of each touched row begin in ``members``.
        members: (scores of a batch,), places in the batch, grouped by row.
    """

    factors: Any
    bias: Any
    s_factors: Any
    s_bias: Any
    decay: Any
    g_factors: Any
    g_bias: Any
    place: Any
    touched: Any
    begin: Any
    members: Any


@compiled()
def _group(rows: Any, side: Any) -> Any:
    """Group the places of the batch by row; the number of touched rows."""
    none, n = len(side.touched), 0
    for row in rows:
        if side.place[row] == none:
            side.place[row] = n
            side.touched[n] = row
            side.begin[n + 1] = 0
            n += 1
        side.begin[side.place[row] + 1] += 1
    side.begin[0] = 0
    for t in range(n):
        side.begin[t + 1] += side.begin[t]
    for j in range(len(rows)):
        t = side.place[rows[j]]
        side.members[side.begin[t]] = j
        side.begin[t] += 1
    for t in range(n, 0, -1):  # filling has moved each beginning to the next
        side.begin[t] = side.begin[t - 1]
    side.begin[0] = 0
    return n


@compiled()
def _fill(users: Any, items: Any, order: Any, start: Any, n: Any, pairs: Any, negatives: Any, u: Any, i: Any, r: Any) -> None:  # fmt: skip # noqa: E501
    """The scores of a batch: what was chosen, and what is drawn for it; in pairs of both, if asked."""
    pool, starts, chosen, n_negatives, key = negatives
    m = 0
    for j in range(n):
        row = order[start + j]
        for draw in range(1 + n_negatives):
            if draw > 0:
                u[m], r[m] = users[row], -1
                i[m] = unchosen(users[row], row, draw, 0, len(pool), pool, starts, chosen, key)
                m += 1
            if draw == 0 or (pairs and draw < n_negatives):
                u[m], i[m], r[m] = users[row], items[row], 1
                m += 1


@compiled()
def _forget(side: Any, n: Any) -> None:
    """Undo what ``_group`` has noted of n rows."""
    for t in range(n):
        side.place[side.touched[t]] = len(side.touched)


@cache
def _scores_kernel(loss: type[Loss], shared: bool) -> Any:
    """What a loss is of, for each example of the batch, and the derivative of the batch's mean loss by
    each ``z``; both scores of a pair stand side by side.
    """
    judged, slope = error_and_slope(loss), register_jitable(loss.slope)
    samples, pairs = loss.samples(), loss.of == "pair"

    def scores(u: Any, i: Any, r: Any, n: Any, p: Any, q: Any, b_u: Any, b_i: Any, form: Any, x: Any, g: Any) -> None:  # fmt: skip # noqa: E501
        offset, low, width, sigmoid = form
        share = g.dtype.type(1 / n)
        for j in prange(len(x)):
            row_u, row_i = np.uint32(u[j]), np.uint32(i[j])
            if pairs:
                row_u, row_i = np.uint32(u[2 * j]), np.uint32(i[2 * j])
            z = offset + b_u[row_u, 0] + b_i[row_i, 0] + row_dot(p, row_u, q, row_i)
            if pairs:
                row_j = np.uint32(i[2 * j + 1])
                x[j] = z - (offset + b_u[row_u, 0] + b_i[row_j, 0] + row_dot(p, row_u, q, row_j))
                g[2 * j] = share * slope(x[j])
                g[2 * j + 1] = -g[2 * j]
            elif samples:  # r is 1 for what was chosen, -1 for what was drawn
                x[j] = r[j] * z
                g[j] = share * r[j] * slope(x[j])
            else:
                x[j], by_z = judged(z, r[j], low, width, sigmoid)
                g[j] = share * by_z

    return compiled(parallel=shared)(scores)


@cache
def _panel(loss: type[Loss]) -> Any:
    """The sum of a loss over a stretch of what it is of."""
    if loss is Squared:
        return _half_squares
    value = register_jitable(loss.value)

    def panel(x: Any, begin: Any, n: Any) -> Any:
        total = 0.0
        for j in range(begin, begin + n):
            total += value(x[j])
        return total

    return register_jitable(panel)


@register_jitable
def _half_squares(x: Any, begin: Any, n: Any) -> Any:
    return 0.5 * dot(x, begin, x, begin, n)


def _gradients(side: Any, n: Any, g: Any, others: Any, other_factors: Any) -> None:
    """Gradients of the touched rows: ``Σ g q`` for the factors and ``Σ g`` for the bias."""
    k = other_factors.shape[1]
    # Arrays by their own names: what a parallel loop writes into those of a tuple is lost.
    begin, members, g_factors, g_bias = side.begin, side.members, side.g_factors, side.g_bias
    for t in prange(n):
        for f in range(k):
            g_factors[t, f] = 0
        total = np.float32(0)
        for m in range(begin[t], begin[t + 1]):
            j = members[m]
            other, g_j = np.uint32(others[j]), g[j]
            total += g_j
            for f in range(k):
                g_factors[t, f] = fma(g_j, other_factors[other, f], g_factors[t, f])
        g_bias[t, 0] = total


_gradients_alone, _gradients_shared = (compiled(parallel=p)(_gradients) for p in (False, True))


@compiled()
def _clip(sides: Any, counts: Any, largest: Any) -> None:
    """Shorten the whole gradient of the batch to a norm."""
    squares = 0.0
    for s in range(2):
        side = sides[s]
        for t in range(counts[s]):
            squares += side.g_bias[t, 0] * side.g_bias[t, 0]
            squares += row_dot(side.g_factors, t, side.g_factors, t)
    norm = math.sqrt(squares)
    if norm > largest:
        factor = side.g_bias.dtype.type(largest / norm)
        for s in range(2):
            side = sides[s]
            for t in range(counts[s]):
                side.g_bias[t, 0] *= factor
                for f in range(side.g_factors.shape[1]):
                    side.g_factors[t, f] *= factor


@cache
def batch_kernel(
    form: RuleForm,
    n_coefficients: int,
    noisy: bool,
    shared: bool,
    loss: type[Loss] = Squared,
) -> Callable[..., Any]:
    """The compiled loop over batches for one update rule and one loss.

    The objective of a step is the sum of the losses of its batch over the number of its ratings, plus
    weight decay.

    Args:
        form: the rule, whose functions are inlined into the loop.
        n_coefficients: how many numbers it gets about a step.
        noisy: whether normal noise is added to the gradients.
        shared: whether each step is shared out to threads, which small batches do not repay.
        loss: what is minimised, inlined too.

    Returns:
        A function that takes one batch after the other and moves the parameters in place. It returns
        the sum of the losses of each batch, before its step, shape (n_steps,). Arguments:
        ``users, items, ratings``; ``order``, their rows in the order in which they are taken;
        ``starts`` (n_steps + 1,), where each batch starts in ``order``; ``sides``, users and items
        (``SideTables``); ``form``, that is ``(offset, low, width, sigmoid)``; ``rates`` (n_steps, 4), in
        the order of the groups, or (n_steps, 8) if the groups' own numbers follow; ``coefficients``
        (n_steps, n_coefficients); ``dense``, whether all rows move; ``decoupled``; ``clip``, the largest
        norm of a batch's gradient, or 0; ``noise`` (n_steps,), its standard deviation, and ``keys``
        (n_steps,), its seeds; ``negatives`` (``Negatives``).
    """
    move, look, rate, own_of, by_row = steps_of(form)
    disturbed = NOISE[noisy]
    scores, panel = _scores_kernel(loss, shared), _panel(loss)
    gradients = _gradients_shared if shared else _gradients_alone
    samples, pairs = loss.samples(), loss.of == "pair"

    def descend(
        users: Any,
        items: Any,
        ratings: Any,
        order: Any,
        starts: Any,
        sides: Any,
        form: Any,
        rates: Any,
        coefficients: Any,
        dense: Any,
        decoupled: Any,
        clip: Any,
        noise: Any,
        keys: Any,
        negatives: Any,
    ) -> Any:
        n_steps = len(starts) - 1
        one, size = ratings.dtype.type(1), len(sides[0].members)
        losses = np.zeros(n_steps)
        u, i = np.empty(size, users.dtype), np.empty(size, items.dtype)
        r, x, g = (
            np.empty(size, ratings.dtype),
            np.empty(size, ratings.dtype),
            np.empty(size, ratings.dtype),
        )
        counts = np.zeros(2, np.int64)
        k = sides[0].factors.shape[1]
        for step in range(n_steps):
            n = starts[step + 1] - starts[step]
            m = n_x = n  # scores, and examples of the loss
            if samples:
                m = n_x = n * (1 + negatives.n)
                if pairs:
                    n_x = n * negatives.n
                    m = 2 * n_x
                _fill(users, items, order, starts[step], n, pairs, negatives, u, i, r)
            else:
                for j in range(n):
                    row = order[starts[step] + j]
                    u[j], i[j], r[j] = users[row], items[row], ratings[row]
            counts[0], counts[1] = _group(u[:m], sides[0]), _group(i[:m], sides[1])
            p, q, b_u, b_i = sides[0].factors, sides[1].factors, sides[0].bias, sides[1].bias
            scores(u[:m], i[:m], r[:m], n, p, q, b_u, b_i, form, x[:n_x], g[:m])
            gradients(sides[0], counts[0], g[:m], i[:m], q)
            gradients(sides[1], counts[1], g[:m], u[:m], p)
            for j in range(0, n_x, _PANEL):
                losses[step] += panel(x, j, min(_PANEL, n_x - j))
            if clip > 0:
                _clip(sides, counts, clip)

            c: Any = to_fixed_tuple(coefficients[step], n_coefficients)  # type: ignore[call-arg]
            std, key = noise[step], keys[step]
            for s in range(2):
                side = sides[s]
                w, b, s_w, s_b = side.factors, side.bias, side.s_factors, side.s_bias
                g_w, g_b, decay = side.g_factors, side.g_bias, side.decay
                place, touched, begin = side.place, side.touched, side.begin
                group, group_b = rates[step, s], rates[step, 2 + s]
                c_w, c_b = own_of(c, rates[step], s), own_of(c, rates[step], 2 + s)
                # Of both scores of a pair, its user's are one example.
                each = 2 * n if pairs and s == 0 else n
                for m in prange(len(w) if dense else counts[s]):
                    row = np.uint32(m if dense else touched[m])
                    t = np.uint32(place[row])
                    weight = one
                    if not dense:
                        weight = ratings.dtype.type((begin[t + 1] - begin[t]) / each)
                    l2, l2_b = weight * decay[row, 0], weight * decay[row, 1]
                    pull = pull_b = one - one
                    if decoupled:
                        pull, pull_b = l2, l2_b
                        l2 = l2_b = one - one
                    lr, lr_b = group, group_b
                    if by_row:
                        sum_a = sum_b = one - one
                        for f in range(k):
                            w_f = w[row, f]
                            g_f = disturbed(fma(l2, w_f, g_w[t, f]), key, row, 2 * f + s, std)
                            x_a, x_b = look(w_f, g_f, pull, s_w, row, f, c_w)
                            sum_a, sum_b = sum_a + x_a, sum_b + x_b
                        lr = rate(sum_a, sum_b, ratings.dtype.type(k), s_w, row, lr, c_w)
                        g_0 = disturbed(fma(l2_b, b[row, 0], g_b[t, 0]), key, row, 2 * k + s, std)
                        x_a, x_b = look(b[row, 0], g_0, pull_b, s_b, row, 0, c_b)
                        lr_b = rate(x_a, x_b, one, s_b, row, lr_b, c_b)
                    keep = keep_b = one
                    if decoupled:
                        keep, keep_b = one - lr * pull, one - lr_b * pull_b
                    for f in range(k):
                        w_f = w[row, f]
                        g_f = disturbed(fma(l2, w_f, g_w[t, f]), key, row, 2 * f + s, std)
                        w[row, f] = move(w_f, g_f, keep, pull, s_w, row, f, lr, c_w)
                    b_0 = b[row, 0]
                    g_0 = disturbed(fma(l2_b, b_0, g_b[t, 0]), key, row, 2 * k + s, std)
                    b[row, 0] = move(b_0, g_0, keep_b, pull_b, s_b, row, 0, lr_b, c_b)
                _forget(side, counts[s])
        return losses

    return compiled(parallel=shared, kept=form.is_ours)(descend)  # type: ignore[no-any-return]
