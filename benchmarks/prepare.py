"""How long `dotbias prepare` takes for a rating, and how much memory, for sets of any size.

    python benchmarks/prepare.py --ratings 200000000 --users 2000000 --items 200000 --memory 3GiB
    python benchmarks/prepare.py --ratings 20000000 --form csv --text-ids
    python benchmarks/prepare.py --ratings 20000000 --parts 1    # one group of rows

Writes a simulated set part by part, prepares it in a process of its own, and reports that one's peak of
anonymous memory (RssAnon), Python and all libraries included, and what it wrote.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import polars as pl
import typer

_PREPARE = """
import json, re, sys, threading, time
from pathlib import Path
import dotbias as db
peak, fullest = 0, 0
def anonymous():
    with open("/proc/self/status") as file:
        return int(re.search(r"RssAnon:\\s+(\\d+)", file.read())[1]) * 1024
def on_disk(folder):
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            pass
    return total
def watch():
    global peak, fullest
    n = 0
    while True:
        peak = max(peak, anonymous())
        if n % 300 == 0:
            fullest = max(fullest, on_disk(Path(sys.argv[2]).parent))
        n += 1
        time.sleep(0.02)
threading.Thread(target=watch, daemon=True).start()
start = time.perf_counter()
prepared = db.prepare(sys.argv[1], sys.argv[2], memory=sys.argv[3])
seconds = time.perf_counter() - start
size = sum(path.stat().st_size for path in Path(sys.argv[2]).iterdir())
def written():
    try:
        return int(re.search(r"write_bytes: (\\d+)", open("/proc/self/io").read())[1])
    except OSError:
        return 0
print(json.dumps({"n": len(prepared.whole), "seconds": seconds, "peak": peak, "size": size,
                  "written": written(), "fullest": fullest, "shown": repr(prepared)}))
"""


def write_part(path: Path, n: int, users: int, items: int, seed: int, *, text_ids: bool) -> None:
    """Ratings of users and items of which few have very many, with some pairs twice."""
    rng = np.random.default_rng(seed)
    user = (users * rng.random(n) ** 2).astype(np.int32)
    item = (items * rng.random(n) ** 3).astype(np.int32)
    frame = pl.DataFrame(
        {
            "userId": user,
            "movieId": item,
            "rating": rng.integers(1, 11, n).astype(np.float32) / 2,
            "timestamp": rng.integers(10**9, 17 * 10**8, n),
        }
    )
    if text_ids:
        frame = frame.with_columns(
            pl.format("A{}USER", "userId").alias("userId"),
            pl.format("B00{}X", "movieId").alias("movieId"),
        )
    if path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path, row_group_size=n)


def main(
    n_ratings: Annotated[int, typer.Option("--ratings")] = 20_000_000,
    users: int = 200_000,
    items: int = 30_000,
    memory: str = "3GiB",
    form: Literal["parquet", "csv"] = "parquet",
    text_ids: bool = False,
    parts: Annotated[int, typer.Option(help="Files; 0 for one of each 10 million.")] = 0,
    folder: Path | None = None,
) -> None:
    parts = parts or -(-n_ratings // 10_000_000)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        source = Path(temporary) / "source"
        out = Path(temporary) / "out"
        source.mkdir()
        out.mkdir()
        start = time.perf_counter()
        for part in range(parts):
            size = n_ratings * (part + 1) // parts - n_ratings * part // parts
            path = source / f"part-{part:05}.{form}"
            write_part(path, size, users, items, part, text_ids=text_ids)
        wrote = sum(path.stat().st_size for path in source.iterdir())
        print(f"source: {wrote / 1e9:.2f} GB in {time.perf_counter() - start:.0f} s", flush=True)
        command = [sys.executable, "-c", _PREPARE, source, out / "ratings.blocks", memory]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures = json.loads(done.stdout)
    seconds, n = figures["seconds"], figures["n"]
    print(
        f"{figures['shown']}\n{n_ratings:,} rows in {seconds:.0f} s: {seconds / n_ratings * 1e9:.0f} ns "
        f"a rating; peak RssAnon {figures['peak'] / 2**20:.0f} MiB of {memory}; folder "
        f"{figures['size'] / 1e9:.2f} GB ({figures['size'] / n:.1f} bytes a rating), "
        f"{figures['fullest'] / 1e9:.2f} GB on disk at most, {figures['written'] / 1e9:.2f} GB written"
    )


if __name__ == "__main__":
    typer.run(main)
