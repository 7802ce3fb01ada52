"""Many small regressions at once, each improved from where it is by conjugate gradients.

With one side of a dot product held, a row x of the other side minimises

    Σ c (t - y·x)² + Σ_f d_f x_f²  - 2 g·x

over its known pairs: y is the partner's vector, c how much the pair counts and t its target. The second
sum is a penalty that all rows share but for a constant of their own, in the basis in which it is
diagonal (``eigenbasis``). Seen from there no row meets a matrix: a step costs two multiplications for
each number of its partners' vectors, and the diagonal is all that it takes to whiten the system, as if
each vector had come multiplied by ``1/√d`` (Hestenes & Stiefel 1952; Takács, Pilászy & Tikk 2011).
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic

from dotbias.compiled import compiled
from dotbias.solvers.arithmetic import dot, fma, fused, loop
from dotbias.solvers.least_squares.normal_equations import LANES

# Rows are dealt out to so many threads at most.
_BLOCKS = 64
# Vectors that are read side by side: as many sums as it takes to keep a processor busy.
_TOGETHER = 8
# Numbers of partners' vectors that stay in the first cache between the two uses of a step.
_NEAR = 4096
# Pairs whose products are summed in single precision before they go to a sum in double precision.
_SPAN = 512
ONE = np.ones(1, np.float32)
"""A number of each row or pair that is 1 for all."""

# What is left to gain, as a share of what the penalty is, when a row counts as solved.
_ROUNDING = np.float32(1e-13)


# The intrinsics take addresses. What they share are functions: a kernel's name in the cache of compiled
# code tells their text, but not that of a class.


def _constant(at: Any, value: int) -> Any:
    return ir.Constant(at.type, value)


def _pointer(builder: Any, start: Any, at: Any, kind: Any) -> Any:
    """Where number ``at`` after an address is, as a pointer to a kind."""
    address = builder.add(start, builder.mul(at, _constant(at, 4)))
    return builder.inttoptr(address, kind.as_pointer())


def _load(builder: Any, start: Any, at: Any) -> Any:
    """A vector register of numbers."""
    kind = ir.VectorType(ir.FloatType(), LANES)
    loaded = builder.load(_pointer(builder, start, at, kind))
    loaded.align = 4
    return loaded


def _store(builder: Any, value: Any, start: Any, at: Any) -> None:
    builder.store(value, _pointer(builder, start, at, value.type)).align = 4


def _eight(builder: Any, table: Any, width: Any, which: Any) -> list[Any]:
    """Addresses of eight rows of a table, whose numbers stand at ``which``."""
    found = []
    for r in range(_TOGETHER):
        where = _pointer(builder, which, _constant(width, r), ir.IntType(32))
        row = builder.sext(builder.load(where), width.type)
        offset = builder.mul(builder.mul(row, width), _constant(width, 4))
        found.append(builder.add(table, offset))
    return found


def _eight_dots_code(
    typing_context: Any,  # noqa: ARG001
    table: Any,  # noqa: ARG001
    width: Any,  # noqa: ARG001
    which: Any,  # noqa: ARG001
    x: Any,  # noqa: ARG001
    out: Any,  # noqa: ARG001
) -> Any:
    """``out[r] = table[which[r]] · x`` for eight r."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        table, width, which, x, out = arguments
        rows = _eight(builder, table, width, which)

        def add(at: Any, sums: Any) -> Any:
            here = _load(builder, x, at)
            return [
                fused(builder, _load(builder, row, at), here, total)
                for row, total in zip(rows, sums, strict=True)
            ]

        zero = ir.Constant(ir.VectorType(ir.FloatType(), LANES), [0.0] * LANES)
        sums = loop(builder, _constant(width, 0), width, LANES, add, [zero] * _TOGETHER)

        def halved(a: Any, b: Any, first: list[int], second: list[int]) -> Any:
            lanes = ir.VectorType(ir.IntType(32), LANES)
            parts = (builder.shuffle_vector(a, b, ir.Constant(lanes, c)) for c in (first, second))
            return builder.fadd(*parts)

        # Numbers of one vector are added within their half of a register, which is quick.
        pairs = [
            halved(sums[r], sums[r + 4], [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15])
            for r in range(4)
        ]
        fours = [
            halved(pairs[r], pairs[r + 1], [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15])
            for r in (0, 2)
        ]
        total = halved(fours[0], fours[1], [0, 2, 8, 10, 4, 6, 12, 14], [1, 3, 9, 11, 5, 7, 13, 15])
        _store(builder, total, out, _constant(width, 0))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 5), generate


