"""The commands; the only place that prints."""

from __future__ import annotations

from noisybench.cli.app import main

__all__ = ["main"]
