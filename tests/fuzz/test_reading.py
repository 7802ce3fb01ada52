"""Ratings in every format, damaged: the right rows, or one error that names the file; no row is wrong in
silence.

Some with ``make test``; any number by hand: ``python -m tests.fuzz.test_reading 10000 SEED``, and of one
format: ``python -m tests.fuzz.test_reading 10000 SEED CSV``. Each fault is a line with its own seed.
"""

import contextlib
import os
import random
import re
import shlex
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import numpy as np
import polars as pl
import pytest

from dotbias.data.ratings import Ratings
from dotbias.data.read import ReadReport, read_ratings, read_ratings_with_report
from dotbias.data.reading import NONE
from dotbias.errors import DotbiasError
from tests.fuzz.running import bounded, command
from tests.fuzz.writers import (
    CONTAINERS,
    FORMATS,
    NEVER_PACKED,
    NUMBER,
    OBJECTS,
    TEXTS,
    CannotTellError,
    Row,
    Written,
    draw,
    frame_of,
)

N_CASES = 25  # of each format
SECONDS = 60

# Damage -------------------------------------------------------------------------------------------


def _bytes(rng: random.Random, n: int) -> bytes:
    """Bytes of which half are such as tables are made of."""
    usual = b"0123456789,;:.-\"'\n\r\t |{}[]#%\\ \0\xff\xe9"
    return bytes(rng.choice(usual) if rng.random() < 0.5 else rng.randrange(256) for _ in range(n))


def altered(rng: random.Random, content: bytes) -> bytes:
    """With other bytes in a few places."""
    damaged = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        damaged[rng.randrange(len(damaged))] = _bytes(rng, 1)[0]
    return bytes(damaged)


def flipped(rng: random.Random, content: bytes) -> bytes:
    """With another bit in one place."""
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def cut(rng: random.Random, content: bytes) -> bytes:
    """Without the end."""
    return content[: rng.randrange(len(content))]


def inserted(rng: random.Random, content: bytes) -> bytes:
    """With bytes more."""
    at = rng.randrange(len(content) + 1)
    return content[:at] + _bytes(rng, rng.choice([1, 1, 2, 8])) + content[at:]


def deleted(rng: random.Random, content: bytes) -> bytes:
    """Without some bytes."""
    at = rng.randrange(len(content))
    return content[:at] + content[at + rng.choice([1, 1, 2, 20]) :]


def doubled(rng: random.Random, content: bytes) -> bytes:
    """With a part twice."""
    start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:end] + content[start:]


def swapped(rng: random.Random, content: bytes) -> bytes:
    """With two lines in each other's place."""
    lines = content.split(b"\n")
    one, two = (rng.randrange(len(lines)) for _ in range(2))
    lines[one], lines[two] = lines[two], lines[one]
    return b"\n".join(lines)


def zeroed(rng: random.Random, content: bytes) -> bytes:
    """With a hole, as a full disk leaves it."""
    start = rng.randrange(len(content))
    end = min(start + rng.choice([1, 4, 30]), len(content))
    return content[:start] + b"\0" * (end - start) + content[end:]


def encoded(rng: random.Random, content: bytes) -> bytes:
    """As by a program that takes one encoding for another."""
    taken, given = rng.choice(["utf-8", "latin-1"]), rng.choice(["utf-8", "utf-16", "cp1252"])
    return content.decode(taken, "replace").encode(given, "replace")


DAMAGES = (
    altered,
    altered,
    flipped,
    cut,
    cut,
    inserted,
    deleted,
    doubled,
    swapped,
    zeroed,
    encoded,
)

