"""The compiled loops of the Gibbs sampler.

All rows stand in one table, the users' first, then the items', then those of further modes (such as the
month of a rating): shape (n_rows, width), float32, with the bias in column 0, the factors after it, and
zeros up to a whole number of vector registers. Random numbers depend on a key, the row and the column
alone, and sums are taken in an order that the data fix: threads change nothing.
"""

from typing import Any

import numpy as np
from numba import prange
from numba.extending import register_jitable
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from dotbias.compiled import compiled
from dotbias.models.base import Array
from dotbias.random import normal, normals
from dotbias.solvers.arithmetic import dot, fma
from dotbias.solvers.least_squares.normal_equations import (
    LANES,
    add_products,
    factorise,
    solve_lower,
    solve_upper,
)

# Rows and ratings are dealt out to so many parts, however many threads there are.
_BLOCKS = 64
# Ratings whose vectors are gathered before their products are summed: they stay in the first cache.
_PANEL = 64
# Rows with no more ratings than one for so many columns, and than a panel holds, are drawn by a system
# of their ratings, not of their columns: several times as fast, and of most sets most rows.
_SHORT = 3
# Share of the largest diagonal element that is added to the diagonal: where there is next to no noise,
# single precision would fail without it.
_DAMPING = np.float32(5e-6)


@register_jitable
def _gather(table: Any, partners: Any, rating: Any, y: Any) -> Any:
    """Sum of the partners' vectors into y, and what they add to the prediction by themselves.

    The products of the partners with each other are taken from sums and squares, as in a
    factorisation machine (Rendle 2010, lemma 3.1).
    """
    width = len(y)
    first = partners[rating, 0]
    for f in range(width):
        y[f] = table[first, f]
    offset = y[0]
    n = partners.shape[1]
    if n > 1:
        squares = dot(y, 1, y, 1, width - 1)
        for m in range(1, n):
            partner = partners[rating, m]
            offset += table[partner, 0]
            own = partner * width + 1
            squares += dot(table, own, table, own, width - 1)
            for f in range(1, width):
                y[f] += table[partner, f]
        offset += np.float32(0.5) * (dot(y, 1, y, 1, width - 1) - squares)
    y[0] = np.float32(1)
    return offset


@register_jitable
def _fill(
    panel: Any,
    first: Any,
    n: Any,
    partners: Any,
    targets: Any,
    table: Any,
    k: Any,
    weights: Any,
    y: Any,
) -> None:
    """Of n ratings from the first on the rows ``√v y``, and in column k ``√v`` times what their partners
    by themselves leave of the target.
    """
    for r in range(n):
        rating = first + r
        t = targets[rating] - _gather(table, partners, rating, y)
        weight = weights[partners[rating, 0]]
        for m in range(1, partners.shape[1]):
            weight *= weights[partners[rating, m]]
        root = np.sqrt(weight)
        for f in range(len(y)):
            panel[r, f] = root * y[f]
        panel[r, k] = root * t


@register_jitable
def _times(x: Any, k: Any, matrix: Any, out: Any) -> None:
    """``out ← x · matrix``, of the first k numbers of x."""
    for f in range(len(out)):
        out[f] = np.float32(0)
    for a in range(k):
        for f in range(len(out)):
            out[f] = fma(x[a], matrix[a, f], out[f])


@register_jitable
def _noise(key: Any, row: Any, first: Any, n: Any, out: Any) -> None:
    """Independent standard normal numbers, for n columns from the first on."""
    for f in range(0, n, 2):
        one, other = normals(key, row, first + f)
        out[f] = one
        if f + 1 < n:
            out[f + 1] = other


