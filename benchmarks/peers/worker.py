"""Fits one method, in the Python that has its library; ``run.py`` talks to it.

    python worker.py ratings surprise "Surprise SVD" 1
    python worker.py rankings - "EASE" 1

The last word is the number of threads. Each line of standard input is a job, each line of standard
output its answer, both JSON; what the library prints goes to standard error. The first job is fitted
twice: once, with its settings, to a small part of its rows, so that what is compiled or started is.
"""

import importlib
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

HERE = Path(__file__).resolve().parent
SMALL = 30
"""Users of whom the rows are that are fitted first."""


def rating(library: str, name: str, n_threads: int, job: dict[str, Any], small: bool) -> Any:
    """Seconds of the fit, and predictions of the pairs asked for."""
    from method import Rows

    method = importlib.import_module(f"libraries.{library}").METHODS[name]
    with np.load(job["rows"], allow_pickle=False) as stored:
        rows = Rows(**stored)
    if small:
        rows = rows.first_users(SMALL)
    fit, answer = method.prepare(rows, job["seed"], n_threads, **job["settings"])
    started = time.perf_counter()
    fit()
    return time.perf_counter() - started, answer()


def ranking(_: str, name: str, n_threads: int, job: dict[str, Any], small: bool) -> Any:
    """Seconds of the fit, and lists."""
    import list_methods

    with np.load(job["rows"], allow_pickle=False) as stored:
        data = list_methods.Data(**stored)
    data = replace(data, seed=job["seed"], n_threads=n_threads)
    if small:
        data = data.first_users(SMALL)
    started = time.perf_counter()
    lists = (list_methods.METHODS | list_methods.CURVE)[name].fit(data, **job["settings"])
    return time.perf_counter() - started, lists()


TASKS = {"ratings": rating, "rankings": ranking}


def main(task: str, library: str, name: str, n_threads: str, answers: TextIO) -> None:
    warm = False
    for line in sys.stdin:
        job = json.loads(line)
        try:
            if not warm:
                TASKS[task](library, name, int(n_threads), job, small=True)
                warm = True
            seconds, found = TASKS[task](library, name, int(n_threads), job, small=False)
            with Path(job["out"]).open("wb") as file:
                np.save(file, found)
            said = {"seconds": seconds}
        except Exception as error:  # a library may refuse in any way; the driver says so
            said = {"failed": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(said), file=answers, flush=True)


if __name__ == "__main__":
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        main(*sys.argv[1:], answers=out)
