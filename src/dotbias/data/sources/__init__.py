"""Sources: from a path, an address or the name of a set to bytes or a frame."""
