"""Commands about the service: serve, db upgrade, keys."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dotbias.cli import options as o
from dotbias.cli import show
from dotbias.cli.groups import add
from dotbias.cli.planning import seconds
from dotbias.errors import SettingError
from dotbias.extras import install

if TYPE_CHECKING:
    from dotbias.serving.store.database import Database

DatabaseOption = Annotated[
    str,
    typer.Option(
        metavar="URL",
        help="Where what people say is kept: a file of SQLite, or the address of a PostgreSQL "
        "database, postgresql+psycopg://user@host/name.",
    ),
]
NameArgument = Annotated[str, typer.Argument(help="A name for the key.")]
_DATABASE = "dotbias.db"


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    add(app, serve)
    database = typer.Typer(help="The database of a service.", no_args_is_help=True)
    add(database, upgrade)
    app.add_typer(database, name="db")
    keys = typer.Typer(help="API keys of a service.", no_args_is_help=True)
    add(keys, add_key, name="add")
    add(keys, list_keys, name="list")
    add(keys, revoke)
    app.add_typer(keys, name="keys")


def serve(
    model: o.ModelArgument,
    database: DatabaseOption = _DATABASE,
    durability: Annotated[
        Literal["power-loss", "process"],
        typer.Option(
            help="What an acknowledged write outlives: the loss of power, or the end of the process "
            "alone, which is quicker (SQLite; PostgreSQL decides for itself)."
        ),
    ] = "power-loss",
    host: Annotated[
        str, typer.Option(help="Where to listen. Elsewhere than here, writes need a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A name that requests may call the service by (repeatable)."),
    ] = None,
    rate: Annotated[
        float,
        typer.Option(min=0, help="Requests a second of one key or address; 0 for any number."),
    ] = 0.0,
    refit_every: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Fit anew after so long, such as 6h, in a process beside; a model that is not worse on "
            "held-out ratings takes the place of MODEL, which is kept beside it.",
        ),
    ] = None,
    refit_after: Annotated[
        int | None, typer.Option(min=1, help="Fit anew after so many changes.")
    ] = None,
    log_requests: Annotated[bool, typer.Option(help="A line of the log for each request.")] = True,
) -> None:
    """Answer over HTTP: predictions, lists and reasons that know a rating as soon as it is given.

    Example: [bold]dotbias serve movies.dotbias[/bold], then
    [bold]curl http://127.0.0.1:8000/v1/items?query=matrix[/bold]
    """
    show.say(f"Reading {model}")  # what follows takes seconds, from the imports on
    needs_extra()
    from dotbias.model_file import check
    from dotbias.serving import logs
    from dotbias.serving.gate import Limits
    from dotbias.serving.refitting import When
    from dotbias.serving.server import BACKLOG, LOCAL, is_local, listen
    from dotbias.serving.server import serve as answer
    from dotbias.serving.service import Service, load, warn_of_strangers
    from dotbias.serving.store.database import Database
    from dotbias.serving.store.store import Store

    when = None
    if refit_every is not None or refit_after is not None:
        every = None if refit_every is None else seconds(refit_every, "--refit-every")
        when = When(every=every, after=refit_after)
    hosts = (*((*LOCAL, host) if is_local(host) else ()), *(allow_host or ()))
    limits = Limits(rate=rate, hosts=hosts if is_local(host) or allow_host else ())
    with (
        closing(listen(host, port)) as bound,  # what can fail at once, before what takes longer
        closing(Database(database, durability)) as kept,
    ):
        check(model)  # nothing is made for a file that is none
        kept.claim()
        store = Store(kept)
        generation = load(model)
        warn_of_strangers(generation, store)
        where = f"[{host}]" if ":" in host else host
        address = f"http://{where}:{bound.getsockname()[1]}"
        show.say(f"{model}: {generation.recommender!r}")
        show.say(f"{kept.name}: {kept.promise}")
        bound.listen(BACKLOG)  # from here on requests wait until they are answered
        typer.echo(f"Serving at {address}, described at {address}/openapi.json. Ctrl-C ends it.")
        logs.start(requests=log_requests and not show.quiet())
        service = Service(generation, store)
        answer(service, bound, limits=limits, needs_key=not is_local(host), when=when)


def upgrade(database: DatabaseOption = _DATABASE) -> None:
    """Bring a database of an older version to the form that this version knows.

    Example: [bold]dotbias db upgrade --database ratings.db[/bold]
    """
    with _opened(database, new=False) as made:
        before, after = made.upgrade()
    is_new = "now" if before != after else "was and is"
    typer.echo(f"{made.name}: {is_new} {after}")


def add_key(name: NameArgument, database: DatabaseOption = _DATABASE) -> None:
    """Make a key; it is shown this once.

    Example: [bold]dotbias keys add shop[/bold]
    """
    from dotbias.serving.security import Keys

    with _opened(database) as made:
        is_new = made.check()
        key = Keys(made).add(name)
    if is_new:
        show.say(f"Made the database {made.name}.")
    show.say(
        f"A key for a service with --database {made.name}, which keeps a hash of it. A request sends "
        "it in a header, Authorization: Bearer KEY"
    )
    typer.echo(key)


def list_keys(
    database: DatabaseOption = _DATABASE,
    as_json: o.JsonOption = False,
    as_csv: o.CsvOption = False,
) -> None:
    """List the names of all keys.

    Example: [bold]dotbias keys list[/bold]
    """
    import polars as pl

    from dotbias.serving.security import Keys

    with _opened(database, new=False) as made:
        made.check()
        rows = Keys(made).all()
    table = pl.DataFrame(rows, {"name": pl.String, "made": pl.Int64}, orient="row")
    when = pl.from_epoch("made", time_unit="ms")
    show.frame(table.with_columns(when), "Keys", as_json=as_json, as_csv=as_csv)


def revoke(name: NameArgument, database: DatabaseOption = _DATABASE) -> None:
    """Delete a key: it is of no use any more after five seconds at most.

    Example: [bold]dotbias keys revoke shop[/bold]
    """
    from dotbias.serving.security import Keys

    with _opened(database, new=False) as made:
        made.check()
        Keys(made).revoke(name)


@contextmanager
def _opened(address: str, *, new: bool = True) -> "Iterator[Database]":
    """A database, which may be a new one."""
    needs_extra()
    from dotbias.serving.store.database import Database

    with closing(Database(address)) as made:
        if not new:
            made.must_be_there()
        yield made


def needs_extra() -> None:
    """Refuse where what a service takes is not installed.

    Raises:
        SettingError: saying what to install.
    """
    try:
        import alembic  # noqa: F401
        import fastapi  # noqa: F401
        import sqlalchemy  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise SettingError(f"{error.name} is not installed: {install('serve')}") from None
