"""A PostgreSQL server of the tests' own, on a socket in a temporary folder."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def _programs() -> Path | None:
    """The folder of the server's programs; Debian keeps them off the path."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


class Postgres:
    """The server, which may be stopped and started.

    Args:
        programs: folder of its programs.
        folder: folder for its files, which belongs to the user that it runs as.
        user: that user, where this process is root; the server refuses to be root.
    """

    def __init__(self, programs: Path, folder: Path, user: str | None) -> None:
        self._programs, self._folder, self._user = programs, folder, user
        self._run("initdb", "--auth=trust", "--username=tests", "--no-sync", "--encoding=UTF8")
        self.start()

    def start(self) -> None:
        options = f"-c listen_addresses='' -k {self._folder} -c max_connections=50"
        self._run("pg_ctl", "start", "--wait", "--options", options, "--log", self._folder / "log")

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "stop", "--wait", "--mode", mode)

    def database(self, name: str) -> str:
        """The address of a new database."""
        self._execute("createdb", "--host", self._folder, "--username=tests", name)
        return f"postgresql+psycopg://tests@/{name}?host={self._folder}"

    def _run(self, program: str, *arguments: object) -> None:
        self._execute(program, "--pgdata", self._folder / "data", *arguments)

    def _execute(self, program: str, *arguments: object) -> None:
        command = [self._programs / program, *arguments]
        # Its output goes to no pipe: the server that it starts would hold it open.
        subprocess.run(
            list(map(str, command)),
            user=self._user,
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._folder,
            env={**os.environ, "LC_ALL": "C"},
        )


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A server; the test is skipped where there are no programs to run one."""
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed here (scripts/postgres installs one)")
    user = "postgres" if os.getuid() == 0 else None
    folder = Path(
        tempfile.mkdtemp(prefix="dotbias-")
    )  # short: the path of a socket may not be long
    try:
        if user is not None:
            shutil.chown(folder, user)
        server = Postgres(programs, folder, user)
        yield server
        with contextlib.suppress(subprocess.CalledProcessError):
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
