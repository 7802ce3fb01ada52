"""Preparing: ratings of any size become a folder of blocks."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dotbias import __version__
from dotbias.data.prepared.manifest import PREPARED
from dotbias.data.prepared.prepared import PreparedRatings
from dotbias.data.prepared.write import (
    Plan,
    below_of,
    by_block,
    how_many_blocks,
    item_edges,
    user_edges,
    write_blocks,
)
from dotbias.data.ratings import Ratings
from dotbias.data.split import TEST_SIZE
from dotbias.data.vocabulary import Index, Vocabulary
from dotbias.memory import allowed
from dotbias.settings import generator
from dotbias.whole_file import whole_file

_HASH_SEED = 0


def prepare(
    source: Ratings,
    path: str | Path,
    *,
    memory: int | str | None = None,
    test_size: float = TEST_SIZE,
    seed: int = 0,
    force: bool = False,
) -> PreparedRatings:
    """Lay ratings out in a folder, from which they can be read a block at a time.

    Args:
        source: the ratings.
        path: the folder; one that dotbias has prepared is replaced.
        memory: bytes that later reading may take, or text such as ``"3GiB"``; by default half of what
            there is. Blocks are as many as this takes.
        test_size: the share of ratings to hold out, each by a hash of the seed, its user and its item.
        seed: of that, and of the order within blocks.
        force: whether a folder that is none of dotbias is replaced.

    Raises:
        DataError: where the folder cannot be written, or no rating is left for training.
        SettingError: for a setting outside its range.

    >>> import dotbias as db
    >>> ratings, _ = db.simulate(n_users=100, n_items=50, n_ratings=2000, seed=0)
    >>> prepare(ratings, getfixture("tmp_path") / "ratings.blocks")
    PreparedRatings(2,000 ratings, 1,596 of them for training, 100 users, 50 items, 8 x 8 blocks)
    """
    generator(seed)
    below_of(test_size)
    n_bytes = allowed(memory)
    with whole_file(Path(path), PREPARED, force=force) as folder:
        _write(folder, source, n_bytes, test_size=test_size, seed=seed)
    return PreparedRatings.open(path)


def _write(folder: Path, ratings: Ratings, memory: int, **settings: Any) -> None:
    """Write ratings that are in memory."""
    users, user_ids = _in_order(ratings.user_vocabulary, ratings.user_indices)
    items, item_ids = _in_order(ratings.item_vocabulary, ratings.item_indices)
    user_counts = np.bincount(users, minlength=ratings.n_users)
    item_counts = np.bincount(items, minlength=ratings.n_items)
    n_blocks = how_many_blocks(len(ratings), ratings.n_users, ratings.n_items, memory)
    edges = user_edges(user_counts, n_blocks), item_edges(item_counts, n_blocks)
    plan = Plan(user_counts, item_counts, *edges)
    write_blocks(
        folder,
        plan,
        by_block((users, items, ratings.values), plan.user_edges),
        ids=(user_ids.lazy(), item_ids.lazy()),
        kind=ratings.kind,
        declared_scale=ratings.declared_scale,
        reading=ratings.reading,
        dotbias=__version__,
        **settings,
    )


def hashes(ids: pl.Series) -> NDArray[np.uint64]:
    """The hash of each id, by which text is ordered and everything is dealt out, shape (n,)."""
    return ids.hash(_HASH_SEED).to_numpy()


def _in_order(vocabulary: Vocabulary, index: Index) -> tuple[Index, pl.DataFrame]:
    """The index and the ids in the order in which they are written: integers rise, and text, of which
    there may be more than fits into memory at once, goes by its hash.
    """
    known = {"id": vocabulary.ids, "title": vocabulary.titles, "genres": vocabulary.genres}
    frame = pl.DataFrame({name: column for name, column in known.items() if column is not None})
    if vocabulary.id_type == "integers":
        return index, frame
    order = np.argsort(hashes(vocabulary.ids), kind="stable")  # of ids that are sorted
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    return place[index], frame[order]
