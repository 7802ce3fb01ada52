"""A worker process: ``python -m dotbias.solvers.workers.serve`` and the number of the file that is the
memory of all.

It reads lines of JSON: first what there is and what to do with it, then lists of tasks. Each is answered
by a line: what was found, or the error that the user is to be told.
"""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from dotbias.errors import DotbiasError
from dotbias.solvers.workers.blocks import Plan
from dotbias.solvers.workers.exchange import Task
from dotbias.solvers.workers.jobs import Job, job_of


def main() -> None:
    """Do what is asked for until nobody asks any more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    with os.fdopen(int(sys.argv[1]), "r+b") as file:
        begun = json.loads(sys.stdin.buffer.readline() or b"null")
        if begun is None:
            return
        plan = Plan.from_plain(begun["plan"])
        memory = np.memmap(file, np.uint8, "r+", shape=(plan.n_bytes,))
    blocks = plan.views(np.asarray(memory))

    def answer(find: Callable[[], Any]) -> None:
        try:
            said = {"found": find()}
        except DotbiasError as error:
            said = {"error": str(error)}
        answers.write(json.dumps(said).encode() + b"\n")
        answers.flush()

    job: Job | None = None

    def begin() -> None:
        nonlocal job
        job = job_of(begun["spec"])

    def work(tasks: list[Task]) -> list[Any]:
        assert job is not None
        return [job.run(task, lambda side, number: blocks[side, number]) for task in tasks]

    answer(begin)
    for line in sys.stdin.buffer:
        answer(partial(work, json.loads(line)))


if __name__ == "__main__":
    main()