def _eight_added_code(
    typing_context: Any,  # noqa: ARG001
    table: Any,  # noqa: ARG001
    width: Any,  # noqa: ARG001
    which: Any,  # noqa: ARG001
    factors: Any,  # noqa: ARG001
    out: Any,  # noqa: ARG001
) -> Any:
    """``out += Σ factors[r] table[which[r]]`` over eight r."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        table, width, which, factors, out = arguments
        rows = _eight(builder, table, width, which)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        undefined = ir.Constant(ir.VectorType(ir.FloatType(), LANES), ir.Undefined)
        spread = []
        for r in range(_TOGETHER):
            where = _pointer(builder, factors, _constant(width, r), ir.FloatType())
            first = builder.insert_element(
                undefined, builder.load(where), ir.Constant(ir.IntType(32), 0)
            )
            spread.append(builder.shuffle_vector(first, undefined, lanes))

        def add(at: Any, _: Any) -> Any:
            total = _load(builder, out, at)
            for row, factor in zip(rows, spread, strict=True):
                total = fused(builder, factor, _load(builder, row, at), total)
            _store(builder, total, out, at)
            return []

        loop(builder, _constant(width, 0), width, LANES, add, [])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 5), generate


_eight_dots: Any = intrinsic(_eight_dots_code)
_eight_added: Any = intrinsic(_eight_added_code)


@compiled(parallel=True)
def improve_rows(
    order: Any,
    starts: Any,
    partners: Any,
    targets: Any,
    weights: Any,
    own_lengths: Any,
    partner_lengths: Any,
    others: Any,
    diagonal: Any,
    scales: Any,
    penalties: Any,
    rows: Any,
    linear: Any,
    n_steps: Any,
) -> Any:
    """Improve each row in place.

    Args:
        order: rows to improve, shape (m,), the costliest first.
        starts, partners: the known pairs row by row, as in a compressed sparse table, int32.
        targets: ``t`` of each pair, shape (n,), or of all of them, shape (1,), float32.
        weights: ``c``, likewise, at least 0.
        own_lengths, partner_lengths: what the target of a pair is multiplied by for its row and for its
            partner, shape (n_rows,) and (n_others,), or (1,) where that is 1 for all, float32.
        others: the other side's table, shape (n_others, width), width a multiple of 8, float32.
        diagonal: the part of ``d`` that all rows share, at least 0, shape (width,), float32. A number
            whose ``d`` is 0 stays as it is.
        scales: what that is multiplied by for each row, shape (n_rows,), or (1,) for all, float32.
        penalties: each row's own part, at least 0, shape (n_rows,), float32.
        rows: this side's table, shape (n_rows, width), float32; the rows of ``order`` change.
        linear: ``g``, a table like rows; without rows where it is 0 everywhere.
        n_steps: steps of conjugate gradients, at least 1; fewer where the rest is rounding.

    Returns:
        ``Σ c (t - y·x)²`` and ``Σ d x²`` of each row after the steps, shape (n_rows,) each, float64;
        zeros for rows that are not in ``order``.
    """
    width, n_rows = others.shape[1], len(order)
    squares, lengths = np.zeros(len(rows)), np.zeros(len(rows))
    t_step, c_step = int(len(targets) > 1), int(len(weights) > 1)
    own_step, partner_step = int(len(own_lengths) > 1), int(len(partner_lengths) > 1)
    scale_step = int(len(scales) > 1)
    table, near, longest = others.ctypes.data, _TOGETHER, 0
    while 2 * near * width <= _NEAR:
        near *= 2
    for row in order:
        longest = max(longest, starts[row + 1] - starts[row])
    room = longest + _TOGETHER
    for block in prange(min(_BLOCKS, n_rows)):
        x, direction = np.empty(width, np.float32), np.empty(width, np.float32)
        residual, ahead = np.empty(width, np.float32), np.empty(width, np.float32)
        d, inverse = np.empty(width, np.float32), np.empty(width, np.float32)
        product = np.empty(width)
        errors, change = np.empty(room, np.float32), np.empty(room, np.float32)
        weighted = np.empty(room, np.float32)
        last_partners = np.zeros(_TOGETHER, np.int32)
        for at in range(block, n_rows, _BLOCKS):
            row = order[at]
            first = starts[row]
            n = starts[row + 1] - first
            whole = n // _TOGETHER * _TOGETHER
            for f in range(width):
                x[f] = rows[row, f]
                d[f] = fma(scales[row * scale_step], diagonal[f], penalties[row])
                inverse[f] = np.float32(1) / d[f] if d[f] > 0 else np.float32(0)
            # The last pairs are filled up with partners who count nothing.
            for r in range(whole, n):
                last_partners[r - whole] = partners[first + r]
            which, last = partners.ctypes.data + 4 * first, last_partners.ctypes.data
            power = np.float32(0)
            for step in range(
                n_steps + 1
            ):  # before the first step errors are those of the row itself
                along = x if step == 0 else direction
                product[:] = 0
                ahead[:] = 0
                for start in range(0, n, near):
                    stop = min(start + near, n)
                    for r in range(start, stop, _TOGETHER):
                        _eight_dots(
                            table,
                            width,
                            which + 4 * r if r < whole else last,
                            along.ctypes.data,
                            change.ctypes.data + 4 * r,
                        )
                    for r in range(start, stop):
                        if step == 0:
                            partner = partners[first + r] * partner_step
                            target = targets[(first + r) * t_step] * own_lengths[row * own_step]
                            errors[r] = target * partner_lengths[partner] - change[r]
                            weighted[r] = weights[(first + r) * c_step] * errors[r]
                        else:
                            weighted[r] = weights[(first + r) * c_step] * change[r]
                    if step == n_steps:  # nothing comes after it
                        continue
                    for r in range(stop, stop + _TOGETHER):
                        weighted[r] = np.float32(0)
                    for r in range(start, stop, _TOGETHER):
                        _eight_added(
                            table,
                            width,
                            which + 4 * r if r < whole else last,
                            weighted.ctypes.data + 4 * r,
                            ahead.ctypes.data,
                        )
                    if stop % _SPAN == 0:
                        for f in range(width):
                            product[f] += ahead[f]
                            ahead[f] = 0
                for f in range(width):
                    product[f] += ahead[f]
                    ahead[f] = d[f] * along[f]
                if step == 0:
                    for f in range(width):
                        residual[f] = product[f] - ahead[f]
                        if len(linear) > 0:
                            residual[f] += linear[row, f]
                        direction[f] = inverse[f] * residual[f]
                    power = dot(residual, 0, direction, 0, width)
                else:
                    curvature = dot(change, 0, weighted, 0, n) + dot(ahead, 0, along, 0, width)
                    length = power / curvature
                    for r in range(n):
                        errors[r] = fma(-length, change[r], errors[r])
                    for f in range(width):
                        x[f] = fma(length, direction[f], x[f])
                        residual[f] -= length * (product[f] + ahead[f])
                        ahead[f] = inverse[f] * residual[f]
                    before, power = power, dot(residual, 0, ahead, 0, width)
                    ratio = power / before
                    for f in range(width):
                        direction[f] = fma(ratio, direction[f], ahead[f])
                for f in range(width):
                    ahead[f] = d[f] * x[f]
                size = dot(ahead, 0, x, 0, width)
                # No row is further from its solution than that, as its penalty measures it.
                if not power > _ROUNDING * size:
                    break
            lengths[row] = size
            for f in range(width):
                rows[row, f] = x[f]
            for start in range(0, n, _SPAN):
                stop = min(start + _SPAN, n)
                for r in range(start, stop):
                    weighted[r] = weights[(first + r) * c_step] * errors[r]
                squares[row] += dot(weighted, start, errors, start, stop - start)
    return squares, lengths
