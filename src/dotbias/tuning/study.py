"""The study behind tuning, which is Optuna's: in memory, or in a file from which a stopped one goes on.

Nothing in the file is code: it is a journal of JSON, in which the settings of sampler and pruner stand
beside the trials. The state of the sampler's generator is not kept. Instead each trial has a seed of its
own, which follows from the study's and from the number of trials before it: a study that goes on draws
what it would have drawn, and repeats nothing.
"""

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from dotbias.errors import DataError, SettingError
from dotbias.tuning.objective import seed_of
from dotbias.tuning.space import Configuration, Space, Values

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_log = logging.getLogger("dotbias")

NAME = "dotbias"
"""What the study is called in its file."""

# From so many trials on there is something to learn from; before, and after those near the default, they
# are drawn at random. The settings of one solver are drawn together.
_SAMPLER = {"n_startup_trials": 12, "multivariate": True, "group": True}
# A fit is broken off whose curve is above the median of the fits alike, of which there are at least so
# many, from so many tenths of its length on.
_PRUNER = {"n_alike": 2, "n_warmup_steps": 3}

# Of fewer complete trials nothing can be said about what mattered.
_ENOUGH = 8
# States of trials that have told something.
_TOLD = (TrialState.COMPLETE, TrialState.PRUNED)
_CURVE, _SECONDS = "curve", "seconds"


def _tpe(settings: Mapping[str, Any], seed: int) -> TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of group
        return TPESampler(**settings, seed=seed)


