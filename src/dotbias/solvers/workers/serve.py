"""A worker process: ``python -m dotbias.solvers.workers.serve`` and the number of the file that is the
memory of all.

It reads lines of JSON: first what there is and what to do with it, then lists of tasks, each answered
by a line.
"""

import json
import os
import sys
from typing import Any

import numpy as np

from dotbias.solvers.workers.blocks import Plan
from dotbias.solvers.workers.jobs import job_of


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
    job = job_of(begun["spec"])

    def answer(said: Any) -> None:
        answers.write(json.dumps(said).encode() + b"\n")
        answers.flush()

    answer("ready")
    for line in sys.stdin.buffer:
        tasks = json.loads(line)
        answer([job.run(task, lambda side, number: blocks[side, number]) for task in tasks])


if __name__ == "__main__":
    main()
