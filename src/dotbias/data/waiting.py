"""Waiting for a pipe or a server, in a way that Ctrl-C ends."""

import signal


def let_interrupt() -> None:
    """Let Ctrl-C end what waits for the system, as Python has it.

    Polars takes the signal when it is imported, and then has the system go on waiting: whoever waits
    would learn of it with the next bytes, if there are any.
    """
    if hasattr(signal, "siginterrupt"):  # not on Windows
        signal.siginterrupt(signal.SIGINT, True)
