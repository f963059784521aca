"""What the tests of executors share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def nodes():
    """A Ray cluster of a head and two nodes with one processor each, for all modules that need one."""
    pytest.importorskip("ray")
    from ray_study import Nodes

    nodes = Nodes(2)
    yield nodes
    nodes.down()
