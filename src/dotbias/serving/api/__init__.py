"""The calls of the service, a file for each group, under /v1."""
