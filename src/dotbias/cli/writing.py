"""How results are written: what all options share that name a file for a command to write."""

import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_args

import typer

from dotbias.cli import show

if TYPE_CHECKING:
    import polars as pl

    from dotbias.pictures.picture import Picture
    from dotbias.whole_file import FileKind

Files: TypeAlias = "list[tuple[Path, FileKind]]"

_Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Replace a file that is there even if dotbias cannot tell it to be its own.",
        rich_help_panel="Output",
    ),
]


class Writes:
    """In ``Annotated[..., Writes(files)]``: the option names files that the command writes.

    They are looked at before the command begins, and appear together (``whole_file.outputs``).

    Args:
        files: what the files are to hold, from all that the command is given and the paths that the
            option itself names.
    """

    def __init__(self, files: Callable[[dict[str, Any], list[Path]], Files]) -> None:
        self.files = files


def _models(_: dict[str, Any], paths: list[Path]) -> Files:
    from dotbias.model_file import MODEL

    return [(path, MODEL) for path in paths]


def _tables(_: dict[str, Any], paths: list[Path]) -> Files:
    from dotbias.data.write import TABLE

    return [(path, TABLE) for path in paths]


def _pictures(_: dict[str, Any], paths: list[Path], extra: str = "plot") -> Files:
    from dotbias.pictures.picture import PICTURE, check_drawing

    for path in paths:
        if path.suffix.lower() in PICTURE.endings:
            check_drawing(path, extra)
    return [(path, PICTURE) for path in paths]


def lists(given: dict[str, Any], paths: list[Path]) -> Files:
    """What a command writes that lists items for users, maybe for ``all_users``."""
    from dotbias.data.write import TABLE, TABLES

    return [(p, TABLES if in_parts(p, given.get("all_users", False)) else TABLE) for p in paths]


def in_parts(path: Path, all_users: bool) -> bool:
    """Whether lists go into a folder: those of all users, where no ending says what file they are."""
    return all_users and (not path.suffix or path.is_dir())


def _prepared(_: dict[str, Any], paths: list[Path]) -> Files:
    from dotbias.data.prepared.manifest import PREPARED

    return [(path, PREPARED) for path in paths]


WritesModel = Writes(_models)
WritesPrepared = Writes(_prepared)
WritesTable = Writes(_tables)
WritesPictures = Writes(_pictures)
WritesMap = Writes(functools.partial(_pictures, extra="map"))

TableOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Write a .csv or .parquet file instead of printing."),
    WritesTable,
]
PictureOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--picture",
        help="Draw it in this file: .png, or .html for one page that works offline (repeatable).",
        metavar="FILE",
        rich_help_panel="Pictures",
    ),
    WritesPictures,
]


def writing(command: Callable[..., None]) -> Callable[..., None]:
    """A command as it is run: with ``--force``, and with its files looked at first, if it writes any."""
    signature = inspect.signature(command, eval_str=True)
    written = {name: found for name, p in signature.parameters.items() for found in _marks(p)}
    if not written:
        return command

    @functools.wraps(command)
    def run(*, force: bool, **given: Any) -> None:
        from dotbias.whole_file import outputs

        named: Files = []
        for name, option in written.items():
            named += option.files(given, _listed(given[name]))
        with outputs(named, reads=_reads(signature, given, written), force=force):
            command(**given)

    parameters = [
        *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values()),
        inspect.Parameter(
            "force", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_Force
        ),
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def write_table(table: "pl.DataFrame", path: Path) -> None:
    """Write a frame, and say so."""
    from dotbias.data import write

    write.write_table(table, path)
    show.say(f"Wrote {table.height:,} rows to {path}.")


def save_picture(picture: "Picture", path: Path) -> None:
    """Draw a picture, and say so."""
    picture.save(path)
    show.say(f"Drew {path}.")


def _marks(parameter: inspect.Parameter) -> Iterator[Writes]:
    yield from (mark for mark in get_args(parameter.annotation) if isinstance(mark, Writes))


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _reads(
    signature: inspect.Signature, given: dict[str, Any], written: dict[str, Writes]
) -> list[str | Path]:
    """All that a command might read: no option has to be told apart, so none can be forgotten.

    A text that names a file is taken for that file. One that names a folder is so only as an argument:
    an id of a user may well be the name of a folder.
    """
    found: list[str | Path] = []
    for name, value in given.items():
        if name in written:
            continue
        marks = get_args(signature.parameters[name].annotation)
        argument = any(isinstance(mark, typer.models.ArgumentInfo) for mark in marks)
        found += [
            one
            for one in _listed(value)
            if isinstance(one, str | Path) and (argument or not _is_folder(one))
        ]
    return found


def _is_folder(text: str | Path) -> bool:
    try:
        return Path(text).is_dir()
    except (OSError, ValueError):  # too long for a path, say
        return False
