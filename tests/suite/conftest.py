"""Suites as text, and components that exist for one test only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field
from suite_cases import EXAMPLE, HEAD

from noisybench import registry
from noisybench.methods.algorithm import Algorithm
from noisybench.registry import FILE, Epochs
from noisybench.suite import Suite, load_suite


@pytest.fixture
def example() -> str:
    return EXAMPLE


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Suite]:
    """``load(text, *sets)`` writes a suite file ``s.yaml`` and loads it."""

    def load_text(text: str | bytes, *sets: str) -> Suite:
        path = tmp_path / "s.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_suite(path, sets=sets)

    return load_text


@pytest.fixture
def methods(load: Callable[..., Suite]) -> Callable[..., Suite]:
    """``methods(text)`` loads a small suite with these methods (and whatever else the text adds)."""
    return lambda text, *sets: load(HEAD + "methods:\n" + text, *sets)


@pytest.fixture
def toys() -> Iterator[None]:
    """An algorithm that may look at clean labels and counts epochs, and a loss that names a file."""
    registry.names("algorithm"), registry.names("loss")
    before = dict(registry._components)

    @registry.algorithm("toy")
    class Toy(Algorithm):
        def __init__(
            self,
            task: Any,
            *,
            oracle: bool = False,
            burn_in: Epochs = 10,
            phases: list[Epochs] | None = None,
            decay: Annotated[float, Field(ge=0)] = 0.5,
        ) -> None: ...

    @registry.loss("toy")
    def toy_loss(logits: Any, labels: Any, *, table: Annotated[str | None, FILE] = None, q: float = 1.0) -> Any: ...

    yield
    registry._components.clear()
    registry._components.update(before)
