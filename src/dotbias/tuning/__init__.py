"""Finding good settings, and seeing how update rules behave."""
