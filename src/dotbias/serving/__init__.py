"""The service: answers over HTTP from a model in memory and a database of what people have rated."""
