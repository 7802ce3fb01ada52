"""What a setting would take of the machine's memory or disk, said before it is asked for."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from dotbias.errors import SettingError

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def check_memory(n_numbers: float, what: str, *, size: int = 4) -> None:
    """Refuse what cannot fit into the machine's memory, whatever else is there.

    An allocation alone would not do it: where the system grants memory before it has it, the process is
    killed without a word when the memory is used.

    Args:
        n_numbers: how many numbers are held at once.
        what: takes them, for the message: the setting and its value.
        size: bytes of a number.

    Raises:
        SettingError: naming what it would take, and what there is.
    """
    needed, has = float(n_numbers) * size, there_is()
    if has is not None and needed > has:
        raise SettingError(
            f"{what} would take {in_units(needed)} of memory, and this machine has {in_units(has)}"
        )


def in_units(n_bytes: float) -> str:
    """A number of bytes for people.

    >>> in_units(40_000_800_000.0)
    '40 GB'
    """
    for unit in _UNITS:
        if n_bytes < 999.5 or unit == _UNITS[-1]:
            break
        n_bytes /= 1000
    return f"{n_bytes:.3g} {unit}"


def reserve(file: IO[Any], n_bytes: int) -> None:
    """Give an empty file its length, and room for all of it. Who writes through a map to a file that the
    disk has no room for is killed without a word.

    Raises:
        OSError: where there is no room.
    """
    try:
        os.posix_fallocate(file.fileno(), 0, n_bytes)
    except AttributeError:  # macOS and Windows
        file.truncate(n_bytes)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # some file systems cannot
            raise
        file.truncate(n_bytes)


def there_is() -> int | None:
    """Bytes of memory of this machine, or of the container that this process is in; None where the
    system does not say.
    """
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
    return min([physical, *_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


def _limits(groups: Path, mounted: Path) -> Iterator[int]:
    """What Linux allows the control groups that a process is in, of either version.

    Args:
        groups: the file that names them, a line ``number:controllers:path`` for each tree of groups.
        mounted: where these trees are. In a container it is often the group itself that is there.
    """
    with suppress(OSError):
        for line in groups.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                root, name = mounted, "memory.max"
            elif "memory" in controllers.split(","):
                root, name = mounted / "memory", "memory.limit_in_bytes"
            else:
                continue
            inner = Path(path.lstrip("/"))
            for folder in (inner, *inner.parents):
                with suppress(OSError, ValueError):  # there is none, or it is "max"
                    yield int((root / folder / name).read_text())


_SIZES = {"": 1, "B": 1} | {
    f"{letter}{infix}B": base**power
    for power, letter in enumerate("KMGT", 1)
    for infix, base in (("", 1000), ("I", 1024))
}
# Python, NumPy, Polars and Numba take a part of this before any work is done.
_LEAST = 512 * 2**20
_UNKNOWN = 2 * 2**30


def allowed(memory: int | str | None) -> int:
    """Bytes of memory that a user allows: a number of bytes, text such as ``"3GiB"``, or by default half
    of what there is.

    Raises:
        SettingError: for what is no size, or below 512 MiB, which dotbias takes by itself.

    >>> allowed("3 GiB"), allowed("3gb")
    (3221225472, 3000000000)
    """
    if memory is None:
        return max(_LEAST, (there_is() or 2 * _UNKNOWN) // 2)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?B?)", str(memory).strip().upper())
    size = _SIZES.get(match[2]) if match else None
    if match is None or size is None or float(match[1]) * size < _LEAST:
        raise SettingError(
            f"memory={memory!r}: memory must be a size of at least 512MiB, in bytes or such as '3GiB'"
        )
    return int(float(match[1]) * size)
