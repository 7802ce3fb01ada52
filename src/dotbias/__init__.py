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
    from dotbias.data.features import Features as Features
    from dotbias.data.prepared.prepare import prepare as prepare
    from dotbias.data.prepared.prepared import PreparedRatings as PreparedRatings
    from dotbias.data.ratings import Ratings as Ratings
    from dotbias.data.ratings import Scale as Scale
    from dotbias.data.ratings import k_fold as k_fold
    from dotbias.data.read import load as load
    from dotbias.data.read import read_ratings as read_ratings
    from dotbias.data.read_features import read_features as read_features
    from dotbias.data.simulate import simulate as simulate
    from dotbias.errors import AmbiguousTitleError as AmbiguousTitleError
    from dotbias.errors import DataError as DataError
    from dotbias.errors import DivergenceError as DivergenceError
    from dotbias.errors import DotbiasError as DotbiasError
    from dotbias.errors import DownloadError as DownloadError
    from dotbias.errors import ModelFileError as ModelFileError
    from dotbias.errors import SettingError as SettingError
    from dotbias.errors import UnknownIdError as UnknownIdError
    from dotbias.evaluation.cross_validation import cross_validate as cross_validate
    from dotbias.evaluation.evaluate import evaluate as evaluate
    from dotbias.fitting.choosing import choose_solver as choose_solver
    from dotbias.fitting.fit import fit as fit
    from dotbias.fitting.settings_file import SettingsFile as SettingsFile
    from dotbias.insight.components import Components as Components
    from dotbias.insight.components import principal_components as principal_components
    from dotbias.insight.curvature import Curvature as Curvature
    from dotbias.insight.curvature import curvature as curvature
    from dotbias.insight.maps import EmbeddingMap as EmbeddingMap
    from dotbias.insight.maps import embedding_map as embedding_map
    from dotbias.insight.neighbours import NeighbourStability as NeighbourStability
    from dotbias.insight.neighbours import neighbour_stability as neighbour_stability
    from dotbias.models import Baseline as Baseline
    from dotbias.models import DotBias as DotBias
    from dotbias.models import DotProduct as DotProduct
    from dotbias.models import EmbeddingNet as EmbeddingNet
    from dotbias.models import Network as Network
    from dotbias.recommender.explanation import Explanation as Explanation
    from dotbias.recommender.fold_in import FoldedItem as FoldedItem
    from dotbias.recommender.fold_in import FoldedUser as FoldedUser
    from dotbias.recommender.recommender import Recommender as Recommender
    from dotbias.solvers.decay import WeightDecay as WeightDecay
    from dotbias.solvers.descent.gradient import GradientDescent as GradientDescent
    from dotbias.solvers.descent.rules import *  # noqa: F403
    from dotbias.solvers.descent.rules import GroupRule as GroupRule
    from dotbias.solvers.descent.rules import RowRule as RowRule
    from dotbias.solvers.descent.rules import Rule as Rule
    from dotbias.solvers.descent.schedules import *  # noqa: F403
    from dotbias.solvers.descent.schedules import Schedule as Schedule
    from dotbias.solvers.gibbs.convergence import convergence as convergence
    from dotbias.solvers.gibbs.gibbs import Gibbs as Gibbs
    from dotbias.solvers.least_squares.als import ALS as ALS
    from dotbias.solvers.least_squares.closed_form import ClosedForm as ClosedForm
    from dotbias.solvers.least_squares.implicit_als import ImplicitALS as ImplicitALS
    from dotbias.solvers.least_squares.most_rated import MostRated as MostRated
    from dotbias.solvers.objective import objective as objective
    from dotbias.tuning.lr_finder import LrCurve as LrCurve
    from dotbias.tuning.lr_finder import lr_find as lr_find
    from dotbias.tuning.race import race as race
    from dotbias.tuning.surfaces import surface_race as surface_race
    from dotbias.tuning.tune import Tuning as Tuning
    from dotbias.tuning.tune import tune as tune


__version__ = "0.17.1"

