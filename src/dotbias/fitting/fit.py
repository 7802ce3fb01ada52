"""From ratings to a recommender in one call."""

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from dotbias.data.features import FeatureEncoder
from dotbias.data.ratings import Ratings
from dotbias.data.read import as_ratings
from dotbias.errors import SettingError
from dotbias.fitting.checkpoints import EVERY, Checkpoints, Where, checkpoints_in
from dotbias.fitting.choosing import BUDGET, check_budget, choose_solver
from dotbias.fitting.named import ModelLike, SettingsLike, SolverLike, model_and_solver
from dotbias.fitting.preference import PreferenceChoice, choose_preference, usual_model
from dotbias.models import Baseline, DotBias, DotProduct, EmbeddingNet
from dotbias.models.base import Model, has_formula_of
from dotbias.models.network import TorchModel
from dotbias.models.parameters import Parameters
from dotbias.models.row_form import OTHER
from dotbias.plain import to_plain
from dotbias.progress import Progress, progress_bar
from dotbias.recommender.facts import Facts
from dotbias.recommender.fitted import Part
from dotbias.recommender.recommender import Recommender
from dotbias.solvers.base import Epoch, History, Solver, estimate
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.rules import SGD, Adam, Momentum
from dotbias.solvers.epochs import CarryOn, IteratingSolver
from dotbias.solvers.gibbs.gibbs import Gibbs
from dotbias.solvers.least_squares.closed_form import ClosedForm
from dotbias.solvers.least_squares.implicit_als import ImplicitALS
from dotbias.solvers.least_squares.most_rated import MostRated

if TYPE_CHECKING:
    from dotbias.data.prepared.prepared import PreparedRatings
    from dotbias.data.sources.locate import Source

_log = logging.getLogger("dotbias")

# Seconds after which a fit says how much longer it will take, unless that is less.
_SOON = 1.0

Purpose: TypeAlias = Literal["both", "predict", "recommend"]
"""What a fit is for."""


