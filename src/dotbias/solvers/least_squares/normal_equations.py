"""Many small regressions at once: each row of one side on the other side, held (linear regression).

With the other side held, a row ``x = (b, p)`` of bias and factors is the solution of a regression on the
vectors ``y = (1, q)`` of its ratings' partners. Alternating least squares solves it, and folding in is
the same for one row; a Gibbs sampler draws from the normal distribution around it with kernels of its
own that share the algebra here.

All tables here have the bias in column 0, the factors in columns 1 to k, and zeros up to a whole number
of vector registers: shape (n, ``padded(k + 1)``), float32.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic, register_jitable

from dotbias.compiled import compiled
from dotbias.solvers.arithmetic import dot, fma, fused

# Numbers in a vector register of today's laptops (AVX); narrower ones take two registers for it.
LANES = 8
# Rows are dealt out to so many threads at most. Their number does not depend on the threads that are
# there, so sums are taken in the same order by any number of them.
_BLOCKS = 64
# Ratings whose vectors are gathered before their products are summed: they stay in the first cache.
_PANEL = 64
# Share of the largest diagonal element, before penalties, that is added to the diagonal. It keeps single
# precision from failing on a singular system; a second step takes its effect out again.
_DAMPING = 1e-6
# Diagonal element of what must not move.
_STIFF = 1e30


def padded(n: int) -> int:
    """The number of columns that n numbers take."""
    return -(-n // LANES) * LANES


def _tile(sign: int) -> Any:
    """``out[8, 8] += sign · Σ_r left[r, :8]ᵀ right[r, :8]``, held in eight registers all the while.

    Neither Numba's loops nor a library's matrix product come near the speed of this on matrices as
    small as ours: it is written in the compiler's own language.
    """

    @intrinsic
    def tile(
        typing_context: Any,  # noqa: ARG001
        left: Any,  # noqa: ARG001
        right: Any,  # noqa: ARG001
        n: Any,  # noqa: ARG001
        stride: Any,  # noqa: ARG001
        out: Any,  # noqa: ARG001
        out_stride: Any,  # noqa: ARG001
    ) -> Any:
        signature = types.void(*[types.intp] * 6)

        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            left, right, n, stride, out, out_stride = arguments
            number, integer = ir.FloatType(), n.type
            vector = ir.VectorType(number, LANES)
            lanes = ir.VectorType(ir.IntType(32), LANES)
            undefined = ir.Constant(vector, ir.Undefined)

            def constant(value: int) -> Any:
                return ir.Constant(integer, value)

            def pointer(address: Any, kind: Any) -> Any:
                return builder.inttoptr(address, kind.as_pointer())

            def load_vector(address: Any) -> Any:
                loaded = builder.load(pointer(address, vector))
                loaded.align = 4
                return loaded

            def spread(value: Any) -> Any:
                first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
                return builder.shuffle_vector(first, undefined, ir.Constant(lanes, [0] * LANES))

            row_bytes = builder.mul(stride, constant(4))
            out_bytes = builder.mul(out_stride, constant(4))
            rows_out = [builder.add(out, builder.mul(out_bytes, constant(a))) for a in range(LANES)]
            before = [load_vector(address) for address in rows_out]
            entry = builder.block
            loop, done = builder.append_basic_block("loop"), builder.append_basic_block("done")
            builder.branch(loop)

            builder.position_at_end(loop)
            row, at_left, at_right = (builder.phi(integer) for _ in range(3))
            sums = [builder.phi(vector) for _ in range(LANES)]
            right_row = load_vector(at_right)
            if sign < 0:
                right_row = builder.fneg(right_row)
            after = []
            for a in range(LANES):
                address = builder.add(at_left, constant(4 * a))
                factor = spread(builder.load(pointer(address, number)))
                after.append(fused(builder, factor, right_row, sums[a]))
            next_row = builder.add(row, constant(1))
            for phi, start, following in [
                (row, constant(0), next_row),
                (at_left, left, builder.add(at_left, row_bytes)),
                (at_right, right, builder.add(at_right, row_bytes)),
                *zip(sums, before, after, strict=True),
            ]:
                phi.add_incoming(start, entry)
                phi.add_incoming(following, loop)
            builder.cbranch(builder.icmp_signed("<", next_row, n), loop, done)

            builder.position_at_end(done)
            for address, value in zip(rows_out, after, strict=True):
                builder.store(value, pointer(address, vector)).align = 4
            return context.get_dummy_value()

        return signature, generate

    return tile


add_tile, _subtract_tile = _tile(1), _tile(-1)


@register_jitable
def add_products(panel: Any, n: Any, total: Any) -> None:
    """Add ``Σ_r y_r y_rᵀ`` over the first n >= 1 rows of the panel to the upper triangle of total."""
    width = panel.shape[1]
    for b in range(0, width, LANES):
        for a in range(0, b + 1, LANES):
            add_tile(
                panel.ctypes.data + 4 * a,
                panel.ctypes.data + 4 * b,
                n,
                width,
                total.ctypes.data + 4 * (a * width + b),
                width,
            )


@register_jitable
def factorise(matrix: Any, n: Any) -> None:
    """Cholesky: the upper triangle of a positive definite matrix becomes ``U`` with ``UᵀU = matrix``.

    Of the first n rows and columns, a whole number of vector registers.
    """
    width = matrix.shape[0]
    start = matrix.ctypes.data
    for j in range(0, n, LANES):
        if j > 0:
            for b in range(j, n, LANES):
                here = start + 4 * (j * width + b)
                _subtract_tile(start + 4 * j, start + 4 * b, j, width, here, width)
        for a in range(j, j + LANES):
            for above in range(j, a):
                share = matrix[above, a]
                for b in range(j, n):
                    matrix[a, b] = fma(-share, matrix[above, b], matrix[a, b])
            scale = np.float32(1) / math.sqrt(matrix[a, a])
            for b in range(j, n):
                matrix[a, b] *= scale


@register_jitable
def solve_lower(upper: Any, x: Any, n: Any) -> None:
    """``x ← U⁻ᵀ x``, of the first n numbers."""
    for a in range(n):
        x[a] /= upper[a, a]
        for b in range(a + 1, n):
            x[b] = fma(-x[a], upper[a, b], x[b])


@register_jitable
def solve_upper(upper: Any, x: Any) -> None:
    """``x ← U⁻¹ x``."""
    width = len(x)
    for step in range(width):
        a = width - 1 - step
        known = dot(upper, a * width + a + 1, x, a + 1, step)
        x[a] = (x[a] - known) / upper[a, a]


@compiled(parallel=True)
def solve_rows(
    order: Any,
    starts: Any,
    partners: Any,
    targets: Any,
    others: Any,
    rows: Any,
    mean: Any,
    precision: Any,
    weights: Any,
    held: Any,
    n_steps: Any,
) -> Any:
    """Solve each row's regression in place.

    Row x minimises ``½ Σ (t - b_other - x · y)² + ½ w (x - m)ᵀ Λ (x - m)`` over its ratings, where y is
    the partner's vector with 1 in place of its bias. Each step is a Newton step from where the row is:
    errors of the factorisation only slow it down, and the objective falls however singular the system.

    Args:
        order: rows to solve, shape (m,), the costliest first.
        starts, partners, targets: the ratings row by row, as in a compressed sparse table.
        others: the other side's table.
        rows: this side's table; the rows of ``order`` start from what it holds, and change.
        mean: ``m`` of each row, a table like rows.
        precision: ``Λ``, shape (width, width).
        weights: ``w`` of each row, shape (n,).
        held: how many of the first columns stay as they are: 0, or 1 for a bias that is held.
        n_steps: Newton steps; one is exact up to single precision and damping.

    Returns:
        The sum of squared errors after the steps, each block's rows summed in order.
    """
    width, n_rows = others.shape[1], len(order)
    n_blocks = min(_BLOCKS, n_rows)
    squares = np.zeros(max(n_blocks, 1))
    for block in prange(n_blocks):
        normal_matrix = np.empty((width, width), np.float32)
        panel = np.zeros((_PANEL, width), np.float32)
        x, step = np.empty(width, np.float32), np.empty(width, np.float32)
        gradient, part = np.empty(width), np.empty(width, np.float32)
        block_squares = 0.0
        for at in range(block, n_rows, n_blocks):
            row = order[at]
            first, last = starts[row], starts[row + 1]
            w = weights[row]
            for f in range(width):
                x[f] = rows[row, f]
            for pass_number in range(n_steps):
                gradient[:] = 0
                if pass_number == 0:
                    normal_matrix[:] = 0
                for start in range(first, last, _PANEL):
                    n = min(_PANEL, last - start)
                    part[:] = 0
                    for r in range(n):
                        other = partners[start + r]
                        panel[r, 0] = np.float32(1)
                        for f in range(1, width):
                            panel[r, f] = others[other, f]
                        e = (
                            others[other, 0]
                            - targets[start + r]
                            + dot(panel, r * width, x, 0, width)
                        )
                        for f in range(width):
                            part[f] = fma(e, panel[r, f], part[f])
                    for f in range(width):
                        gradient[f] += part[f]
                    if pass_number == 0:
                        add_products(panel, n, normal_matrix)
                for f in range(width):
                    part[f] = x[f] - mean[row, f]
                for a in range(width):
                    step[a] = gradient[a] + w * dot(precision, a * width, part, 0, width)
                for a in range(held):
                    step[a] = 0
                if pass_number == 0:
                    largest = np.float32(0)  # a huge penalty of one would hold all still
                    for a in range(width):
                        largest = max(largest, normal_matrix[a, a])
                        for b in range(a, width):
                            normal_matrix[a, b] = fma(w, precision[a, b], normal_matrix[a, b])
                            if a < held:
                                normal_matrix[a, b] = 0
                    for a in range(width):
                        if normal_matrix[a, a] > 0:
                            normal_matrix[a, a] += np.float32(_DAMPING) * largest
                        else:  # held, padding, or nothing known at all: nothing moves it
                            normal_matrix[a, a] = np.float32(_STIFF)
                    factorise(normal_matrix, width)
                solve_lower(normal_matrix, step, width)
                solve_upper(normal_matrix, step)
                for f in range(width):
                    x[f] -= step[f]
            for f in range(width):
                rows[row, f] = x[f]
            for at_rating in range(first, last):
                other = partners[at_rating]
                e = x[0] + others[other, 0] - targets[at_rating]
                e += dot(x, 1, others, other * width + 1, width - 1)
                block_squares += np.float64(e) ** 2
        squares[block] = block_squares
    total = 0.0  # one after the other: a sum of the whole array would be cut up among the threads
    for block in range(n_blocks):
        total += squares[block]
    return total
