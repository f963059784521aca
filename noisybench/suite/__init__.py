"""Suites: from one YAML file to an ordered list of runs (design 4.1).

>>> from noisybench.suite import load_suite
>>> suite = load_suite("quickstart")
>>> len(suite.expand().runs)
72
"""

from __future__ import annotations

from noisybench.suite.doubts import doubts
from noisybench.suite.edits import parse_value
from noisybench.suite.expand import Expansion
from noisybench.suite.plan import build_plan, check_plan, run_names
from noisybench.suite.resolve import resolve_dataset
from noisybench.suite.select import select
from noisybench.suite.shipped import shipped_suites
from noisybench.suite.show import describe, render
from noisybench.suite.suite import Suite, load_suite, smoke_suite

__all__ = [
    "Expansion",
    "Suite",
    "build_plan",
    "check_plan",
    "describe",
    "doubts",
    "load_suite",
    "parse_value",
    "render",
    "resolve_dataset",
    "run_names",
    "select",
    "shipped_suites",
    "smoke_suite",
]