def fit(
    ratings: "Ratings | PreparedRatings | Source",
    model: ModelLike = None,
    solver: SolverLike = None,
    *,
    settings: SettingsLike = None,
    purpose: Purpose | None = None,
    preference: Solver | PreferenceChoice | None = None,
    budget: float = BUDGET,
    seed: int = 0,
    progress: Progress = "auto",
    checkpoint: Where = None,
    checkpoint_every: float = EVERY,
    resume: bool = False,
    cluster: str | None = None,
    n_workers: int | None = None,
) -> Recommender:
    """Estimate from training ratings a model that says how many stars, and one that ranks.

    Args:
        ratings: the training ratings; their range is the scale unless one was declared. Of counts and
            events nothing but preferences is estimated. A frame, a path or a named set is read as
            ``read_ratings`` reads it. Of prepared ratings (``prepare``), or the path of their folder,
            the training rows are taken, from disk; ``prepared.whole`` is all of them.
        model: what to estimate, alone; also by its name on the command line, as in ``"net"``. With
            neither model nor solver, ``choose_solver`` chooses both, logs what it chose and why (logger
            ``dotbias``), and ``facts.choice`` keeps it. With a solver alone, what that solver is for.
        solver: with a model alone, that of ``default_solver``; also by name, as in ``"als"``.
        settings: model and solver as tuning has found them (``Tuning.settings``), or the file that they
            were saved in, in the place of both.
        purpose: ``"both"``, the default unless a model or solver is named: ratings, and preferences by
            which ``recommend`` ranks. ``"predict"``: ratings alone. ``"recommend"``: preferences alone.
        preference: how preferences are estimated; to name it beside a model or solver of ratings asks
            for both. Threads that it leaves open are those of the solver of ratings. By default as
            ``choose_preference`` chooses: by ``ImplicitALS`` under the penalty whose lists are best on
            held-out training rows, or by ``MostRated`` where none is better, which is logged as a
            warning. Of an ``ImplicitALS`` without ``weight_decay``, given here or as the solver, the
            penalty is chosen likewise. A choice that was made before is taken as it is.
        budget: seconds that a model of ratings whose solver is chosen may take, on the reference machine
            of ``choose_solver``: the same ratings, budget and seed give the same model on any machine.
            Choosing a penalty for preferences may take a quarter as much.
        seed: of everything that is drawn.
        progress: whether to show a bar, on a terminal or in a notebook; False never does.
        checkpoint: a folder for checkpoints, made where there is none and removed when the fit has come
            to its end. A fit that was killed, or ended with Ctrl-C, leaves them there.
        checkpoint_every: seconds after a checkpoint from which the next one is due, at the end of an
            epoch; 0 leaves one after each. ``docs/runs.md`` says what one costs.
        resume: whether the fit goes on from checkpoints that are there, to the same bits as without a
            break; it begins where there are none.
        cluster, n_workers: where prepared ratings are shared out to workers, and how many, in the place
            of the solvers' own (``GradientDescent``, ``ALS``, ``ImplicitALS``).

    Ctrl-C ends the fit, not the program: the best parameters so far are kept, and a warning is logged
    (logger ``dotbias``). Before there are any it is a ``KeyboardInterrupt``.

    Raises:
        SettingError: for a solver that cannot estimate the model, a budget that is not above 0, a
            purpose that contradicts model, solver or data, a ``preference`` that nothing needs or that
            estimates ratings, ``settings`` beside a model or solver, or a solver whose parameters are
            not finite or none of the model's (``Model.check``); for checkpoints that are there without
            ``resume``, or are of another fit, naming what differs; for ``checkpoint`` with a solver of
            one's own that is no ``IteratingSolver``.
        DivergenceError: when the learning rate is too high.
        ModelFileError: for a checkpoint that is damaged, or cannot be written, as on a full disk; the
            one before stays.

    >>> import dotbias as db
    >>> ratings, truth = db.simulate(n_users=200, n_items=100, n_ratings=5000, seed=1)
    >>> rec = db.fit(ratings, seed=0)
    >>> rec.facts.choice.solver
    'gibbs with histories, 200 samples'
    >>> rec.recommend(1, k=3).columns
    ['user', 'rank', 'item', 'title', 'prediction', 'preference', 'basis']
    """
    check_budget(budget)
    ratings = as_ratings(ratings)
    model, solver = model_and_solver(model, solver, settings)
    purpose = purpose_of(purpose, ratings, model, solver, preference, tuned=settings is not None)
    with checkpoints_in(checkpoint, checkpoint_every, resume) as kept:
        runs = _Runs(ratings, budget, seed, progress, kept, cluster, n_workers)
        rec = _fitted(runs, model, solver, purpose, preference)
    if kept is not checkpoint and kept is not None:  # the folder is this fit's own
        if rec.interrupted:
            _log.warning("The checkpoints in %s stay: resume=True (--resume) goes on.", kept.folder)
        else:
            kept.remove()
    return rec


@dataclass(frozen=True)
class _Runs:
    """What all runs of one fit share."""

    ratings: Ratings
    budget: float
    seed: int
    progress: Progress
    kept: Checkpoints | None
    cluster: str | None = None
    n_workers: int | None = None

    def placed(self, solver: Solver) -> Solver:
        """A solver that shares its work out as was asked for.

        Raises:
            SettingError: for one that cannot.
        """
        if self.cluster is None or isinstance(solver, MostRated):
            return solver
        if not hasattr(solver, "cluster"):
            raise SettingError(
                f"cluster={self.cluster!r}: {type(solver).__name__} does not share its work out; "
                "GradientDescent, ALS and ImplicitALS do"
            )
        return replace(solver, **{"cluster": self.cluster, "n_workers": self.n_workers})