# Where each public name lives. They are imported when first used, so that `dotbias --help` and
# `import dotbias` do not wait for Numba and Polars, nor a Ctrl-C for NumPy.
_HOME = {
    "ALS": "dotbias.solvers.least_squares.als",
    "Baseline": "dotbias.models",
    "ClosedForm": "dotbias.solvers.least_squares.closed_form",
    "Components": "dotbias.insight.components",
    "Curvature": "dotbias.insight.curvature",
    "AmbiguousTitleError": "dotbias.errors",
    "DataError": "dotbias.errors",
    "DivergenceError": "dotbias.errors",
    "DotBias": "dotbias.models",
    "DotProduct": "dotbias.models",
    "DotbiasError": "dotbias.errors",
    "DownloadError": "dotbias.errors",
    "EmbeddingMap": "dotbias.insight.maps",
    "EmbeddingNet": "dotbias.models",
    "Explanation": "dotbias.recommender.explanation",
    "Features": "dotbias.data.features",
    "FoldedItem": "dotbias.recommender.fold_in",
    "FoldedUser": "dotbias.recommender.fold_in",
    "Gibbs": "dotbias.solvers.gibbs.gibbs",
    "GradientDescent": "dotbias.solvers.descent.gradient",
    "GroupRule": "dotbias.solvers.descent.rules",
    "ImplicitALS": "dotbias.solvers.least_squares.implicit_als",
    "LrCurve": "dotbias.tuning.lr_finder",
    "ModelFileError": "dotbias.errors",
    "MostRated": "dotbias.solvers.least_squares.most_rated",
    "NeighbourStability": "dotbias.insight.neighbours",
    "Network": "dotbias.models",
    "PreparedRatings": "dotbias.data.prepared.prepared",
    "Ratings": "dotbias.data.ratings",
    "Recommender": "dotbias.recommender.recommender",
    "RowRule": "dotbias.solvers.descent.rules",
    "Rule": "dotbias.solvers.descent.rules",
    "Scale": "dotbias.data.ratings",
    "Schedule": "dotbias.solvers.descent.schedules",
    "SettingError": "dotbias.errors",
    "SettingsFile": "dotbias.fitting.settings_file",
    "Tuning": "dotbias.tuning.tune",
    "UnknownIdError": "dotbias.errors",
    "WeightDecay": "dotbias.solvers.decay",
    "choose_solver": "dotbias.fitting.choosing",
    "convergence": "dotbias.solvers.gibbs.convergence",
    "cross_validate": "dotbias.evaluation.cross_validation",
    "curvature": "dotbias.insight.curvature",
    "embedding_map": "dotbias.insight.maps",
    "evaluate": "dotbias.evaluation.evaluate",
    "fit": "dotbias.fitting.fit",
    "k_fold": "dotbias.data.ratings",
    "load": "dotbias.data.read",
    "lr_find": "dotbias.tuning.lr_finder",
    "neighbour_stability": "dotbias.insight.neighbours",
    "objective": "dotbias.solvers.objective",
    "prepare": "dotbias.data.prepared.prepare",
    "principal_components": "dotbias.insight.components",
    "race": "dotbias.tuning.race",
    "read_ratings": "dotbias.data.read",
    "read_features": "dotbias.data.read_features",
    "simulate": "dotbias.data.simulate",
    "surface_race": "dotbias.tuning.surfaces",
    "tune": "dotbias.tuning.tune",
}


def _listed() -> dict[str, str]:
    """Rules and schedules, which are public because they are in their tables, and where they live."""
    from dotbias.solvers.descent.rules import RULES
    from dotbias.solvers.descent.schedules import SCHEDULES

    return {made.__name__: made.__module__ for made in (*RULES.values(), *SCHEDULES.values())}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return ["__version__", *_HOME, *_listed()]
    home = _HOME.get(name) or (None if name.startswith("_") else _listed().get(name))
    if name == "sklearn":  # a module, with an extra
        return import_module("dotbias.sklearn")
    if home is None:
        raise AttributeError(f"module 'dotbias' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__getattr__("__all__"))
