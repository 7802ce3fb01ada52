"""Models: parameters and the formula that turns a user and an item into a rating."""

from dotbias.models.base import Model
from dotbias.models.baseline import Baseline
from dotbias.models.dot_bias import DotBias
from dotbias.models.dot_product import DotProduct
from dotbias.models.embedding_net import EmbeddingNet
from dotbias.models.network import Network

__all__ = ["MODELS", "Baseline", "DotBias", "DotProduct", "EmbeddingNet", "Model", "Network"]

MODELS: dict[str, type[Model]] = {
    model.__name__: model for model in (Baseline, DotBias, DotProduct, EmbeddingNet, Network)
}
"""Every model by the name that a model file carries."""
