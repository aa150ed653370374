"""What can be looked at: figures, widgets, pages. Takes results, never a model."""
