"""The file of a fitted model: named arrays and plain metadata, in the safetensors format.

Nothing in it is executed on loading. A file is written beside its place and moved there when it is
whole, and carries a checksum, so that what loads is exactly what was saved.
"""

import ast
import hashlib
import json
import logging
import math
import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dotbias.errors import DataError, ModelFileError
from dotbias.plain import from_plain
from dotbias.progress import progress_bar
from dotbias.whole_file import FileKind, whole_file

FORMAT = "dotbias model"
FORMAT_VERSION = 1

# The types of numbers that a file of ours may hold, as safetensors calls them.
_DTYPES = {
    "BOOL": np.dtype(bool),
    **{f"F{bits}": np.dtype(f"f{bits // 8}") for bits in (16, 32, 64)},
    **{
        f"{kind}{bits}": np.dtype(f"{kind.lower()}{bits // 8}")
        for kind in "IU"
        for bits in (8, 16, 32, 64)
    },
}
MAPPED = 1 << 26
"""Arrays of so many bytes (64 MiB) stay in their file, which the system reads as they are used; smaller
ones are copied into memory, where nobody who writes over the file can alter them."""
# As much is hashed at a time, and for so much somebody waits long enough to want to know why.
_HASHED, _LONG = 1 << 24, 1 << 29


def write(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, Any],
    kind: str = FORMAT,
    *,
    force: bool = False,
) -> None:
    """Write arrays and JSON-able metadata, whole or not at all.

    Args:
        path: where to.
        arrays, metadata: what to write.
        kind: what the file is; reading asks for the same.
        force: whether a file that is there is replaced even if it is none of ours.

    Raises:
        ModelFileError: when it cannot be written, or another file is there.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps(metadata)
    header = {
        "format": kind,
        "format_version": str(FORMAT_VERSION),
        "metadata": text,
        "sha256": _checksum(arrays, text, f"saving {path.name}"),
    }
    try:
        with whole_file(path, MODEL, force=force) as part:
            save_file(arrays, part, header)
            _put_in_order(part)
    except DataError as error:
        raise ModelFileError(str(error)) from error
    except SafetensorError as error:
        raise ModelFileError(f"cannot write {path}: {error}") from error


def is_ours(path: Path) -> bool:
    """Whether a file was written here, by this version or another."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            return str((file.metadata() or {}).get("format")).startswith("dotbias ")
    except (SafetensorError, OSError):
        return False


MODEL = FileKind("model", is_ours=is_ours)


def check(path: Path, kind: str = FORMAT) -> None:
    """Refuse a file whose head says that ``read`` would; what lies behind its head is not looked at.

    Raises:
        ModelFileError: as ``read``.
    """
    with _opened(path, kind):
        pass


