"""Solvers: how the parameters of a model are estimated from ratings."""
