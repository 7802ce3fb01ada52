"""Groups of options: a dataclass as a parameter of a command."""

from dataclasses import dataclass, fields
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from dotbias.cli.groups import Only, with_groups
from dotbias.cli.solving import Solving


@dataclass(frozen=True, kw_only=True)
class Group:
    size: Annotated[int, typer.Option(min=1, help="Its size.")] = 3
    name: Annotated[str | None, typer.Option(help="Its name.")] = None


def test_a_command_gets_its_own_parameters_and_one_object_of_the_others():
    def command(first: str, *, solving: Solving, last: int = 3) -> None:
        got.append((first, solving, last))

    got = []
    shown = with_groups(command)
    others = {f.name: f.default for f in fields(Solving)} | {"factors": 9}
    shown(first="x", last=4, **others)
    assert got == [("x", Solving(factors=9), 4)]
    names = list(shown.__signature__.parameters)
    assert names == ["first", *(f.name for f in fields(Solving)), "last"]


@pytest.fixture
def shown():
    """What a command with a part of a group got for given arguments."""

    def command(
        first: str,
        *,
        group: Annotated[Group, Only("size", name=Annotated[str | None, typer.Option("--title")])],
        small: Annotated[Group, Only()],
    ) -> None:
        got.append((first, group, small))

    got = []
    app = typer.Typer()
    app.command()(with_groups(command))

    def invoke(*arguments: str, code: int = 0):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == code
        return got[-1] if code == 0 else done.stderr

    return invoke


def test_a_command_may_have_a_part_of_a_group_and_options_of_it_of_its_own(shown):
    assert shown("x") == ("x", Group(), Group())
    assert shown("x", "--title", "t", "--size", "5") == ("x", Group(size=5, name="t"), Group())
    assert "--name" in shown("x", "--name", "t", code=2)
    assert "--size" in shown("x", "--size", "0", code=2)


def test_a_field_that_a_group_does_not_have_is_noticed_at_once():
    def command(group: Annotated[Group, Only("colour")]) -> None: ...

    with pytest.raises(KeyError, match="colour"):
        with_groups(command)