def read(
    path: Path, kind: str = FORMAT, *, verify: bool = True
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays and metadata of a file that ``write`` has written.

    Large arrays (``MAPPED``) stay in the file and take no memory of their own: it may be replaced or
    removed meanwhile, as dotbias itself does, but must not be written over.

    Args:
        path, kind: as for ``write``.
        verify: whether to read the whole file for its checksum.

    Raises:
        ModelFileError: when the file is missing, unreadable, truncated, altered, of a newer format,
            or none of ours; it says which.
    """
    with _opened(path, kind) as (file, header):
        names = list(file.keys())
        for name in names:
            if (dtype := file.get_slice(name).get_dtype()) not in _DTYPES:
                raise ModelFileError(
                    f"the array {name} in {path} holds {dtype}: this version of dotbias does not"
                )
        arrays = _mapped(path)
        arrays |= {name: file.get_tensor(name) for name in names if name not in arrays}
    text = header.get("metadata", "")
    if verify and header.get("sha256") != _checksum(arrays, text, f"checking {path.name}"):
        raise ModelFileError(f"{path} has been altered since it was saved: its checksum differs")
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(
            f"the metadata in {path} are no JSON that can be read: {error}"
        ) from error
    if not isinstance(metadata, dict):
        raise ModelFileError(f"the metadata in {path} must be a dictionary")
    return arrays, metadata


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[tuple[Any, dict[str, str]]]:
    """A file of ours, and what its head says."""
    from safetensors import SafetensorError, safe_open

    try:
        if not path.is_file():
            raise ModelFileError(f"there is no {_noun(kind)} {path}")
        path.open("rb").close()  # safetensors does not say why it cannot
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror}") from error
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            if header.get("format") != kind:
                raise ModelFileError(f"{path} was not written by dotbias as a {_noun(kind)}")
            version = header.get("format_version", "")
            if version not in map(str, range(1, FORMAT_VERSION + 1)):
                raise ModelFileError(
                    f"{path} has format {version[:20] or 'unknown'}, and this version of dotbias reads "
                    f"up to {FORMAT_VERSION}: upgrade dotbias to open it"
                )
            yield file, header
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path} is no {_noun(kind)}, or is truncated: {error}") from error


def _mapped(path: Path) -> dict[str, NDArray[Any]]:
    """The large arrays of a file that safetensors has found whole, as they lie in it.

    Nothing is copied, and what is written to such an array stays in this process: a page of its own
    takes the place of that of the file. So it can be written to as any other array, and is of the same
    type to compiled code, which would be compiled anew for arrays that are only to be read. Where the
    system would not let a mapped file be replaced (Windows), there are none.
    """
    if os.name != "posix" or path.stat().st_size < MAPPED:
        return {}
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        large = {
            name: entry
            for name, entry in header.items()
            if name != "__metadata__" and np.diff(entry["data_offsets"])[0] >= MAPPED
        }
        if not large:
            return {}
        # Without a claim on memory for pages that nobody will write to.
        flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0)
        whole = mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    arrays = {}
    for name, entry in large.items():
        dtype, shape = _DTYPES[entry["dtype"]], entry["shape"]
        begin = 8 + size + entry["data_offsets"][0]
        array = np.frombuffer(whole, dtype, math.prod(shape), begin).reshape(shape)
        if array.flags.aligned:  # as all are that safetensors writes
            arrays[name] = array
    return arrays


def _put_in_order(path: Path) -> None:
    """Sort the entries of the header that safetensors keeps in a random order.

    So the same content is the same bytes. Where the arrays lie counts from the header's end: it stays.
    """
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= size
        file.seek(8)
        file.write(text.ljust(size))


def _noun(kind: str) -> str:
    return "model file" if kind == FORMAT else kind.removeprefix("dotbias ")


def _checksum(arrays: Mapping[str, NDArray[Any]], text: str, doing: str) -> str:
    """SHA-256 over the metadata and every array's name, type, shape and bytes, piece by piece."""
    digest = hashlib.sha256(text.encode())
    total = sum(array.nbytes for array in arrays.values())
    shown = total >= _LONG and logging.getLogger("dotbias").level <= logging.INFO
    with progress_bar(doing, total, enabled=shown, unit="bytes") as advance:
        for name in sorted(arrays):
            array = arrays[name]
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
            for begin in range(0, len(data), _HASHED):
                piece = data[begin : begin + _HASHED]
                digest.update(piece)
                advance(len(piece), "")
    return digest.hexdigest()


# -- version 0.5.0 -----------------------------------------------------------------------------------

# Settings that are written down in more letters than these are none of ours.
_LONGEST = 10_000


def plain_of_text(text: str) -> dict[str, Any] | str:
    """Plain data of settings that 0.5.0 has written down as their ``repr``; nothing in it is run.

    The text itself where it is of another kind, as of settings with a function among them.
    """
    try:
        if len(text) > _LONGEST:
            return text
        data = from_plain(dict[str, Any], _plain_of_node(ast.parse(text, mode="eval").body))
    except (DataError, SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return text
    return data


def _plain_of_node(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        if name.startswith("np.") and len(node.args) == 1:  # np.float64(0.1)
            return _plain_of_node(node.args[0])
        if name == "slice" and len(node.args) == 3:
            start, stop, _ = map(_plain_of_node, node.args)
            return {"slice": {"start": start, "stop": stop}}
        if node.args or not isinstance(node.func, ast.Name):
            raise ValueError(f"{name} is not written with its settings by name")
        return {name: {str(k.arg): _plain_of_node(k.value) for k in node.keywords}}
    if isinstance(node, ast.Dict):
        keys = [ast.literal_eval(key) for key in node.keys if key is not None]
        return dict(zip(keys, map(_plain_of_node, node.values), strict=True))
    if isinstance(node, (ast.Tuple, ast.List)):
        return list(map(_plain_of_node, node.elts))
    return ast.literal_eval(node)
