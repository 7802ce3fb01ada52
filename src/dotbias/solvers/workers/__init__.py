"""Fits on several workers: processes of this machine, or actors on a cluster."""
