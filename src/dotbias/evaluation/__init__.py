"""Evaluation: how good predictions and recommendations are on ratings held out of training."""
