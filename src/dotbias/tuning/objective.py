"""What a trial is judged by: an error or a figure of lists on validation parts of the training rows.

All trials have the same parts, and the same seeds of their fits, so that two of them differ by their
settings alone.
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError, did_you_mean
from dotbias.fitting.preference import ListTask
from dotbias.settings import generator
from dotbias.shown import Shown
from dotbias.solvers.base import OnEpoch, estimate
from dotbias.solvers.epochs import EpochLoop, IteratingSolver
from dotbias.solvers.gibbs.gibbs import Gibbs
from dotbias.solvers.validation import Validation
from dotbias.tuning.space import Configuration

SHARE = 0.1
"""Share of the training rows in a validation part."""

OF_LISTS = ("ndcg", "recall", "precision", "map", "mrr", "hit_rate")
"""Figures of lists, which are larger where lists are better."""

STEPS = 10
"""As many points has the learning curve of a fit."""

# So many validation rows in all decide between trials, and so many parts at most.
_ROWS, _MOST_PARTS = 5_000, 5
# Of lists, whose models have no curve: parts are its points.
_PARTS_OF_LISTS = 3
_LENGTH = 10


def seed_of(*numbers: int) -> int:
    """A seed of its own for these numbers.

    >>> seed_of(0, 1) != seed_of(1, 0)
    True
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class Objective(Shown, ABC):
    """What is measured of a candidate.

    Args:
        ratings: the training ratings.
        name: what it is called on the command line.
    """

    direction: ClassVar[Literal["minimize", "maximize"]]

    def __init__(self, ratings: Ratings, name: str) -> None:
        self.ratings, self.name = ratings, name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    @abstractmethod
    def n_parts(self) -> int:
        """Validation parts of a trial."""

    @abstractmethod
    def curve(
        self, candidate: Configuration, seeds: Sequence[int], on_epoch: OnEpoch
    ) -> Iterator[float]:
        """The mean over validation parts of these seeds as the fits go on; the last counts.

        Args:
            candidate: what is fitted.
            seeds: of each part, and of the fit to the rows that are left.
            on_epoch: called after each epoch of each fit.

        Raises:
            KeyboardInterrupt: on Ctrl-C, which ends a fit alone elsewhere.
            DivergenceError: when the learning rate is too high.
        """

    def warm_up(self, candidate: Configuration) -> None:
        """Compile what a fit needs, or load it."""

    def final(self, candidate: Configuration, seed: int, on_epoch: OnEpoch) -> float:
        """The figure on one part."""
        *_, last = self.curve(candidate, [seed], on_epoch)
        return last

    def gain(self, of_default: float, figure: float) -> float:
        """How much better a figure is than that of the default."""
        return of_default - figure if self.direction == "minimize" else figure - of_default


class ErrorInStars(Objective):
    """RMSE on a tenth of the training rows, drawn at random."""

    direction = "minimize"

    @property
    def n_parts(self) -> int:
        """As many as hold some thousand rows together, up to five."""
        return min(_MOST_PARTS, math.ceil(_ROWS / max(1.0, SHARE * len(self.ratings))))

    def curve(
        self, candidate: Configuration, seeds: Sequence[int], on_epoch: OnEpoch
    ) -> Iterator[float]:
        """See ``Objective``: the fits to all parts go on side by side."""
        runs = [_Run.begun(self.ratings, candidate, seed) for seed in seeds]
        for step in range(1, STEPS + 1):
            yield float(np.mean([run.error_at(step / STEPS, on_epoch) for run in runs]))

    def warm_up(self, candidate: Configuration) -> None:
        """See ``Objective``: a first epoch."""
        run = _Run.begun(self.ratings, candidate, 0)
        run.error_at(1 / run.loop.n_epochs, lambda _: None)


