"""What loads a model, runs it and shows the result in one go."""

from vmamba_explore.app.explore import explore
from vmamba_explore.app.report import report
from vmamba_explore.app.scorecard_page import scorecard_page

__all__ = ["explore", "report", "scorecard_page"]
