"""dotbias and other libraries side by side: held-out error, lists, and seconds of the fit, in one queue.

    python benchmarks/peers environments                  # a virtual environment for each library
    python benchmarks/peers run --only invented --tries 4 --repeats 1    # minutes: does all of it work?
    python benchmarks/peers run --only ml-latest-small    # hours; begin again, and it goes on
    python benchmarks/peers table
    python benchmarks/peers pictures --to pictures
    python benchmarks/peers write README.md docs/results.md    # --records benchmarks/peers/found.jsonl
    python benchmarks/peers tidy benchmarks/peers/found.jsonl

Each library runs in a process and an environment of its own, pinned to one core and then to two. Of
every method as many settings are tried (``--tries``): the library's own, then some drawn from its
space, which its file in ``libraries`` names; of rankings, those of ``benchmarks/list_methods.py``
alone. They are compared on rows held out of the training rows of that split (a tenth of ratings; of
lists a fifth of each user's), on one thread. Where the first settings alone take longer than
``--search`` on one split, they are those of the other splits too, untried. The best is fitted to the
whole training part as often as ``--repeats`` says, with another seed each time where the library takes
one; everyone has a turn before anyone has the next, and each repeat begins elsewhere in the list.
Searches run side by side, one on each core, and ``--search-only`` does nothing else: the machine may
have other work meanwhile. dotbias's default and the points of its curve are not tuned. Test rows decide
nothing.

Seconds are those of the call that fits, after a small fit that has loaded and compiled what is needed.
Of ratings, rows are in the library's own form before; of rankings, what a library makes of them counts.
During each job the work of all other processes is measured, and what the host took: where that is more
than half a core, no claim uses the time. A fit that takes longer than ``--limit`` is ended, and recorded
as over it; a method whose fits of all splits take longer than ``--enough`` together is not repeated.

Predictions are clipped to the range of the training ratings. A user or item that training lacks is
predicted as the library does; where it has no answer, biases alone stand in.
"""

import json
import math
import signal
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(path) for path in (HERE, HERE.parent) if str(path) not in sys.path]

import environments as env  # noqa: E402
import machine  # noqa: E402
import report as reports  # noqa: E402
import sets  # noqa: E402
from contestants import Contestant, contestants  # noqa: E402
from records import Records  # noqa: E402
from run import Queue  # noqa: E402

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class Task(StrEnum):
    """What is compared."""

    RATINGS = "ratings"
    RANKINGS = "rankings"


Where = Annotated[Path, typer.Option("--environments", help="Folder of the environments.")]
Found = Annotated[Path, typer.Option("--records", help="JSON lines: what was found, and goes on.")]
Tasks = Annotated[list[Task] | None, typer.Option("--task", help="Both by default.")]
Only = Annotated[list[str] | None, typer.Option("--only", help="Names of sets.")]
Busy = Annotated[bool, typer.Option("--busy", help="Use times of a busy machine too, for a look.")]
FOUND = Path("peers.jsonl")


@app.command()
def environments(
    libraries: Annotated[list[str] | None, typer.Argument(help="All by default.")] = None,
    where: Where = env.FOLDER,
    anew: Annotated[bool, typer.Option(help="Make them again.")] = False,
) -> None:
    """Make an environment for each library, as in: environments surprise cornac"""
    for library in _among(libraries, env.names(), "library"):
        there = None if anew else env.environment(library, where)
        if there is None:
            typer.echo(f"{library}: installing", err=True)
            there = env.make(library, where)
        typer.echo(f"{library}: {there.reason or there.python}")


