"""Files that are written whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file beside its place, and move it there once the block has ended well.

    Whatever goes wrong, the file that was there before stays as it was, and nothing half-written is
    left behind.

    Args:
        path: where the finished file belongs.

    Yields:
        The path to write to; an empty file with the user's usual permissions is there already.

    Raises:
        OSError: when the folder cannot be written, or something other than a file is in the place.
    """
    if path.exists() and not path.is_file():
        # Moving the finished file into its place would replace even a device like /dev/null.
        raise OSError("it is there and is no regular file")
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.touch()
        mode = partial.stat().st_mode  # the user's choice, where a writer makes a private file
        yield partial
        partial.chmod(mode)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):  # most often it is gone, or never came to be
            partial.unlink()
