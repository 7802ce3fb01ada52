"""The command ``dotbias``, and ``python -m dotbias``: how a process begins and ends."""

import contextlib
import os
import signal
import sys

_INTERRUPTED = 130


def main() -> None:
    """Run a command, and end with its exit code."""
    try:
        # Half a second, in which Ctrl-C may come too.
        from dotbias.cli.main import app

        app()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
    except SystemExit as end:
        if end.code != _INTERRUPTED:
            # What is left is Python's end, in which Ctrl-C would leave a traceback.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            raise
    # At once, for threads may be at work, and Python would end as if killed where Ctrl-C came while it
    # made a class.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, AttributeError):
            stream.flush()
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
