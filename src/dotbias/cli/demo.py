"""The tour: simulated ratings with known truth, from fitting to recommendations."""

from pathlib import Path
from typing import Annotated

import typer

from dotbias.cli import hints, show
from dotbias.cli import options as o
from dotbias.cli.groups import add
from dotbias.cli.writing import WritesModel


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    add(app, demo)


def demo(
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Where the demo saves its model."),
        WritesModel,
    ] = Path("demo.dotbias"),
    seed: o.SeedOption = 0,
) -> None:
    """A tour on simulated ratings whose truth is known; nothing is downloaded.

    Example: [bold]dotbias demo[/bold]
    """
    import time

    from rich.markup import escape
    from rich.panel import Panel

    from dotbias.cli.insight import with_bars
    from dotbias.data.simulate import simulate
    from dotbias.evaluation.evaluate import evaluate
    from dotbias.fitting.fit import fit
    from dotbias.models import DotBias
    from dotbias.recommender.recommender import Recommender
    from dotbias.solvers.descent.gradient import GradientDescent

    console = show.console()

    def step(number: int, title: str, code: str) -> None:
        console.print(f"\n[bold cyan]{number}. {title}[/bold cyan]\n[dim]>>> {escape(code)}[/dim]")

    console.print(
        Panel.fit(
            "Every rating here is invented from planted embeddings and biases plus noise,\n"
            "so we know how good a prediction can possibly be: the noise floor.",
            title="dotbias demo",
        )
    )
    step(1, "Simulate ratings", "ratings, truth = db.simulate(2000, 800, 500_000, n_factors=4)")
    ratings, truth = simulate(2000, 800, 500_000, n_factors=4, seed=seed)
    console.print(f"{ratings}", markup=False)

    step(2, "Hold 20 % out, fit on the rest", "rec = db.fit(train, db.DotBias(n_factors=4), ...)")
    train, test = ratings.split(0.2, seed=seed)
    started = time.perf_counter()
    solver = GradientDescent(n_epochs=30, weight_decay=0.01)
    rec = fit(train, DotBias(n_factors=4), solver, seed=seed, progress=not show.quiet())
    if rec.interrupted:
        raise KeyboardInterrupt
    total, history = time.perf_counter() - started, rec.facts.history
    rate = max(e.ratings_per_second for e in history.epochs) / 1e6
    console.print(
        f"{len(history.epochs)} epochs over {len(train):,} ratings in {total:.1f} s, the first-time "
        f"compilation included; {rate:.0f} million ratings a second at best."
    )

    step(3, "Measure on what it has not seen", "db.evaluate(rec, test)")
    report = evaluate(rec, test)
    floor = truth.noise_floor(test)
    errors = {
        "always the mean": report.mean_rmse,
        "biases only": report.baseline_rmse,
        "dotbias": report.rmse,
        "noise floor (the best possible)": floor,
    }
    bars = {name: error for name, error in errors.items() if error is not None}
    for name, value in bars.items():
        length = round(32 * value / bars["always the mean"])
        colour = "green" if name == "dotbias" else "blue"
        console.print(f"  {name:<32} [{colour}]{'█' * length}[/{colour}] {value:.4f}")
    console.print(
        f"The RMSE is within {100 * (bars['dotbias'] / floor - 1):.1f} % of the noise floor."
    )

    user = rec.user_vocabulary.raw(0)
    step(4, f"Recommend for user {user}", f"rec.recommend({user}, k=5)")
    recommended = rec.recommend(user, 5)
    show.frame(recommended.drop("user", "basis"), "")
    first = recommended["item"][0]
    step(5, "Why the first of them?", f"rec.explain({user}, {first})")
    show.frame(with_bars(rec.explain(user, first).shown(3)), "")
    best = rec.item_bias_ranking(1)["item"][0]
    step(6, f"What is like item {best}?", f"rec.similar({best}, k=5)")
    show.frame(rec.similar(best, 5).drop("basis"), "")
    step(7, "Items liked beyond taste", "rec.item_bias_ranking(k=5)")
    show.frame(rec.item_bias_ranking(5), "")

    step(8, "Save it, load it", f'rec.save("{output}")')
    rec.save(output)
    same = Recommender.load(output).predict(user, best) == rec.predict(user, best)
    console.print(
        f"{output}, {output.stat().st_size / 1e6:.1f} MB; "
        f"{'the loaded model predicts the same' if same else 'the loaded model DIFFERS'}."
    )
    console.print(
        f"\nNext: {hints.command('explain', output, '--user', user, '--item', best)}\n"
        "or with ratings of your own: dotbias fit your-ratings.csv -o mine.dotbias",
        markup=False,
        soft_wrap=True,
    )
