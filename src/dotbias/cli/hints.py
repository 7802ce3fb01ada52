"""Commands that a note hands on: each runs as it is printed."""

import shlex
from collections.abc import Collection
from typing import Any

import typer

# How a command prints its result says nothing of how the next one is to.
_PRINTING = ("--json", "--csv")


def command(*words: object) -> str:
    """A command line as a shell takes it."""
    return shlex.join(["dotbias", *map(str, words)])


def same_with(
    context: typer.Context, name: str, *more: object, without: Collection[str] = ()
) -> str:
    """Another command with all that was typed for the present one and that it takes too, passwords in
    addresses left out.

    Args:
        context: of the present command.
        name: of the other one.
        more: further words at its end.
        without: options that mean something else there.
    """
    from dotbias.data.sources.databases import without_password

    group: Any = context.find_root().command
    taken = {spelling for other in group.commands[name].params for spelling in other.opts}
    words: list[str] = []
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        typed = source is not None and source.name == "COMMANDLINE"
        if typed and taken.intersection(parameter.opts).difference(_PRINTING, without):
            typed_words = _typed(parameter, context.params[parameter.name or ""])
            words += map(without_password, typed_words)
    return command(name, *words, *more)


def _typed(parameter: Any, value: Any) -> list[str]:
    """An argument or option with its value, word by word."""
    if parameter.param_type_name == "argument":
        # What begins like an option is a file of this folder; a single hyphen is standard input.
        return [f"./{value}" if value.startswith("-") and value != "-" else value]
    spelling = parameter.opts[0]
    if parameter.is_flag:
        return [spelling if value else parameter.secondary_opts[0]]
    if parameter.multiple:
        return [word for one in value for word in (spelling, str(one))]
    return [spelling, *map(str, value if parameter.nargs > 1 else [value])]