@app.command()
def run(
    task: Tasks = None,
    only: Only = None,
    methods: Annotated[list[str] | None, typer.Option("--method", help="Names of rows.")] = None,
    tries: Annotated[int, typer.Option(min=1, help="Settings tried of each method.")] = 12,
    repeats: Annotated[int, typer.Option(min=1, help="Fits of each split.")] = 3,
    splits: Annotated[int | None, typer.Option(min=1, help="Of each set; all by default.")] = None,
    threads: Annotated[list[int] | None, typer.Option(help="1 and 2 by default.")] = None,
    limit: Annotated[float, typer.Option(help="Seconds that a fit may take.")] = 600,
    search: Annotated[
        float, typer.Option(help="Seconds after which no more settings are tried on a split.")
    ] = 1200,
    enough: Annotated[
        float,
        typer.Option(help="Seconds of a method's fits of a set after which none is repeated."),
    ] = 1200,
    budget: Annotated[float, typer.Option(help="Hours after which nothing is begun.")] = 24,
    search_only: Annotated[
        bool, typer.Option("--search-only", help="Choose settings, and time nothing.")
    ] = False,
    again: Annotated[
        list[str] | None, typer.Option(help="'failed' or 'noisy' fits are done again.")
    ] = None,
    where: Where = env.FOLDER,
    records: Found = FOUND,
) -> None:
    """Fit what the records lack, as in: run --only ml-100k --method myFM --method dotbias"""
    _among(again, ["failed", "noisy"], "--again")
    n_threads = threads or [1, 2]
    try:
        machine.pinned(max(n_threads))
    except ValueError as reason:
        raise typer.BadParameter(f"--threads: {reason}") from None
    names = {name for one in Task for name in (sets.RATINGS if one == "ratings" else sets.RANKINGS)}
    _among(only, sorted(names), "--only")
    _among(methods, [c.name for one in Task for c in contestants(one)], "--method")
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(143)
    )  # the process of a fit ends with this one
    protocol = {
        "tries": tries,
        "repeats": repeats,
        "threads": n_threads,
        "limit": limit,
        "enough": enough,
    }
    try:
        with Records(records).alone():
            kept = Records.of(records)
            kept.add({"kind": "run", "protocol": protocol, "machine": machine.description()})
            queue = Queue(
                records=kept,
                environments={},
                n_tries=tries,
                n_splits=splits,
                repeats=repeats,
                threads=n_threads,
                limit=limit,
                search=search,
                enough=enough,
                budget=3600 * budget,
                say=_say,
                again=frozenset(again or ()),
                fits=not search_only,
            )
            for one in task or list(Task):
                who = [c for c in contestants(one) if methods is None or c.name in methods]
                who = _installed(queue, who, where)
                for name in sets.there(one, only):
                    if not queue.run(name, who):
                        _say(f"--budget {budget:g} is used up: the same command goes on")
                        return
    except BlockingIOError:
        raise typer.BadParameter(f"--records {records}: another run is adding to it") from None


def _installed(queue: Queue, who: Sequence[Contestant], where: Path) -> list[Contestant]:
    """Those whose libraries can be had; the reasons for the others are recorded."""
    for library in dict.fromkeys(c.library for c in who):
        if library in queue.environments:
            continue
        there = env.environment(library, where)
        if there is None:
            _say(f"{library}: installing")
            there = env.make(library, where)
        queue.environments[library] = there
        told = {"reason": there.reason, "versions": there.versions}
        queue.records.add({"kind": "environment", "library": library} | told)
        if there.reason:
            _say(f"{library} is left out: {there.reason}")
    return [c for c in who if not queue.environments[c.library].reason]


@app.command()
def table(task: Tasks = None, busy: Busy = False, records: Found = FOUND) -> None:
    """Print what was found, as Markdown, and what can be claimed."""
    typer.echo(reports.tables(_report(records, busy), task or list(Task)))


@app.command()
def pictures(
    to: Annotated[Path, typer.Option(help="Folder.")] = Path("pictures"),
    task: Tasks = None,
    only: Only = None,
    busy: Busy = False,
    records: Found = FOUND,
) -> None:
    """Draw error against seconds, as in: pictures --to docs/pictures --only ml-1m"""
    report = _report(records, busy)
    note = "; taken on a busy machine: not for publication" if busy else ""
    for one in task or list(Task):
        for name in report.sets(one):
            threads = sorted({row.threads for row in report.of_set(one, name)})
            for n in threads if only is None or name in only else ():
                path = to / f"peers-{one}-{name}-{n}.png"
                try:
                    reports.draw(report, one, name, n, path, note)
                except reports.Unfinished as reason:
                    _say(str(reason))
                else:
                    typer.echo(path)


@app.command()
def tidy(to: Path, records: Found = FOUND) -> None:
    """Write the records that anything is made of, as in: tidy benchmarks/peers/found.jsonl"""
    lines = [json.dumps(record) + "\n" for record in Records.of(records).tidied()]
    to.write_text("".join(lines), "utf-8")


@app.command()
def write(documents: list[Path], records: Found = FOUND) -> None:
    """Fill the markers of documents, as in: write README.md docs/results.md"""
    report = _report(records)
    try:
        blocks = report.blocks()
        for path in documents:
            typer.echo(f"{path}: {', '.join(reports.write_into(path, blocks))}")
    except reports.Unfinished as reason:
        _say(f"nothing more is written: {reason}")
        raise typer.Exit(1) from None


def _report(path: Path, busy: bool = False) -> reports.Report:
    try:
        return reports.Report.of(Records.of(path), math.inf if busy else machine.QUIET)
    except reports.Unfinished as reason:
        _say(str(reason))
        raise typer.Exit(1) from None


def _among(asked: Sequence[str] | None, known: Sequence[str], what: str) -> Sequence[str]:
    for name in asked or ():
        if name not in known:
            raise typer.BadParameter(f"{what} {name!r} is none of {', '.join(known)}")
    return asked or known


def _say(line: Any) -> None:
    typer.echo(line, err=True)


if __name__ == "__main__":
    app()
