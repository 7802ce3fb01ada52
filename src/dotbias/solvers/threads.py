"""How many threads the compiled loops take."""

from collections.abc import Iterator
from contextlib import contextmanager

from dotbias.errors import SettingError

_RATINGS_PER_THREAD = 100_000


@contextmanager
def threads(n: int | None, n_ratings: int) -> Iterator[None]:
    """Run with a number of threads and set the old one again."""
    import numba

    available: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    if n is not None and n > available:
        raise SettingError(f"n_threads={n}: this machine offers {available}")
    before = numba.get_num_threads()
    # Threads that wait for each other at every diagonal cost more than they bring on a small set.
    numba.set_num_threads(n or min(available, max(1, n_ratings // _RATINGS_PER_THREAD)))
    try:
        yield
    finally:
        numba.set_num_threads(before)
