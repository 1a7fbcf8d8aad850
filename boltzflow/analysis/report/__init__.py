"""Summary, HTML report and plots of a run."""

from boltzflow.analysis.report import plots
from boltzflow.analysis.report.summary import Summary, analyze

__all__ = ["Summary", "analyze", "plots"]
