"""The solvers of this library by name, and one from the plain data that a file keeps of it."""

from collections.abc import Mapping
from typing import Any

from dotbias.errors import SettingError
from dotbias.plain import settings_from_plain, settings_text
from dotbias.settings import Settings
from dotbias.solvers.base import Solver
from dotbias.solvers.decay import WeightDecay
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.rules import RULES
from dotbias.solvers.descent.schedules import SCHEDULES
from dotbias.solvers.gibbs.gibbs import Gibbs
from dotbias.solvers.least_squares.als import ALS
from dotbias.solvers.least_squares.closed_form import ClosedForm
from dotbias.solvers.least_squares.implicit_als import ImplicitALS
from dotbias.solvers.least_squares.most_rated import MostRated

SOLVERS: Mapping[str, type[Solver]] = {
    kind.__name__: kind
    for kind in (ALS, ClosedForm, Gibbs, GradientDescent, ImplicitALS, MostRated)
}
"""Every solver by the name that a model file carries."""

# They and all that their settings are made of.
_KINDS: Mapping[str, type[Settings]] = {
    kind.__name__: kind
    for kind in (*SOLVERS.values(), WeightDecay, *RULES.values(), *SCHEDULES.values())
}


def solver_from_plain(data: Any) -> Solver:
    """The solver that ``to_plain`` has written down, such as ``rec.facts.solver``.

    Raises:
        SettingError: where solver, rule or schedule are one's own, or a setting is none of this version.

    >>> solver_from_plain({"ALS": {"n_iterations": 5}}).n_iterations
    5
    """
    try:
        solver = settings_from_plain(data, _KINDS)
        if not isinstance(solver, Solver):
            raise SettingError("it is no solver of this version of dotbias")
    except SettingError as error:
        text = data if isinstance(data, str) else settings_text(data)
        text = text if len(text) <= 300 else f"{text[:300]}..."
        raise SettingError(
            f"the solver that was written down as {text} cannot be made again ({error}): give it as "
            "solver="
        ) from None
    return solver
