"""Prepared ratings: read from their folder, a block or a stripe at a time."""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dotbias.data.formats.arrow import check_messages
from dotbias.data.kind import Kind
from dotbias.data.prepared.copying import USER, VALUE, copy_block, copy_blocks
from dotbias.data.prepared.manifest import (
    COLUMNS,
    MANIFEST,
    SMALL,
    Manifest,
    Moments,
    checksum,
    checksum_of,
    damage,
    read_manifest,
)
from dotbias.data.prepared.mirror import Mirror
from dotbias.data.prepared.write import TYPES
from dotbias.data.ratings import LARGEST, Ratings, Scale, ratings_of
from dotbias.data.reading import Reading
from dotbias.data.sources.blob import PARSER_ERRORS, Blob, shown
from dotbias.data.sources.remote import Remote, is_url
from dotbias.data.stripes import OTHER, Columns, Side, Stripe, ahead, stripe
from dotbias.data.vocabulary import Index, Vocabulary
from dotbias.errors import DataError, SettingError
from dotbias.memory import allowed
from dotbias.shown import Part, Shown


class PreparedRatings(Shown):
    """Ratings in a folder that ``dotbias prepare`` has written, of which no more is in memory than what
    grows with users, items and blocks.

    Users and items are cut into as many blocks of consecutive indices, so the ratings lie in a grid. Of
    each block first those for training, then those that are held out. What a part of them asks for is
    checked when it is read: its checksum the first time, its indices each time.

    Args:
        folder: where they lie.
        manifest: what it says.
        memory: bytes that fitting them may take.
        mirror: of a folder elsewhere, in which ``folder`` is for the time being. A user block comes when
            it is first read.

    >>> import dotbias as db
    >>> ratings, _ = db.simulate(n_users=100, n_items=50, n_ratings=2000, seed=0)
    >>> prepared = db.prepare(ratings, getfixture("tmp_path") / "ratings.blocks")
    >>> prepared.n_blocks, len(prepared.whole)
    (8, 2000)
    >>> users, items, values = prepared.training.read_block(0, 3)
    """

    def __init__(
        self, folder: Path, manifest: Manifest, memory: int, mirror: Mirror | None = None
    ) -> None:
        self.folder, self.manifest, self.memory = folder, manifest, memory
        self._mirror = mirror
        n_blocks, whole = manifest.n_blocks, manifest.whole
        for name in SMALL:
            path = self._path(name)
            if not path.is_file():
                raise DataError(f"{path} is missing: prepare the ratings again")
            if checksum(path) != manifest.checksums[name]:
                raise damage(path, "its checksum is another")
        self._starts = self._small("starts", (n_blocks * n_blocks + 1,))
        self._held = self._small("held", (n_blocks * n_blocks,))
        self._edges = {
            "user": self._small("user_edges", (n_blocks + 1,)),
            "item": self._small("item_edges", (n_blocks + 1,)),
        }
        self._counts = {
            "user": self._small("user_counts", (2, manifest.n_users)),
            "item": self._small("item_counts", (2, manifest.n_items)),
        }
        self._check_places()
        files = {name: self._mapped(name, TYPES[name], (whole.n,)) for name in COLUMNS}
        self._columns = Columns(*map(np.asarray, files.values()))
        self._offsets = {name: file.offset for name, file in files.items()}
        self._known_good: set[int] = set()
        self.user_vocabulary = self._vocabulary("user", manifest.n_users)
        self.item_vocabulary = self._vocabulary("item", manifest.n_items)

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, memory: int | str | None = None
    ) -> "PreparedRatings":
        """The ratings in a folder.

        Args:
            path: the folder, or its URL where fsspec reads it (``"s3://bucket/ratings.blocks"``, extra
                ``cluster``). What is read of one elsewhere is kept in a temporary file without a name.
            memory: what fitting them may take, in bytes or as text such as ``"3GiB"``; by default half
                of what there is. Where nobody names a number of factors, they are as many as fit.

        Raises:
            DataError: naming the file that is missing, damaged, cut short, of another type or of a newer
                version; or the URL, where it cannot be reached.
            SettingError: for a memory that is no size.
        """
        n_bytes = allowed(memory)
        if not is_url(path):
            return cls(Path(path), read_manifest(Path(path)), n_bytes)
        mirror = Mirror(Remote(os.fspath(path)))
        with mirror.opening() as folder:
            mirror.begin(MANIFEST)
            manifest = read_manifest(folder)
            for name in SMALL:
                mirror.begin(name)
            for name in COLUMNS:
                mirror.begin(f"{name}.npy", _HEAD)
            return cls(folder, manifest, n_bytes, mirror)  # which maps what it reads later

    def __repr__(self) -> str:
        whole, training = len(self.whole), len(self.training)
        return (
            f"PreparedRatings({whole:,} {self.whole.noun}, {training:,} of them for training, "
            f"{self.manifest.n_users:,} users, {self.manifest.n_items:,} items, "
            f"{self.n_blocks} x {self.n_blocks} blocks)"
        )

    def _parts(self) -> Iterator[Part]:
        yield {
            self.whole.noun: len(self.whole),
            "for training": len(self.training),
            "users": self.manifest.n_users,
            "items": self.manifest.n_items,
            "blocks on each side": self.n_blocks,
        }

    @property
    def name(self) -> str:
        """The folder, or its URL, as it may be printed."""
        return shown(self.folder) if self._mirror is None else self._mirror.name

    @property
    def place(self) -> str:
        """The folder as another process opens it: its path; or its URL, perhaps with a password."""
        return str(self.folder.resolve()) if self._mirror is None else self._mirror.url

    @property
    def n_blocks(self) -> int:
        """How many user blocks there are, and as many item blocks."""
        return self.manifest.n_blocks

    @property
    def kind(self) -> Kind:
        """What they are: "ratings", "counts" or "events"."""
        return self.manifest.kind

    @property
    def reading(self) -> Reading | None:
        """How the source was read."""
        return self.manifest.reading

    @cached_property
    def training(self) -> "PreparedPart":
        """The ratings that are not held out."""
        return PreparedPart(self, "training")

    @cached_property
    def whole(self) -> "PreparedPart":
        """All ratings."""
        return PreparedPart(self, "whole")

    def edges(self, side: Side) -> NDArray[np.int64]:
        """First index of each block of a side, then the number of its rows, shape (n_blocks + 1,)."""
        return self._edges[side]

    def held_out(self) -> Iterator[Columns]:
        """The held-out ratings of each block that has any, as ``PreparedPart.read_block`` gives them."""
        for number in range(self.n_blocks**2):
            if self._held[number] < self._starts[number + 1]:
                yield self._read(number, self._held[number], self._starts[number + 1])

    # -- files -------------------------------------------------------------------------------------

    def _path(self, name: str) -> Path:
        return self.folder / name

    def _small(self, name: str, shape: tuple[int, ...]) -> NDArray[np.int64]:
        array = np.array(self._mapped(name, np.int64, shape))
        array.setflags(write=False)
        return array

    def _mapped(self, name: str, dtype: type, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
        """The array in a file, of which nothing is read yet."""
        return _checked(self._path(f"{name}.npy"), np.dtype(dtype), shape)

    def _check_places(self) -> None:
        n, n_training = self.manifest.whole.n, self.manifest.training.n
        starts, held = self._starts, self._held
        if starts[0] != 0 or starts[-1] != n or (np.diff(starts) < 0).any():
            raise damage(self._path("starts.npy"), f"blocks do not lie in order from 0 to {n:,}")
        if (held < starts[:-1]).any() or (held > starts[1:]).any():
            raise damage(self._path("held.npy"), "held-out rows begin outside their blocks")
        if (held - starts[:-1]).sum() != n_training:
            raise damage(self._path("held.npy"), f"there are not {n_training:,} training rows")
        for side, n_rows in (("user", self.manifest.n_users), ("item", self.manifest.n_items)):
            edges, counts = self._edges[side], self._counts[side]
            if edges[0] != 0 or edges[-1] != n_rows or (np.diff(edges) < 0).any():
                path = self._path(f"{side}_edges.npy")
                raise damage(path, f"blocks do not lie in order from 0 to {n_rows:,}")
            is_sum = counts.sum(axis=1).tolist() == [n_training, n]
            if not is_sum or (counts[0] < 0).any() or (counts[0] > counts[1]).any():
                path = self._path(f"{side}_counts.npy")
                raise damage(path, f"counts do not add up to {n_training:,} and {n:,}")

    def _vocabulary(self, side: Side, n_rows: int) -> Vocabulary:
        path = self._path(f"{side}_ids.arrow")
        check_messages(Blob(shown(path), path))
        try:
            frame = pl.scan_ipc(path, glob=False).collect()
        except PARSER_ERRORS as error:
            raise damage(path, f"it cannot be read ({str(error).partition(chr(10))[0]})") from error
        types = {"id": (pl.Int64, pl.String), "title": (pl.String,), "genres": (pl.String,)}
        if "id" not in frame.columns or any(
            dtype not in types.get(name, ()) for name, dtype in frame.schema.items()
        ):
            raise damage(path, f"its columns are {frame.schema}")
        ids = frame["id"]
        if len(ids) != n_rows or ids.null_count():
            raise damage(path, f"there are not {n_rows:,} ids")
        rising = ids.dtype == pl.String or not (ids.to_numpy()[1:] <= ids.to_numpy()[:-1]).any()
        if not rising or (ids.dtype == pl.String and ids.n_unique() < n_rows):
            raise damage(path, "an id is there twice, or integers do not rise")
        columns = (frame[name] if name in frame.columns else None for name in ("title", "genres"))
        return Vocabulary(ids, *columns)

    def _read(self, block: int, start: int, stop: int) -> Columns:
        """Rows of a block."""
        out = Columns.empty(stop - start, np.float32)
        bounds, lowest, highest = self._bounds(np.array([block]))
        rows = self._columns, start, stop
        wrong = copy_block(*rows, bounds[0], lowest, highest, np.float32(1), out)
        self._check(block, wrong)
        return out

    def _read_all(
        self, blocks: NDArray[np.int64], places: NDArray[np.int64], std: Any, out: Columns
    ) -> None:
        """Rows of several blocks, one after the other, in units of ``std``."""
        wrong = copy_blocks(self._columns, places, *self._bounds(blocks), std, out)
        for block, of_block in zip(blocks.tolist(), wrong.tolist(), strict=True):
            self._check(block, of_block)

    def _bounds(
        self, blocks: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], np.float32, np.float32]:
        """Between which numbers of blocks must be; their checksums are compared the first time."""
        at = dict(zip(OTHER, np.divmod(blocks, self.n_blocks), strict=True))
        for a in np.unique(at["user"]).tolist():
            if a not in self._known_good:
                for name in COLUMNS:
                    self._verify(name, a)
                self._known_good.add(a)
        edges = [self._edges[side][of_side + n] for side, of_side in at.items() for n in (0, 1)]
        whole = self.manifest.whole
        lowest, highest = np.float32(whole.lowest), np.float32(whole.highest)
        return np.stack(edges, axis=1).astype(np.int32), lowest, highest

    def _verify(self, name: str, a: int) -> None:
        """Compare a stripe with its checksum; of what lies elsewhere, when it has come."""
        stripe = slice(self._starts[a * self.n_blocks], self._starts[(a + 1) * self.n_blocks])
        numbers: NDArray[Any] = getattr(self._columns, name)[stripe]
        if self._mirror is not None:
            start = self._offsets[name] + numbers.itemsize * int(stripe.start)
            self._mirror.fetch(f"{name}.npy", start, start + numbers.nbytes)
        if checksum_of([numbers]) != self.manifest.stripes[name][a]:
            raise damage(f"{self.name}/{name}.npy", f"the checksum of user block {a} is another")

    def _check(self, block: int, wrong: int) -> None:
        """Raise for what ``copy_block`` has found in a block."""
        if not wrong:
            return
        a, b = divmod(block, self.n_blocks)
        if wrong == VALUE:
            raise damage(f"{self.name}/values.npy", f"a value of block {a}, {b} is not in range")
        side: Side = "user" if wrong == USER else "item"
        number = a if side == "user" else b
        low, high = self._edges[side][number : number + 2]
        path = f"{self.name}/{side}s.npy"
        raise damage(path, f"an index of block {a}, {b} is not from {low:,} to {high:,}")


