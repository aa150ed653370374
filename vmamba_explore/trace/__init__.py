"""Recording and editing what passes a model's hook points."""
