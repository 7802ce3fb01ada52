"""Solvers from the text that a model file keeps of them, ``repr(solver)``; nothing in it is run."""

import ast
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dotbias.errors import SettingError
from dotbias.solvers.base import Solver
from dotbias.solvers.decay import WeightDecay
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.rules import RULES
from dotbias.solvers.descent.schedules import SCHEDULES
from dotbias.solvers.gibbs.gibbs import Gibbs
from dotbias.solvers.least_squares.als import ALS
from dotbias.solvers.least_squares.closed_form import ClosedForm

# All that a text may call. Settings that were computed with NumPy are written as np.float64(0.1).
_KNOWN: Mapping[str, Callable[..., Any]] = {
    kind.__name__: kind
    for kind in (
        *(ALS, ClosedForm, Gibbs, GradientDescent, WeightDecay),
        *RULES.values(),
        *SCHEDULES.values(),
        slice,
    )
} | {f"np.{kind.__name__}": kind for kind in (np.float32, np.float64, np.int32, np.int64)}


def solver_from_text(text: str) -> Solver:
    """The solver whose ``repr`` is this text, such as ``facts["solver"]`` of a recommender.

    The text is taken apart, not run: it may hold solvers, rules, schedules and weight decay of this
    library, with numbers, strings, tuples, lists and dictionaries in them.

    Raises:
        SettingError: for a text that holds anything else, such as a rule of one's own, or settings that
            this version does not have.

    >>> solver_from_text("ALS(n_iterations=5)").n_iterations
    5
    >>> solver_from_text(repr(GradientDescent())) == GradientDescent()
    True
    """
    try:
        solver = _value(ast.parse(text, mode="eval").body)
    except SettingError as error:
        raise _refusal(text, str(error)) from None
    except (SyntaxError, ValueError, TypeError, AttributeError) as error:
        raise _refusal(text, f"{error}") from None
    except (RecursionError, MemoryError):
        raise _refusal(text, "it is nested too deeply") from None
    if not isinstance(solver, Solver):
        raise _refusal(text, "it is no solver")
    return solver


def _value(node: ast.expr | None) -> Any:
    """What an expression stands for."""
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        if name not in _KNOWN:
            raise SettingError(f"{name} is none of this version of dotbias")
        settings = {str(keyword.arg): _value(keyword.value) for keyword in node.keywords}
        return _KNOWN[name](*map(_value, node.args), **settings)
    if isinstance(node, ast.Dict):
        return {
            _value(key): _value(value) for key, value in zip(node.keys, node.values, strict=True)
        }
    if isinstance(node, ast.Tuple):
        return tuple(map(_value, node.elts))
    if isinstance(node, ast.List):
        return list(map(_value, node.elts))
    return ast.literal_eval(node)  # type: ignore[arg-type]  # it refuses what is no literal


def _refusal(text: str, reason: str) -> SettingError:
    shown = text if len(text) <= 300 else f"{text[:300]}..."
    return SettingError(
        f"the solver that was written down as {shown!r} cannot be made from that text ({reason}): "
        "give it as solver="
    )
