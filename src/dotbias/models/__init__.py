"""Models: parameters and the formula that turns a user and an item into a rating."""

from dotbias.models.base import Model
from dotbias.models.baseline import Baseline
from dotbias.models.dot_bias import DotBias

__all__ = ["MODELS", "Baseline", "DotBias", "Model"]

MODELS: dict[str, type[Model]] = {model.__name__: model for model in (Baseline, DotBias)}
"""Every model by the name that a model file carries."""
