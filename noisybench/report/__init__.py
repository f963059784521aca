"""Reports: what a results folder says, as tables with intervals, published scores and footnotes. Reads records only."""

from __future__ import annotations

from noisybench.report.document import Report, report
from noisybench.report.results import RULES

__all__ = ["RULES", "Report", "report"]
