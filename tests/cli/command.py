"""The command line, run in the process of the tests."""

import shlex

from typer.testing import CliRunner, Result

from dotbias.cli.main import app
from dotbias.errors import DotbiasError


def run(command: str) -> Result:
    """Run ``dotbias COMMAND``; an error comes out as it is."""
    return CliRunner().invoke(app, shlex.split(command), catch_exceptions=False)


def fails(command: str) -> str:
    """The message of a command that fails by a mistake of its user."""
    done = CliRunner().invoke(app, shlex.split(command))
    assert isinstance(done.exception, DotbiasError), done.output
    return str(done.exception)