# In which an array of NumPy says what it holds.
_HEAD = 1 << 12


_COLUMNS_OF_RATINGS = ("user_indices", "item_indices", "values")


class PreparedPart(Ratings):
    """The training ratings of a folder, or all of them: ratings whose columns are never in memory as a
    whole. Solvers that read ratings by ``chunks``, ``stripes`` or blocks take them like any others;
    whatever asks for a column is told that there is none.

    Args:
        of: the whole folder.
        name: "training" or "whole".
    """

    def __init__(self, of: PreparedRatings, name: Literal["training", "whole"]) -> None:
        manifest = of.manifest
        scale = manifest.declared_scale
        known = {
            "user_vocabulary": of.user_vocabulary,
            "item_vocabulary": of.item_vocabulary,
            "times": None,
            "declared_scale": None if scale is None else Scale(*scale),
            "features": None,
            "kind": manifest.kind,
            "reading": manifest.reading,
        }
        vars(self).update(known)
        self.of, self.name = of, name
        self._moments: Moments = getattr(manifest, name)

    def __len__(self) -> int:
        return self._moments.n

    def __repr__(self) -> str:
        low, high = self.scale
        return (
            f"PreparedPart({self.name}: {len(self):,} {self.noun}, {self.n_users:,} users, "
            f"{self.n_items:,} items, values {low:g}-{high:g})"
        )

    def _parts(self) -> Iterator[Part]:
        yield repr(self)

    def __dir__(self) -> list[str]:
        """What it has: no columns."""
        return [name for name in super().__dir__() if name not in _COLUMNS_OF_RATINGS]

    @property
    def user_indices(self) -> Index:
        """There is none, and so with the other columns.

        Raises:
            SettingError: always.
        """
        raise self._on_disk()

    @property
    def item_indices(self) -> Index:  # noqa: D102
        raise self._on_disk()

    @property
    def values(self) -> NDArray[np.float32]:  # noqa: D102
        raise self._on_disk()

    def _on_disk(self) -> SettingError:
        return SettingError(
            f"the ratings in {self.of.name} are read from disk block by block, and what was "
            "asked for needs them in memory. ALS, ImplicitALS, ClosedForm and GradientDescent (one "
            "rating at a time, squared error, without validation rows) do not; for anything else read "
            "the source itself"
        )

    @property
    def scale(self) -> Scale:
        """See ``Ratings``; so for all that follows without a word."""
        return self.declared_scale or Scale(self._moments.lowest, self._moments.highest)

    @property
    def global_mean(self) -> float:  # noqa: D102
        return self._moments.mean

    @property
    def std(self) -> float:  # noqa: D102
        return self._moments.std if self._moments.std >= 1 / LARGEST else 1.0

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the checksums of all that is read."""
        manifest = self.of.manifest
        what = [self.name, manifest.checksums, manifest.stripes]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()

    @property
    def user_counts(self) -> NDArray[np.int64]:
        """Number of ratings of each user in this part, shape (n_users,); 0 for some, in training."""
        return self._counts("user")

    @property
    def item_counts(self) -> NDArray[np.int64]:
        """Number of ratings of each item in this part, shape (n_items,)."""
        return self._counts("item")

    def chunks(self) -> Iterator[Columns]:
        """The ratings, a user block at a time; the next is read while one is in use."""
        return ahead(self.read_stripe("user", a) for a in range(self.n_blocks))

    def take_users(self, chosen: NDArray[np.bool_]) -> Ratings:
        """See ``Ratings``: what comes back is in memory."""
        parts = []
        for part in self.chunks():
            here = chosen[part.users]
            parts.append([column[here] for column in part])
        users, items, values = (np.concatenate(column) for column in zip(*parts, strict=True))
        scale = self.declared_scale
        return ratings_of(
            (users, self.user_vocabulary), (items, self.item_vocabulary), values, scale, self.kind
        )

    def stripes(self, side: Side) -> Iterator[Stripe]:
        """The ratings row by row, a block of a side at a time; the next is read while one is in use."""
        n_rows = np.diff(self.edges(side))
        return ahead(self.read_rows(side, number) for number in np.flatnonzero(n_rows).tolist())

    def read_rows(self, side: Side, number: int) -> Stripe:
        """The ratings of a block of a side, row by row."""
        first, stop = self.edges(side)[number : number + 2].tolist()
        columns = self.read_stripe(side, number)
        own, partners = columns.of(side), columns.of(OTHER[side])
        return stripe(own, partners, columns.values, first, stop - first)

    def row_blocks(self, side: Side) -> list[slice]:
        """See ``Ratings``."""
        edges = self.edges(side).tolist()
        return [slice(*pair) for pair in pairwise(edges) if pair[0] < pair[1]]

    @property
    def n_blocks(self) -> int:
        """How many blocks each side has."""
        return self.of.n_blocks

    def edges(self, side: Side) -> NDArray[np.int64]:
        """See ``PreparedRatings.edges``."""
        return self.of.edges(side)

    @cached_property
    def block_sizes(self) -> NDArray[np.int64]:
        """Number of ratings of each block, shape (n_blocks, n_blocks), users down and items across."""
        starts, stops = self._places()
        return (stops - starts).reshape(self.n_blocks, self.n_blocks)

    def read_block(self, a: int, b: int) -> Columns:
        """The ratings of user block ``a`` and item block ``b``, in the order of the grid.

        Returns:
            User indices, item indices (int32) and values (float32), shape (n,) each, in memory.

        Raises:
            DataError: where the files are not what was written.
        """
        starts, stops = self._places()
        number = a * self.n_blocks + b
        return self.of._read(number, starts[number], stops[number])

    def read_blocks(self, blocks: Iterable[tuple[int, int]], std: Any, out: Columns) -> None:
        """The ratings of several blocks, one after the other.

        Args:
            blocks: user blocks and item blocks.
            std: the unit of what comes out, in its precision.
            out: where to put it: as long as all of them together.

        Raises:
            DataError: as ``read_block``.
        """
        numbers = np.array([a * self.n_blocks + b for a, b in blocks], np.int64)
        starts, stops = self._places()
        self.of._read_all(numbers, np.stack([starts[numbers], stops[numbers]], axis=1), std, out)

    def fetch(self, blocks: Iterable[tuple[int, int]]) -> None:
        """Have the system fetch blocks that will be read soon, where it can, without waiting."""
        if not hasattr(os, "posix_fadvise"):
            return
        starts, stops = self._places()
        numbers = [a * self.n_blocks + b for a, b in blocks]
        for name in COLUMNS:
            size = np.dtype(TYPES[name]).itemsize
            with suppress(OSError), self.of._path(f"{name}.npy").open("rb", buffering=0) as file:
                for n in numbers:
                    at, length = size * int(starts[n]), size * int(stops[n] - starts[n])
                    at += self.of._offsets[name]
                    os.posix_fadvise(file.fileno(), at, length, os.POSIX_FADV_WILLNEED)

    def read_stripe(self, side: Side, number: int) -> Columns:
        """The ratings of a user block, or of an item block, as ``read_block`` gives them."""
        others = range(self.n_blocks)
        pairs = ((number, b) if side == "user" else (b, number) for b in others)
        columns = zip(*(self.read_block(a, b) for a, b in pairs), strict=True)
        return Columns(*(np.concatenate(column) for column in columns))

    def _counts(self, side: Side) -> NDArray[np.int64]:
        counts: NDArray[np.int64] = self.of._counts[side][0 if self.name == "training" else 1]
        return counts

    def _places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the rows of this part begin and end in each block."""
        starts = self.of._starts
        return starts[:-1], self.of._held if self.name == "training" else starts[1:]


def _checked(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """The array in a file, which is mapped and not read.

    Raises:
        DataError: where there is no file, or one of another type, shape or length.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: prepare the ratings again") from None
    except (OSError, ValueError, EOFError, io.UnsupportedOperation) as error:
        raise damage(path, f"it is no array of {shape[-1]:,} numbers") from error
    if not isinstance(array, np.memmap) or array.dtype != dtype or array.shape != shape:
        described = getattr(array, "dtype", "?"), getattr(array, "shape", "?")
        raise damage(path, f"it holds {described[0]} of {described[1]}, not {dtype} of {shape}")
    if array.ndim > 1 and not array.flags.c_contiguous:
        raise damage(path, "its numbers are in another order")
    return array
