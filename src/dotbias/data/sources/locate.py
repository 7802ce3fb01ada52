"""Locating: from a path, an address, or the name of a set to its table, and the titles beside it."""

import glob
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import polars as pl

from dotbias.data.catalog import NAMED_SETS, fetch
from dotbias.data.sources.archives import Tar, Zip, is_tar
from dotbias.data.sources.blob import Blob, Content, Frame, Parts, named_errors, shown
from dotbias.data.sources.containers import Container
from dotbias.data.sources.databases import DuckDB, SQLite, at_address, without_password
from dotbias.data.sources.delta import LOG, delta_table
from dotbias.data.sources.folders import Folder, file_blob, read_pipe, user_path
from dotbias.data.sources.limits import LIMIT, Limit
from dotbias.data.sources.packing import PACKINGS
from dotbias.data.sources.refused import refuse_zip
from dotbias.data.sources.remote import is_url
from dotbias.data.sources.workbooks import Workbook
from dotbias.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse
    from numpy.typing import NDArray

    Source: TypeAlias = (
        str
        | os.PathLike[str]
        | Sequence[str | os.PathLike[str]]
        | Frame
        | pl.DataFrame
        | pl.LazyFrame
        | pd.DataFrame
        | NDArray[Any]
        | scipy.sparse.spmatrix
        | scipy.sparse.sparray
        | Sequence[Sequence[Any]]
        | Sequence[Mapping[str, Any]]
        | Mapping[str, Any]
    )

# Names of the members of a folder or archive, the likeliest first. A table without an ending, such as
# one of a database, is looked for as if it had one.
RATINGS = (
    r"ratings?\.",
    r"u\.data$",
    r"ratings?[-_]",
    r".*[-_]ratings?\.",
    r"(.*[-_])?interactions[-_.]",
    r".*\.inter$",
    r"(.*[-_])?reviews?\.",
    r"user_artists\.",
    r".*[-_](plays|triplets)\.",
    r"train[-_.].*",
)
TITLES = (
    r"movie_titles\.",
    r"(.*[-_])?(movies|items|books|products|tracks|artists|titles|games|recipes)[-_.]",
    r"(.*[-_])?(movie|item|book|product|track|artist|anime|game|business)\.",
    r"u\.item$",
    r".*\.item$",
)
USERS = (
    r"(.*[-_])?(users|customers|members|people|profiles|readers|listeners|players)[-_.]",
    r"(.*[-_])?(user|customer|member|profile)\.",
    r".*\.user$",
)

# Files that hold one table together: what Spark, Netflix, Hive and Redshift write.
_PARTS = (r"part-\d+.*", r"mv_\d+\.txt", r"combined_data_\d+\.txt", r"\d+_(\d+|part_\d+)(\..*)?")
# Files beside tables that are none, this project's own among them.
_NO_TABLES = (
    r"(readme|licen[cs]e|copying|citation|changelog|notice)\b.*|.*\.(md|pdf|py|pl|sh|r|ipynb|html?|png|jpe?g|"
    r"docx?|rst|log|sha256|md5|svg|dotbias|ckpt|npy)"
)
_STANDARD_INPUT = "-"
_SHOWN_NAMES = 30
# Bytes that tell a container.
_ENOUGH = 512


class Kind(NamedTuple):
    """A kind of container: whether a file that begins so is one, and what opens it."""

    begins: Callable[[bytes], bool]
    open: Callable[[Blob], Container]


def _open_zip(blob: Blob) -> Container:
    archive = Zip(blob)
    names = archive.names()
    if "xl/workbook.xml" in names:
        return Workbook(blob)
    refuse_zip(blob.name, names)
    return archive


KINDS = (
    Kind(lambda head: head.startswith((b"PK\3\4", b"PK\5\6")), _open_zip),
    Kind(is_tar, Tar),
    Kind(lambda head: head.startswith(b"SQLite format 3\0"), SQLite),
    Kind(lambda head: head[8:12] == b"DUCK", DuckDB),
)
"""Files that hold several tables; a further kind is one entry."""


