"""The paper's experiments, small, on motion clips."""