@register_jitable
def _draw_short(
    panel: Any,
    n: Any,
    k: Any,
    x: Any,
    mean: Any,
    roots: Any,
    alpha: Any,
    relaxation: Any,
    key: Any,
    row: Any,
    work: Any,
    gram: Any,
    g: Any,
    moved: Any,
) -> Any:
    """Draw a row of n ratings, fewer than it has columns, by an (n, n) system; see ``draw_rows``.

    Where ``s = Fᵀ (x - μ)`` is standard normal before the ratings, a draw after them is one from before
    that the ratings correct: ``s ← ε + Ŷᵀ (Ŷ Ŷᵀ + 1/α)⁻¹ (r + η/√α - Ŷ ε)``, with ``Ŷ`` the rows of the
    panel times ``F⁻ᵀ``, ``r`` what the prior mean leaves of the targets, and ε, η standard normal.

    Args:
        panel: as ``_fill`` left it.
        x: the row, and receives the new one.
        mean: its prior mean.
        roots: ``F``, ``F⁻¹`` and ``F⁻ᵀ``, (3, width, width).
        alpha: noise precision times the row's weight.
        work, gram, g, moved: scratch of shapes (n + 3, width), (n, n), (n,) and (width,), all but the
            first in double precision: two ratings of one partner are nearly the same equation.

    Returns:
        The sum of squared errors.
    """
    d, s, eps = work[n], work[n + 1], work[n + 2]
    spread = np.sqrt(np.float32(1) - relaxation * relaxation)
    for f in range(len(d)):
        d[f] = x[f] - mean[f]
        eps[f] = np.float32(0)
    _times(d, k, roots[0], s)
    _noise(key, row, 0, k, eps)
    for f in range(k):
        eps[f] *= spread
    noise = spread / np.sqrt(alpha)
    for r in range(n):
        _times(panel[r], k, roots[2], work[r])
        left = panel[r, k] - dot(panel[r], 0, mean, 0, k)
        drawn = dot(work[r], 0, eps, 0, k) + noise * normal(key, row, k + r)
        g[r] = (np.float32(1) - relaxation) * left - drawn
        for q in range(r + 1):
            gram[r, q] = dot(work[r], 0, work[q], 0, k)
        gram[r, r] += 1.0 / alpha
    for r in range(n):  # Cholesky, and the first of two triangular systems
        for q in range(r + 1):
            total = gram[r, q]
            for c in range(q):
                total -= gram[r, c] * gram[q, c]
            gram[r, q] = np.sqrt(total) if q == r else total / gram[q, q]
        total = g[r]
        for c in range(r):
            total -= gram[r, c] * g[c]
        g[r] = total / gram[r, r]
    for step in range(n):
        r = n - 1 - step
        total = g[r]
        for c in range(r + 1, n):
            total -= gram[c, r] * g[c]
        g[r] = total / gram[r, r]
    for f in range(len(d)):
        moved[f] = 0.0
    for r in range(n):
        for f in range(len(d)):
            moved[f] += g[r] * work[r, f]
    for f in range(len(d)):
        s[f] = fma(relaxation, s[f], eps[f]) + np.float32(moved[f])
    _times(s, k, roots[1], d)
    for f in range(k):
        x[f] = mean[f] + d[f]
    square = 0.0
    for r in range(n):
        square += np.float64(panel[r, k] - dot(panel[r], 0, x, 0, k)) ** 2
    return square


