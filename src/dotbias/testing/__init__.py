"""Contracts that a model and a solver of one's own can be held to, with pytest.

>>> from dotbias.testing import ModelContract, SolverContract
"""

from dotbias.testing.model_contract import ModelContract
from dotbias.testing.solver_contract import TINY, SolverContract

__all__ = ["TINY", "ModelContract", "SolverContract"]