def _fitted(
    runs: _Runs,
    model: Model | None,
    solver: Solver | None,
    purpose: Purpose,
    preference: Solver | PreferenceChoice | None,
) -> Recommender:
    """The recommender that ``fit`` returns."""
    ratings = runs.ratings
    if purpose == "recommend":
        how = _chosen_preference(runs, model, solver or preference)
        first = _fit_preference(runs, model, how)
        return Recommender.of(first.model, first.parameters, ratings, first.facts)
    choice = None
    if model is None and solver is None:
        choice = choose_solver(ratings, budget=runs.budget)
        _log.info("Solver: %s", choice)
        model, solver = choice.model, choice.solver
    if purpose == "both":  # before anything is fitted, which Ctrl-C would lose
        preference = _chosen_preference(runs, None, preference, getattr(solver, "n_threads", None))
    first = _fit_one(runs, model, solver)
    facts = replace(first.facts, choice=None if choice is None else choice.record)
    second = None
    if preference is not None and facts.history.stopped != "interrupted":
        second = _fit_preference(runs, None, preference)
    return Recommender.of(first.model, first.parameters, ratings, facts, second)


def purpose_of(
    purpose: Purpose | None,
    ratings: Ratings,
    model: Model | None = None,
    solver: Solver | None = None,
    preference: Solver | PreferenceChoice | None = None,
    *,
    tuned: bool = False,
) -> Purpose:
    """What is estimated: as asked for, else as follows from the data and from what is named.

    Args:
        purpose, ratings, model, solver, preference: as for ``fit``.
        tuned: whether model and solver stand for what would be chosen if nothing were named.

    Raises:
        SettingError: for a purpose that there is not, or that contradicts data, model or solvers.
    """
    if isinstance(preference, Solver) and preference.default_model.scores != "preference":
        raise SettingError(
            f"preference={type(preference).__name__}(…) estimates ratings; ImplicitALS, MostRated and "
            'GradientDescent(loss="bpr") estimate preferences'
        )
    if purpose not in (None, *get_args(Purpose)):
        raise SettingError(
            f"purpose={purpose!r}: purpose must be one of {', '.join(get_args(Purpose))}"
        )
    named = model or (None if solver is None else solver.default_model)
    if ratings.kind != "ratings":
        if purpose in ("both", "predict") or (named is not None and named.scores == "rating"):
            raise SettingError(
                f"these are {ratings.kind}, not ratings: there are no stars to predict. Take "
                "purpose='recommend' (on the command line --for recommend), which needs no more, or "
                "read them with kind='ratings' (--kind ratings)"
            )
        purpose = "recommend"
    elif named is None:
        purpose = purpose or "both"
    elif named.scores == "preference":
        if purpose in ("both", "predict"):
            raise SettingError(
                f"purpose={purpose!r}, and {type(named).__name__} predicts no ratings"
            )
        purpose = "recommend"
    elif purpose == "recommend":
        raise SettingError(f"purpose='recommend', and {type(named).__name__} predicts ratings")
    else:
        purpose = purpose or ("both" if tuned or preference is not None else "predict")
    if preference is not None and (purpose == "predict" or (purpose == "recommend" and solver)):
        why = "nothing but ratings is estimated" if purpose == "predict" else "solver is named too"
        raise SettingError(
            f"preference={type(preference).__name__}(…) would not be used, as {why}: leave it out, or "
            "pass purpose='both' and a solver of ratings"
        )
    return purpose


def _chosen_preference(
    runs: _Runs,
    model: Model | None,
    how: Solver | PreferenceChoice | None,
    n_threads: int | None = None,
) -> Solver | PreferenceChoice:
    """What estimates preferences: what was named and, where that leaves anything open, what suits these
    ratings, on so many threads.
    """
    if how is None and model is not None:
        how = default_solver(model)
    if how is None or (isinstance(how, ImplicitALS) and how.weight_decay is None):
        return choose_preference(
            runs.ratings,
            how,
            model,
            budget=runs.budget,
            seed=runs.seed,
            n_threads=n_threads,
            progress=runs.progress,
            checkpoints=runs.kept,
        )
    if isinstance(how, ImplicitALS):
        return replace(how, n_threads=how.n_threads or n_threads)
    return how


