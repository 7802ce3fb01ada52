"""Gradient descent: its settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
import polars as pl

from dotbias.data.prepared.prepared import PreparedPart
from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models.base import Model, has_formula_of
from dotbias.models.dot_bias import DotBias
from dotbias.models.network import NETWORK_GROUPS, TorchModel
from dotbias.models.torch_extra import require_torch
from dotbias.plain import settings_from_plain
from dotbias.settings import setting
from dotbias.solvers.decay import WeightDecay, as_weight_decay, row_counts
from dotbias.solvers.descent.default_rates import default_epochs, default_rate
from dotbias.solvers.descent.losses import LOSSES, Loss
from dotbias.solvers.descent.on_workers import Walk
from dotbias.solvers.descent.passes import Order
from dotbias.solvers.descent.rules import RULES, SGD, Rule, as_rule
from dotbias.solvers.descent.run import Run
from dotbias.solvers.descent.schedules import SCHEDULES, Schedule, as_schedule
from dotbias.solvers.descent.training import Training
from dotbias.solvers.epochs import IteratingSolver


@dataclass(frozen=True)
class GradientDescent(IteratingSolver):
    """Gradient descent for ``DotBias`` and networks: full-batch, mini-batch, or one rating at a time.

    For ``DotBias`` it minimises, summed over the training ratings,
    ``½ (r̂_ui - r_ui)² + ½ (λ_p |p_u|² + λ_q |q_i|² + λ_bu b_u² + λ_bi b_i²)``,
    with ratings measured in units of their standard deviation (and parameters in the units that
    follow, ``DotBias.units``): multiplying all ratings by a number, or adding one, changes the
    predictions likewise and nothing else. A step follows the mean over its batch. See ``WeightDecay``
    for other forms of the decay, and ``loss`` for losses that judge preferences instead of ratings. The
    same data, settings and seed give the same bits for any number of threads (but for Hogwild).

    For networks (``EmbeddingNet``, ``Network``) the loss is the same, PyTorch takes the gradients and
    the rule's counterpart in ``torch.optim`` the steps; the groups are ``embeddings``, ``hidden``,
    ``output`` and ``biases``. The same seed gives the same bits on the same machine and device.

    Args:
        rule: how a parameter moves along its gradient; by name, such as ``"adam"``, with the rule's
            default settings. A rate that it leaves open is one that suits the batch and the ratings
            (``default_rates``).
        n_epochs: passes over the training ratings; by default 40, or more where
            that were fewer than 300 steps.
        batch_size: ratings per step; 1 takes one at a time, None all of them (full batch), and so does
            what is more than there are.
        order: ``"shuffled"`` anew for each epoch, as ``"stored"``, or a curriculum: a function of the
            training ratings that gives each a number, small for easy ones, which come first.
        schedule: learning rate over the epochs: a ``Schedule``, or the name of one; by default
            ``"linear"``, and ``"constant"`` for rules that are made to do without.
        loss: ``"squared"``, or with ``DotBias(output="preference")`` one that learns what is chosen, not
            how it is rated: ``"logistic"``, or ``"bpr"`` (Rendle et al. 2009). Every known pair then
            counts as chosen, whatever its rating, and items drawn evenly from the others as not chosen.
            A row is decayed with each example that it takes part in.
        n_negatives: how many items are drawn for each known pair in each epoch.
        semantics: what happens to rows that a batch does not touch. ``"lazy"``: nothing, as in
            ``torch.optim.SparseAdam``. ``"dense"``: momentum and weight decay move them too, as in all
            of ``torch.optim``; costs a pass over all parameters in each step.
        parallel: how threads share the work where ratings are taken one at a time: ``"grid"``, or
            ``"hogwild"``, without locks and without the promise of the same bits (Niu et al. 2011).
        frozen: names of groups that keep their starting values.
        weight_decay: ``λ`` of all groups, a mapping from group name to ``λ``, or a ``WeightDecay``.
        clip: largest norm of a step's gradient (weight decay apart), or None for no limit.
        gradient_noise: variance ``η`` of the normal noise added to each gradient in the first step;
            falls as ``η / t^0.55`` (Neelakantan et al. 2015; Ruder section 6.4).
        average: over how many of the last epochs parameters are averaged; over so many cycles where
            the schedule has warm restarts.
        validation_size: share of the *training* rows that is held out as validation rows; with it,
            training stops early and the parameters of the best epoch are kept.
        patience: epochs without improvement on the validation rows before training stops.
        n_threads: threads, or None for as many as the machine has and the ratings keep busy (one
            for each 100,000; for networks all if batches are large, else one).
        cluster: where prepared ratings are shared out to workers: ``"processes"`` of this machine;
            actors of Ray, ``"ray"`` on this machine, ``"auto"`` on the cluster that it belongs to, or
            ``"ray://host:10001"``. They leave the same bits.
        n_workers: how many; by default two processes, or as many actors as there are processors.
        device: where a network is trained: ``"cpu"``, ``"cuda"``, ``"mps"``; None takes a graphics
            processor if there is one. ``DotBias`` is trained on the CPU.
    """

    rule: Rule = field(default_factory=SGD)
    # None until it is settled.
    n_epochs: int = setting(None, at_least=1, whole=True, keyword=True)
    batch_size: int | None = setting(1, at_least=1, optional=True, keyword=True)
    order: Order = field(default="shuffled", kw_only=True)
    schedule: Schedule | str | None = field(default=None, kw_only=True)
    loss: str = setting("squared", choices=tuple(LOSSES), keyword=True)
    n_negatives: int = setting(1, at_least=1, at_most=1000, keyword=True)
    semantics: Literal["lazy", "dense"] = setting("lazy", choices=("lazy", "dense"), keyword=True)
    parallel: Literal["grid", "hogwild"] = setting(
        "grid", choices=("grid", "hogwild"), keyword=True
    )
    frozen: tuple[str, ...] = field(default=(), kw_only=True)
    weight_decay: float | Mapping[str, float] | WeightDecay | None = field(
        default=None, kw_only=True
    )
    clip: float | None = setting(None, above=0, keyword=True)
    gradient_noise: float = setting(0.0, at_least=0, keyword=True)
    average: int = setting(1, at_least=1, keyword=True)
    validation_size: float = setting(0.0, at_least=0, below=1, keyword=True)
    patience: int = setting(3, at_least=1, keyword=True)
    n_threads: int | None = setting(None, at_least=1, keyword=True)
    cluster: str | None = field(default=None, kw_only=True)
    n_workers: int | None = setting(None, at_least=1, keyword=True)
    device: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "rule", as_rule(self.rule))
        if not callable(self.order) and self.order not in ("shuffled", "stored"):
            raise SettingError(
                f"order must be 'shuffled', 'stored' or a function of the ratings, not {self.order!r}"
            )
        one_by_one = self.batch_size == 1 and self.order == "shuffled" and self.semantics == "lazy"
        if self.parallel == "hogwild" and not one_by_one:
            raise SettingError(
                "parallel='hogwild' takes one rating at a time: it needs batch_size=1, "
                "order='shuffled' and semantics='lazy'"
            )
        # Which model it will be is not known yet; what no model has is refused at once.
        known = NETWORK_GROUPS if self._named_groups <= set(NETWORK_GROUPS) else DotBias.groups
        self._check_groups(known if self._named_groups else DotBias.groups)
        _ = self.decay, self.schedule_object

    @property
    def _named_groups(self) -> set[str]:
        """The groups that the settings name."""
        tables = (self.rule.lr, self.decay.amount)
        return set(self.frozen).union(*(t for t in tables if isinstance(t, Mapping)))

    def _check_groups(self, groups: tuple[str, ...]) -> None:
        """Refuse names of groups that a model with these groups does not have."""
        self.rule.rates(groups)
        if isinstance(self.frozen, str) or not set(self.frozen) <= set(groups):
            raise SettingError(
                f"frozen must name some of the groups {', '.join(groups)}, not {self.frozen!r}"
            )

    @property
    def decay(self) -> WeightDecay:
        """The weight decay with its form."""
        return as_weight_decay(self.weight_decay)

    @property
    def decoupled(self) -> bool:
        """Whether weight decay acts beside the gradient: as it was told, else as the rule has it."""
        told = self.decay.decoupled
        return type(self.rule).decoupled if told is None else told

    @property
    def schedule_object(self) -> Schedule:
        """The schedule itself where it was given by name, or not at all."""
        return as_schedule(self._schedule)

    @property
    def _schedule(self) -> Schedule | str:
        return type(self.rule).schedule if self.schedule is None else self.schedule

    @property
    def default_model(self) -> Model:
        """``DotBias`` with the output that the loss judges."""
        return DotBias(output="preference") if self.loss_class.samples() else DotBias()

    @property
    def loss_class(self) -> type[Loss]:
        """The loss itself."""
        return LOSSES[self.loss]

    def settled(self, model: Model, ratings: Ratings) -> Self:
        """The same solver with numbers where it leaves length and rates to batch and ratings."""
        rate = self.rule.usual_rate
        # The layers of a network take part in every rating: their gradients do not fall with the batch.
        if self.rule.adaptive or not isinstance(model, TorchModel):
            rate = default_rate(self.rule, self.batch_size, ratings)
        n_epochs = self.n_epochs or default_epochs(self.batch_size, len(ratings))
        return replace(self, n_epochs=n_epochs, rule=self.rule.settled(model.groups, rate))

    def start(
        self, model: Model, ratings: Ratings, *, seed: int = 0, steps_per_epoch: int = 1
    ) -> Run[Any]:
        """A run that has not begun: it can be stopped, saved and continued.

        Ctrl-C ends it after the running epoch; the best parameters so far are its result and
        ``history.stopped`` says so. A run ends with a ``DivergenceError`` when the loss is no longer
        finite, or keeps growing.

        Args:
            model, ratings, seed: as for ``fit``.
            steps_per_epoch: how many steps to cut an epoch into at least.

        Raises:
            SettingError: for a model that is neither ``DotBias`` nor a network, groups that it does not
                have, a batch larger than the data, a device that is not there, or PyTorch missing.
        """
        kind: Any
        if has_formula_of(model, DotBias):
            kind = Training
            self.loss_class.check(model)
            if self.device not in (None, "cpu"):
                raise SettingError(f"device={self.device!r}: DotBias is trained on the CPU")
        elif isinstance(model, TorchModel):
            self._check_for_networks()
            from dotbias.solvers.descent.network_training import NetworkTraining

            kind = NetworkTraining
        else:
            raise SettingError(
                f"GradientDescent estimates DotBias and networks, not {type(model).__name__}"
            )
        self._check_groups(model.groups)
        solver = replace(self.settled(model, ratings), schedule=self._schedule)
        run: Run[Any] = kind(solver, model, ratings, seed=seed, steps_per_epoch=steps_per_epoch)
        return run

    def _check_for_networks(self) -> None:
        require_torch()
        if self.loss != "squared":
            raise SettingError(
                f"loss={self.loss!r} is for DotBias(output='preference'): networks are trained on the "
                "squared error"
            )
        if self.parallel == "hogwild":
            raise SettingError("parallel='hogwild' is for DotBias, not for networks")
        if self.decay.per == "row":
            raise SettingError(
                "weight decay per='row' is for DotBias: a network's counts per rating"
            )

    def groups(self, model: Model, ratings: Ratings) -> pl.DataFrame:
        """The parameter groups of a run: rows, numbers, learning rate and weight decay of each."""
        sizes = _group_sizes(model, ratings)
        rates = self.settled(model, ratings).rule.rates(model.groups)
        if isinstance(model, TorchModel):
            decay = self.decay.of_network()
        else:
            decay = self.decay.table(row_counts(ratings))
        return pl.DataFrame(
            {
                "group": name,
                "rows": rows,
                "numbers": numbers,
                "lr": 0.0 if name in self.frozen else rates[name],
                "weight_decay": decay[name],
                "decay_per": self.decay.per,
                "decay_form": "decoupled" if self.decoupled else "coupled",
            }
            for name, (rows, numbers) in sizes.items()
        )


def walk(ratings: PreparedPart, spec: Mapping[str, Any]) -> Walk:
    """What a worker does."""
    kinds = (GradientDescent, WeightDecay, *RULES.values(), *SCHEDULES.values())
    return Walk(ratings, spec, settings_from_plain(spec["solver"], {k.__name__: k for k in kinds}))


def _group_sizes(model: Model, ratings: Ratings) -> dict[str, tuple[int, int]]:
    """Rows and numbers in all of each group."""
    parameters = model.initialise(ratings, np.random.default_rng(0))
    group_of = {name: name for name in model.groups}
    if isinstance(model, TorchModel):
        from dotbias.solvers.descent.network_training import groups_of

        group_of = groups_of(model.to_torch(parameters))
    tables = {g: [parameters[n] for n, of in group_of.items() if of == g] for g in model.groups}
    return {
        g: (sum(len(t) for t in arrays), sum(t.size for t in arrays))
        for g, arrays in tables.items()
    }
