"""Questions of the notebooks, and what judges the answers: one module per notebook."""
