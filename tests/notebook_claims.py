"""What the notebooks' texts say was measured, beside the expression that measures it again.

Each expression is evaluated in the notebook's own kernel, after its last cell, and must be True.
"""

CLAIMS: dict[str, dict[str, str]] = {}
