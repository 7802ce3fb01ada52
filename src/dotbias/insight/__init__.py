"""What a fit has learned, and why it came out so: maps, neighbours, components, curvature."""
