"""The picture of a transition matrix."""

from __future__ import annotations

import numpy as np
import pytest

from noisybench.noise.heat_map import heat_map


@pytest.mark.parametrize("classes", [2, 30])
def test_equal_matrices_give_equal_bytes(classes: int) -> None:
    matrix = 0.8 * np.eye(classes) + 0.2 * np.roll(np.eye(classes), 1, axis=1)
    names = [f"class {c}" for c in range(classes)]
    picture = heat_map(matrix, names, title="pair flip")
    assert picture == heat_map(matrix, names, title="pair flip")
    assert picture.startswith(b"<?xml")
    assert b"<dc:date>" not in picture
    assert picture != heat_map(np.eye(classes), names, title="pair flip")


def test_png() -> None:
    assert heat_map(np.eye(3), "abc", form="png").startswith(b"\x89PNG")