def locate(
    source: "Source", patterns: Iterable[str], suffixes: Sequence[str], limit: Limit = LIMIT
) -> tuple[Any, Blob | Frame | None]:
    """What a path stands for (an object of Python stands for itself), and the titles beside it.

    Args:
        source: path, pattern of paths, several of them, "-" for standard input, address of a database,
            name of a set, or object.
        patterns: names of the member of a container to take, the likeliest first.
        suffixes: of names of tables; where only one member is one, it is taken.
        limit: what packed files may unpack to.

    Raises:
        DataError: where there is no such file or set, or none of several members can be chosen.
    """
    if isinstance(source, list | tuple) and source and all(map(_is_path, source)):
        paths = [os.fspath(path) for path in source]
        blobs = [_file(path, limit) for path in paths]
        more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
        return _joined(f"{blobs[0].name}{more}", blobs), None
    if not _is_path(source):
        return source, None
    name = os.fsdecode(source)  # type: ignore[arg-type]
    patterns = tuple(patterns)
    if not name:
        raise DataError(
            "the path is empty: name a file, a folder or a set; . is the present folder"
        )
    if name == _STANDARD_INPUT:
        return _from(_standard_input(limit), patterns, suffixes)
    if "://" in name and not os.path.lexists(name):
        return _at_address(name, patterns, suffixes, limit)
    inside = _inside(name)
    if inside is not None:
        return _named_member(*inside, limit)
    path = user_path(name)
    with named_errors(shown(path)):
        if not os.path.lexists(path):
            if matches := sorted(glob.glob(os.fspath(path), recursive=True)):  # noqa: PTH207
                if len(matches) > 1:
                    blobs = [_file(match, limit) for match in matches]
                    return _joined(shown(path), blobs), None
                path = Path(matches[0])
            else:
                path = _fetched(name)
        if (path / LOG).is_dir():
            return delta_table(path, limit), None
        if path.is_dir():
            return _chosen(Folder(path, limit), patterns, suffixes)
        return _from(file_blob(path, limit), patterns, suffixes)


def _is_path(source: Any) -> bool:
    return isinstance(source, str | bytes | os.PathLike)


def _file(path: str | os.PathLike[str], limit: Limit) -> Blob:
    where = Path(path)
    with named_errors(shown(where)):
        if where.is_dir():
            raise DataError(f"{shown(where)}: a folder among files: name the files in it")
        return file_blob(where, limit)


def _standard_input(limit: Limit) -> Blob:
    if sys.stdin is None or sys.stdin.isatty():
        raise DataError(
            "standard input is no file: send one there, as in `zcat ratings.csv.gz | dotbias fit -`"
        )
    return Blob("standard input", read_pipe("standard input", sys.stdin.buffer, limit), limit)


def _at_address(
    name: str, patterns: Sequence[str], suffixes: Sequence[str], limit: Limit
) -> tuple[Content, Blob | Frame | None]:
    scheme = name.partition("://")[0].lower()
    if scheme == "file":
        raise DataError(f"{name}: pass the path without file://")
    if is_url(name):
        raise DataError(
            f"{without_password(name)}: not on this machine, and prepared ratings alone are read from "
            "elsewhere: download it and pass its path"
        )
    database, table = at_address(name, limit)
    if table is None:
        return _chosen(database, patterns, suffixes)
    names = database.names()
    if table not in names:
        near = did_you_mean(table, names)
        raise DataError(f"{database.name}: there is no table {table!r}, but {_listed(names)}{near}")
    return database.member(table), _titles_in(database, names, {table})


def _from(
    blob: Blob, patterns: Sequence[str], suffixes: Sequence[str], depth: int = 0
) -> tuple[Content, Blob | Frame | None]:
    """What a file holds: itself, or what is chosen of a container, which may lie in another."""
    with named_errors(blob.name):
        with blob.stream() as stream:
            head = stream.read(_ENOUGH)
        kind = next((kind for kind in KINDS if kind.begins(head)), None)
        if kind is None or depth > 1:
            return blob, None
        # A tar may be far larger than the member that is wanted.
        container = Tar(blob) if is_tar(head) else kind.open(blob.unpacked()[0])
        return _chosen(container, patterns, suffixes, depth)


def _inside(name: str) -> tuple[Path, str] | None:
    """The archive, and the member of it, that a path such as ``ml-100k.zip/u1.base`` names, also with
    the name of a set before the slash; None for any other path.
    """
    parts = Path(name).parts
    if len(parts) < 2 or "\0" in name or os.path.lexists(name):
        return None
    with suppress(OSError, RuntimeError):  # what leads nowhere is said of the path as a whole
        for cut in range(len(parts) - 1, 0, -1):
            outer = Path(*parts[:cut]).expanduser()
            if outer.is_file():
                return outer, "/".join(parts[cut:])
            if outer.exists():
                return None
    return (fetch(parts[0]), "/".join(parts[1:])) if parts[0] in NAMED_SETS else None


def _named_member(outer: Path, inner: str, limit: Limit) -> tuple[Content, Blob | Frame | None]:
    """A member of an archive by its name, or the end of its path; and the titles beside it."""
    blob = file_blob(outer, limit)
    with named_errors(blob.name):
        with blob.stream() as stream:
            head = stream.read(_ENOUGH)
        kind = next((kind for kind in KINDS if kind.begins(head)), None)
        if kind is None:
            raise DataError(f"{blob.name}: a file and no archive, so there is no {inner} in it")
        container = Tar(blob) if is_tar(head) else kind.open(blob.unpacked()[0])
        names = container.names()
        found = [name for name in names if name == inner or name.endswith(f"/{inner}")]
        if not found:
            raise DataError(f"{blob.name}: there is no {inner} in it, but {_listed(names)}")
        taken = min(found, key=len)
        return container.member(taken), _titles_in(container, names, {taken})


