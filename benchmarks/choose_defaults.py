"""How the default settings were chosen: validation RMSE on parts of the training rows alone.

    python benchmarks/choose_defaults.py
    python benchmarks/choose_defaults.py --only ml-100k --repeats 2
    python benchmarks/choose_defaults.py --only ml-latest-small --rule lion    # its default rate

Of each protocol's training part a tenth is held out (seed 7), each candidate is fitted on the rest, and
its RMSE on that tenth is printed, the best of each column in bold. No test part is used. Candidates
differ from the default in one setting each.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import dotbias as db
import protocols
from dotbias.solvers.decay import DEFAULT_DECAY
from dotbias.solvers.descent.rules import RULES


def candidates() -> Iterator[tuple[str, db.DotBias, db.GradientDescent]]:
    """The default and its neighbours, one setting changed at a time."""

    def made(
        label: str, *, lr: float = 0.022, model: dict[str, Any] | None = None, **solver: Any
    ) -> Any:
        return label, db.DotBias(**(model or {})), db.GradientDescent(db.SGD(lr=lr), **solver)

    yield made("default")
    for k in (64, 128):
        yield made(f"n_factors={k}", model={"n_factors": k})
    for std in (0.002, 0.01, 0.1):
        yield made(f"init_std={std}", model={"init_std": std})
    for lr in (0.018, 0.027):
        yield made(f"lr={lr}", lr=lr)
    for n_epochs, lr in ((30, 0.0293), (60, 0.0147)):
        yield made(f"n_epochs={n_epochs}, lr={lr}", lr=lr, n_epochs=n_epochs)
    for factor in (0.8, 1.25):
        for group, decay in DEFAULT_DECAY.items():
            value = round(factor * decay, 4)
            yield made(f"{group} decay={value}", weight_decay={group: value})
    yield made("sigmoid", model={"output": "sigmoid"})


def rates(name: str) -> Iterator[tuple[str, db.DotBias, db.GradientDescent]]:
    """A rule at its default rate and at neighbouring ones."""
    rule = RULES[name]()
    for factor in (0.5, 0.75, 1, 1.25, 1.5):
        at = rule.with_rate(factor * rule.top_rate)
        yield f"{name} lr={at.top_rate:.3g}", db.DotBias(), db.GradientDescent(at)


def main(
    only: Annotated[list[str] | None, typer.Option(help="Names of the sets.")] = None,
    repeats: Annotated[int, typer.Option(help="How many of each protocol's splits.")] = 5,
    rule: Annotated[str | None, typer.Option(help="Rates of this rule, instead.")] = None,
) -> None:
    console = Console()
    for name in only or protocols.SPREAD:
        parts = [
            (label, train.split(0.1, seed=7))
            for label, train, _ in islice(protocols.splits(name), repeats)
        ]
        table = Table("candidate", *[label for label, _ in parts], "mean", title=name)
        rows = []
        for label, model, solver in candidates() if rule is None else rates(rule):
            scores = [
                db.evaluate(db.fit(fitted, model, solver), validation, ranking=False).rmse
                for _, (fitted, validation) in parts
            ]
            rows.append((label, scores))
            console.print(f"{name} {label}", style="dim")
        best = [min(column) for column in zip(*(scores for _, scores in rows), strict=True)]
        for label, scores in sorted(rows, key=lambda row: sum(row[1])):
            cells = [
                f"[bold]{score:.4f}[/bold]" if score == best[n] else f"{score:.4f}"
                for n, score in enumerate(scores)
            ]
            table.add_row(label, *cells, f"{sum(scores) / len(scores):.4f}")
        console.print(table)


if __name__ == "__main__":
    typer.run(main)
