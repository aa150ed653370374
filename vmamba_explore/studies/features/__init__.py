"""Sparse features of the bundled models against what is known to be true in their clips."""
