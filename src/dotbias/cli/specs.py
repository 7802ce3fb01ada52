"""What options like ``--rule adam:beta1=0.8`` mean."""

import importlib.util
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dotbias.errors import SettingError
from dotbias.settings import named

if TYPE_CHECKING:
    from dotbias.solvers.descent.rules import Rates, Rule
    from dotbias.solvers.descent.schedules import Schedule

T = TypeVar("T")


def rule(text: str) -> "Rule":
    """A rule from ``NAME[:SETTING=NUMBER,...]``; ``FILE.py/CLASS`` names one of the user's own."""
    from dotbias.solvers.descent.rules import RULES, Rule

    name, _, settings = text.partition(":")
    if ".py" in name:
        own = _own_rule(name)
        if not (isinstance(own, type) and issubclass(own, Rule)):
            raise SettingError(f"--rule {name}: that is no subclass of dotbias.Rule")
        if inspect.isabstract(own):
            raise SettingError(f"--rule {name}: it has no function update")
        return _make(own, settings, "--rule", name)
    return _make(named(f"--rule {name}", name, RULES), settings, "--rule", name)


def schedule(text: str) -> "Schedule":
    """A schedule from ``NAME[:SETTING=NUMBER,...]``."""
    from dotbias.solvers.descent.schedules import SCHEDULES

    name, _, settings = text.partition(":")
    return _make(named(f"--schedule {name}", name, SCHEDULES), settings, "--schedule", name)


def batch(text: str) -> int | None:
    """A batch size: a number, or ``full``."""
    if text == "full":
        return None
    if not text.isdecimal() or int(text) == 0:
        raise SettingError(f"--batch {text}: write a number of ratings, 1 or more, or full")
    return int(text)


def order(text: str) -> str:
    """How ratings follow each other: ``shuffled`` or ``stored``."""
    if text not in ("shuffled", "stored"):
        raise SettingError(f"--order {text}: it must be shuffled or stored")
    return text


def sizes(text: str) -> tuple[int, ...]:
    """Sizes of hidden layers: whole numbers, separated by commas."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise SettingError(f"--hidden {text}: write sizes such as 10 or 100,10")
    return tuple(map(int, parts))


def rates(texts: list[str]) -> "Rates":
    """Learning rates: a number, ``LOW:HIGH``, or ``GROUP=NUMBER`` (several)."""
    if len(texts) == 1 and "=" not in texts[0]:
        low, colon, high = texts[0].partition(":")
        if colon:
            return slice(_number("--lr", low, texts[0]), _number("--lr", high, texts[0]))
        return _number("--lr", low, texts[0])
    return numbers_by_name("--lr", texts)


def decay(texts: list[str]) -> float | dict[str, float]:
    """Weight decay: one number for all groups, or ``GROUP=NUMBER`` (several)."""
    if len(texts) == 1 and "=" not in texts[0]:
        return _number("--weight-decay", texts[0], texts[0])
    return numbers_by_name("--weight-decay", texts)


def numbers_by_name(option: str, texts: list[str]) -> dict[str, float]:
    """A table from ``NAME=NUMBER`` texts."""
    table = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingError(f"{option} {text}: write NAME=NUMBER")
        table[name] = _number(option, value, text)
    return table


def _number(option: str, text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingError(f"{option} {whole}: {text!r} is not a number") from None


def _make(kind: type[T], settings: str, option: str, name: str) -> T:
    """An object of a class, which is what an option names, from ``SETTING=VALUE,...``."""
    from dataclasses import fields

    values: dict[str, Any] = {}
    legal = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    for part in filter(None, settings.split(",")):
        key, equals, value = part.partition("=")
        if not equals or key not in legal:
            raise SettingError(
                f"{option} {name}: {part!r} is no setting of it; they are {', '.join(legal) or 'none'}"
            )
        text = isinstance(legal[key].default, str)
        values[key] = value if text else _number(option, value, part)
    return kind(**values)


def _own_rule(name: str) -> Any:
    """The class that ``FILE.py/CLASS`` names: the user's own code, which this imports."""
    file, _, attribute = name.rpartition("/")
    path = Path(file)
    if path.suffix != ".py" or not attribute:
        raise SettingError(f"--rule {name}: write FILE.py/CLASS, such as my_rules.py/SignedDescent")
    if not path.is_file():
        raise SettingError(f"--rule {name}: there is no file {path}")
    # A name of its own: a file called json.py must not take the place of json.
    spec = importlib.util.spec_from_file_location(f"{path.stem} of the user", path)
    if spec is None or spec.loader is None:
        raise SettingError(f"--rule {name}: {path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise SettingError(f"--rule {name}: {path} fails: {error!r}") from error
    if not hasattr(module, attribute):
        raise SettingError(f"--rule {name}: {path} has no class {attribute}")
    return getattr(module, attribute)
