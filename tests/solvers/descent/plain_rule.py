"""A rule on one row, number by number in Python's own arithmetic, to compare compiled loops with."""

from typing import Any

import numpy as np

from dotbias.solvers.descent.rules import RowRule, Rule


class PlainRow:
    """What a rule keeps of one row of a group, and how it moves the row.

    Args:
        rule: the rule.
        n: numbers in the row.
    """

    def __init__(self, rule: Rule, n: int) -> None:
        self.kind = type(rule)
        nothing = (0.0,) * self.kind.n_slots
        of_row, of_number = (nothing, ()) if self.kind.per_row else ((), nothing)
        self.row: tuple[float, ...] = of_row
        self.numbers: list[tuple[float, ...]] = [of_number] * n

    def moved(
        self, w: list[float], g: list[float], lr: float, c: tuple[float, ...], pull: float = 0.0
    ) -> list[float]:
        """The row after a step; ``pull`` is the ``λ`` of decoupled decay."""
        kind, there = self.kind, []
        if issubclass(kind, RowRule):
            looks = zip(g, w, self.numbers, strict=True)
            terms = [kind.look(g_f, w_f, pull * w_f, kept, c) for g_f, w_f, kept in looks]
            sums = tuple(map(sum, zip(*terms, strict=True)))
            lr, self.row = kind.rate(sums, float(len(w)), self.row, lr, c)
        for f, (w_f, g_f) in enumerate(zip(w, g, strict=True)):
            given = (g_f, pull * w_f) if kind.takes_decay else (g_f,)
            step, self.numbers[f] = kind.update(*given, self.numbers[f], lr, c)
            there.append(w_f - step - (0.0 if kind.takes_decay else lr * pull * w_f))
        return there

    @property
    def state(self) -> Any:
        """What is kept of the numbers, (n_slots, n)."""
        return np.array(self.numbers).T
