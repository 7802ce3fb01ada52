"""Preparing: ratings of any size become a folder of blocks."""

import hashlib
import json
import logging
import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import numpy as np

from dotbias import __version__
from dotbias.data.formats.known import SUFFIXES
from dotbias.data.prepared.batches import Batches, Size, batches_of
from dotbias.data.prepared.manifest import PREPARED, VERSION, Manifest, read_manifest
from dotbias.data.prepared.prepared import PreparedRatings
from dotbias.data.prepared.stream import HowToRead, Sizes, Stream, in_order
from dotbias.data.prepared.write import (
    HowMany,
    Plan,
    below_of,
    by_block,
    how_many_blocks,
    item_edges,
    user_edges,
    write_blocks,
)
from dotbias.data.ratings import Ratings
from dotbias.data.read import (
    Duplicates,
    KnownTitles,
    OnBad,
    ReadReport,
    known_titles,
    read_located,
    what_is_kept,
)
from dotbias.data.reading import NONE, How, Reading
from dotbias.data.sources.blob import Blob, Parts
from dotbias.data.sources.limits import Limit, limit_of
from dotbias.data.sources.locate import RATINGS, locate, titles_beside
from dotbias.data.split import TEST_SIZE
from dotbias.errors import DataError, NothingLeftError, SettingError
from dotbias.memory import allowed
from dotbias.progress import Progress, progress_bar
from dotbias.settings import generator
from dotbias.whole_file import clear_leftovers, outputs

if TYPE_CHECKING:
    from dotbias.data.sources.locate import Source

_log = logging.getLogger("dotbias")

# What the columns hold is learnt from so many rows or bytes.
_SAMPLE = Size(1 << 23, 1 << 18)


def prepare(
    source: "Ratings | Source",
    path: str | os.PathLike[str],
    *,
    memory: int | str | None = None,
    n_blocks: int | None = None,
    n_workers: int = 1,
    test_size: float = TEST_SIZE,
    seed: int = 0,
    scale: tuple[float, float] | None = None,
    on_bad: OnBad = "error",
    duplicates: Duplicates | None = None,
    titles: "Source | None" = None,
    max_unpacked: int | str | None = None,
    force: bool = False,
    progress: Progress = "auto",
    **how: Unpack[How],
) -> PreparedRatings:
    """Lay ratings out in a folder, from which they can be read a block at a time, however many they are.

    Text of one row a line, JSON lines, Parquet and Arrow files, one or many, are read a part at a time.
    What is in them is learnt from the first part as ``read_ratings`` learns it from all rows; a later
    row that is something else is an error that names the row and what to say. All else is read as a
    whole and must fit into memory (docs/scale.md).

    Where the folder holds what the same files, unchanged, were prepared to with the same settings and
    in as many blocks, it stays.

    Args:
        source: ratings, or what ``read_ratings`` takes.
        path: the folder; one that dotbias has prepared is replaced.
        memory: bytes that preparing, and later fitting, may take, or text such as ``"3GiB"``; by default
            half of what there is. Where nobody says how many blocks there are, it follows from it.
        n_blocks: how many blocks each side is cut into. A fit to the same blocks gives the same bits,
            and as many workers can share it. At most one for each item, and for 8 users.
        n_workers: how many workers are to share a fit: without ``n_blocks`` there are as many blocks or
            more, where so many there can be.
        test_size: the share of ratings to hold out, each by a hash of the seed, its user and its item.
        seed: of that, and of the order within blocks.
        scale, on_bad, duplicates, titles, max_unpacked, how: as for ``read_ratings``; not of
            ``Ratings``.
        force: whether a folder is replaced that is still good; one that holds anything else never is.
        progress: whether to show a bar.

    Raises:
        DataError: as ``read_ratings``; where the folder cannot be written, or no rating is left for
            training.
        SettingError: for a setting outside its range; for ``n_blocks`` of which three would take more
            than an eighth of the memory.

    >>> import dotbias as db
    >>> ratings, _ = db.simulate(n_users=100, n_items=50, n_ratings=2000, seed=0)
    >>> prepare(ratings, getfixture("tmp_path") / "ratings.blocks")
    PreparedRatings(2,000 ratings, 1,596 of them for training, 100 users, 50 items, 8 x 8 blocks)
    """
    generator(seed)
    below_of(test_size)
    for name, number in (
        ("n_blocks", 1 if n_blocks is None else n_blocks),
        ("n_workers", n_workers),
    ):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise SettingError(f"{name}={number!r}: {name} must be a whole number at least 1")
    n_bytes, folder = allowed(memory), Path(path)
    how_many = partial(how_many_blocks, memory=n_bytes, n_blocks=n_blocks, n_workers=n_workers)
    settings: dict[str, Any] = {"test_size": test_size, "seed": seed}
    said: dict[str, Any] = {"scale": scale, "on_bad": on_bad, "duplicates": duplicates}
    if isinstance(source, Ratings):
        given = {**said, "titles": titles, "max_unpacked": max_unpacked, **how}
        if names := [name for name, value in given.items() if value not in (None, "error")]:
            raise SettingError(
                f"{names[0]}={given[names[0]]!r}: these are ratings, and read already"
            )
        with outputs([(folder, PREPARED)], force=force) as named, named.part(folder) as part:
            _write(part, source, how_many, **settings)
        return PreparedRatings.open(folder, memory=memory)
    limit, reading = limit_of(max_unpacked), Reading(**how)
    content, beside = locate(source, RATINGS, SUFFIXES, limit)
    task = _Task(content, beside, reading, limit, HowToRead(**said, sure=scale is not None), titles)
    told = (
        settings | said | {"titles": str(_paths(titles)), "max_unpacked": max_unpacked, **reading}
    )
    fingerprint = _fingerprint(_stamps(task, source), told)
    if not force and (kept := _unchanged(folder, fingerprint, n_bytes, how_many)) is not None:
        clear_leftovers(folder.resolve().parent)  # of a run that was killed at its end
        _log.info("%s: prepared already from %s, which has not changed", folder, kept[1].source)
        return kept[0]
    reads = [os.fspath(one) for each in (source, titles) for one in _paths(each)]
    with (
        outputs([(folder, PREPARED)], reads=reads, force=force) as named,
        named.part(folder) as part,
    ):
        _read_and_write(
            part, task, n_bytes, how_many, progress, fingerprint=fingerprint, **settings
        )
    return PreparedRatings.open(folder, memory=memory)


