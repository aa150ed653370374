"""Sparse features of a model's activations: found, measured, steered and shown."""
