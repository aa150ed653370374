"""The controls of a few windows of a long video, for its page."""

from __future__ import annotations

from vmamba_explore.analysis.controls import Controls, controls
from vmamba_explore.analysis.timeline import Segment, Timeline
from vmamba_explore.app.long_video import window_clip
from vmamba_explore.app.timeline_page import clock
from vmamba_explore.clips.clip import ClipError
from vmamba_explore.model.videomamba import VideoMamba


def window_controls(
    timeline: Timeline, model: VideoMamba, most: int = 4
) -> list[tuple[str, Controls]]:
    """Ask about a few windows frozen, reversed and shuffled; `windows_section` shows them.

    Of each class the longest segment is taken, of these the longest few, and of each segment the
    window in its middle. A window that can no longer be read is left out.

    Args:
        timeline: From `watch`.
        model: The model that watched.
        most: How many windows.
    Returns:
        When each window is shown, in words, and what its controls say, in the order of the video.
    """
    longest: dict[str, Segment] = {}
    for segment in timeline.segments():
        if not segment.reason:
            best = longest.setdefault(segment.name, segment)
            longest[segment.name] = max(best, segment, key=_length)
    chosen = sorted(longest.values(), key=_length, reverse=True)[:most]
    found = []
    for segment in sorted(chosen, key=lambda segment: segment.start):
        row = timeline.table.iloc[timeline.window_at((segment.start + segment.end) / 2)]
        if row["reason"]:
            continue
        try:
            clip = window_clip(timeline, int(row["frame"]), float(row["start"]), model)
        except ClipError:
            continue
        when = f"{clock(float(row['start']))} to {clock(float(row['end']))}"
        found.append((when, controls(model, clip)))
    return found


def _length(segment: Segment) -> float:
    return segment.end - segment.start
