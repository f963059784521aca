"""The report as one HTML file that needs nothing else: no network, no other file, and little script."""

from __future__ import annotations

from noisybench.report.html.page import render

__all__ = ["render"]