class _Task(NamedTuple):
    """A source, and all that a user says of it.

    Args:
        content, beside: the ratings, and the titles in the same container.
        reading: what is known of them.
        limit: what packed files may unpack to.
        said: the other options.
        titles: the titles that the user has named.
    """

    content: Any
    beside: Any
    reading: Reading
    limit: Limit
    said: HowToRead
    titles: Any

    def read(self, content: Any, titles: Any) -> tuple[Ratings, ReadReport]:
        """The ratings of the whole source, or of a part of it."""
        return read_located(
            content,
            self.beside,
            self.reading,
            limit=self.limit,
            scale=self.said.scale,
            on_bad=self.said.on_bad,
            duplicates=self.said.duplicates,
            titles=titles,
        )


def _read_and_write(
    part: Path,
    task: _Task,
    memory: int,
    how_many: HowMany,
    progress: Progress,
    **settings: Any,
) -> None:
    sizes = Sizes.of(memory)
    batches = batches_of(task.content, task.reading)
    if batches is None or batches.fit(sizes.batch):
        ratings, report = task.read(task.content, task.titles)
        report.log()
        _write(part, ratings, how_many, source=report.source, **settings)
        return
    write_streamed(part, batches, task, how_many, sizes, progress=progress, **settings)


def write_streamed(
    part: Path,
    batches: Batches,
    task: _Task,
    how_many: HowMany,
    sizes: Sizes,
    *,
    progress: Progress = False,
    **settings: Any,
) -> Manifest:
    """Write the folder of a source that is read a part at a time.

    Args:
        part: the folder; beside it lies what is on disk meanwhile.
        batches, task: the source, and what the user says of it.
        how_many: blocks there are.
        sizes: of what is in memory at once.
        progress: whether to show a bar.
        settings: what else the manifest says.
    """
    work = part.parent / "work"
    work.mkdir()
    with progress_bar(f"preparing {batches.name}", total=1.0, enabled=progress) as advance:
        learnt, n_rows = _learnt(batches, task, sizes.batch)
        own = learnt.reading.title not in (None, NONE) and task.titles is None
        titles = None if own else _titles(task)
        encoding = batches.encoding or learnt.reading.encoding
        stream = Stream(
            batches,
            learnt.reading.known(encoding=encoding),
            task.said,
            task.reading,
            titles=titles,
            sizes=sizes,
            n_rows=n_rows,
            folder=work,
            advance=advance,
        )
        plan, ids, rows = stream.rows(how_many)
        manifest = write_blocks(
            part,
            plan,
            rows,
            ids=ids,
            kind=stream.kind,
            declared_scale=stream.scale,
            reading=stream.reading,
            source=batches.name,
            dotbias=__version__,
            **settings,
        )
    _report(batches, stream, manifest, learnt).log()
    return manifest