@dataclass(frozen=True, eq=False)
class _Run:
    """A fit under way, and the rows that judge it."""

    loop: EpochLoop
    held: Validation

    @classmethod
    def begun(cls, ratings: Ratings, candidate: Configuration, seed: int) -> "_Run":
        """A fit to what a validation part leaves: every solver has the same."""
        held = Validation.hold_out(ratings, SHARE, generator(seed))
        model, solver = candidate.model, candidate.solver
        assert isinstance(solver, IteratingSolver)
        if isinstance(solver, Gibbs):
            # One model of all samples is worked out at the end alone. On the way there is the mean of
            # their predictions, of rows that it holds out itself, drawn likewise.
            watched = replace(solver, validation_size=SHARE)
            return cls(watched.start(model, ratings, seed=seed), held)
        return cls(solver.start(model, held.rest, seed=seed), held)

    def error_at(self, share: float, on_epoch: OnEpoch) -> float:
        """RMSE on the validation rows after so much of the fit."""
        loop = self.loop
        due = max(1, round(share * loop.n_epochs)) - loop.epoch
        if due > 0 and loop.history.stopped != "early":
            loop.run(due, on_epoch)
            if loop.history.stopped == "interrupted":
                raise KeyboardInterrupt
        if isinstance(loop.solver, Gibbs) and loop.epoch < loop.n_epochs:
            (*_, last) = loop.history.epochs
            assert last.validation_rmse is not None
            return last.validation_rmse
        return math.sqrt(self.held.loss(loop.model, loop.result()))


class QualityOfLists(Objective):
    """A figure of the lists of up to 2,000 users, on a tenth of their choices."""

    direction = "maximize"

    def __init__(self, ratings: Ratings, name: str, figure: str, k: int) -> None:
        super().__init__(ratings, name)
        self.figure, self.k = figure, k

    @property
    def n_parts(self) -> int:
        """A few: what their fits are worth is known at their end alone."""
        return _PARTS_OF_LISTS

    def curve(
        self, candidate: Configuration, seeds: Sequence[int], on_epoch: OnEpoch
    ) -> Iterator[float]:
        """See ``Objective``: the fits to the parts follow one another."""
        found: list[float] = []
        for seed in seeds:
            task = ListTask.of(self.ratings, seed)
            if task is None:
                raise SettingError(
                    f"metric={self.name!r}: no list can be measured, as no user has two choices or "
                    "others share none"
                )
            model = candidate.model
            parameters, history = estimate(
                candidate.solver, model, task.rows, seed=seed, on_epoch=on_epoch
            )
            if history.stopped == "interrupted":
                raise KeyboardInterrupt
            of_users: Any = task.figures(model, parameters, self.k)[self.figure]
            found.append(float(of_users.mean()))
            yield float(np.mean(found))


def figure_and_length(metric: str, said: str | None = None) -> tuple[str, int]:
    """The figure that a metric names, and how long the lists are that it is of, 0 for the error.

    Args:
        metric: ``"rmse"``, or one of ``OF_LISTS``, perhaps with a length, as in ``"ndcg@10"``.
        said: what was said, with the metric, for the message.

    Raises:
        SettingError: for another metric.

    >>> figure_and_length("nDCG@20"), figure_and_length("recall"), figure_and_length("rmse")
    (('ndcg', 20), ('recall', 10), ('rmse', 0))
    """
    plain = metric.strip().lower()
    if plain == "rmse":
        return plain, 0
    found = re.fullmatch(r"(\w+?)(?:@(\d+))?", plain)
    name = "" if found is None else found[1]
    k = _LENGTH if found is None or found[2] is None else int(found[2])
    if name not in OF_LISTS or not 1 <= k <= 1000:
        near = did_you_mean(name, ("rmse", *OF_LISTS))
        raise SettingError(
            f"{said or f'metric={metric!r}'}: it must be rmse, or {', '.join(OF_LISTS)} with a length "
            f"from 1 to 1000, as in ndcg@10{near}"
        )
    return name, k


def objective_of(ratings: Ratings, metric: str) -> Objective:
    """What a metric measures.

    Args:
        ratings: the training ratings.
        metric: as for ``figure_and_length``.

    Raises:
        SettingError: for another metric, one of stars where there are none, or too few ratings.
    """
    name, k = figure_and_length(metric)
    if name == "rmse":
        if ratings.kind != "ratings":
            raise SettingError(
                f"metric={metric!r}: these are {ratings.kind}, without stars; take one of lists, such "
                "as ndcg@10"
            )
        if round(SHARE * len(ratings)) == 0:
            raise SettingError(f"{len(ratings)} ratings are too few to tune anything on")
        return ErrorInStars(ratings, name)
    return QualityOfLists(ratings, f"{name}@{k}", name, k)
