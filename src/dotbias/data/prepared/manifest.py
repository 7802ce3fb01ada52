"""What a folder of prepared ratings holds, and what its manifest says of it."""

import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotbias.data.kind import Kind
from dotbias.data.reading import Reading
from dotbias.data.sources.remote import Remote, is_url
from dotbias.errors import DataError, SettingError
from dotbias.plain import from_plain, to_plain
from dotbias.shown import Shown
from dotbias.whole_file import FileKind

MANIFEST = "manifest.json"
FORMAT = "prepared ratings of dotbias"
VERSION = 1
"""Of the format: raised where an older dotbias would misread what a newer one writes."""

COLUMNS = ("users", "items", "values")
SMALL = (
    *("starts.npy", "held.npy"),
    *("user_edges.npy", "item_edges.npy", "user_counts.npy", "item_counts.npy"),
    *("user_ids.arrow", "item_ids.arrow"),
)
"""Files that grow with users, items or blocks, and not with ratings."""

_CHUNK = 1 << 22
# A manifest lists three numbers for each user block, so a large one is none of ours.
_LARGEST = 1 << 26


@dataclass(frozen=True, kw_only=True)
class Moments(Shown):
    """How many ratings there are, their mean and standard deviation, the lowest and the highest."""

    n: int
    mean: float
    std: float
    lowest: float
    highest: float


@dataclass(frozen=True, kw_only=True)
class Manifest(Shown):
    """What is written in ``manifest.json``.

    Args:
        format, version: what tells such a folder, and of which version of the format it is.
        kind: "ratings", "counts" or "events".
        declared_scale: lowest and highest possible rating where the user has named them, else None.
        n_users, n_items: number of distinct users and items.
        n_blocks: how many user blocks there are, and as many item blocks.
        seed, test_size: what decides which ratings are held out, and how many.
        training, whole: the ratings that are not held out, and all of them.
        reading: how the source was read.
        source: the name of what was read.
        fingerprint: of the source and of what it was prepared with; equal where nothing has changed.
        dotbias: the version that has written it.
        settings: what else it was prepared with.
        checksums: CRC-32 of each of the ``SMALL`` files.
        stripes: of each of the three columns the CRC-32 of each user block's numbers.
    """

    format: str
    version: int
    kind: Kind = "ratings"
    declared_scale: tuple[float, ...] | None = None
    n_users: int
    n_items: int
    n_blocks: int
    seed: int
    test_size: float
    training: Moments
    whole: Moments
    reading: Reading | None = None
    source: str = ""
    fingerprint: str = ""
    dotbias: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    checksums: dict[str, int]
    stripes: dict[str, list[int]]

    def check(self) -> None:
        """Make sure that its parts fit each other.

        Raises:
            DataError: naming the part.
        """
        for name in ("n_users", "n_items", "n_blocks"):
            if not 1 <= getattr(self, name) < 2**31:
                raise DataError(f"{name} must be from 1 to 2,147,483,647")
        if not 1 <= self.training.n <= self.whole.n:
            raise DataError("training.n must be from 1 to whole.n")
        for name in ("training", "whole"):
            moments = getattr(self, name)
            if moments.lowest > moments.highest or moments.std < 0:
                raise DataError(f"{name} is of no ratings")
        scale = self.declared_scale
        if scale is not None and not (len(scale) == 2 and scale[0] < scale[1]):
            raise DataError("declared_scale must be two numbers, the lower one first")
        if self.checksums.keys() != set(SMALL):
            raise DataError(f"checksums must be of {', '.join(SMALL)}")
        if self.stripes.keys() != set(COLUMNS) or any(
            len(each) != self.n_blocks for each in self.stripes.values()
        ):
            raise DataError(f"stripes must be of {', '.join(COLUMNS)}, {self.n_blocks:,} each")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder.

    Raises:
        DataError: naming the folder, where it is no folder of prepared ratings, or of a newer version.
    """
    place = folder / MANIFEST
    try:
        with place.open("rb") as file:
            text = file.read(_LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        what = "a folder without a manifest" if folder.is_dir() else "no folder"
        if not folder.exists():
            raise DataError(f"{folder}: there are no prepared ratings") from None
        raise DataError(
            f"{folder}: {what}, and not what dotbias prepare has written: prepare the ratings again"
        ) from None
    except OSError as error:
        raise DataError(f"{place}: cannot be read ({error.strerror})") from error
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"{place}: damaged: {_AGAIN}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise DataError(f"{folder}: no prepared ratings: its {MANIFEST} is of something else")
    version = data.get("version")
    if isinstance(version, int) and version > VERSION:
        raise DataError(
            f"{folder}: prepared by a newer version of dotbias ({data.get('dotbias')!r}): update "
            "dotbias, or prepare the ratings again"
        )
    try:
        manifest = from_plain(Manifest, data)
        manifest.check()
    except (DataError, SettingError) as error:
        raise DataError(f"{place}: damaged: {error}: {_AGAIN}") from error
    return manifest


_AGAIN = "prepare the ratings again"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, which comes last of all files."""
    text = json.dumps(to_plain(manifest), indent=1, allow_nan=False)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def damage(path: Path | str, what: str) -> DataError:
    """The error of a file that is not as it was written."""
    return DataError(f"{path}: {what}: the file is damaged or cut short; {_AGAIN}")


def checksum(path: Path) -> int:
    """CRC-32 of a file."""
    with path.open("rb") as file:
        return checksum_of(iter(lambda: file.read(_CHUNK), b""))


def checksum_of(chunks: Iterable[Any]) -> int:
    """CRC-32 of bytes, or of arrays, one after the other."""
    crc = 0
    for chunk in chunks:
        crc = zlib.crc32(chunk, crc)
    return crc


def is_prepared(place: str | os.PathLike[str]) -> bool:
    """Whether the folder at a path or URL holds prepared ratings, whatever else is in it.

    Raises:
        DataError: where it lies elsewhere and cannot be reached.
    """
    if is_url(place):
        remote = Remote(os.fspath(place))
        size = remote.size(MANIFEST)
        text = b"" if size is None else remote.read(MANIFEST, 0, min(size, _LARGEST))
    else:
        try:
            with (Path(place) / MANIFEST).open("rb") as file:
                text = file.read(_LARGEST)
        except (OSError, ValueError):
            return False
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(data, dict) and data.get("format") == FORMAT


def _is_ours(folder: Path) -> bool:
    own = {MANIFEST, *SMALL, *(f"{name}.npy" for name in COLUMNS)}
    return is_prepared(folder) and all(path.name in own for path in folder.iterdir())


PREPARED = FileKind("folder of prepared ratings", is_ours=_is_ours, is_folder=True)
