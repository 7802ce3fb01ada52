"""The file of a fitted model: named arrays and plain metadata, in the safetensors format.

Nothing in it is executed on loading. A file is written beside its place and moved there when it is
whole, and carries a checksum, so that what loads is exactly what was saved.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dotbias.errors import ModelFileError
from dotbias.whole_file import whole_file

FORMAT = "dotbias model"
FORMAT_VERSION = 1


def write(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, Any],
    kind: str = FORMAT,
) -> None:
    """Write arrays and JSON-able metadata, whole or not at all.

    Args:
        path: where to.
        arrays, metadata: what to write.
        kind: what the file is; reading asks for the same.

    Raises:
        ModelFileError: when the folder is missing or cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps(metadata, sort_keys=True)
    header = {
        "format": kind,
        "format_version": str(FORMAT_VERSION),
        "metadata": text,
        "sha256": _checksum(arrays, text),
    }
    try:
        with whole_file(path) as partial:
            save_file(arrays, partial, header)
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"cannot write {path}: {error}") from error


def read(path: Path, kind: str = FORMAT) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays and metadata of a file that ``write`` has written.

    Raises:
        ModelFileError: when the file is missing, unreadable, truncated, altered, of a newer format,
            or none of ours; it says which.
    """
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
            if not version.isdecimal() or not 1 <= int(version) <= FORMAT_VERSION:
                raise ModelFileError(
                    f"{path} has format {version or 'unknown'}, and this version of dotbias reads up "
                    f"to {FORMAT_VERSION}: upgrade dotbias to open it"
                )
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path} is no {_noun(kind)}, or is truncated: {error}") from error
    text = header.get("metadata", "")
    if header.get("sha256") != _checksum(arrays, text):
        raise ModelFileError(f"{path} has been altered since it was saved: its checksum differs")
    return arrays, json.loads(text)


def _noun(kind: str) -> str:
    return "model file" if kind == FORMAT else kind.removeprefix("dotbias ")


def _checksum(arrays: Mapping[str, NDArray[Any]], text: str) -> str:
    """SHA-256 over the metadata and every array's name, type, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
