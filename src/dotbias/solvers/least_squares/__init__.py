"""Linear regression: alternating least squares, closed forms, one more row."""
