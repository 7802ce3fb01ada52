"""A model and a solver with all their settings in a file that people can read: what tuning leaves, and
``fit`` takes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotbias.errors import DataError, SettingError, did_you_mean
from dotbias.models import DotBias, DotProduct
from dotbias.models.base import Model
from dotbias.plain import settings_from_plain, to_plain
from dotbias.settings import Settings
from dotbias.shown import Shown
from dotbias.solvers.base import Solver
from dotbias.solvers.registry import solver_from_plain
from dotbias.whole_file import FileKind, whole_file

FORMAT, VERSION = "dotbias settings", 1
_FIELDS = ("format", "version", "model", "solver", "found")
_MODELS: Mapping[str, type[Settings]] = {kind.__name__: kind for kind in (DotBias, DotProduct)}
# No file of ours is as long.
_LONGEST = 1_000_000


def _is_ours(path: Path) -> bool:
    try:
        return bool(_data(path)["format"] == FORMAT)
    except (DataError, KeyError, TypeError):
        return False


SETTINGS = FileKind("settings file", (".json",), _is_ours)


@dataclass(frozen=True)
class SettingsFile(Shown):
    """What is to be fitted and how, and how that was found.

    Args:
        model, solver: with all their settings.
        found: how they were found: plain data for people, of which ``fit`` reads nothing.
    """

    model: Model
    solver: Solver
    found: dict[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the file, whole or not at all.

        Args:
            path: where to, ``.json``. A file of settings that is there is replaced.
            force: replace any other file, too.

        Raises:
            DataError: when it cannot be written, or when another file is there.
        """
        data = {
            "format": FORMAT,
            "version": VERSION,
            "model": to_plain(self.model),
            "solver": to_plain(self.solver),
            "found": to_plain(self.found),
        }
        text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
        with whole_file(Path(path), SETTINGS, force=force) as part:
            part.write_text(f"{text}\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "SettingsFile":
        """Read what ``save`` wrote.

        Raises:
            DataError: for a file that is missing or none of ours.
            SettingError: for a field or a setting that there is not, or a value that it refuses.
        """
        path = Path(path)
        data = _data(path)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise DataError(
                f"{path} holds no settings of dotbias: `dotbias tune` writes such a file"
            )
        if data.get("version") != VERSION:
            raise DataError(
                f"{path} is of version {data.get('version')!r}, and this dotbias reads version {VERSION}"
            )
        for name in data:
            if name not in _FIELDS:
                raise SettingError(
                    f"{path}: there is no field {name!r}{did_you_mean(name, _FIELDS)}"
                )
        for name in ("model", "solver"):
            if name not in data:
                raise SettingError(f"{path}: {name} is missing")
        found = data.get("found", {})
        try:
            model = settings_from_plain(data["model"], _MODELS)
            if not isinstance(model, Model):
                raise SettingError(f"its model must be one of {', '.join(_MODELS)}")
            solver = solver_from_plain(data["solver"])
        except SettingError as error:
            raise SettingError(f"{path}: {error}") from None
        return cls(model, solver, found if isinstance(found, dict) else {})


def _data(path: Path) -> Any:
    """What a file of JSON holds.

    Raises:
        DataError: where it cannot be read, or is no JSON.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST + 1)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    try:
        if len(text) > _LONGEST:
            raise ValueError
        return json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"{path} holds no settings of dotbias: it is no JSON") from None


def settings_of(settings: "SettingsFile | str | Path") -> SettingsFile:
    """Settings themselves, or those of a file.

    Raises:
        SettingError: for anything else.
        DataError: as ``SettingsFile.load``.
    """
    if isinstance(settings, SettingsFile):
        return settings
    if isinstance(settings, str | Path):
        return SettingsFile.load(settings)
    raise SettingError(
        f"settings must be a file that `dotbias tune` has written, or Tuning.settings, not "
        f"{type(settings).__name__}"
    )