def _fit_preference(runs: _Runs, model: Model | None, how: Solver | PreferenceChoice) -> Part:
    """Preferences."""
    if isinstance(how, PreferenceChoice):
        part = _fit_one(runs, how.model, how.solver)
        return replace(part, facts=replace(part.facts, preference_choice=how.record))
    if model is None and isinstance(how, ImplicitALS):
        model = usual_model(runs.ratings)
    return _fit_one(runs, model, how)


def _fit_one(runs: _Runs, model: Model | None, solver: Solver | None) -> Part:
    """One model of the ratings."""
    ratings, seed = runs.ratings, runs.seed
    if model is None:
        model = DotBias() if solver is None else solver.default_model
    solver = (default_solver(model) if solver is None else solver).settled(model, ratings)
    given = ratings.features is not None and not ratings.features.by_titles
    if given and model.scores == "rating" and not isinstance(solver, Gibbs):
        _log.warning("%s makes no use of features; Gibbs does.", type(solver).__name__)
    title = "fitting" if model.scores == "rating" else "fitting preferences"
    pace, done = _Pace(title.capitalize(), solver), 0
    carry_on = None if runs.kept is None else _kept_run(solver, f"{model.scores}s", runs.kept)
    with progress_bar(title, solver.n_epochs, enabled=runs.progress) as advance:

        def on_epoch(epoch: Epoch) -> None:
            nonlocal done
            # Of a run that goes on, all at once.
            advance(epoch.epoch - done, _describe(epoch, solver))
            done = epoch.epoch
            if not has_formula_of(model, DotProduct):  # whose iterations are half of the work
                pace.note(epoch.epoch)

        parameters, history = estimate(
            runs.placed(solver), model, ratings, seed=seed, on_epoch=on_epoch, carry_on=carry_on
        )
    best = history.best_epoch
    if history.stopped == "interrupted":
        if isinstance(solver, Gibbs):
            _log.warning("Interrupted: the mean of the samples up to number %d is kept.", best)
        else:
            _log.warning("Interrupted: the parameters of epoch %d are kept, the best so far.", best)
    elif history.stopped == "early":
        ran = len(history.epochs)
        _log.info("Stopped early after epoch %d: epoch %d was the best.", ran, best)
    _warn(history)
    facts = Facts(
        kind=ratings.kind,
        reading=ratings.reading,
        solver=to_plain(_anywhere(solver)),
        seed=int(seed),
        history=replace(history, cycle_parameters=[]),
        fitted_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        features=_encoders(ratings, parameters),
    )
    return Part(model.fitted(parameters), parameters, facts)


def _encoders(ratings: Ratings, parameters: Parameters) -> dict[str, FeatureEncoder]:
    """How features are read of which a fit has left effects."""
    given = ratings.features
    if given is None:
        return {}
    return {
        side: encoder
        for side, encoder in zip(OTHER, given.encoders, strict=True)
        if encoder.columns and f"{side}_feature_effects" in parameters
    }


def _anywhere(solver: Solver) -> Solver:
    """A solver without the place where it has run, which is nobody else's."""
    if getattr(solver, "cluster", None) is None:
        return solver
    return replace(solver, **{"cluster": None, "n_workers": None})


def _kept_run(solver: Solver, name: str, kept: Checkpoints) -> CarryOn | None:
    """What leaves checkpoints of a run; None of one that is over at once.

    Raises:
        SettingError: for a solver that cannot be stopped between its epochs.
    """
    if isinstance(solver, IteratingSolver):
        return kept.carry_on(name)
    if solver.n_epochs > 1:
        raise SettingError(
            f"{type(solver).__name__} leaves no checkpoints, as it is no IteratingSolver "
            "(dotbias.solvers.epochs): fit without"
        )
    return None


# What a run tells about itself, the command line says once, whatever the figures are in a second fit.
_OF_A_RUN = {"of_a_run": True}


