"""Cost against clip length, and joint space-time attention to compare with."""
