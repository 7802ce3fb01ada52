"""Writing a folder of prepared ratings, one user block at a time."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dotbias.data.grid import (
    USERS_PER_GROUP,
    Values,
    balanced_blocks,
    group_counts,
    held_out,
    scatter,
    shuffle,
)
from dotbias.data.prepared.manifest import (
    COLUMNS,
    FORMAT,
    SMALL,
    VERSION,
    Manifest,
    Moments,
    checksum,
    checksum_of,
    write_manifest,
)
from dotbias.data.prepared.spill import write_ipc
from dotbias.data.vocabulary import Index
from dotbias.errors import DataError, SettingError
from dotbias.memory import in_units

Rows = tuple[Index, Index, Values]
"""User index, item index and value of ratings, shape (n,) each."""

HowMany = Callable[[int, int, int], int]
"""``how_many_blocks`` of a number of ratings, users and items, with all else settled."""

TYPES: dict[str, type[np.generic]] = {"users": np.int32, "items": np.int32, "values": np.float32}

_BYTES_OF_A_RATING = 12
# Three stripes, of what a block is made from and what it becomes, in this part of the memory.
_STRIPES, _PART_OF_MEMORY = 3, 8


@dataclass(frozen=True, eq=False)
class Plan:
    """How ratings are cut into blocks.

    Args:
        user_counts, item_counts: number of ratings of each user, shape (n_users,), and item.
        user_edges, item_edges: first index of each block, then the number of rows: shape
            (n_blocks + 1,).
    """

    user_counts: NDArray[np.int64]
    item_counts: NDArray[np.int64]
    user_edges: NDArray[np.int64]
    item_edges: NDArray[np.int64]

    @property
    def n_blocks(self) -> int:
        """How many blocks there are on each side."""
        return len(self.user_edges) - 1

    @property
    def n(self) -> int:
        """Number of ratings."""
        return int(self.user_counts.sum())


def how_many_blocks(
    n: int,
    n_users: int,
    n_items: int,
    *,
    memory: float,
    n_blocks: int | None = None,
    n_workers: int = 1,
) -> int:
    """Blocks on each side: as many as the grid in memory has, or more, so that three stripes fit into an
    eighth of the memory and each worker has one; or as many as are asked for.

    Args:
        n, n_users, n_items: of ratings, users, items.
        memory: bytes that may be taken.
        n_blocks: how many are asked for.
        n_workers: how many workers are to share a fit.

    Raises:
        SettingError: where so many as are asked for would take too much memory, or cannot be.
    """
    usual = 8 if n < 1_000_000 else 16
    needed = int(-(-_STRIPES * _BYTES_OF_A_RATING * _PART_OF_MEMORY * n // memory))
    n_groups = -(-n_users // USERS_PER_GROUP)
    most = max(1, min(n_groups, n_items))
    if n_blocks is None:
        return min(max(usual, needed, n_workers), most)
    said = f"n_blocks={n_blocks} (--blocks {n_blocks})"
    if n_blocks < min(needed, most):
        raise SettingError(
            f"{said}: {_STRIPES} user blocks would take more than an eighth of the "
            f"{in_units(memory)} of memory: {n:,} ratings need at least {min(needed, most):,} blocks, "
            "or more memory"
        )
    if n_blocks > most:
        raise SettingError(
            f"{said}: there can be at most {most:,} blocks, "
            + (f"one for {USERS_PER_GROUP} users" if n_groups < n_items else "one for each item")
        )
    return n_blocks


def user_edges(counts: NDArray[np.int64], n_blocks: int) -> NDArray[np.int64]:
    """Where user blocks of about as many ratings begin: at multiples of the users of a group."""
    edges = _edges(group_counts(counts), n_blocks) * USERS_PER_GROUP
    return np.minimum(edges, len(counts))  # the last group may have fewer, and a block none


def item_edges(counts: NDArray[np.int64], n_blocks: int) -> NDArray[np.int64]:
    """Where item blocks of about as many ratings begin."""
    return _edges(counts, n_blocks)


def _edges(counts: NDArray[np.int64], n_blocks: int) -> NDArray[np.int64]:
    blocks = balanced_blocks(counts, n_blocks)
    return np.searchsorted(blocks, np.arange(n_blocks + 1)).astype(np.int64)


def below_of(test_size: float) -> np.uint64:
    """The number below which the hash of a rating that is held out lies.

    Raises:
        SettingError: for a share that is none.
    """
    if isinstance(test_size, bool) or not (
        isinstance(test_size, int | float) and 0 <= test_size < 1
    ):
        raise SettingError(
            f"test_size={test_size!r}: test_size must be a share of the ratings, at least 0 and below 1"
        )
    return np.uint64(min(int(test_size * 2.0**64), 2**64 - 1))


def write_blocks(
    folder: Path,
    plan: Plan,
    stripes: Iterable[Rows],
    *,
    ids: tuple[pl.LazyFrame, pl.LazyFrame],
    test_size: float,
    seed: int,
    **said: Any,
) -> Manifest:
    """Write all files of a folder.

    The order of a block's rows follows from the rows, the plan and the seed, not from the order in which
    they come.

    Args:
        folder: an empty one.
        plan: how the ratings are cut.
        stripes: the rows of each user block, one block after the other, in any order.
        ids: columns ``id``, perhaps ``title`` and ``genres``, of users and of items, row by row.
        test_size: the share of ratings to hold out.
        seed: what decides which, and in what order they stand.
        said: what else the manifest says.

    Raises:
        DataError: where no rating is left for training.
    """
    n, n_blocks = plan.n, plan.n_blocks
    below = below_of(test_size)
    starts = np.zeros(n_blocks * n_blocks + 1, np.int64)
    held = np.zeros(n_blocks * n_blocks, np.int64)
    block_of_item = np.repeat(np.arange(n_blocks, dtype=np.int32), np.diff(plan.item_edges))
    user_counts = np.stack([plan.user_counts, plan.user_counts])
    item_counts = np.stack([plan.item_counts, plan.item_counts])
    training, whole = _Sums(), _Sums()
    crcs: dict[str, list[int]] = {name: [] for name in COLUMNS}
    with ExitStack() as stack:
        files = {name: stack.enter_context(_array(folder, name, n)) for name in COLUMNS}
        done = 0
        for a, rows in enumerate(stripes):
            first, stop = plan.user_edges[a], plan.user_edges[a + 1]
            users, items, values = _ordered(rows, first, len(plan.item_counts))
            whole.add(values)
            out = held_out(users, items, np.uint64(seed % 2**64), below)
            user_counts[0, first:stop] -= np.bincount(users[out] - first, minlength=stop - first)
            item_counts[0] -= np.bincount(items[out], minlength=len(plan.item_counts))
            parts = []
            for number, mask in enumerate((~out, out)):
                chosen = users[mask] - np.int32(first), items[mask], values[mask]
                if number == 0:
                    training.add(chosen[2])
                key = np.random.SeedSequence([seed % 2**64, a, number]).generate_state(1, np.uint64)
                parts.append(_laid_out(chosen, stop - first, block_of_item, n_blocks, key[0]))
            users, items, values = _merged(parts, n_blocks, np.int32(first))
            lengths = np.diff(np.stack([begins for *_, begins in parts]))
            blocks = slice(a * n_blocks, (a + 1) * n_blocks)
            starts[1:][blocks] = done + np.cumsum(lengths.sum(axis=0))
            held[blocks] = starts[:-1][blocks] + lengths[0]
            done += len(users)
            for name, column in zip(COLUMNS, (users, items, values), strict=True):
                files[name].write(column.data)
                crcs[name].append(checksum_of([column]))
    if not training.n:
        raise DataError(f"test_size={test_size!r} of {n:,} ratings leaves none for training")
    arrays = {
        "starts": starts,
        "held": held,
        "user_edges": plan.user_edges,
        "item_edges": plan.item_edges,
        "user_counts": user_counts,
        "item_counts": item_counts,
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    for side, frame in zip(("user", "item"), ids, strict=True):
        write_ipc(frame, folder / f"{side}_ids.arrow")
    manifest = Manifest(
        format=FORMAT,
        version=VERSION,
        n_users=len(plan.user_counts),
        n_items=len(plan.item_counts),
        n_blocks=n_blocks,
        seed=seed,
        test_size=test_size,
        training=training.moments(),
        whole=whole.moments(),
        checksums={name: checksum(folder / name) for name in SMALL},
        stripes=crcs,
        **said,
    )
    write_manifest(folder, manifest)
    return manifest


def _array(folder: Path, name: str, n: int) -> IO[bytes]:
    """The file of a column, in which the numbers are still to be written."""
    file = (folder / f"{name}.npy").open("wb")
    described = {"descr": np.dtype(TYPES[name]).str, "fortran_order": False, "shape": (n,)}
    np.lib.format.write_array_header_1_0(file, described)
    return file


def _ordered(rows: Rows, first: int, n_items: int) -> Rows:
    """The rows by user and item, each pair of which occurs once."""
    users, items, values = rows
    pairs = (users - np.int32(first)).astype(np.uint64) * np.uint64(n_items) + items.view(np.uint32)
    order = np.argsort(pairs)
    return users[order], items[order], values[order]


def _laid_out(
    rows: Rows, n_users: int, block_of_item: NDArray[np.int32], n_blocks: int, key: np.uint64
) -> tuple[Index, Index, Values, NDArray[np.int64]]:
    """Rows of one user block, whose users are counted from 0, by item block; and where each begins."""
    groups = np.zeros(-(-n_users // USERS_PER_GROUP), np.int32)
    users, items, values, buckets, begins = scatter(*rows, groups, block_of_item, 1, n_blocks)
    shuffle(users, items, values, buckets, key)
    return users, items, values, begins


def _merged(
    parts: list[tuple[Index, Index, Values, NDArray[np.int64]]], n_blocks: int, first: np.int32
) -> Rows:
    """Of each item block first the rows of the one part, then those of the other."""

    def column(number: int) -> NDArray[Any]:
        return np.concatenate(
            [part[number][part[3][b] : part[3][b + 1]] for b in range(n_blocks) for part in parts]
        )

    return column(0) + first, column(1), column(2)


class _Sums:
    """Mean and variance of numbers that come in portions (Chan, Golub & LeVeque 1983)."""

    def __init__(self) -> None:
        self.n, self.mean, self.squares = 0, 0.0, 0.0
        self.lowest, self.highest = np.inf, -np.inf

    def add(self, values: Values) -> None:
        """Some more numbers."""
        if not len(values):
            return
        n, mean = len(values), float(values.mean(dtype=np.float64))
        squares = float(values.var(dtype=np.float64)) * n
        apart = mean - self.mean
        total = self.n + n
        self.squares += squares + apart * apart * (self.n / total) * n
        self.mean += apart * (n / total)
        self.n = total
        self.lowest = min(self.lowest, float(values.min()))
        self.highest = max(self.highest, float(values.max()))

    def moments(self) -> Moments:
        """What has come so far."""
        std = float(np.sqrt(self.squares / self.n))
        return Moments(n=self.n, mean=self.mean, std=std, lowest=self.lowest, highest=self.highest)


def by_block(rows: Rows, edges: NDArray[np.int64]) -> Iterator[Rows]:
    """Rows that are all in memory, block by block of users."""
    users, items, values = rows
    blocks = (np.searchsorted(edges, users, side="right") - 1).astype(np.int32)
    order = np.argsort(blocks, kind="stable")
    stops = np.cumsum(np.bincount(blocks, minlength=len(edges) - 1))
    for a, stop in enumerate(stops):
        chosen = order[stops[a - 1] if a else 0 : stop]
        yield users[chosen], items[chosen], values[chosen]
