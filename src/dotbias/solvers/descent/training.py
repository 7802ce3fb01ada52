"""A run of gradient descent on ``DotBias``: its tables, its pass, and the compiled loops."""

import copy
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dotbias.data.prepared.prepared import PreparedPart
from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models.base import Parameters
from dotbias.models.dot_bias import DotBias
from dotbias.solvers.decay import prior_constants, row_counts
from dotbias.solvers.descent.from_disk import FromDisk
from dotbias.solvers.descent.on_workers import OnWorkers, exchange_for
from dotbias.solvers.descent.passes import (
    Batches,
    CompiledPass,
    Floats,
    Hogwild,
    OneByOne,
    StepSettings,
    Tables,
    given_order,
    pass_inputs,
)
from dotbias.solvers.descent.rules import GroupRule, Steps
from dotbias.solvers.descent.run import NOISE_DECAY, Run
from dotbias.solvers.threads import threads

if TYPE_CHECKING:
    from dotbias.solvers.descent.gradient import GradientDescent

# Steps whose settings are computed at once.
_SEGMENT = 65_536

# Into how many steps an epoch is cut at least, where groups are summed up after each.
_SUMMED_UP = 64


class Training(Run[DotBias]):
    """A run on ``DotBias``. Inside, ratings and parameters are measured in units of the ratings' std.

    Args:
        solver, model, ratings, seed, dtype: as for ``Run``.
        steps_per_epoch: how many steps to cut an epoch into at least, where ratings are taken one at
            a time and the rate could change at any of them.
    """

    _pass: CompiledPass

    def __init__(
        self,
        solver: "GradientDescent",
        model: DotBias,
        ratings: Ratings,
        *,
        seed: int = 0,
        dtype: Any = np.float32,
        steps_per_epoch: int = 1,
    ) -> None:
        super().__init__(solver, model, ratings, seed=seed, dtype=dtype)
        if model.scores == "rating":  # of preferences no row could be solved again
            counts = row_counts(self.validation.rest)
            self.start |= prior_constants(solver.decay, model, counts, ratings.std)
        self._units = {g: dtype(unit) for g, unit in model.units(ratings.std).items()}
        self.tables = self._tables()
        for name in set(model.groups) - set(solver.frozen):
            # The tables have the numbers now, and of many rows no second copy is kept.
            self.start[name] = np.broadcast_to(np.float32(0), self.start[name].shape)
        self._base_rates = self._rates()
        rule = self.solver.rule
        self._groups = [
            rule.begin(t) if isinstance(rule, GroupRule) else () for t in self.tables.values
        ]
        self._pass = self._make_pass(int(self.rng.integers(2**63)), steps_per_epoch)

    def _tables(self) -> Tables:
        model, std, rule = self.model, self.ratings.std, self.solver.rule
        values = [np.divide(self.start[g], self._units[g], dtype=self.dtype) for g in model.groups]
        # A bias is an embedding of length one to the kernels.
        values = [t if t.ndim == 2 else t[:, None] for t in values]
        shapes = [(len(t), 1) if rule.per_row else t.shape for t in values]
        states = [np.zeros((rule.n_slots, *shape), self.dtype) for shape in shapes]
        offset, (low, width) = model.offset(self.start), model.stretch(self.start)
        if model.output == "linear":
            offset /= std
        form = (*map(self.dtype, (offset, low / std, width / std)), model.output == "sigmoid")
        return Tables(values=values, states=states, form=form)

    def _rates(self) -> NDArray[np.float64]:
        rates = self.solver.rule.rates(self.model.groups)
        frozen = self.solver.frozen
        return np.array([0.0 if g in frozen else rates[g] for g in self.model.groups])

    def _make_pass(self, seed: int, steps_per_epoch: int) -> CompiledPass:
        solver, ratings = self.solver, self.validation.rest
        inputs = pass_inputs(solver, ratings, self.tables, self.dtype(self.ratings.std))
        one_by_one = (
            solver.batch_size == 1 and solver.order == "shuffled" and solver.semantics == "lazy"
        )
        on_disk = isinstance(ratings, PreparedPart) and solver.parallel == "grid"
        on_disk &= one_by_one and not inputs.loss.samples()
        if solver.cluster is not None and not (on_disk and not inputs.noisy):
            raise SettingError(
                f"cluster={solver.cluster!r}: workers read prepared ratings, one at a time, with the "
                "squared error and without noise: leave cluster out"
            )
        by_group = isinstance(solver.rule, GroupRule)
        if solver.cluster is not None and by_group:
            raise SettingError(
                f"cluster={solver.cluster!r}: {type(solver.rule).__name__} looks at whole groups, of "
                "which no worker has all: leave cluster out, or take another rule"
            )
        if one_by_one:
            one = np.ones(1)
            early, late = (solver.rule.coefficients(t * one) for t in (1, 1_000_000))
            how: dict[str, Any] = {
                "parts": -(-max(steps_per_epoch, _SUMMED_UP * by_group) // 8),
                "warms_up": (early != late or by_group) and steps_per_epoch == 1,
            }
            if solver.cluster is not None:
                workers = exchange_for(solver.cluster, solver.n_workers, inputs, solver, self.model)
                self.on_workers = True
                return OnWorkers(inputs, exchange=workers, **how)
            kind = FromDisk if on_disk else Hogwild if solver.parallel == "hogwild" else OneByOne
            return kind(inputs, seed=seed, **how)
        return Batches(
            inputs,
            batch_size=self.batch_size,
            order=given_order(solver.order, ratings),
            dense=solver.semantics == "dense",
        )

    def take(self, low: int, high: int, multiples: Steps, momentum: Steps | None) -> Floats:
        """See ``Run.take``."""
        squares, rule = [], self.solver.rule
        by_group = isinstance(rule, GroupRule)
        for begin in range(low, high, 1 if by_group else _SEGMENT):
            end = min(begin + (1 if by_group else _SEGMENT), high)
            moved = None if momentum is None else momentum[begin:end]
            settings = self._step_settings(begin, end, multiples[begin - low : end - low], moved)
            squares.append(self._pass.take(begin, end, settings))
            if isinstance(rule, GroupRule):
                known = zip(self._groups, self.tables.states, strict=True)
                self._groups = [rule.summed_up(group, state) for group, state in known]
        return np.concatenate(squares) if squares else np.zeros(0)

    def _step_settings(
        self, low: int, high: int, multiples: Steps, momentum: Steps | None
    ) -> StepSettings:
        solver, n = self.solver, high - low
        t = self.n_updates + self._pass.t[low:high]
        noise, keys = np.zeros(n), np.zeros(n, np.uint64)
        if solver.gradient_noise:
            noise = np.sqrt(solver.gradient_noise / t**NOISE_DECAY)
            keys = self.rng.integers(2**64, size=n, dtype=np.uint64)
        rates = multiples[:, None] * self._base_rates
        if isinstance(solver.rule, GroupRule):
            of_groups = [group[0] for group in self._groups]
            rates = np.hstack([rates, np.broadcast_to(of_groups, rates.shape)])
        return StepSettings(
            rates=rates.astype(self.dtype),
            coefficients=solver.rule.coefficient_table(t, momentum).astype(self.dtype),
            noise=noise.astype(self.dtype),
            keys=keys,
            clip=self.dtype(solver.clip or 0),
        )

    def compile(self) -> None:
        """Compile the loop now, so that the first epoch does not include it."""
        self._pass.begin(copy.deepcopy(self.rng), first=False)
        settings = self._step_settings(0, 0, np.zeros(0), None)
        with self.threads():
            self._pass.take(0, 0, settings)

    def parameters(self) -> Parameters:
        """The parameters as they are now, in rating units."""
        self._pass.collect()
        rule, tables = self.solver.rule, self.tables
        values = map(rule.evaluated, tables.values, tables.states)
        now = {
            name: (table * unit).reshape(self.start[name].shape).astype(np.float32, copy=False)
            for table, (name, unit) in zip(values, self._units.items(), strict=True)
            if name not in self.solver.frozen  # units would cost a frozen one its last bit
        }
        return self.start | now

    def state(self) -> dict[str, Floats]:
        """Values and the rule's numbers of each group, copied."""
        self._pass.collect()
        arrays: dict[str, Floats] = {}
        for name, value, state in zip(
            self.model.groups, self.tables.values, self.tables.states, strict=True
        ):
            arrays[f"value/{name}"], arrays[f"state/{name}"] = value.copy(), state.copy()
        if isinstance(self.solver.rule, GroupRule):
            known = zip(self.model.groups, self._groups, strict=True)
            arrays |= {f"group/{name}": np.array(group) for name, group in known}
        return arrays

    def set_state(self, arrays: dict[str, Floats]) -> None:
        """Put back what ``state`` gave."""
        for name, value, state in zip(
            self.model.groups, self.tables.values, self.tables.states, strict=True
        ):
            value[...], state[...] = arrays[f"value/{name}"], arrays[f"state/{name}"]
        if isinstance(self.solver.rule, GroupRule):
            self._groups = [tuple(arrays[f"group/{g}"].tolist()) for g in self.model.groups]
        self._pass.spread()

    def threads(self) -> AbstractContextManager[None]:
        """Numba's threads, or workers."""
        if isinstance(self._pass, OnWorkers):
            return self._pass.working()
        return threads(self.solver.n_threads, len(self.ratings))
