"""From functions to commands: a dataclass among the parameters is a group of options.

Typer sees each of its fields as an option.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.models import ParameterInfo

from dotbias.cli.writing import writing


class Only:
    """In ``Annotated[Group, Only(...)]``: the fields that a command has; the others keep defaults.

    Args:
        names: of those fields.
        otherwise: further fields, with the annotation that they have in this command alone.
    """

    def __init__(self, *names: str, **otherwise: Any) -> None:
        self.names = (*otherwise, *names)
        self.otherwise = otherwise


def add(app: typer.Typer, *commands: Callable[..., None], name: str | None = None) -> None:
    """Add commands, the name of a single one if it is not that of its function."""
    for command in commands:
        app.command(name)(writing(with_groups(command)))


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """The command as Typer is to see it: a parameter that is a dataclass is the fields of that class.

    A field is annotated like a parameter of a command.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[Any, list[str]]] = {}
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        group, *extra = _without_annotated(parameter.annotation)
        if is_dataclass(group):
            options = _options(group, *(e for e in extra if isinstance(e, Only)))
            groups[name] = (group, [option.name for option in options])
            parameters += options
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    for parameter in parameters:
        for option in _without_annotated(parameter.annotation)[1:]:
            if isinstance(option, ParameterInfo):
                option.case_sensitive = (
                    False  # where names are chosen from, as of rules and solvers
                )

    @functools.wraps(command)
    def run(**given: Any) -> None:
        made = {
            name: group(**{option: given.pop(option) for option in options})
            for name, (group, options) in groups.items()
        }
        command(**given, **made)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _without_annotated(annotation: Any) -> tuple[Any, ...]:
    """A type, and what ``Annotated`` adds to it."""
    return get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)


def _options(group: Any, only: Only | None = None) -> list[inspect.Parameter]:
    """The fields of a group, or those of its fields, as parameters."""
    types = get_type_hints(group, include_extras=True)
    defaults = {field.name: field.default for field in fields(group)}
    only = only or Only(*defaults)
    types |= only.otherwise
    return [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=types[name]
        )
        for name in only.names
    ]