@compiled(parallel=True)
def _draw_rows(
    order: Any,
    starts: Any,
    partners: Any,
    targets: Any,
    table: Any,
    k: Any,
    first_row: Any,
    mean: Any,
    precision: Any,
    roots: Any,
    noise_precision: Any,
    weights: Any,
    relaxation: Any,
    key: Any,
    short: Any,
    squares: Any,
) -> None:
    width, n_rows = table.shape[1], len(order)
    used = -(-k // LANES) * LANES  # the column of the target may be in a register of its own
    n_blocks = min(_BLOCKS, n_rows)
    spread = np.sqrt(np.float32(1) - relaxation * relaxation)
    for block in prange(n_blocks):
        matrix = np.empty((width, width), np.float32)
        panel = np.zeros((_PANEL, width), np.float32)
        y, sums = np.empty(width, np.float32), np.empty(width, np.float32)
        x = np.empty(width, np.float32)
        work, gram = np.empty((short + 3, width), np.float32), np.empty((short, short))
        g, moved = np.empty(short), np.empty(width)
        for at in range(block, n_rows, n_blocks):
            row = order[at]
            first, last = starts[row], starts[row + 1]
            alpha = noise_precision * weights[first_row + row]
            if last - first <= short:
                _fill(panel, first, last - first, partners, targets, table, k, weights, y)
                squares[row] = _draw_short(
                    panel,
                    last - first,
                    k,
                    table[first_row + row],
                    mean[row],
                    roots,
                    alpha,
                    relaxation,
                    key,
                    row,
                    work,
                    gram,
                    g,
                    moved,
                )
                continue
            matrix[:] = 0
            for start in range(first, last, _PANEL):
                n = min(_PANEL, last - start)
                _fill(panel, start, n, partners, targets, table, k, weights, y)
                # The target is in a column of padding, so its products come with the others.
                add_products(panel, n, matrix)
            target_squares, largest = np.float64(matrix[k, k]), np.float32(0)
            for a in range(k):
                prior = dot(precision, a * width, mean, row * width, k)
                sums[a] = matrix[a, k]
                x[a] = alpha * sums[a] + prior
                for b in range(a, k):
                    matrix[a, b] = fma(alpha, matrix[a, b], precision[a, b])
                largest = max(largest, matrix[a, a])
            damping = _DAMPING * largest
            for a in range(k):
                matrix[a, a] += damping
            for b in range(k, width):
                for a in range(b):
                    matrix[a, b] = np.float32(0)
                matrix[b, b] = np.float32(1)
                x[b] = np.float32(0)
            factorise(matrix, used)
            solve_lower(matrix, x, used)
            square = np.float64(0)
            _noise(key, row, 0, k, y)
            for f in range(k):
                before = dot(matrix, f * width + f, table, (first_row + row) * width + f, k - f)
                x[f] += relaxation * (before - x[f]) + spread * y[f]
                square += x[f] * x[f]
            solve_upper(matrix, x)
            # The errors follow from the sums: with U the factor, |U x|² is x' (α w Σ v y y' + Λ) x.
            fitted = np.float64(0)
            for a in range(k):
                product = dot(precision, a * width, x, 0, k)
                square -= (product + damping * x[a]) * x[a]
                fitted += sums[a] * x[a]
                table[first_row + row, a] = x[a]
            row_squares = target_squares - 2.0 * fitted + square / alpha
            squares[row] = max(0.0, row_squares)


def draw_rows(
    order: Any,
    starts: Any,
    partners: Any,
    targets: Any,
    table: Array,
    k: int,
    first_row: int,
    mean: Array,
    factor: NDArray[np.float64],
    noise_precision: float,
    weights: Array,
    relaxation: float,
    key: np.uint64,
    squares: NDArray[np.float64],
) -> None:
    """Draw each row of one mode from its conditional distribution, the other modes held.

    A row is normal with precision ``Λ + α w Σ v y yᵀ``, where y sums its partners' vectors and has 1 in
    place of the bias, w is its own weight and v the product of its partners' (Salakhutdinov & Mnih 2008,
    eqs. 11 to 13). The draw may depend on the row as it was, ``x' = μ + θ (x - μ) + √(1 - θ²) z`` with
    ``z`` of the conditional's covariance (Adler 1981), which leaves the same distribution for any θ.

    Args:
        order: rows of the mode to draw, counted within the mode, the costliest first.
        starts: ratings of each row, as in a compressed sparse table.
        partners: rows of the table that each rating's other modes have, (n_ratings, n_modes - 1).
        targets: ratings less their mean.
        table: all rows; those of the mode change.
        k: columns in use, at least one fewer than there are.
        first_row: where in the table the mode begins.
        mean: prior mean of each row, (n, width).
        factor: ``F``, lower triangular, with ``F Fᵀ = Λ``, (k, k).
        noise_precision: ``α``.
        weights: of each row of the table.
        relaxation: θ, above -1 and below 1.
        key: seed of the draws.
        squares: receives each row's sum of squared errors after its draw, weighted by v, (n,).
    """
    width = table.shape[1]
    precision, roots = np.zeros((width, width), np.float32), np.zeros((3, width, width), np.float32)
    precision[:k, :k] = factor @ factor.T
    inverse = solve_triangular(factor, np.eye(k), lower=True)
    roots[:, :k, :k] = factor, inverse, inverse.T
    _draw_rows(
        order,
        starts,
        partners,
        targets,
        table,
        k,
        first_row,
        mean,
        precision,
        roots,
        np.float32(noise_precision),
        weights,
        np.float32(relaxation),
        key,
        min(k // _SHORT, _PANEL),
        squares,
    )


@compiled(parallel=True)
def part_sums(
    starts: Any, partners: Any, targets: Any, table: Any, first_row: Any, moved: Any, weights: Any
) -> Any:
    """How the errors of a mode's ratings go with four parts of what its rows predict.

    The parts ``g`` of a rating are what effects moved the row's bias by, what they moved its factors by,
    the whole bias, and the factors' whole product; the error is what the prediction lacks.

    Args:
        starts, partners, targets, table, first_row, weights: as in ``draw_rows``.
        moved: what effects move each row by, (n, width).

    Returns:
        For each block of rows the upper triangle of the sum of ``w v g gᵀ``, and below it the sum of
        ``w v g e``: (n_blocks, 5, 4).
    """
    width, n_rows = table.shape[1], len(starts) - 1
    out = np.zeros((_BLOCKS, 5, 4))
    for block in prange(_BLOCKS):
        y = np.empty(width, np.float32)
        sums = out[block]
        for row in range(block, n_rows, _BLOCKS):
            own = (first_row + row) * width + 1
            bias = table[first_row + row, 0]
            n = moves = products = errors = np.float64(0)
            moves_2 = moves_products = products_2 = moves_errors = products_errors = np.float64(0)
            for rating in range(starts[row], starts[row + 1]):
                offset = _gather(table, partners, rating, y)
                weight = np.float64(weights[partners[rating, 0]])
                for m in range(1, partners.shape[1]):
                    weight *= weights[partners[rating, m]]
                move = np.float64(dot(moved, row * width + 1, y, 1, width - 1))
                product = np.float64(dot(table, own, y, 1, width - 1))
                error = np.float64(targets[rating] - offset - bias) - product
                n += weight
                errors += weight * error
                moves += weight * move
                products += weight * product
                moves_2 += weight * move * move
                moves_products += weight * move * product
                products_2 += weight * product * product
                moves_errors += weight * move * error
                products_errors += weight * product * error
            # A row's bias is the same in all its ratings.
            w, a, b = np.float64(weights[first_row + row]), np.float64(moved[row, 0]), bias
            sums[0, 0] += w * a * a * n
            sums[0, 1] += w * a * moves
            sums[0, 2] += w * a * b * n
            sums[0, 3] += w * a * products
            sums[1, 1] += w * moves_2
            sums[1, 2] += w * b * moves
            sums[1, 3] += w * moves_products
            sums[2, 2] += w * b * b * n
            sums[2, 3] += w * b * products
            sums[3, 3] += w * products_2
            sums[4, 0] += w * a * errors
            sums[4, 1] += w * moves_errors
            sums[4, 2] += w * b * errors
            sums[4, 3] += w * products_errors
    return out


@compiled(parallel=True)
def predict_rows(table: Any, members: Any) -> Any:
    """Sum of biases and of all products of two vectors, for the rows of the table that are named.

    Args:
        table: all rows.
        members: each rating's row in every mode, (n, n_modes).

    Returns:
        Shape (n,), float32.
    """
    width = table.shape[1]
    out = np.empty(len(members), np.float32)
    for block in prange(_BLOCKS):
        y = np.empty(width, np.float32)
        for at in range(block, len(members), _BLOCKS):
            out[at] = _gather(table, members, at, y)
    return out


@compiled(parallel=True)
def _moments(rows: Any, centre: Any) -> Any:
    n_rows, width = rows.shape
    n_blocks = max(1, min(_BLOCKS, n_rows // _PANEL))
    sums, products = np.zeros((n_blocks, width)), np.zeros((n_blocks, width, width))
    last_centre = len(centre) - 1
    for block in prange(n_blocks):
        panel = np.zeros((_PANEL, width), np.float32)
        part = np.zeros((width, width), np.float32)
        for start in range(block * _PANEL, n_rows, n_blocks * _PANEL):
            n = min(_PANEL, n_rows - start)
            for r in range(n):
                c = min(start + r, last_centre)
                for f in range(width):
                    panel[r, f] = rows[start + r, f] - centre[c, f]
                for f in range(width):
                    sums[block, f] += panel[r, f]
            part[:] = 0
            add_products(panel, n, part)
            for a in range(width):
                for b in range(a, width):
                    products[block, a, b] += part[a, b]
    return sums, products


def moments(rows: Array, centre: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum of ``d = row - centre[row]`` and of ``d dᵀ``: shapes (width,) and (width, width).

    The centre is a table of as many rows, or of a single one for all.
    """
    sums, products = _moments(rows, centre)
    # Added up here: compiled for several threads, the order of a sum may depend on their number.
    upper = np.triu(products.sum(axis=0))
    return sums.sum(axis=0), upper + np.triu(upper, 1).T


@compiled(parallel=True)
def to_groups(rows: Any, shift: Any, matrix: Any, groups: Any) -> None:
    """``groups ← (rows - shift) matrix``, its columns in groups of a vector register.

    Args:
        rows, shift: shape (n, width).
        matrix: shape (width, width).
        groups: receives the first columns of the result, shape (n_groups, n, LANES).
    """
    n_rows, width = rows.shape
    for block in prange(_BLOCKS):
        x = np.empty(width, np.float32)
        for row in range(block, n_rows, _BLOCKS):
            x[:] = 0
            for a in range(width):
                value = rows[row, a] - shift[row, a]
                for b in range(width):
                    x[b] = fma(value, matrix[a, b], x[b])
            for group in range(len(groups)):
                for f in range(LANES):
                    groups[group, row, f] = x[group * LANES + f]


@compiled(parallel=True)
def from_groups(groups: Any, matrix: Any, out: Any) -> None:
    """The way back: ``out ← groups · matrix``, shape (n, width)."""
    n_rows, width = out.shape
    for block in prange(_BLOCKS):
        x = np.empty(width, np.float32)
        for row in range(block, n_rows, _BLOCKS):
            x[:] = 0
            for group in range(len(groups)):
                for f in range(LANES):
                    value = groups[group, row, f]
                    for b in range(width):
                        x[b] = fma(value, matrix[group * LANES + f, b], x[b])
            for b in range(width):
                out[row, b] = x[b]


@compiled(parallel=True)
def draw_effects(
    starts: Any,
    rows: Any,
    values: Any,
    decay: Any,
    effects: Any,
    residual: Any,
    relaxation: Any,
    key: Any,
) -> None:
    """Draw the effects of features on rows, one feature after the other, each from its conditional.

    In coordinates in which the rows scatter around their prior mean with unit covariance, columns are
    independent of each other: threads share them. A pass costs what the features' non-zeros cost,
    however many rows share a feature, and the residual is kept up to date.

    Args:
        starts, rows, values: the features column by column, as in a compressed sparse table.
        decay: prior precision of each feature's effects.
        effects: shape (n_groups, n_features, LANES).
        residual: rows less their prior mean, effects taken off, shape (n_groups, n_rows, LANES).
        relaxation: as in ``draw_rows``.
        key: seed of the draws.
    """
    spread = np.sqrt(np.float32(1) - relaxation * relaxation)
    for group in prange(len(effects)):
        change, drawn = np.empty((2, LANES), np.float32)
        for feature in range(len(starts) - 1):
            change[:] = 0
            square = np.float32(0)
            for at in range(starts[feature], starts[feature + 1]):
                row, value = rows[at], values[at]
                square += value * value
                for f in range(LANES):
                    change[f] = fma(value, residual[group, row, f], change[f])
            scale = np.float32(1) / (square + decay[feature])
            deviation = spread * np.sqrt(scale)
            _noise(key, feature, group * LANES, LANES, drawn)
            for f in range(LANES):
                before = effects[group, feature, f]
                mean = scale * (change[f] + square * before)
                moved = mean + relaxation * (before - mean) + deviation * drawn[f]
                effects[group, feature, f] = moved
                change[f] = effects[group, feature, f] - before
            for at in range(starts[feature], starts[feature + 1]):
                row, value = rows[at], values[at]
                for f in range(LANES):
                    residual[group, row, f] = fma(-value, change[f], residual[group, row, f])


def key_of(rng: np.random.Generator) -> np.uint64:
    """A seed of one loop's draws."""
    return np.uint64(rng.integers(1, 2**63))
