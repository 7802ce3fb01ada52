"""How commands run in this process, and with how much memory and time."""

import contextlib
import io
import resource
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import typer

from dotbias.cli.main import app

GROUP = typer.main.get_command(app)
# Beyond what is there already; what would take more must be refused, or end in a message.
MEMORY = 4 << 30


@contextlib.contextmanager
def bounded(seconds: int) -> Iterator[None]:
    """So much more memory and no more, lest a test take the machine with it; a bell for what hangs."""

    def ring(*_: Any) -> None:
        raise TimeoutError(f"it has not ended within {seconds} s")

    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before, bell = resource.getrlimit(resource.RLIMIT_AS), signal.signal(signal.SIGALRM, ring)
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, before[1]))
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, bell)
        resource.setrlimit(resource.RLIMIT_AS, before)


class Done(NamedTuple):
    """How a command has ended: a code and what it says on stderr, or an exception that is a fault."""

    exit_code: int
    stderr: str
    exception: Exception | None = None


def command(words: Sequence[str]) -> Done:
    """Run a command line. Typer's own runner would make all commands anew, which takes longer."""
    stdout, stderr = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    code, exception = 0, None
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            GROUP.main(list(words), "dotbias")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        except Exception as error:
            exception = error
    stderr.seek(0)
    return Done(code, stderr.read(), exception)
