"""Questions of notebook 07: when is it decided, and which scans does the answer need?"""

from __future__ import annotations

from collections.abc import Mapping

from vmamba_explore.studies.lessons.judge import Answer, Verdict, judge
from vmamba_explore.view.explorer import Exploration, Explorer


def decides(answer: Answer, exploration: Exploration) -> Verdict:
    """Judge which token frame, as the clip is seen from its start, raises the evidence most."""
    curve = exploration.curves["seen from the start"]
    frame = int(curve.diff("frame").values.argmax()) + 1
    hint = "The timeline counts token frames: to which one does its blue line jump?"
    return judge(answer, frame, hint=hint)


def needs(answer: Answer, muted: Mapping[str, Explorer]) -> Verdict:
    """Judge which directions the label needs: it changes when their scans are muted.

    Args:
        answer: "forward", "backward", "both" or "neither".
        muted: By direction, the clip beside itself with that direction muted.
    """
    changed = []
    for direction, view in muted.items():
        first, second = (side.classes[0][0] for side in view.explorations)
        if first != second:
            changed.append(direction)
    truth = changed[0] if len(changed) == 1 else "both" if changed else "neither"
    hint = "Look at the top classes of A and B, once for each direction."
    return judge(answer, truth, hint=hint, choices=("forward", "backward", "both", "neither"))
