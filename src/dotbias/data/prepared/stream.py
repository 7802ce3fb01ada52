"""From a source of any size to the rows of each user block, with memory for a part of them alone.

1. Batches of the source are dealt out to files by a hash of the user.
2. Each such part alone has all ratings of its users: it gives them numbers and makes one of repeated
   pairs. What is left is dealt out by a hash of the item, with numbers in the place of users.
3. Each of those parts gives its items numbers. Now the blocks are known, and rows go to the file of
   theirs.
4. Each of those is laid out.

No part of text is ever whole in memory. Integers rise in a vocabulary, and take up eight bytes each.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dotbias.data import values
from dotbias.data.formats.table import Table
from dotbias.data.prepared.batches import Batch, Batches, Size
from dotbias.data.prepared.spill import Spill, hashes, write_ipc
from dotbias.data.prepared.write import HowMany, Plan, Rows, item_edges, user_edges
from dotbias.data.ratings import Ratings, Scale
from dotbias.data.read import (
    DUPLICATES,
    Duplicates,
    GoodRows,
    KnownTitles,
    OnBad,
    encode_rows,
    good_rows,
    without_repeats,
)
from dotbias.data.reading import NONE, Reading
from dotbias.data.scan import BadRow, places
from dotbias.data.vocabulary import Index, Vocabulary
from dotbias.errors import DataError, NothingLeftError
from dotbias.progress import Advance

if TYPE_CHECKING:
    from dotbias.data.kind import Kind

_MOST = 2**31 - 1
_ROW = np.dtype([("user", np.int32), ("item", np.int32), ("value", np.float32)])
# Shares of the work, for the bar.
_READING, _USERS, _ITEMS, _BLOCKS = 0.5, 0.2, 0.15, 0.15
# What a row of a part takes in memory while the part is worked on, and what part of the memory that may
# be. Of a batch of text, which becomes a frame of ids and numbers, likewise.
_BYTES_OF_A_ROW, _PART = 400, 6
_BATCH_OF_TEXT, _BATCH_OF_ROWS, _HELD = 64, 1600, 12
_MOST_BITS = 12


@dataclass(frozen=True)
class Sizes:
    """What is held in memory at once.

    Args:
        batch: of the source.
        rows: of a part.
        held: bytes that are written together.
    """

    batch: Size
    rows: int
    held: int

    @classmethod
    def of(cls, memory: int) -> "Sizes":
        """As the memory allows."""
        batch = Size(memory // _BATCH_OF_TEXT, memory // _BATCH_OF_ROWS)
        return cls(batch, memory // _PART // _BYTES_OF_A_ROW, memory // _HELD)


@dataclass(frozen=True, kw_only=True)
class HowToRead:
    """What a user says of a source, beside its ``Reading``: see ``read_ratings``."""

    scale: tuple[float, float] | None = None
    on_bad: OnBad = "error"
    duplicates: Duplicates | None = None
    sure: bool = False


@dataclass(eq=False)
class Side:
    """The users, or items, as they are found.

    Args:
        folder: where text is kept.
        name: "user" or "item".
        titles: of items.
    """

    folder: Path
    name: str
    titles: KnownTitles = field(default_factory=KnownTitles)
    n: int = 0
    n_titles: int = 0
    is_text: bool = False
    _counts: list[NDArray[np.int64]] = field(default_factory=list)
    _ids: list[NDArray[np.int64]] = field(default_factory=list)
    _files: list[Path] = field(default_factory=list)

    def add(self, vocabulary: Vocabulary, index: Index) -> Index:
        """Number the ids of a part, and count their ratings."""
        self.is_text = vocabulary.id_type == "text"
        if self.n + len(vocabulary) > _MOST:
            raise DataError(f"there are more than {_MOST:,} {self.name}s")
        if self.is_text:
            vocabulary = self.titles.of(vocabulary)
            self.n_titles += vocabulary.n_titles
            index, frame = in_order(vocabulary, index)
            self._files.append(self.folder / f"{self.name}-ids-{len(self._files)}.arrow")
            write_ipc(frame, self._files[-1])
        else:
            self._ids.append(vocabulary.ids.cast(pl.Int64).to_numpy())
        self._counts.append(np.bincount(index, minlength=len(vocabulary)))
        numbers = index + np.int32(self.n)
        self.n += len(vocabulary)
        return numbers

    def finish(self) -> "Numbered":
        """All of them in their last order."""
        counts = np.concatenate(self._counts)
        if self.is_text:
            lf = pl.concat([pl.scan_ipc(path, glob=False) for path in self._files])
            return Numbered(lf if self.n_titles else lf.select("id"), counts, None)
        ids = np.concatenate(self._ids)
        self._ids.clear()
        order = np.argsort(ids)
        rank = np.empty(len(ids), np.int32)
        rank[order] = np.arange(len(ids), dtype=np.int32)
        vocabulary = self.titles.of(Vocabulary(pl.Series(ids[order])))
        self.n_titles = vocabulary.n_titles
        known = vocabulary.described() if self.n_titles else vocabulary.ids.to_frame()
        return Numbered(known.lazy(), counts[order], rank)


@dataclass(frozen=True, eq=False)
class Numbered:
    """Users, or items, in their last order.

    Args:
        ids: their ids, and titles and genres where there are any.
        counts: number of ratings of each, shape (n,).
        rank: the last number of each by the one it had before, shape (n,); None where it is the same.
    """

    ids: pl.LazyFrame
    counts: NDArray[np.int64]
    rank: Index | None

    def renumbered(self, index: Index) -> Index:
        """Numbers in the last order."""
        return index if self.rank is None else self.rank[index]


@dataclass(eq=False)
class Report:
    """What happened meanwhile."""

    n_rows: int = 0
    n_bad: int = 0
    bad_sample: tuple[BadRow, ...] = ()
    n_duplicates: int = 0
    dated: bool = False
    titles: KnownTitles = field(default_factory=KnownTitles)
    n_titles: int = 0


class Stream:
    """The way of a source through the four steps.

    Args:
        batches: the source.
        reading: all that is known of it.
        said: what the user says.
        given: what of the reading the user has said.
        titles: of the items; None where they may be among the rows.
        sizes: what is held in memory.
        n_rows: how many rows there are, about.
        folder: for what lies on disk meanwhile.
        advance: moves a bar up to 1.
    """

    def __init__(
        self,
        batches: Batches,
        reading: Reading,
        said: HowToRead,
        given: Reading,
        *,
        titles: KnownTitles | None,
        sizes: Sizes,
        n_rows: int,
        folder: Path,
        advance: Advance,
    ) -> None:
        assert reading.kind is not None
        self.batches, self.reading, self.said, self.given = batches, reading, said, given
        self.kind: Kind = reading.kind
        self.sizes, self.folder, self.advance = sizes, folder, advance
        self.duplicates = said.duplicates or DUPLICATES[self.kind]
        self.scale: Scale | None = None
        self.report = Report()
        self._titles = titles
        self._own: list[pl.DataFrame] = []
        self._earliest: int | None = None
        bits = (max(1, -(-n_rows // max(1, sizes.rows))) - 1).bit_length()
        self._bits = min(bits, _MOST_BITS)

    def rows(
        self, how_many: HowMany
    ) -> tuple[Plan, tuple[pl.LazyFrame, pl.LazyFrame], Iterator[Rows]]:
        """How the ratings are cut, the ids of users and items, and the rows of each user block."""
        by_user = self._read()
        users, by_item = self._number_users(by_user)
        n = int(users.counts.sum())
        n_blocks = how_many(n, len(users.counts), _MOST)
        edges = user_edges(users.counts, n_blocks)
        items = self._number_items(by_item, users, edges)
        n_blocks = how_many(n, len(users.counts), len(items.counts))
        plan = Plan(
            users.counts,
            items.counts,
            user_edges(users.counts, n_blocks),
            item_edges(items.counts, n_blocks),
        )
        return plan, (users.ids, items.ids), self._blocks(plan, edges, items)

    # -- 1 -----------------------------------------------------------------------------------------

    def _read(self) -> Spill:
        """Deal the rows of the source out by user."""
        spill = Spill(self.folder, "users", self._bits, self.sizes.held)
        nothing: NothingLeftError | None = None
        n_good = 0
        for number, batch in enumerate(self.batches.cut(self.sizes.batch, self.reading)):
            try:
                good = self._good(batch)
            except NothingLeftError as error:
                nothing = nothing or error
                self.report.n_rows += error.n_bad
                self.report.n_bad += error.n_bad
                self.report.bad_sample = self.report.bad_sample or error.bad_sample
                continue
            finally:
                said = f"{self.report.n_rows:,} rows read"
                self.advance(_READING * batch.share, said)
            report = self.report
            report.n_rows += good.n_rows
            report.n_bad += good.n_bad
            report.bad_sample = report.bad_sample or good.bad_sample
            self.scale = good.scale
            frame = self._as_kept(good, number)
            n_good += frame.height
            spill.add(frame, hashes(frame["user"]))
        if not n_good:
            raise nothing or DataError(f"{self.batches.name}: there are no rows")
        spill.flush()
        return spill

    def _good(self, batch: Batch) -> GoodRows:
        """The rows of a batch, whose ids are of the type that they are in all others."""
        how = vars(self.said) | {"origin": batch.origin}
        types = {"user": self.reading.user_ids, "item": self.reading.item_ids}
        # Integers that are not said to be such must also be written as such, in each batch.
        strict: dict[str, Any] = {
            f"{role}_ids": self.given.get(f"{role}_ids") if kind == "integers" else kind
            for role, kind in types.items()
        }
        reading = replace(self.reading, encoding=None, **strict)
        good = good_rows(batch.content, reading, **how)
        for role, kind in types.items():
            if kind == "integers" and not good.frame.schema[role].is_integer():
                self._refuse(role, good.table, batch, how, reading)
        return good

    def _refuse(
        self, role: str, table: Table, batch: Batch, how: dict[str, Any], reading: Reading
    ) -> None:
        """Name an id that is no integer, where those before were."""
        advice = (
            f"the {role} ids before are integers: pass {role}_ids='text' (on the command line "
            f"--{role}-ids text) if they are text"
        )
        try:
            integers: dict[str, Any] = {f"{role}_ids": "integers"}
            good_rows(batch.content, replace(reading, **integers), **how | {"on_bad": "error"})
        except DataError as error:
            raise DataError(f"{str(error).partition('; ')[0]}; {advice}") from None
        raise DataError(
            f"{table.name}: an id in column {table.column(role)} is not written as an integer is, such "
            f"as 007; {advice}"
        )

    def _as_kept(self, good: GoodRows, number: int) -> pl.DataFrame:
        """The columns that go on: ids in one type, the value, seconds, and the row of an error."""
        frame = good.frame
        columns = [
            pl.col(role).cast(pl.String if kind == "text" else pl.Int64)
            for role, kind in (("user", self.reading.user_ids), ("item", self.reading.item_ids))
        ]
        if "value" in frame.columns and self.kind != "events":
            columns.append(pl.col("value"))
        if self.duplicates == "error":
            columns.append((pl.col("row").cast(pl.Int64) + (number << 40)).alias("row"))
        if self._titles is None and "title" in frame.columns:
            own = values.own_titles(frame.with_columns(columns))
            if own is not None:
                self._own = [
                    pl.concat([*self._own, own], how="diagonal").unique(maintain_order=True)
                ]
        if self.reading.time in (None, NONE):
            return frame.select(columns)
        self.report.dated = True
        # As they stand: in whatever unit they are, which one batch may not show, their order is the
        # same. A batch without any time is read without the column.
        nothing = pl.repeat(None, frame.height, dtype=pl.Int64, eager=True)
        times = frame["time"].cast(pl.Int64) if "time" in frame.columns else nothing
        if (earliest := times.min()) is not None:
            known = self._earliest
            self._earliest = int(earliest) if known is None else min(known, int(earliest))  # type: ignore[arg-type]
        return frame.select(*columns, times.alias("time"))

    # -- 2 -----------------------------------------------------------------------------------------

    def _number_users(self, by_user: Spill) -> tuple[Numbered, Spill]:
        """Number users, make one of repeated pairs, and deal what is left out by item."""
        users = Side(self.folder, "user")
        by_item = Spill(self.folder, "items", self._bits, self.sizes.held)
        kind = self.kind
        for part in range(by_user.n_parts):
            frame = by_user.take(part)
            self.advance(_USERS / by_user.n_parts, "users")
            if frame is None:
                continue
            ratings = self._once(frame)
            if ratings.kind != self.kind:
                kind = ratings.kind  # events of which several are a count
            index = users.add(ratings.user_vocabulary, ratings.user_indices)
            items = ratings.item_vocabulary.ids
            rows = pl.DataFrame(
                {
                    "user": index,
                    "item": items.gather(ratings.item_indices),
                    "value": ratings.values,
                }
            )
            by_item.add(rows, hashes(items)[ratings.item_indices])
        by_item.flush()
        self.kind = kind
        return users.finish(), by_item

    def _once(self, frame: pl.DataFrame) -> Ratings:
        """The ratings of some users, one for each pair."""
        rows = frame.drop_in_place("row") if "row" in frame.columns else None
        if "time" in frame.columns:
            time = frame.get_column_index("time")
            if self._earliest is None:
                frame.drop_in_place("time")
            elif frame["time"].null_count():
                frame.replace_column(time, frame["time"].fill_null(self._earliest))
        every = encode_rows(frame, self.scale, self.kind)

        def where(*at: int) -> str:
            assert rows is not None
            return self._where([int(rows[number]) for number in at])

        ratings = without_repeats(every, self.duplicates, where)
        self.report.n_duplicates += len(every) - len(ratings)
        return ratings

    def _where(self, rows: list[int]) -> str:
        """Where two rows stand, for which their batches are opened again."""
        by_batch: dict[int, list[int]] = {}
        for row in sorted(rows):
            by_batch.setdefault(row >> 40, []).append(row & ((1 << 40) - 1))
        batches = enumerate(self.batches.cut(self.sizes.batch, self.reading))
        found = ((each, by_batch[number]) for number, each in batches if number in by_batch)
        return ", and ".join(places(self._good(batch).table, at) for batch, at in found)

    # -- 3 -----------------------------------------------------------------------------------------

    def _number_items(self, by_item: Spill, users: Numbered, edges: NDArray[np.int64]) -> Numbered:
        """Number items, and write the rows of each user block into a file."""
        titles = self._titles
        if titles is None:
            titles = KnownTitles(self._own[0]) if self._own else KnownTitles()
        self.report.titles = titles
        items = Side(self.folder, "item", titles)
        for part in range(by_item.n_parts):
            frame = by_item.take(part)
            self.advance(_ITEMS / by_item.n_parts, "items")
            if frame is None:
                continue
            vocabulary, index = Vocabulary.encode(frame["item"])
            rows = np.empty(len(index), _ROW)
            rows["item"] = items.add(vocabulary, index)
            rows["user"] = users.renumbered(frame["user"].to_numpy())
            rows["value"] = frame["value"].to_numpy()
            del frame
            blocks = (np.searchsorted(edges, rows["user"], side="right") - 1).astype(np.int32)
            rows = rows[np.argsort(blocks, kind="stable")]
            ends = np.cumsum(np.bincount(blocks, minlength=len(edges) - 1)).tolist()
            for block, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
                if end > start:
                    with self._block(block).open("ab") as file:
                        rows[start:end].tofile(file)
        numbered = items.finish()
        self.report.n_titles = items.n_titles
        return numbered

    def _block(self, number: int) -> Path:
        return self.folder / f"block-{number}.rows"

    # -- 4 -----------------------------------------------------------------------------------------

    def _blocks(self, plan: Plan, edges: NDArray[np.int64], items: Numbered) -> Iterator[Rows]:
        """The rows of each user block; of few items there are fewer than were written."""
        for start, stop in zip(plan.user_edges, plan.user_edges[1:], strict=False):
            found = []
            for number in range(len(edges) - 1):
                first, end = max(start, edges[number]), min(stop, edges[number + 1])
                path = self._block(number)
                if first >= end or not path.exists():
                    continue
                rows = np.fromfile(path, _ROW)
                if (first, end) != (edges[number], edges[number + 1]):
                    rows = rows[(rows["user"] >= first) & (rows["user"] < end)]
                elif (start, stop) == (first, end):
                    path.unlink()
                found.append(rows)
            rows = np.concatenate(found) if found else np.empty(0, _ROW)
            del found
            users, index = rows["user"].copy(), items.renumbered(rows["item"]).copy()
            numbers = rows["value"].copy()
            del rows
            yield users, index, numbers
            self.advance(_BLOCKS / plan.n_blocks, "blocks")


def in_order(vocabulary: Vocabulary, index: Index) -> tuple[Index, pl.DataFrame]:
    """The index and the ids in the order in which they are written: integers rise, and text, of which
    there may be more than fits into memory at once, goes by its hash.
    """
    frame = vocabulary.described()
    if vocabulary.id_type == "integers":
        return index, frame
    order = np.argsort(hashes(vocabulary.ids), kind="stable")  # of ids that are sorted
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    return place[index], frame[order]
