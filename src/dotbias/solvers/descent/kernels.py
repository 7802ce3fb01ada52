"""What the compiled inner loops share, and the loop that takes one rating at a time.

Letters as in docs/notation.md: ``p`` (n_users, k) and ``q`` (n_items, k) are the embeddings, ``b_u``
and ``b_i`` the biases, ``r`` a rating, ``e`` the error of its prediction, ``g`` the derivative of the
loss by the sum of dot product and biases.
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
from dotbias.random import normal
from dotbias.solvers.arithmetic import fma, row_dot
from dotbias.solvers.descent.losses import Loss, Squared
from dotbias.solvers.descent.negatives import unchosen
from dotbias.solvers.descent.rules import GroupRule, RowRule, Rule


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
def _load_4(state: Any, row: Any, f: Any) -> Any:
    return (state[0, row, f], state[1, row, f], state[2, row, f], state[3, row, f])


@register_jitable
def _store_4(state: Any, row: Any, f: Any, slots: Any) -> None:
    state[0, row, f], state[1, row, f] = slots[0], slots[1]
    state[2, row, f], state[3, row, f] = slots[2], slots[3]


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


@register_jitable
def _load_5(state: Any, row: Any, f: Any) -> Any:
    return (
        state[0, row, f],
        state[1, row, f],
        state[2, row, f],
        state[3, row, f],
        state[4, row, f],
    )


@register_jitable
def _store_5(state: Any, row: Any, f: Any, slots: Any) -> None:
    state[0, row, f], state[1, row, f], state[2, row, f] = slots[0], slots[1], slots[2]
    state[3, row, f], state[4, row, f] = slots[3], slots[4]


# Tuples have a fixed length in compiled code, and a loop over one is not vectorised, so each number of
# slots has functions of its own.
_LOAD = (_load_0, _load_1, _load_2, _load_3, _load_4, _load_5)
_STORE = (_store_0, _store_1, _store_2, _store_3, _store_4, _store_5)


class RuleForm(NamedTuple):
    """What of a rule the compiled loops are made of; rules that have it in common share their code.

    Args:
        update: see ``dotbias.solvers.descent.rules``.
        n_slots, per_row, takes_decay: as in ``Rule``.
        look, rate: those of a ``RowRule``, else None.
        of_group: whether the last coefficient is the group's own.
    """

    update: Callable[..., Any]
    n_slots: int
    per_row: bool
    takes_decay: bool
    look: Callable[..., Any] | None
    rate: Callable[..., Any] | None
    of_group: bool

    @classmethod
    def of(cls, rule: type[Rule]) -> "RuleForm":
        """That of a rule."""
        return cls(
            update=rule.update,
            n_slots=rule.n_slots,
            per_row=rule.per_row,
            takes_decay=rule.takes_decay,
            look=rule.look if issubclass(rule, RowRule) else None,
            rate=rule.rate if issubclass(rule, RowRule) else None,
            of_group=issubclass(rule, GroupRule),
        )

    @property
    def is_ours(self) -> bool:
        """Whether a rule is one of the project's own, whose machine code is kept on disk.

        A rule from elsewhere is compiled in every process: what is kept of it could only be loaded where
        its module can be imported, which a notebook's cannot.
        """
        return (self.update.__module__ or "").startswith("dotbias.")


class Steps(NamedTuple):
    """A rule's functions, as the loops call them; all are inlined.

    Args:
        move: the new value of a number, given ``w, g``; ``keep`` and ``pull``, the share of it that
            decoupled decay leaves and the ``λ`` of that decay, or 1 and 0; ``state, row, f``, the place
            of what is kept of it; ``lr, c``. What is kept is changed.
        look: the two terms of a number, given the same but ``keep`` and ``lr``.
        rate: the rate of a row, given the sums of those terms and how many they were; ``state, row``;
            ``lr, c``.
        own: the coefficients of a group, given those of the step and a row of rates, in which the
            groups' numbers follow on their rates, and the number of the group.
        by_row: whether ``look`` and ``rate`` do anything.
    """

    move: Callable[..., Any]
    look: Callable[..., Any]
    rate: Callable[..., Any]
    own: Callable[..., Any]
    by_row: bool


@cache
def steps_of(form: RuleForm) -> Steps:
    """The functions of a rule."""
    update = register_jitable(form.update)
    n_slots, n_of_row = (0, form.n_slots) if form.per_row else (form.n_slots, 0)
    load, store = _LOAD[n_slots], _STORE[n_slots]
    load_row, store_row = _LOAD[n_of_row], _STORE[n_of_row]

    def plain(w: Any, g: Any, keep: Any, pull: Any, state: Any, row: Any, f: Any, lr: Any, c: Any) -> Any:  # noqa: ARG001, E501 # fmt: skip
        step, slots = update(g, load(state, row, f), lr, c)
        store(state, row, f, slots)
        return fma(w, keep, -step)

    def decaying(w: Any, g: Any, keep: Any, pull: Any, state: Any, row: Any, f: Any, lr: Any, c: Any) -> Any:  # noqa: ARG001, E501 # fmt: skip
        step, slots = update(g, pull * w, load(state, row, f), lr, c)
        store(state, row, f, slots)
        return w - step

    def shared(c: Any, rates: Any, group: Any) -> Any:  # noqa: ARG001
        return c

    def own(c: Any, rates: Any, group: Any) -> Any:
        return c + (rates[4 + group],)  # noqa: RUF005

    def no_look(w: Any, g: Any, pull: Any, state: Any, row: Any, f: Any, c: Any) -> Any:  # noqa: ARG001
        return g, g

    def no_rate(a: Any, b: Any, n: Any, state: Any, row: Any, lr: Any, c: Any) -> Any:  # noqa: ARG001
        return lr

    move, of_group = decaying if form.takes_decay else plain, own if form.of_group else shared
    look, rate = no_look, no_rate
    if form.look is not None and form.rate is not None:
        look_at, rate_of = register_jitable(form.look), register_jitable(form.rate)

        def look(w: Any, g: Any, pull: Any, state: Any, row: Any, f: Any, c: Any) -> Any:
            return look_at(g, w, pull * w, load(state, row, f), c)

        def rate(a: Any, b: Any, n: Any, state: Any, row: Any, lr: Any, c: Any) -> Any:
            found, slots = rate_of((a, b), n, load_row(state, row, 0), lr, c)
            store_row(state, row, 0, slots)
            return found

    return Steps(
        move=register_jitable(move),
        look=register_jitable(look),
        rate=register_jitable(rate),
        own=register_jitable(of_group),
        by_row=form.look is not None,
    )


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


@cache
def walk_kernel(
    form: RuleForm,
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
        form: the rule, whose functions are inlined into the loop.
        n_coefficients: how many numbers it gets about a step.
        noisy: whether normal noise is added to the gradients.
        loss: what is minimised, inlined too.

    Returns:
        A function that takes one chunk of ratings after the other and moves the parameters in place.
        The ranges of one chunk are shared out to threads. It returns the sum of the losses of each
        chunk, of predictions made before their own update, shape (n_chunks,). Arguments:
        ``users, items, ratings``; ``ranges`` (n_chunks, n_ranges, 2), first and last row plus one;
        ``p, q, b_u, b_i`` with biases shaped (n, 1); their states, each (n_slots, *shape);
        ``offset, low, width, sigmoid``, the constant of the prediction and the form of the output;
        ``rates`` (n_chunks, 4), learning rates in the order of the groups, or (n_chunks, 8) if the
        groups' own numbers follow;
        ``coefficients`` (n_chunks, n_coefficients); ``decay_u`` (n_users, 2) and ``decay_i``
        (n_items, 2), ``λ`` of each row's factors and bias; ``decoupled``, whether weight decay acts
        beside the gradient; ``clip``, the largest norm of the
        gradient of one rating, or 0; ``noise`` (n_chunks,), its standard deviation, and ``keys``
        (n_chunks,), its seeds; ``negatives`` (``Negatives``), and ``pools`` (n_chunks, n_ranges, 2),
        from which stretch of their pool each range draws.
    """
    move, look, rate, own_of, by_row = steps_of(form)
    disturbed = NOISE[noisy]
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
            of_groups = rates[chunk]
            group_p, group_q = of_groups[0], of_groups[1]
            group_bu, group_bi = of_groups[2], of_groups[3]
            c_p, c_q = own_of(c, of_groups, 0), own_of(c, of_groups, 1)
            c_bu, c_bi = own_of(c, of_groups, 2), own_of(c, of_groups, 3)
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
                        none = np.float32(0)
                        pull_p = pull_q = pull_bu = pull_bi = none
                        if decoupled:
                            pull_p, pull_q, pull_bu, pull_bi = l_p, l_q, l_bu, l_bi
                            l_p = l_q = l_bu = l_bi = none
                        if pairs:
                            l_qj, l_bj = decay_i[j, 0], decay_i[j, 1]
                            pull_qj = pull_bj = none
                            if decoupled:
                                pull_qj, pull_bj = l_qj, l_bj
                                l_qj = l_bj = none
                        own = key + np.uint64(draw)
                        lr_p, lr_q, lr_bu, lr_bi = group_p, group_q, group_bu, group_bi
                        lr_qj, lr_bj = group_q, group_bi
                        if by_row:
                            a_p = b_p = a_q = b_q = a_qj = b_qj = none
                            for f in range(k):
                                p_uf, q_if = p[u, f], q[i, f]
                                y_f = q_if
                                if pairs:
                                    q_jf = q[j, f]
                                    y_f = q_if - q_jf
                                    g_q = fma(-g, p_uf, l_qj * q_jf)
                                    g_q = disturbed(g_q, own, row, 2 * k + 2 + f, std)
                                    x_a, x_b = look(q_jf, g_q, pull_qj, s_q, j, f, c_q)
                                    a_qj, b_qj = a_qj + x_a, b_qj + x_b
                                g_p = disturbed(fma(g, y_f, l_p * p_uf), own, row, f, std)
                                x_a, x_b = look(p_uf, g_p, pull_p, s_p, u, f, c_p)
                                a_p, b_p = a_p + x_a, b_p + x_b
                                g_q = disturbed(fma(g, p_uf, l_q * q_if), own, row, k + f, std)
                                x_a, x_b = look(q_if, g_q, pull_q, s_q, i, f, c_q)
                                a_q, b_q = a_q + x_a, b_q + x_b
                            n_row, n_one = p.dtype.type(k), p.dtype.type(1)
                            lr_p = rate(a_p, b_p, n_row, s_p, u, lr_p, c_p)
                            lr_q = rate(a_q, b_q, n_row, s_q, i, lr_q, c_q)
                            if not pairs:
                                g_bu = disturbed(fma(l_bu, b_u[u, 0], g), own, row, 2 * k, std)
                                x_a, x_b = look(b_u[u, 0], g_bu, pull_bu, s_bu, u, 0, c_bu)
                                lr_bu = rate(x_a, x_b, n_one, s_bu, u, lr_bu, c_bu)
                            g_bi = disturbed(fma(l_bi, b_i[i, 0], g), own, row, 2 * k + 1, std)
                            x_a, x_b = look(b_i[i, 0], g_bi, pull_bi, s_bi, i, 0, c_bi)
                            lr_bi = rate(x_a, x_b, n_one, s_bi, i, lr_bi, c_bi)
                            if pairs:
                                lr_qj = rate(a_qj, b_qj, n_row, s_q, j, lr_qj, c_q)
                                g_bi = fma(l_bj, b_i[j, 0], -g)
                                g_bi = disturbed(g_bi, own, row, 3 * k + 2, std)
                                x_a, x_b = look(b_i[j, 0], g_bi, pull_bj, s_bi, j, 0, c_bi)
                                lr_bj = rate(x_a, x_b, n_one, s_bi, j, lr_bj, c_bi)
                        keep_p = keep_q = keep_bu = keep_bi = one
                        if decoupled:
                            keep_p, keep_q = one - lr_p * pull_p, one - lr_q * pull_q
                            keep_bu, keep_bi = one - lr_bu * pull_bu, one - lr_bi * pull_bi
                        if pairs:
                            keep_qj = keep_bj = one
                            if decoupled:
                                keep_qj, keep_bj = one - lr_qj * pull_qj, one - lr_bj * pull_bj
                        for f in range(k):
                            p_uf, q_if = p[u, f], q[i, f]
                            y_f = q_if
                            if pairs:
                                q_jf = q[j, f]
                                y_f = q_if - q_jf
                                g_q = fma(-g, p_uf, l_qj * q_jf)
                                g_q = disturbed(g_q, own, row, 2 * k + 2 + f, std)
                                q[j, f] = move(q_jf, g_q, keep_qj, pull_qj, s_q, j, f, lr_qj, c_q)
                            g_p = disturbed(fma(g, y_f, l_p * p_uf), own, row, f, std)
                            p[u, f] = move(p_uf, g_p, keep_p, pull_p, s_p, u, f, lr_p, c_p)
                            g_q = disturbed(fma(g, p_uf, l_q * q_if), own, row, k + f, std)
                            q[i, f] = move(q_if, g_q, keep_q, pull_q, s_q, i, f, lr_q, c_q)
                        if not pairs:  # it is in both scores
                            b = b_u[u, 0]
                            g_bu = disturbed(fma(l_bu, b, g), own, row, 2 * k, std)
                            b_u[u, 0] = move(b, g_bu, keep_bu, pull_bu, s_bu, u, 0, lr_bu, c_bu)
                        b = b_i[i, 0]
                        g_bi = disturbed(fma(l_bi, b, g), own, row, 2 * k + 1, std)
                        b_i[i, 0] = move(b, g_bi, keep_bi, pull_bi, s_bi, i, 0, lr_bi, c_bi)
                        if pairs:
                            b = b_i[j, 0]
                            g_bi = disturbed(fma(l_bj, b, -g), own, row, 3 * k + 2, std)
                            b_i[j, 0] = move(b, g_bi, keep_bj, pull_bj, s_bi, j, 0, lr_bj, c_bi)
                losses[chunk, a] += range_losses
        return losses.sum(axis=1)

    return compiled(parallel=True, kept=form.is_ours)(walk)  # type: ignore[no-any-return]
