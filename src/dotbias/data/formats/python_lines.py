"""Lines of Python's dictionaries, which some sets of reviews have for JSON: ``{'user': 'ann'}``."""

import ast
import json
from collections.abc import Iterator
from typing import Any

from dotbias.errors import DataError


def is_python(line: bytes) -> bool:
    """Whether a line is a dictionary of Python; it is parsed, and never run."""
    begins = line.startswith((b"{'", b"{u'", b'{"', b'{u"'))
    return begins and _parsed(line.decode(errors="replace")) is not None


def as_json(text: str, name: str) -> Iterator[str]:
    """The same lines in JSON.

    Raises:
        DataError: naming the first line that is no dictionary.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        value = _parsed(line)
        if value is None:
            raise DataError(
                f"{name}, row {number:,}: not a dictionary of Python as the other lines are"
            )
        yield json.dumps(value, default=str)


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        value = ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None
    return value if isinstance(value, dict) else None
