"""Numbers computed from a trace. Nothing here draws."""