def _learnt(batches: Batches, task: _Task, size: Size) -> tuple[ReadReport, int]:
    """What the first rows say, and how many there are in all, about."""
    size = Size(*map(min, size, _SAMPLE))
    nothing = None
    for batch in batches.cut(size, task.reading):
        try:
            report = task.read(batch.content, NONE)[1]
        except NothingLeftError as error:
            nothing = nothing or error
            continue
        return report, int(report.n_rows / max(batch.share, 1e-9))
    raise nothing or DataError(f"{batches.name}: there are no rows")


def _titles(task: _Task) -> KnownTitles:
    return known_titles(task.titles, task.content, task.beside, task.limit)


def _report(batches: Batches, stream: Stream, manifest: Manifest, learnt: ReadReport) -> ReadReport:
    told, kind = stream.report, stream.reading.kind
    assert kind is not None
    noun = "ratings" if manifest.kind == "ratings" else "interactions"
    first = f"in the first {learnt.n_rows:,} rows: "
    return ReadReport(
        source=batches.name,
        format=learnt.format,
        n_rows=told.n_rows,
        n_bad=told.n_bad,
        bad_sample=told.bad_sample,
        n_duplicates=told.n_duplicates,
        notices=(
            *(first + line for line in learnt.notices),
            *told.titles.said(told.n_titles, manifest.n_items),
        ),
        kept=what_is_kept(stream.duplicates, kind, dated=told.dated),
        reading=stream.reading,
        counted=f"{manifest.whole.n:,} {noun}, {manifest.n_users:,} users, {manifest.n_items:,} items",
        warnings=tuple(first + line for line in learnt.warnings),
    )


def _write(folder: Path, ratings: Ratings, how_many: HowMany, **settings: Any) -> None:
    """Write ratings that are in memory."""
    users, user_ids = in_order(ratings.user_vocabulary, ratings.user_indices)
    items, item_ids = in_order(ratings.item_vocabulary, ratings.item_indices)
    user_counts = np.bincount(users, minlength=ratings.n_users)
    item_counts = np.bincount(items, minlength=ratings.n_items)
    n_blocks = how_many(len(ratings), ratings.n_users, ratings.n_items)
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


# What has not changed ------------------------------------------------------------------------------


def _unchanged(
    folder: Path, fingerprint: str, memory: int, how_many: HowMany
) -> tuple[PreparedRatings, Manifest] | None:
    """What is in the folder, if the same source was prepared with the same settings, to as many blocks
    as it would be now.
    """
    if not fingerprint:
        return None
    with suppress(DataError):
        manifest = read_manifest(folder)
        if manifest.fingerprint == fingerprint:
            n_blocks = how_many(manifest.whole.n, manifest.n_users, manifest.n_items)
            if n_blocks == manifest.n_blocks:
                return PreparedRatings(folder, manifest, memory), manifest
            _log.info(
                "%s: prepared again, in %s blocks on a side in the place of %s",
                *(folder, f"{n_blocks:,}", f"{manifest.n_blocks:,}"),
            )
    return None


def _fingerprint(files: list[Any] | None, told: dict[str, Any]) -> str:
    """A digest of files and settings; empty where the source is no file."""
    if files is None:
        return ""
    known = [VERSION, __version__, files, sorted((key, str(told[key])) for key in told)]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def _stamps(task: _Task, source: Any) -> list[Any] | None:
    """Path, size and time of each file that is read; None where something is no file."""
    named = [] if task.titles is None else _paths(task.titles)
    paths: list[Any] = _on_disk(task.content) or _paths(source)  # which may be an archive
    if not paths or (task.titles is not None and not named):
        return None
    near = titles_beside(task.content) if task.titles is None else None
    paths += [path for path in named if os.fspath(path) != NONE]
    paths += _on_disk(task.beside) or _on_disk(near)
    files = [Path(path).expanduser() for path in paths]
    # Of a database of SQLite the last rows may stand in its log alone.
    logs = (file.with_name(f"{file.name}-wal") for file in files)
    files += [log for log in logs if log.is_file()]
    return list(map(_stamp, files)) if all(path.is_file() for path in files) else None


def _on_disk(content: Any) -> list[Path]:
    """The files that something is read from, if it is read from files alone."""
    blobs = content.blobs if isinstance(content, Parts) else [content]
    paths = [blob.content for blob in blobs if isinstance(blob, Blob)]
    files = [path for path in paths if isinstance(path, Path)]
    return files if len(files) == len(blobs) else []


def _paths(source: Any) -> list[str | os.PathLike[str]]:
    """The paths that a source is, if it is one or several."""
    several = source if isinstance(source, list | tuple) else [source]
    paths = [one for one in several if isinstance(one, str | os.PathLike)]
    return paths if len(paths) == len(several) else []


def _stamp(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns
