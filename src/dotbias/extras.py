"""Extras: how those are installed that are missing."""

import json
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname


def install(extra: str) -> str:
    """The command that installs an extra: from the checkout that this was installed from, where there is
    one, for no index may have the package by its name.
    """
    checkout = _checkout()
    if checkout is None:
        return f'pip install "dotbias[{extra}]"'
    root, is_linked = checkout
    with suppress(OSError):  # the folder that one is in may be gone
        root = Path() if root == Path.cwd() else root
    return f'pip install {"-e " if is_linked else ""}"{root}[{extra}]"'


def _checkout() -> tuple[Path, bool] | None:
    """The checkout that the package is from, and whether its files are those in use."""
    own = Path(__file__).resolve().parents[2]
    if _is_ours(own):
        return own, True
    from importlib.metadata import PackageNotFoundError, distribution

    with suppress(PackageNotFoundError, ValueError, KeyError):
        noted = json.loads(distribution("dotbias").read_text("direct_url.json") or "{}")
        parts = urlsplit(noted["url"])
        root = Path(url2pathname(parts.path))
        if parts.scheme == "file" and _is_ours(root):
            return root, False
    return None


def _is_ours(root: Path) -> bool:
    """Whether a folder holds this project."""
    try:
        return 'name = "dotbias"' in (root / "pyproject.toml").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