def _warn(history: History) -> None:
    """Of a run of gradient descent that has led nowhere, or has stopped on the way."""
    if history.above_biases:
        rows = "training" if history.epochs[-1].validation_rmse is None else "validation"
        _log.warning(
            "This fit is worse than biases alone: RMSE %.4f on its %s rows, biases alone %.4f. Try the "
            "rate of the finder (lr_find; on the command line --lr auto), or more epochs than %d.",
            history.rmse,
            rows,
            history.biases_rmse,
            len(history.epochs),
            extra=_OF_A_RUN,
        )
    if history.cycle_end is not None and history.stopped != "interrupted":
        _log.warning(
            "The schedule was in the middle of a cycle after %d epochs, where the rate is high: after "
            "%g it ends.",
            len(history.epochs),
            history.cycle_end,
            extra=_OF_A_RUN,
        )


def default_solver(model: Model) -> Solver:
    """What estimates a model when nobody says: ``ClosedForm`` for a ``Baseline``, else gradient descent.

    Its settings for networks were chosen on validation parts of training rows
    (``benchmarks/networks.py``). Embeddings that start near zero need a far higher rate than the layers
    above them. Of a network of one's own nothing is known; Adam suits most. Preferences of ``DotBias``
    are learned from pairs (``loss="bpr"``; ``benchmarks/losses.py``).
    """
    if has_formula_of(model, Baseline):
        return ClosedForm()
    if has_formula_of(model, DotProduct):
        return ImplicitALS()
    if has_formula_of(model, DotBias) and model.scores == "preference":
        return GradientDescent(SGD(lr=0.03), loss="bpr", n_negatives=4, weight_decay=0.03)
    if isinstance(model, EmbeddingNet):
        rates = {"embeddings": 1.0, "hidden": 0.05, "output": 0.05, "biases": 0.05}
        return GradientDescent(Momentum(lr=rates), n_epochs=10, batch_size=512)
    if isinstance(model, TorchModel):
        return GradientDescent(Adam(lr=0.003), n_epochs=16, batch_size=512)
    return GradientDescent()


def default_descent(model: Model | None) -> GradientDescent:
    """What trains a model by gradient descent when nobody says.

    Raises:
        SettingError: for a model that gradient descent does not estimate.
    """
    solver = default_solver(DotBias() if model is None else model)
    if not isinstance(solver, GradientDescent):
        raise SettingError(
            f"{type(model).__name__} is not trained by gradient descent: there is no rate to find"
        )
    return solver


class _Pace:
    """Says once, a second into a fit, how much longer it will take on this machine.

    Args:
        title: what is under way.
        solver: how.
    """

    def __init__(self, title: str, solver: Solver) -> None:
        self.title, self.solver = title, solver
        self.first: float | None = None
        self.before = 0
        self.said = False

    def note(self, done: int) -> None:
        """Take note that so many epochs are done; the first is not counted, for it may compile."""
        now = time.perf_counter()
        if self.first is None:
            self.first, self.before = now, done
        spent, n = now - self.first, self.solver.n_epochs
        if self.said or spent < _SOON:
            return
        self.said = True
        left = spent / (done - self.before) * (n - done)
        if left >= _SOON:
            of = f"{done} of {n} {self.solver.epochs_are} done"
            _log.info("%s: about %.0f s to go (%s).", self.title, left, of)


def _describe(epoch: Epoch, solver: Solver) -> str:
    figure = "RMSE" if epoch.train_loss is None else "loss"
    shown = f"{solver.epochs_are.removesuffix('s')} {epoch.epoch}"
    if epoch.noise is not None:
        shown += f"  noise {epoch.noise:.4f}"
    else:
        shown += f"  training {figure} {epoch.train_figure:.4f}"
    if epoch.objective is not None:
        shown += f"  objective {epoch.objective:.6g}"
    if epoch.validation_figure is not None:
        shown += f"  validation {figure} {epoch.validation_figure:.4f}"
    return f"{shown}  {epoch.ratings_per_second / 1e6:.1f} M ratings/s"
