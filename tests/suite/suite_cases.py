"""Suite texts and questions that several tests ask."""

from __future__ import annotations

from typing import Any

from noisybench.suite import Suite

EXAMPLE = """\
name: example
dataset: digits
noise: {kind: symmetric, rate: [0.2, 0.8]}
model: mlp
training:
  epochs: 10
  optimizer: {name: sgd, lr: 0.1}
seeds: 2
methods:
  SGD: {}
  Mixup: {mixup: {alpha: [1, 8]}, choose: best}
  SAM: {optimizer: {name: sam, rho: 0.1}}
  Bootstrap + SAM: {relabel: SAM, optimizer: {name: sam, rho: 0.1}}
overrides:
  - {when: {method: [SAM, Bootstrap + SAM], noise.rate: 0.8}, set: {optimizer.rho: 0.05}}
report: {accuracy: last}
"""
HEAD = "name: t\ndataset: digits\nmodel: mlp\n"


def cell_of(suite: Suite, variant: str, **where: str) -> dict[str, Any]:
    """The one cell of a variant (and of ``noise=...``)."""
    found = [c for c in suite.expand().cells if c["variant"] == variant and all(c[k] == v for k, v in where.items())]
    assert len(found) == 1, [c["variant"] for c in suite.expand().cells]
    return found[0]


def variants_of(suite: Suite) -> list[str]:
    """Variant names, as ordered."""
    return list(dict.fromkeys(c["variant"] for c in suite.expand().cells))
