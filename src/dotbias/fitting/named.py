"""Model and solver as people say them: objects, or the names of the command line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from dotbias.errors import SettingError
from dotbias.fitting.settings_file import SettingsFile, settings_of
from dotbias.models import Baseline, DotBias, EmbeddingNet
from dotbias.models.base import Model
from dotbias.settings import Settings, named
from dotbias.solvers.base import Solver
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.rules import Rule
from dotbias.solvers.gibbs.gibbs import Gibbs
from dotbias.solvers.least_squares.als import ALS

MODELS: Mapping[str, type[Model]] = {
    "dot-bias": DotBias,
    "net": EmbeddingNet,
    "baseline": Baseline,
}
"""The models that have a name on the command line, which stands for them with default settings."""

SOLVERS: Mapping[str, type[Solver]] = {"sgd": GradientDescent, "als": ALS, "gibbs": Gibbs}
"""The solvers, likewise."""

ModelLike: TypeAlias = Model | str | None
SolverLike: TypeAlias = Solver | str | None
SettingsLike: TypeAlias = SettingsFile | str | Path | None


def model_and_solver(
    model: Any, solver: Any, settings: SettingsLike = None
) -> tuple[Model | None, Solver | None]:
    """A model and a solver from two arguments, in whichever of the two they are: what each is, is plain.

    Args:
        model, solver: objects, names of ``MODELS`` or ``SOLVERS``, or None.
        settings: both, as tuning has found them, or a file of them.

    Raises:
        SettingError: for what is neither, for two models or two solvers, and for either of them beside
            settings; says what to write.
        DataError: for a file that holds no settings.

    >>> model_and_solver(ALS(n_iterations=2), None)
    (None, ALS(n_iterations=2, ...))
    >>> model_and_solver("net", "sgd")[0] == EmbeddingNet()
    True
    """
    if settings is not None:
        for name, value in (("model", model), ("solver", solver)):
            if value is not None:
                given = value.brief() if isinstance(value, Settings) else repr(value)
                raise SettingError(f"{name}={given}: settings have their own {name}, leave one out")
        kept = settings_of(settings)
        return kept.model, kept.solver
    found: dict[type, Any] = {}
    for name, value in (("model", model), ("solver", solver)):
        one = _made(name, value)
        if one is None:
            continue
        kind = Model if isinstance(one, Model) else Solver
        if kind in found:
            what = "model" if kind is Model else "solver"
            raise SettingError(f"model={model!r} and solver={solver!r}: name one {what}")
        found[kind] = one
    return found.get(Model), found.get(Solver)


def model_and_descent(model: Any, solver: Any) -> tuple[Model | None, GradientDescent | None]:
    """The same of what is about learning rates.

    Raises:
        SettingError: also for another solver than gradient descent.
    """
    model, solver = model_and_solver(model, solver)
    if not isinstance(solver, GradientDescent | None):
        raise SettingError(
            f"{type(solver).__name__} takes no steps, so it has no learning rate: give a GradientDescent"
        )
    return model, solver


def _made(name: str, value: Any) -> Model | Solver | None:
    """What one of the arguments stands for."""
    if isinstance(value, str):
        if value.strip().lower() == "auto":
            return None
        own, other = (MODELS, SOLVERS) if name == "model" else (SOLVERS, MODELS)
        known: Mapping[str, type[Model | Solver]] = {**own, **other}
        return named(f"{name}={value!r}", value, known)()
    if value is None or isinstance(value, (Model, Solver)):
        return value
    if isinstance(value, type) and issubclass(value, (Model, Solver, Rule)):
        raise SettingError(f"{name}={value.__name__}: write {value.__name__}(), with its settings")
    if isinstance(value, Rule):
        raise SettingError(
            f"{name}={value!r}: that is an update rule, which a solver follows: write "
            f"solver=GradientDescent({value!r})"
        )
    wanted = (
        "a model such as DotBias(n_factors=50), or one of the names " + ", ".join(MODELS)
        if name == "model"
        else "a solver such as ALS(), or one of the names " + ", ".join(SOLVERS)
    )
    raise SettingError(f"{name} must be {wanted}, not {str(value)[:100]}")
