"""Random numbers for the compiled loops: a hash of a key and of places in a table.

Such a number depends on nothing but its arguments, so neither threads nor the order of the work change
it.
"""

import math
from typing import Any

import numpy as np
from numba.extending import register_jitable

# Steps of this length visit all of 2⁶⁴ before they return (the golden ratio; Steele et al. 2014).
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@register_jitable
def mix(z: Any) -> Any:
    """64 bits, all of which hang on all of ``z`` (the finaliser of splitmix64; Steele et al. 2014)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@register_jitable
def normals(key: Any, row: Any, column: Any) -> Any:
    """Two independent standard normal numbers, float32, for a row and a column below 2³² (Box & Muller
    1958).
    """
    z = mix(key + (np.uint64(row) << np.uint64(32) | np.uint64(column)) * GOLDEN)
    # Two uniform numbers from the halves of one hash, the first above 0.
    a = (np.float64(z >> np.uint64(32)) + 1.0) * 2.0**-32
    b = np.float64(z & np.uint64(0xFFFFFFFF)) * 2.0**-32
    radius, angle = math.sqrt(-2.0 * math.log(a)), 2.0 * math.pi * b
    return np.float32(radius * math.cos(angle)), np.float32(radius * math.sin(angle))


@register_jitable
def normal(key: Any, row: Any, column: Any) -> Any:
    """The first of the two alone."""
    return normals(key, row, column)[0]


@register_jitable
def below(key: Any, row: Any, column: Any, n: Any) -> Any:
    """A whole number from 0 to n - 1, for a row, a column and an ``n`` below 2³² (Lemire 2019)."""
    z = mix(key + (np.uint64(row) << np.uint64(32) | np.uint64(column)) * GOLDEN)
    return np.int64((z >> np.uint64(32)) * np.uint64(n) >> np.uint64(32))
