"""What loads a model, runs it and shows the result in one go."""

from vmamba_explore.app.explore import explore
from vmamba_explore.app.long_video import explorer_at, watch
from vmamba_explore.app.report import report
from vmamba_explore.app.timeline_page import timeline_page

__all__ = ["explore", "explorer_at", "report", "timeline_page", "watch"]
