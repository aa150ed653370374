"""Change one thing inside a running model, for the duration of a `with` block.

Every intervention belongs to the thread and task that entered its block, and leaves the model as
it was, also on error.
"""

from vmamba_explore.analysis.features.steering import reconstruct, remove_feature, steer
from vmamba_explore.trace.interventions import (
    ablate,
    cut_edges,
    drop_tokens,
    freeze_state,
    mute,
    patch,
)
from vmamba_explore.trace.past import Past, record_past, reset_state, swap_state, transplant

__all__ = [
    "Past",
    "ablate",
    "cut_edges",
    "drop_tokens",
    "freeze_state",
    "mute",
    "patch",
    "reconstruct",
    "record_past",
    "remove_feature",
    "reset_state",
    "steer",
    "swap_state",
    "transplant",
]
