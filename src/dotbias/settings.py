"""Settings objects: frozen, keyword-only dataclasses whose legal ranges stand beside the defaults."""

import inspect
import math
import numbers
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, Self, TypeVar

import numpy as np

from dotbias.errors import SettingError, did_you_mean
from dotbias.shown import as_html, parts_of

T = TypeVar("T")


def setting(
    default: Any,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    choices: tuple[Any, ...] | None = None,
    optional: bool = False,
    whole: bool = False,
    keyword: bool = False,
) -> Any:
    """Declare one setting: its default and its legal range.

    ``None`` is legal too where it is the default or the setting is ``optional``. Numbers must be whole
    where the default is, or where ``whole`` says so.
    """
    bounds = {"at least": at_least, "above": above, "at most": at_most, "below": below}
    return field(
        default=default,
        kw_only=keyword or MISSING,
        metadata={
            "bounds": {k: v for k, v in bounds.items() if v is not None},
            "choices": choices,
            "optional": optional or default is None,
            "whole": whole or type(default) is int,
        },
    )


_LARGEST = 2**63 - 1

_HOLDS = {
    "at least": lambda value, bound: value >= bound,
    "above": lambda value, bound: value > bound,
    "at most": lambda value, bound: value <= bound,
    "below": lambda value, bound: value < bound,
}


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float can be
        return False


@dataclass(frozen=True)
class Settings:
    """Base of models, solvers and rules: stores its settings and refuses illegal ones at once.

    Raises:
        SettingError: naming the class, the setting, its value and the legal range.
    """

    def __new__(cls, *_: Any, **given: Any) -> Self:
        """Names that are none of a setting, such as an option's of the command line, are answered with
        the nearest that is.
        """
        for name in given:
            if (
                name not in cls.__dataclass_fields__
                and name not in inspect.signature(cls).parameters
            ):
                known = [spec.name for spec in fields(cls) if spec.init]
                near = did_you_mean(name, known) or f"; there are {', '.join(known) or 'none'}"
                raise TypeError(f"{cls.__name__} has no setting {name!r}{near}")
        return super().__new__(cls)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name, as scikit-learn asks for them; with ``deep`` also those of settings
        among them, ``rule__lr``.
        """
        params = {spec.name: getattr(self, spec.name) for spec in fields(self) if spec.init}
        for name, value in list(params.items()):
            if deep and isinstance(value, Settings):
                params |= {f"{name}__{inner}": one for inner, one in value.get_params().items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Settings with other values, by the names of ``get_params``; these stay as they are.

        Raises:
            SettingError: for a name that is no setting, or a value outside its range.

        >>> from dotbias.solvers.descent.gradient import GradientDescent
        >>> GradientDescent().set_params(rule__lr=0.1, n_epochs=3).rule.lr
        0.1
        """
        own = {spec.name for spec in fields(self) if spec.init}
        changes: dict[str, Any] = {}
        for name, value in params.items():
            whole, _, part = name.partition("__")
            if whole not in own or (part and not isinstance(getattr(self, whole), Settings)):
                near = did_you_mean(name, self.get_params())
                raise SettingError(f"{type(self).__name__} has no setting {name!r}{near}")
            if part:
                changes[whole] = changes.get(whole, getattr(self, whole)).set_params(
                    **{part: value}
                )
            else:
                changes[whole] = value
        return replace(self, **changes)

    def brief(self) -> str:
        """``repr`` without the settings that are at their defaults."""
        told = []
        for spec in fields(self):
            value = getattr(self, spec.name)
            usual = spec.default if spec.default_factory is MISSING else spec.default_factory()
            if spec.init and value != usual:
                text = value.brief() if isinstance(value, Settings) else repr(value)
                told.append(f"{spec.name}={text}")
        return f"{type(self).__name__}({', '.join(told)})"

    def _repr_html_(self) -> str:
        return as_html(self, parts_of(self))

    def __post_init__(self) -> None:
        for spec in fields(self):
            if "bounds" in spec.metadata:
                self._check(spec.name, getattr(self, spec.name), spec.metadata)

    def _check(self, name: str, value: Any, legal: Any) -> None:
        if value is None and legal["optional"]:
            return
        choices, bounds = legal["choices"], legal["bounds"]
        if choices is not None:
            if value not in choices:
                self._refuse(name, value, "one of " + ", ".join(map(repr, choices)))
            return
        if not bounds:
            return
        wanted = " and ".join(f"{k} {v:g}" for k, v in bounds.items())
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            self._refuse(name, value, f"a number {wanted}")
        if legal["whole"] and not isinstance(value, numbers.Integral):
            self._refuse(name, value, f"a whole number {wanted}")
        if isinstance(value, numbers.Integral) and abs(int(value)) > _LARGEST:
            self._refuse(name, value, f"{wanted}, and no more than 64 bits hold")
        if not _is_finite(value) or not all(_HOLDS[k](value, v) for k, v in bounds.items()):
            self._refuse(name, value, wanted)

    def _refuse(self, name: str, value: Any, wanted: str) -> None:
        raise SettingError(f"{type(self).__name__}({name}={value!r}): {name} must be {wanted}")


def named(what: str, name: str, known: Mapping[str, T]) -> T:
    """What has a name, as the command line and Python both have it: in any case, and with ``_`` or a
    blank for ``-``.

    Args:
        what: what was said, with the name, for the message.
        name: the name.
        known: all that there are.

    Raises:
        SettingError: for a name that there is not, with those that there are.

    >>> named("--rule Adam", "Adam", {"sgd": 1, "adam": 2})
    2
    """
    plain = name.strip().lower().replace("_", "-").replace(" ", "-")
    if plain not in known:
        raise SettingError(
            f"{what}: it must be one of {', '.join(known)}{did_you_mean(plain, known)}"
        )
    return known[plain]


def generator(seed: int) -> np.random.Generator:
    """The source of random numbers of a seed.

    Raises:
        SettingError: for a seed that is no whole number, or negative.
    """
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or seed < 0:
        raise SettingError(f"seed={seed!r}: seed must be a whole number at least 0")
    return np.random.default_rng(int(seed))
