"""What alters the arrays or facts of a checkpoint."""

from collections.abc import Callable
from typing import Any


def put(path: str, value: Any) -> Callable[[Any, Any], None]:
    """Set a fact."""

    def alter(_: Any, facts: Any) -> None:
        *keys, last = path.split(".")
        for key in keys:
            facts = facts[key]
        facts[last] = value

    return alter


def array(name: str, change: Callable[[Any], Any]) -> Callable[[Any, Any], None]:
    """Change an array."""
    return lambda arrays, _: arrays.update({name: change(arrays[name])})
