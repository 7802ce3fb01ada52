"""dotbias learns an embedding and a bias for every user and item from a table of ratings.

>>> import dotbias as db
>>> ratings, truth = db.simulate(n_users=300, n_items=200, n_ratings=10_000, seed=0)
>>> train, test = ratings.split(test_size=0.2, seed=42)
>>> rec = db.fit(train, db.DotBias(n_factors=16), seed=0)
>>> db.evaluate(rec, test).rmse < 1
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dotbias.data.ratings import Ratings as Ratings
    from dotbias.data.ratings import Scale as Scale
    from dotbias.data.read import load as load
    from dotbias.data.read import read_ratings as read_ratings
    from dotbias.data.simulate import simulate as simulate
    from dotbias.data.split import k_fold as k_fold
    from dotbias.errors import DataError as DataError
    from dotbias.errors import DivergenceError as DivergenceError
    from dotbias.errors import DotbiasError as DotbiasError
    from dotbias.errors import DownloadError as DownloadError
    from dotbias.errors import ModelFileError as ModelFileError
    from dotbias.errors import SettingError as SettingError
    from dotbias.errors import UnknownIdError as UnknownIdError
    from dotbias.evaluation.cross_validation import cross_validate as cross_validate
    from dotbias.evaluation.evaluate import evaluate as evaluate
    from dotbias.fitting import fit as fit
    from dotbias.models import Baseline as Baseline
    from dotbias.models import DotBias as DotBias
    from dotbias.recommender import Recommender as Recommender
    from dotbias.solvers.closed_form import ClosedForm as ClosedForm
    from dotbias.solvers.gradient import GradientDescent as GradientDescent
    from dotbias.solvers.rules import SGD as SGD
    from dotbias.solvers.rules import Momentum as Momentum

__version__ = "0.1.0"

# Where each public name lives. They are imported when first used, so that `dotbias --help` and
# `import dotbias` do not wait for Numba and Polars.
_HOME = {
    "Baseline": "dotbias.models",
    "ClosedForm": "dotbias.solvers.closed_form",
    "DataError": "dotbias.errors",
    "DivergenceError": "dotbias.errors",
    "DotBias": "dotbias.models",
    "DotbiasError": "dotbias.errors",
    "DownloadError": "dotbias.errors",
    "GradientDescent": "dotbias.solvers.gradient",
    "ModelFileError": "dotbias.errors",
    "Momentum": "dotbias.solvers.rules",
    "Ratings": "dotbias.data.ratings",
    "Recommender": "dotbias.recommender",
    "SGD": "dotbias.solvers.rules",
    "Scale": "dotbias.data.ratings",
    "SettingError": "dotbias.errors",
    "UnknownIdError": "dotbias.errors",
    "cross_validate": "dotbias.evaluation.cross_validation",
    "evaluate": "dotbias.evaluation.evaluate",
    "fit": "dotbias.fitting",
    "k_fold": "dotbias.data.split",
    "load": "dotbias.data.read",
    "read_ratings": "dotbias.data.read",
    "simulate": "dotbias.data.simulate",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dotbias' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