def _chosen(
    container: Container, patterns: Sequence[str], suffixes: Sequence[str], depth: int = 0
) -> tuple[Content, Blob | Frame | None]:
    """The member of a container, or the parts in it, that hold the table; and the titles beside it."""
    names = [name for name in container.names() if not re.search(r"(^|/)(\.|__MACOSX/)", name)]
    names.sort(key=lambda name: (name.count("/"), name))
    has_files = container.noun == "files"
    tables = [name for name in names if _is_table(name, suffixes)] if has_files else names
    parts = _parts(names, tables) if has_files else []
    chosen, others = _choose(names, patterns)
    others_than_notes = [name for name in names if _may_be_table(name)]
    if chosen is None and len(only := parts or tables or others_than_notes) == 1:
        chosen = only[0]
    if chosen is not None and (chosen not in parts or len(parts) == 1):
        member, beside = container.member(chosen), _titles_in(container, names, {chosen})
        if others:
            notice = f"took {chosen}; there are also {_listed(others)}"
            member = replace(member, notices=(*member.notices, notice))
        if isinstance(member, Frame):
            return member, beside
        content, within = _from(member, patterns, suffixes, depth + 1)
        return content, within or beside
    if parts:
        found = [container.member(part) for part in parts]
        blobs = [blob for blob in found if isinstance(blob, Blob)]
        return _joined(container.name, blobs), _titles_in(container, names, set(parts))
    raise DataError(
        f"{container.name}: none of its {container.noun} is named like ratings"
        f"{'.csv' if has_files else ''}; "
        + (
            "pass the path of the right one"
            if has_files
            else f"name it so, or keep only one of the {container.noun}"
        )
        + f". There are {_listed(names)}"
    )


def _joined(name: str, blobs: Sequence[Blob]) -> Parts:
    return Parts(name, tuple(blobs), (f"{name}: {len(blobs):,} parts of one table, in order",))


def _parts(names: Sequence[str], tables: Sequence[str]) -> list[str]:
    """Names of the files that hold one table together: by what Spark and others call them, or where all
    tables have one name but for its digits.
    """
    for pattern in _PARTS:
        found = [name for name in names if re.fullmatch(pattern, PurePosixPath(name).name)]
        if found:
            return found
    tables = [name for name in tables if not PurePosixPath(name).name.startswith("_")]
    alike = {re.sub(r"\d+", "#", PurePosixPath(name).name) for name in tables}
    partitioned = all("=" in name for name in tables)
    return list(tables) if len(tables) > 1 and (len(alike) == 1 or partitioned) else []


def _titles_in(container: Container, names: Sequence[str], taken: set[str]) -> Blob | Frame | None:
    found, _ = _choose([name for name in names if name not in taken], TITLES)
    return None if found is None else container.member(found)


def titles_beside(content: Any) -> Blob | None:
    """The file of titles beside one of ratings: where both are named alike but for what they hold."""
    if not (isinstance(content, Blob) and isinstance(content.content, Path)):
        return None
    path, limit = content.content, content.limit
    name = path.name.lower()
    if not any(re.match(pattern, name) for pattern in (*RATINGS, *_PARTS)):
        return None
    try:
        with os.scandir(path.parent) as entries:
            names = sorted(e.name for e in entries if e.is_file() and _may_be_table(e.name))
    except OSError:  # a file may be readable in a folder that is not
        return None
    fitting = {}
    for other in names:
        for pattern in TITLES:
            match = re.match(pattern, other.lower())
            before = "" if match is None else other.lower()[: match.start(match.lastindex or 0)]
            if match is not None and other != path.name and name.startswith(before):
                fitting[other] = len(before)
    best = max(fitting, key=lambda other: fitting[other], default=None)
    return None if best is None else file_blob(path.parent / best, limit)


def _may_be_table(name: str) -> bool:
    return re.fullmatch(_NO_TABLES, PurePosixPath(name).name.lower()) is None


def _is_table(name: str, suffixes: Sequence[str]) -> bool:
    packed = "|".join(suffix for packing in PACKINGS for suffix in packing.suffixes)
    return re.search(rf"\.({'|'.join(suffixes)})(\.({packed}))?$", name.lower()) is not None


def _fetched(name: str) -> Path:
    if name not in NAMED_SETS:
        sets = ", ".join(NAMED_SETS)
        raise DataError(
            f"{shown(name)}: there is no such file, and no named set; the named sets are {sets}"
            f"{did_you_mean(name, NAMED_SETS)}"
        )
    return fetch(name)


def _choose(names: Sequence[str], patterns: Iterable[str]) -> tuple[str | None, list[str]]:
    """The first of the names of the likeliest pattern, and the others of this pattern."""
    names = [name for name in names if _may_be_table(name)]
    plain = [PurePosixPath(name).name.lower() for name in names]
    for pattern in patterns:
        matched = [
            name
            for name, bare in zip(names, plain, strict=True)
            if re.match(pattern, bare if "." in bare else f"{bare}.")
        ]
        if matched:
            return matched[0], matched[1:]
    return None, []


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN_NAMES:,} more" if len(names) > _SHOWN_NAMES else ""
    return (", ".join(names[:_SHOWN_NAMES]) or "none") + more
