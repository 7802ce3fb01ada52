"""The ``dotbias`` command: joins the groups of commands and turns errors into messages.

Exit codes: 0 success; 1 a mistake in the data, the model file or a setting, named on stderr; 2 wrong
usage of the command line; 130 interrupted with Ctrl-C.
"""

import contextlib
import io
import logging
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dotbias import __version__
from dotbias.cli import data, demo, fitting, insight, laboratory, serving, show, tuning, using
from dotbias.errors import DotbiasError


class _Commands(TyperGroup):
    """The commands, which end with a message and an exit code whatever becomes of them."""

    def invoke(self, ctx: Any) -> Any:
        _take_any_text()
        try:
            done = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()  # a reader that has gone is met here, not at the end of Python
        except DotbiasError as error:
            typer.secho(show.folded(f"Error: {error}", sys.stderr), err=True, fg="red")
            raise typer.Exit(1) from error
        except (MemoryError, RuntimeError) as error:
            # PyTorch's memory runs out with a RuntimeError.
            if not isinstance(error, MemoryError) and "memory" not in str(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else "an array is too large"
            typer.secho(
                f"Error: out of memory ({reason}): ask for less at once", err=True, fg="red"
            )
            raise typer.Exit(1) from error
        except KeyboardInterrupt as interrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(130) from interrupt
        except BrokenPipeError:
            # The reader of our output has gone, as in `dotbias recommend ... | head`.
            _drop_output()
            raise typer.Exit(0) from None
        except OSError as error:
            # Files have their own errors: what is left is mostly a full disk behind `> results.csv`.
            what = error.filename or "standard output"
            typer.secho(f"Error: {what}: {error.strerror or error}", err=True, fg="red")
            if error.filename is None:
                _drop_output()
            raise typer.Exit(1) from error
        return done


def _take_any_text() -> None:
    """Show a letter that the output's encoding lacks as a question mark: a title may hold any."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _drop_output() -> None:
    """Let what could not be written go, lest Python tries again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


app = typer.Typer(
    name="dotbias",
    cls=_Commands,
    help="Embeddings and biases from a file of ratings: predictions, recommendations, similar items.",
    epilog="Exit codes: 0 success, 1 a mistake that the message names, 2 wrong usage, 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (demo, fitting, using, serving, laboratory, tuning, insight, data):
    group.register(app)


class _Notes(logging.Handler):
    """Notes on stderr as it is at that moment: a progress bar puts itself there, and moves aside. What
    several steps of a command note alike is said once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        note = self.format(record)
        # Of what a run tells about itself the figures differ from fit to fit.
        alike = str(record.msg) if hasattr(record, "of_a_run") else note
        if alike in self.said or sys.stderr is None:
            return
        self.said.add(alike)
        with contextlib.suppress(OSError):  # no reader for them is no reason to stop the work
            print(show.folded(note, sys.stderr), file=sys.stderr)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dotbias {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No notes and no progress on stderr.")
    ] = False,
) -> None:
    """What holds for all commands."""
    logger = logging.getLogger("dotbias")
    logger.handlers[:] = [_Notes()]
    logger.setLevel(logging.ERROR if quiet else logging.INFO)
    logger.propagate = False
