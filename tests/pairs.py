"""Recommenders of two models, for tests."""

from dataclasses import replace

from dotbias.data.ratings import Ratings
from dotbias.fitting.fit import fit
from dotbias.models import DotProduct
from dotbias.recommender.fitted import Part
from dotbias.recommender.recommender import Recommender
from dotbias.solvers.least_squares.implicit_als import ImplicitALS


def with_preference(rec: Recommender, train: Ratings) -> Recommender:
    """A recommender of stars with a small model of preferences, fitted to the same ratings."""
    second = fit(train, DotProduct(n_factors=4), ImplicitALS(n_iterations=3))
    return replace(rec, preference=Part(second.model, second.parameters, second.facts))
