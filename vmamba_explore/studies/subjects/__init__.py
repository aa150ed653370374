"""The making of the bundled models and clips, and the controls that test them."""
