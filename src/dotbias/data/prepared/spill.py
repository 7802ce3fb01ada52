"""Rows on disk, dealt out by a hash, so that those of one part fit into memory."""

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

_HASH_SEED = 0


def hashes(ids: pl.Series) -> NDArray[np.uint64]:
    """The hash of each id, by which text is ordered and everything is dealt out, shape (n,)."""
    return ids.hash(_HASH_SEED).to_numpy()


class Spill:
    """Rows of frames, dealt out to parts by the first bits of a hash; each part keeps their order.

    Args:
        folder: where they lie meanwhile.
        name: of their files.
        n_bits: there are two to the power of this parts.
        n_bytes: what is held in memory until it is written.
    """

    def __init__(self, folder: Path, name: str, n_bits: int, n_bytes: int) -> None:
        self.folder, self.name, self.n_bits, self.n_bytes = folder, name, n_bits, n_bytes
        self._held: list[pl.DataFrame] = []
        self._parts: list[NDArray[np.uint16]] = []
        self._n_held = self._n_runs = 0

    @property
    def n_parts(self) -> int:
        """How many parts there are."""
        return 1 << self.n_bits

    def add(self, rows: pl.DataFrame, key: NDArray[np.uint64]) -> None:
        """Some more rows, and the hash of each."""
        shift = np.uint64(64 - self.n_bits)
        parts = key >> shift if self.n_bits else np.zeros_like(key)
        self._held.append(rows)
        self._parts.append(parts.astype(np.uint16))
        self._n_held += int(rows.estimated_size())
        if self._n_held >= self.n_bytes:
            self.flush()

    def flush(self) -> None:
        """Write what is in memory."""
        if not self._held:
            return
        rows, parts = pl.concat(self._held), np.concatenate(self._parts)
        self._held.clear()
        self._parts.clear()
        self._n_held = 0
        ends = np.cumsum(np.bincount(parts, minlength=self.n_parts))
        rows = rows[np.argsort(parts, kind="stable")]
        start = 0
        for part, end in enumerate(ends.tolist()):
            if end > start:
                path = self.folder / f"{self.name}-{part}-{self._n_runs}.arrow"
                write_ipc(rows[start:end], path)
            start = end
        self._n_runs += 1

    def take(self, part: int) -> pl.DataFrame | None:
        """The rows of a part, which leave the disk; None where there are none."""
        runs = (f"{self.name}-{part}-{run}.arrow" for run in range(self._n_runs))
        paths = [path for run in runs if (path := self.folder / run).exists()]
        if not paths:
            return None
        rows = pl.concat([pl.read_ipc(path) for path in paths], rechunk=True)
        for path in paths:
            path.unlink()
        return rows


def write_ipc(frame: pl.DataFrame | pl.LazyFrame, path: Path) -> None:
    """Write a frame as Arrow IPC.

    Raises:
        OSError: where the disk is full.
    """
    try:
        if isinstance(frame, pl.LazyFrame):
            frame.sink_ipc(path, compression="uncompressed")
        else:
            frame.write_ipc(path, compression="uncompressed")
    except pl.exceptions.PolarsError as error:
        raise OSError(str(error)) from error