# Cases --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Files with ratings, one of which may be damaged.

    Args:
        name: format, container and damage.
        source: what is read.
        written: what the files hold.
        files: by their names, as they are now.
        plain: the rows that these files say.
        is_damaged: whether they are not as they were.
    """

    name: str
    source: Any
    written: Written
    files: dict[str, bytes]
    plain: Callable[[], list[Row | None]]
    is_damaged: bool

    def write(self) -> None:
        """Put the files into the present folder."""
        for name, content in self.files.items():
            path = Path(name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)


def make(seed: int, format: str | None = None) -> Case:
    """A case of a format, or of any."""
    rng = random.Random(f"{seed} {format}")
    format = format or rng.choice(list(FORMATS))
    written = FORMATS[format](rng)
    if written.n_header is not None and rng.random() < 0.2:
        shape, source, files = "parts", *_parts(rng, written)
        unpack: Callable[[bytes], bytes] = bytes
    else:
        shape = "" if format in NEVER_PACKED else rng.choice(["", "", "", "", *CONTAINERS])
        pack, unpack = CONTAINERS[shape]
        ending = f"{written.suffix}.{shape}".strip(".")
        source = f"ratings.{shape if shape in ('zip', 'tar', 'tar.gz') else ending}"
        files = {source: pack(f"ratings.{written.suffix}", written.content)}
    damage = rng.choice(DAMAGES) if rng.random() < 0.85 else None
    name = rng.choice([name for name in files if name.startswith(("ratings", "parts/part"))])
    before = files[name]
    if damage is not None:
        files[name] = damage(rng, before)

    def plain() -> list[Row | None]:
        return [row for content in files.values() for row in written.plain(unpack(content))]

    whole = " ".join(filter(None, [format, shape, damage.__name__ if damage else ""]))
    return Case(whole, source, written, files, plain, files[name] != before)


def _parts(rng: random.Random, written: Written) -> tuple[Any, dict[str, bytes]]:
    """A table in two files, and how they are named together."""
    lines = written.content.split(b"\n")
    head, lines = lines[: written.n_header], lines[written.n_header :]
    at = rng.randrange(1, len(lines) - 1)
    contents = [[*head, *lines[:at], b""], [*head, *lines[at:]]]
    names = [f"parts/part-{k}.{written.suffix}" for k in range(2)]
    source = rng.choice(["parts", f"parts/part-*.{written.suffix}", names])
    return source, dict(zip(names, map(b"\n".join, contents), strict=True))


# The oracle ---------------------------------------------------------------------------------------

# Above the first all times are in a finer unit.
FINER = ((1e17, 10**9), (1e14, 10**6), (1e11, 10**3))
# Errors of a text as a whole; all others name a row.
OF_THE_WHOLE = re.compile(
    "damaged or cut short|a binary file|is empty|no rows|only one column|recognised among|"
    "rows are bad|JSON, but|is not read, since|is refused|different formats|a matrix of|"
    "have no rating|without ratings|mixed types|cannot be (read|unpacked)|named like ratings|is a bomb|"
    "no column"
)


def fault(case: Case, line: str | None = None) -> str | None:
    """What is wrong with how a case is read, by a command too; None where nothing is."""
    case.write()
    with stray() as said:
        found, wrong = _reading(case)
    if wrong is None and said and (found is not None or b"panicked at" not in said[0]):
        return f"on stderr: {said[0][:500]!r}"
    if wrong is None and line is not None and isinstance(case.source, str):
        return _commanded(case, line, found)
    return wrong


def _reading(case: Case) -> tuple[Ratings | None, str | None]:
    """The ratings of a case, if it has any, and what is wrong with them or with the error."""
    try:
        with bounded(SECONDS):
            ratings, report = read_ratings_with_report(case.source, **case.written.how)
    except DotbiasError as error:
        return None, wrong_error(case, str(error))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return None, "".join(traceback.format_exception(error))[-3000:]
    return ratings, wrong_rows(case, ratings, report)


def _commanded(case: Case, line: str, ratings: Ratings | None) -> str | None:
    """What is wrong with how a command takes a case."""
    words = shlex.split(line.format(shlex.quote(case.source)))
    for name, value in case.written.how.items():
        words += [f"--{name}", value]
    with stray() as said, bounded(SECONDS):
        done = command(words)
    if done.exception is not None:
        return (
            shlex.join(words) + "\n" + "".join(traceback.format_exception(done.exception))[-3000:]
        )
    if said:
        return f"{shlex.join(words)}: on stderr: {said[0][:500]!r}"
    n_errors = len(re.findall("^Error: ", done.stderr, re.MULTILINE))
    if (done.exit_code, n_errors) not in ((0, 0), (1, 1)):
        return f"{shlex.join(words)}: exit code {done.exit_code}, {done.stderr}"
    if ratings is None and words[0] in ("fit", "split") and done.exit_code == 0:
        return f"{shlex.join(words)}: no error, where reading has one"
    if words[0] == "split" and done.exit_code == 0:
        parts = pl.concat([pl.read_csv(f, infer_schema=False) for f in ("a.csv", "b.csv")])
        rows = ratings.to_frame().select(pl.all().cast(pl.String)) if ratings else parts
        if sorted(parts.select(pl.nth(0, 1)).rows()) != sorted(rows.select(pl.nth(0, 1)).rows()):
            return f"{shlex.join(words)}: other rows than were read"
    return None


@contextlib.contextmanager
def stray() -> Iterator[list[bytes]]:
    """What anything says on the process's own stderr, in a list that is empty where nothing does."""
    said: list[bytes] = []
    own = os.dup(2)
    with TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(own, 2)
            os.close(own)
            file.seek(0)
            if text := file.read():
                said.append(text)


