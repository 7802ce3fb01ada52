"""How many threads the compiled loops take."""

from collections.abc import Iterator
from contextlib import contextmanager

from dotbias.errors import SettingError

# Ratings that make one thread more worth while: where each is walked over, and threads wait for each
# other at every diagonal; and where a regression is solved for every row, which takes far longer.
WALKED, SOLVED = 100_000, 10_000


@contextmanager
def threads(n: int | None, n_ratings: int, per_thread: int = WALKED) -> Iterator[None]:
    """Run with a number of threads and set the old one again.

    Args:
        n: how many; None for as many as pay.
        n_ratings: what they share out.
        per_thread: how many of these each should have.

    Raises:
        SettingError: for more than there are.
    """
    import numba

    available: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    if n is not None and n > available:
        raise SettingError(f"n_threads={n}: this machine offers {available}")
    before = numba.get_num_threads()
    numba.set_num_threads(n or min(available, max(1, n_ratings // per_thread)))
    try:
        yield
    finally:
        numba.set_num_threads(before)
