"""Nested sampling: runs of other programs read in, and runs of a `Retrieval` of our own."""