def wrong_error(case: Case, said: str) -> str | None:
    """What is wrong with an error."""
    if not case.is_damaged:
        return f"refused: {said}"
    if not any(name in said for path in case.files for name in Path(path).parts):
        return f"an error without the name of the file: {said}"
    if case.written.is_text and not OF_THE_WHOLE.search(said) and not re.search(r"rows? \d", said):
        return f"an error without a row: {said}"
    if len(said) > 1000:
        return f"an error of {len(said)} letters: {said[:300]}..."
    return None


def wrong_rows(case: Case, ratings: Ratings, report: ReadReport) -> str | None:
    """What is wrong with rows that were read."""
    reading = report.reading
    columns = list(ratings.to_frame().iter_columns())
    values = columns[2] if len(columns) > 2 else [1.0] * len(ratings)
    times = columns[3] if len(columns) > 3 else [None] * len(ratings)
    found = list(zip(columns[0], columns[1], values, times, strict=True))
    if not case.is_damaged:
        expected = [(*row[:2], np.float32(row[2]), row[3]) for row in case.written.rows]
        return None if sorted(found) == sorted(expected) else _difference(found, expected)
    if _plainly(found) == _plainly(case.written.rows):
        return None
    written, timed = case.written, case.written.rows[0][3] is not None
    if (reading.layout, reading.header, reading.kind) != (
        written.layout,
        written.header,
        "ratings",
    ):
        return None  # a header may be lost, or all rows but one: what it is taken for is said
    if timed and written.layout == "long" and reading.time == NONE:
        return None  # so is a column of times that has lost its name
    if written.layout == "wide" and reading.user != "user":
        return None  # or one of users: then each row is one
    if reading.skip_lines and written.suffix != "mtx":
        return None  # so are lines above the table
    if re.search("taken as they stand|holds no times|parts are empty", " ".join(report.notices)):
        return None  # so are quotation marks that do not match, a column of other things, an empty part
    try:
        said = case.plain()
    except CannotTellError:
        return None
    except Exception as error:
        return f"damage is not noticed ({error}): {_difference(found, case.written.rows)}"
    if None in said:
        return f"bad row {said.index(None)} is not noticed: {_difference(found, said)}"
    codes = [float(code) for code in reading.missing or () if NUMBER.fullmatch(code)]
    said = [
        row for row in said if row and np.float32(row[2]) not in codes
    ]  # what is left out is said
    return None if _plainly(found) == _plainly(said) else _difference(found, said)


