"""When the service fits anew, and how the new model takes its place."""

import asyncio
import logging
import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from dotbias.errors import DotbiasError
from dotbias.serving import children
from dotbias.serving.refit import DATABASE
from dotbias.serving.service import Service
from dotbias.settings import Settings, setting

_log = logging.getLogger("dotbias.serving")

_LOOK_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class When(Settings):
    """When to fit anew; with neither, never.

    Args:
        every: after so many seconds, where anything was said.
        after: after so many changes.
    """

    every: float | None = setting(None, above=0)
    after: int | None = setting(None, at_least=1)

    def is_due(self, seconds: float, n_changes: int) -> bool:
        """Whether it is time, so long after the last fit and with so many changes since."""
        if n_changes == 0:
            return False
        is_time = self.every is not None and seconds >= self.every
        return is_time or (self.after is not None and n_changes >= self.after)


async def refit_when_due(service: Service, when: When) -> None:
    """Look every two seconds whether it is time; without end."""
    began, counted = time.monotonic(), None
    while True:
        try:
            n_changes = await _counted(service)
            counted = n_changes if counted is None else counted
            if when.is_due(time.monotonic() - began, n_changes - counted):
                began, counted = time.monotonic(), n_changes
                await refit(service)
        except (DotbiasError, OSError) as error:  # a full disk, too
            _log.error("refit failed", extra={"fields": {"said": str(error)}})
        await asyncio.sleep(_LOOK_SECONDS)


async def refit(service: Service) -> bool:
    """Fit anew in a child process; where the new model is not worse, it takes the place of the old one.

    Also in the file: the old one lies beside it then, as ``*.previous.dotbias``.

    Returns:
        Whether it did.
    """
    source = service.generation.source
    _log.info("refit begins")
    with TemporaryDirectory(prefix=".refit-", dir=source.parent) as folder:
        made = Path(folder) / source.name
        database = {DATABASE: service.store.database.address}  # it may hold a password
        verdict = await children.run("dotbias.serving.refit", str(source), str(made), **database)
        if verdict is None:
            _log.error("refit failed")
            return False
        _log.info("refit", extra={"fields": verdict})
        if not verdict["accepted"]:
            return False
        await service.in_thread(partial(_exchange, source, made))
    await service.load(source)
    return True


def _exchange(source: Path, made: Path) -> None:
    """Put a new model in the place of the old one, which is kept beside it."""
    kept = source.with_name(f"{source.stem}.previous{source.suffix}")
    shutil.copy2(source, made.with_name("previous"))
    made.with_name("previous").replace(kept)
    made.replace(source)


async def _counted(service: Service) -> int:
    return await service.in_thread(service.store.n_changes)
