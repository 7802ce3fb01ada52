"""The command line, run in the process of the tests."""

import logging
import shlex

from typer.testing import CliRunner, Result

from dotbias.cli.main import app


def run(*command: object, code: int = 0, **environment: str) -> Result:
    """What ``dotbias COMMAND`` prints, after a check of its exit code.

    Args:
        command: one text as for a shell, or the arguments one by one.
        code: the exit code that it must have.
        environment: variables beside those of the tests.
    """
    arguments = shlex.split(str(command[0])) if len(command) == 1 else [*map(str, command)]
    logger = logging.getLogger("dotbias")
    before = (logger.handlers[:], logger.level, logger.propagate)
    try:
        runner = CliRunner(env={"COLUMNS": "100"} | environment)
        done = runner.invoke(app, arguments, catch_exceptions=False)
    finally:
        logger.handlers[:], level, logger.propagate = before
        logger.setLevel(level)
    assert done.exit_code == code, f"exit code {done.exit_code}\n{done.stdout}\n{done.stderr}"
    return done


def fails(command: str) -> str:
    """What is said of a mistake of the user, which nothing else is printed about."""
    done = run(command, code=1)
    assert done.stdout == ""
    assert done.stderr.count("Error: ") == 1
    return done.stderr.partition("Error: ")[2].removesuffix("\n")
