"""Prepared ratings: a folder in which they lie block by block, and need not fit into memory."""
