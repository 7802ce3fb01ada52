"""Libraries that predict ratings, a file each, named as its environment."""
