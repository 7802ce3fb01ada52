"""Gradient descent: rules, schedules, runs and their compiled loops."""
