"""Everything that can be looked at: static figures, widgets, pages. Takes results, never a model."""
