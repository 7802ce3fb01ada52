"""A virtual environment for each library, of pinned requirements, and the reason where there is none.

``requirements/NAME.txt`` are pip's, and may begin with two comments: ``# first:`` names what is
installed before, and ``# options:`` what pip is told besides.
"""

import json
import subprocess
import sys
import venv
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements"
OURS = "dotbias", "numpy"
"""Libraries that this Python has."""
FOLDER = platformdirs.user_cache_path("dotbias-peers")


@dataclass(frozen=True)
class Environment:
    """Where a library is, or why it is not.

    Args:
        library: its name; that of its file of requirements.
        python: of its environment, "" where it could not be made.
        versions: of all that is in it.
        reason: pip's, where it could not.
    """

    library: str
    python: str
    versions: dict[str, str]
    reason: str = ""


def names() -> list[str]:
    return sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))


def environment(library: str, folder: Path = FOLDER) -> Environment | None:
    """One that has been made of the requirements as they are, None where that is still to be done."""
    if library in OURS:
        return Environment(library, sys.executable, {})
    path = folder / library / "environment.json"
    if not path.exists():
        return None
    said = json.loads(path.read_text("utf-8"))
    if said.pop("requirements") != _requirements(library):
        return None
    return Environment(**said)


def make(library: str, folder: Path = FOLDER) -> Environment:
    """Make one, or find out why it cannot be made."""
    place = folder / library
    python = str(place / "bin" / "python")
    venv.create(place, clear=True, with_pip=True)
    try:
        _install(python, library)
        made = Environment(library, python, _versions(python))
    except Refused as reason:
        made = Environment(library, "", {}, str(reason))
    said = asdict(made) | {"requirements": _requirements(library)}
    (place / "environment.json").write_text(json.dumps(said, indent=1), "utf-8")
    return made


class Refused(Exception):
    """What pip said."""


def _requirements(library: str) -> str:
    return (REQUIREMENTS / f"{library}.txt").read_text("utf-8")


def _install(python: str, library: str) -> None:
    told = {"first": "", "options": ""}
    for line in _requirements(library).splitlines():
        for name in told:
            told[name] = told[name] or line.removeprefix(f"# {name}:") * line.startswith(
                f"# {name}:"
            )
    if told["first"]:
        _pip(python, "install", *told["first"].split())
    install = ("install", *told["options"].split(), "-r", str(REQUIREMENTS / f"{library}.txt"))
    report = json.loads(_pip(python, *install, "--dry-run", "--report", "-", "--ignore-installed"))
    wanted = [one["metadata"]["name"].lower() for one in report["install"]]
    for_gpus = sorted(name for name in wanted if name.startswith("nvidia-"))
    if for_gpus:  # gigabytes that no fit here uses
        raise Refused(f"it would bring {', '.join(for_gpus)}; pin a build of PyTorch for CPUs")
    _pip(python, *install)


def _versions(python: str) -> dict[str, str]:
    code = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.name.lower(): d.version for d in m.distributions()}))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return dict(sorted(found.items()))


def _pip(python: str, *words: str) -> str:
    done = subprocess.run(
        [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")]
        raise Refused((errors or lines or [f"pip ended with {done.returncode}"])[-1][:300])
    return done.stdout