def _plainly(rows: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Rows whatever their order and the types of ids: the last of each pair, with a time for each."""
    rows = [row for row in rows if row is not None]
    times = [row[3] for row in rows if row[3] is not None]
    earliest = min(times, default=0)
    unit = next((unit for least, unit in FINER if earliest > least), 1)
    shown = [
        (
            *map(_as_text, row[:2]),
            np.float32(row[2]),
            (earliest if row[3] is None else row[3]) // unit,
        )
        for row in rows
    ]
    last = {row[:2]: row for row in sorted(shown, key=lambda row: row[3])}
    return sorted(last.values())


def _as_text(id: Any) -> str:
    return re.sub(r"^(-?\d+)\.0+$", r"\1", str(id).strip())


def _difference(found: Sequence[Any], expected: Sequence[Any]) -> str:
    one, two = (dict.fromkeys(map(tuple, _plainly(rows))) for rows in (found, expected))
    more, less = ([row for row in a if row not in b] for a, b in ((one, two), (two, one)))
    return f"{len(more)} rows too many: {more[:3]}, {len(less)} are missing: {less[:3]}"


# Running ------------------------------------------------------------------------------------------

COMMANDS = (
    "fit {} -o out.dotbias --model baseline --test-size 0 --for predict --force",
    "split {} --train a.csv --test b.csv --test-size 0.3 --force",
    "evaluate m.dotbias {}",
    "update m.dotbias {} -o grown.dotbias --force",
    "recommend m.dotbias --for-ratings {}",
    "predict m.dotbias {}",
)


@contextlib.contextmanager
def in_new_folder() -> Iterator[None]:
    """An empty folder with a model in it."""
    with TemporaryDirectory() as folder, contextlib.chdir(folder):
        rows = draw(random.Random(1), times=False)
        frame_of(rows).write_csv("planted.csv")
        words = "fit planted.csv -o m.dotbias --model baseline --test-size 0 --for predict"
        assert command(words.split()).exit_code == 0
        Path("planted.csv").unlink()
        yield


def faults(format: str | None, seeds: Iterable[int]) -> Iterator[tuple[str, str | None]]:
    """The name of each case, and what is wrong with it."""
    for seed in seeds:
        case = make(seed, format)
        line = COMMANDS[seed % len(COMMANDS)] if seed % 3 == 0 else None
        yield f"{seed} {format or ''}: {case.name}, {case.source}", fault(case, line)
        for name in case.files:
            Path(name).unlink()


@pytest.mark.parametrize("format", FORMATS)
def test_the_right_rows_or_an_error(format: str) -> None:
    with in_new_folder():
        wrong = [f"{name}\n{wrong}" for name, wrong in faults(format, range(N_CASES)) if wrong]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_of_python(name: str) -> None:
    for seed in range(N_CASES):
        rows = draw(random.Random(seed), TEXTS)
        found = read_ratings(OBJECTS[name](frame_of(rows))).to_frame().rows()
        assert sorted(found) == sorted(row if row[3] is not None else row[:3] for row in rows), seed


if __name__ == "__main__":
    n, first, *only = (*sys.argv[1:], *["1000", "0"][len(sys.argv) - 1 :])
    counts: Counter[tuple[str, str]] = Counter()
    seeds = range(int(first), int(first) + int(n))
    with in_new_folder():
        for name, wrong in faults(only[0] if only else None, seeds):
            format = name.partition(": ")[2].split()[0].rstrip(",")
            counts[format, "right" if wrong is None else "faults"] += 1
            if wrong is not None:
                print(f"--- {name}\n{wrong}", flush=True)
    for (format, kind), number in sorted(counts.items()):
        print(f"{format:12} {kind:6} {number:6,}")
