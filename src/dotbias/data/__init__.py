"""Ratings: what they are, and how they are read, named, simulated and split."""
