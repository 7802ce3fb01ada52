"""What takes long, in a process of its own."""

import asyncio
import contextlib
import json
import os
import sys
from typing import Any


async def run(module: str, *arguments: str, **environment: str) -> dict[str, Any] | None:
    """What a module prints last, a line of JSON; None where it has failed.

    The process ends with whoever waits for it.

    Args:
        module: its name.
        arguments: of the command line, which others on the machine can see.
        environment: variables beside those of this process, for what they must not.
    """
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        said, _ = await child.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
    if child.returncode != 0:
        return None
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found