class _EachSeeded(BaseSampler):
    """TPE (Bergstra et al. 2011, in the multivariate form of Falkner et al. 2018), seeded anew for each
    trial.
    """

    def __init__(self, settings: Mapping[str, Any], seed: int) -> None:
        self._settings, self._seed = settings, seed
        self._sampler = _tpe(settings, seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Take the seed of this trial."""
        trials = study.get_trials(deepcopy=False)
        n_told = sum(t.state in _TOLD for t in trials)
        n_beside = sum(t.state == TrialState.RUNNING and t.number < trial.number for t in trials)
        self._sampler = _tpe(self._settings, seed_of(self._seed, n_told, n_beside))
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """As TPE does."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As TPE does."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """As TPE does."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """As TPE does."""
        self._sampler.after_trial(study, trial, state, values)


class _MedianOfAlike(BasePruner):
    """The median rule (Golovin et al. 2017, section 3.2.2) among trials whose curves can be compared.

    Optuna's own compares all. But a sampler that learns from histories is behind one without for half
    of its samples, and ahead in the end.
    """

    def __init__(self, n_alike: int, n_warmup_steps: int) -> None:
        self._n_alike, self._n_warmup_steps = n_alike, n_warmup_steps

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the latest point of the curve is worse than the median."""
        step = trial.last_step
        if step is None or step < self._n_warmup_steps:
            return False
        others = [
            other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if other.user_attrs.get(_CURVE) == trial.user_attrs.get(_CURVE)
            and step in other.intermediate_values
        ]
        if len(others) < self._n_alike:
            return False
        value, median = trial.intermediate_values[step], float(np.median(others))
        lower = study.direction == optuna.study.StudyDirection.MINIMIZE
        return value > median if lower else value < median


class Study:
    """Trials of candidates, those of earlier calls included. Made by ``opened``."""

    def __init__(self, study: optuna.Study, space: Space) -> None:
        self._study, self.space = study, space

    def ask(self) -> tuple[optuna.Trial, Configuration]:
        """The next trial: first those near the default, then what the sampler suggests."""
        seen = [
            trial.system_attrs.get("fixed_params", trial.params)
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state != TrialState.FAIL
        ]
        first = next((values for values in self.space.first if values not in seen), None)
        if first is not None:
            self._study.enqueue_trial(first)
        trial = self._study.ask()
        candidate = self.space.draw(trial)
        trial.set_user_attr(_CURVE, self.space.curve(candidate))
        return trial, candidate

    def tell(
        self,
        trial: optuna.Trial,
        state: Literal["complete", "pruned", "stopped"],
        figure: float | None,
        seconds: float,
    ) -> None:
        """What has become of a trial, and how long it took."""
        trial.set_user_attr(_SECONDS, seconds)
        states = {
            "complete": TrialState.COMPLETE,
            "pruned": TrialState.PRUNED,
            "stopped": TrialState.FAIL,
        }
        self._study.tell(trial, figure, states[state])

    def trials(self) -> list[FrozenTrial]:
        """All that have ended, in the order in which they began."""
        done = (*_TOLD, TrialState.FAIL)
        return self._study.get_trials(deepcopy=False, states=done)

    @property
    def n_told(self) -> int:
        """How many have come to a figure, or were broken off for being worse."""
        return sum(trial.state in _TOLD for trial in self.trials())

    def importances(self) -> dict[str, float]:
        """How much each setting has mattered for being among the best, as shares (PED-ANOVA, Watanabe,
        Bansal & Hutter 2023); empty where too little was tried.
        """
        complete = [t for t in self.trials() if t.state == TrialState.COMPLETE]
        if len(complete) < _ENOUGH or len({t.value for t in complete}) < 2:
            return {}
        with suppress(ValueError, RuntimeError), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of settings that few trials have
            found = optuna.importance.get_param_importances(self._study)
            return {name: float(share) for name, share in found.items()}
        return {}


@contextmanager
def opened(
    space: Space,
    direction: Literal["minimize", "maximize"],
    identity: Values,
    seed: int,
    path: Path | None,
) -> Iterator[Study]:
    """A study that begins, or goes on from its file.

    Args:
        space: what is tried.
        direction: which figures are better.
        identity: plain data of all that makes two studies one: what differs is refused.
        seed: of all that is drawn.
        path: the file of the study, or None to keep it in memory.

    Raises:
        DataError: for a file that is no study of dotbias, or cannot be written.
        SettingError: for one of other ratings, or of another space.
    """
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        if path is None:
            yield _begun(space, direction, identity, seed, None, alone=True)
            return
        with _held(path) as alone:
            files = JournalFileBackend(str(path), JournalFileOpenLock(str(path)))
            storage = JournalStorage(files)
            yield _begun(space, direction, identity, seed, storage, alone=alone)
    finally:
        optuna.logging.set_verbosity(level)


def _begun(
    space: Space,
    direction: Literal["minimize", "maximize"],
    identity: Values,
    seed: int,
    storage: JournalStorage | None,
    *,
    alone: bool,
) -> Study:
    mine = {"sampler": _SAMPLER, "pruner": _PRUNER, "of": json.loads(json.dumps(identity))}
    try:
        if storage is None:
            raise KeyError
        study = optuna.load_study(study_name=NAME, storage=storage)
    except KeyError:
        study = optuna.create_study(storage=storage, study_name=NAME, direction=direction)
    kept = mine | study.user_attrs
    _check_same(kept["of"], mine["of"])
    for name in mine.keys() - study.user_attrs.keys():
        study.set_user_attr(name, mine[name])
    study.sampler = _EachSeeded(kept["sampler"], seed)
    study.pruner = _MedianOfAlike(**kept["pruner"])
    if alone:
        _clear_killed(study)
    return Study(study, space)


def _clear_killed(study: optuna.Study) -> None:
    """Let nobody wait for trials whose process has ended."""
    killed = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in killed:
        study.tell(trial.number, state=TrialState.FAIL)
    if killed:
        _log.info("Cleared from the study: %d that had not ended.", len(killed))


def _check_same(kept: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    for what, value in mine.items():
        if kept.get(what) != value:
            told = f" ({kept.get(what)}, not {value})" if isinstance(value, str | int) else ""
            raise SettingError(
                f"the study is of another run: its {what} differs{told}. Name another file for this one"
            )


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Hold the file of a study, beside other processes; whether there is none.

    What a process that was killed has left half done is put right: the end of a line, or its lock.
    """
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    try:
        _check_ours(path)
        alone = True
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                alone = False
        if alone:
            Path(f"{path}.lock").unlink(missing_ok=True)
            text = path.read_bytes()
            os.truncate(file, text.rfind(b"\n") + 1)
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_SH)
        yield alone
    finally:
        os.close(file)


def _check_ours(path: Path) -> None:
    with path.open("rb") as file:
        first = file.readline(10_000)
    if not first:
        return
    try:
        head = json.loads(first)
        ours = head["study_name"] == NAME
    except (ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise DataError(f"{path} is no study of dotbias: name another file")
