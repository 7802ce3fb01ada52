"""``python -m scripts.site`` builds the site, in ``site``, and fails where something is wrong."""

import logging
import os
import sys
from pathlib import Path

import zensical
from scripts.site import check, reference, stage

SITE = stage.PROJECT / "site"
# What Zensical would have pages that are opened as files fetch; ours does the same.
_SHIM, _WORKER = "https://unpkg.com/iframe-worker/shim", "assets/worker.js"


class _Kept(logging.Handler):
    """Keeps warnings: of docstrings nothing else is told."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())


def build() -> list[str]:
    """Build the site.

    Returns:
        What is wrong with it.
    """
    warnings = _Kept()
    logging.getLogger().addHandler(warnings)
    stage.stage()
    reference.write(stage.STAGED / "reference")
    zensical.build(str(stage.PROJECT / "mkdocs.yml"), {"clean": True, "strict": True})
    for page in SITE.rglob("*.html"):
        worker = os.path.relpath(SITE / _WORKER, page.parent)
        page.write_text(page.read_text("utf-8").replace(_SHIM, Path(worker).as_posix()), "utf-8")
    return [*warnings.told, *check.faults(SITE)]


def main() -> None:
    """Build it, or say in words what is wrong."""
    try:
        wrong = build()
    except (stage.LinkError, reference.IncompleteError, RuntimeError) as error:
        wrong = [str(error)]  # a RuntimeError is Zensical's, which has said more before
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
