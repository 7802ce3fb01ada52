"""Seconds and memory to save and load a model of many millions of rows.

    python benchmarks/big_model.py --users 2000000 --items 200000 --rated 20000000 --text

The model is made up (random vectors and pairs). Saving and loading run in a process each, which reports
by how much its anonymous memory, that is without the pages of files, was above what it began with: the
peak, as /proc/self/status says every ten milliseconds, and what is left of it at the end.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

_COMMON = """
import json, sys, threading, time
from pathlib import Path
import numpy as np, polars as pl
from scipy.sparse import csr_array
import dotbias as db
from dotbias.data.vocabulary import Vocabulary
from dotbias.recommender.facts import Facts

def anonymous():
    lines = open("/proc/self/status").read().split("\\n")
    return sum(int(l.split()[1]) for l in lines if l.startswith("RssAnon")) * 1024

class Watch:
    def __enter__(self):
        self.before = self.peak = anonymous()
        self.over, self.start = False, time.perf_counter()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self
    def look(self):
        while not self.over:
            self.peak = max(self.peak, anonymous())
            time.sleep(0.01)
    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self.start
        self.after, self.over = anonymous(), True
        self.thread.join()
        self.peak = max(self.peak, self.after)
    def told(self, what):
        return {what: self.seconds, "peak": self.peak - self.before, "kept": self.after - self.before}
"""
_SAVE = (
    _COMMON
    + """
path, users, items, rated, k, text, how = sys.argv[1], *map(int, sys.argv[2:7]), json.loads(sys.argv[7])
rng = np.random.default_rng(0)
def ids(n):
    column = pl.Series(np.arange(n, dtype=np.int64))
    return ("user-" + column.cast(pl.String).str.zfill(9)).alias("id") if text else column
each = rated // users
gaps = rng.integers(1, items // each, (users, each), dtype=np.int32)
places = np.cumsum(gaps, axis=1, dtype=np.int32) - 1
values = rng.integers(1, 6, users * each).astype(np.float32)
starts = np.arange(users + 1, dtype=np.int32) * np.int32(each)
table = csr_array((values, places.reshape(-1), starts), shape=(users, items))
parameters = {
    "global_mean": np.array([3], np.float32), "scale": np.array([1, 5], np.float32),
    "user_bias": np.zeros(users, np.float32), "item_bias": np.zeros(items, np.float32),
    "user_factors": rng.standard_normal((users, k), np.float32),
    "item_factors": rng.standard_normal((items, k), np.float32),
}
parts = db.DotBias(n_factors=k), parameters, Vocabulary(ids(users)), Vocabulary(ids(items)), table
rec = db.Recommender(*parts, Facts(), None)
with Watch() as watch:
    rec.save(path, **how)
print(json.dumps(watch.told("save") | {"bytes": Path(path).stat().st_size}))
"""
)
_LOAD = (
    _COMMON
    + """
with Watch() as watch:
    rec = db.Recommender.load(sys.argv[1])
user = rec.user_vocabulary.raw(1)
rec.recommend(user)
with Watch() as again:
    rec.recommend(rec.user_vocabulary.raw(2))
print(json.dumps(watch.told("load") | {"list": again.seconds}))
"""
)


def main(
    users: Annotated[int, typer.Option()] = 2_000_000,
    items: Annotated[int, typer.Option()] = 200_000,
    rated: Annotated[
        int, typer.Option(help="Rated pairs, the same number for each user.")
    ] = 20_000_000,
    factors: Annotated[int, typer.Option()] = 64,
    text: Annotated[bool, typer.Option(help="Ids of text, not integers.")] = False,
    half: Annotated[bool, typer.Option(help="Factors in half precision.")] = False,
) -> None:
    """Save a made-up model, load it, and print what both took."""
    how = json.dumps({"half": True} if half else {})
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "big.dotbias")
        numbers = map(str, (users, items, rated, factors, int(text)))
        for code, given in ((_SAVE, (*numbers, how)), (_LOAD, ())):
            done = subprocess.run(
                [sys.executable, "-c", code, path, *given],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            told = json.loads(done.stdout)
            words = (
                f"{name} {value:.2f} s"
                if isinstance(value, float)
                else f"{name} {value / 1e6:,.0f} MB"
                for name, value in told.items()
            )
            print(", ".join(words))


if __name__ == "__main__":
    typer.run(main)
