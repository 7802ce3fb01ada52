"""From ratings to a recommender in one call."""

import logging
import time

from dotbias.data.ratings import Ratings
from dotbias.models import Baseline, DotBias
from dotbias.models.base import Model
from dotbias.progress import progress_bar
from dotbias.recommender import Recommender
from dotbias.solvers.base import Epoch, Solver
from dotbias.solvers.closed_form import ClosedForm
from dotbias.solvers.gradient import GradientDescent

_log = logging.getLogger("dotbias")


def fit(
    ratings: Ratings,
    model: Model | None = None,
    solver: Solver | None = None,
    *,
    seed: int = 0,
    progress: bool = False,
) -> Recommender:
    """Estimate a model from training ratings.

    Args:
        ratings: the training ratings; their range is the scale unless one was declared.
        model: ``DotBias()`` by default.
        solver: ``GradientDescent()`` by default, ``ClosedForm()`` for a ``Baseline``.
        seed: seed of the starting embeddings and of the order of ratings.
        progress: show a progress bar on stderr when it is a terminal.

    Ctrl-C ends the fit, not the program: the best parameters so far are kept, and a warning is logged
    (logger ``dotbias``).

    Raises:
        SettingError: for a solver that cannot estimate the model.
        DivergenceError: when the learning rate is too high.

    >>> import dotbias as db
    >>> ratings, truth = db.simulate(n_users=200, n_items=100, n_ratings=5000, seed=1)
    >>> rec = db.fit(ratings, db.DotBias(n_factors=8), seed=0)
    >>> rec.recommend(1, k=3).columns
    ['user', 'rank', 'item', 'title', 'prediction']
    """
    model = DotBias() if model is None else model
    if solver is None:
        solver = ClosedForm() if isinstance(model, Baseline) else GradientDescent()
    n_epochs = getattr(solver, "n_epochs", 1)
    with progress_bar("fitting", n_epochs, enabled=progress) as advance:

        def on_epoch(epoch: Epoch) -> None:
            advance(1, _describe(epoch))

        parameters, history = solver.fit(model, ratings, seed=seed, on_epoch=on_epoch)
    best = history.best_epoch
    if history.stopped == "interrupted":
        _log.warning("Interrupted: the parameters of epoch %d are kept, the best so far.", best)
    elif history.stopped == "early":
        ran = len(history.epochs)
        _log.info("Stopped early after epoch %d: epoch %d was the best.", ran, best)
    facts = {
        "solver": repr(solver),
        "seed": seed,
        "history": history.summary(),
        "fitted_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    return Recommender.of(model.fitted(parameters), parameters, ratings, facts)


def _describe(epoch: Epoch) -> str:
    shown = f"epoch {epoch.epoch}  training RMSE {epoch.train_rmse:.4f}"
    if epoch.validation_rmse is not None:
        shown += f"  validation RMSE {epoch.validation_rmse:.4f}"
    return f"{shown}  {epoch.ratings_per_second / 1e6:.1f} M ratings/s"
