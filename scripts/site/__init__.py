"""The documentation site: what it is made of, and what is checked of it."""
