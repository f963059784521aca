"""What the README shows as files works as it stands there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from noisybench import registry
from noisybench.cli import app

README = Path(__file__).parents[2] / "README.md"
SUITE = """
name: examples
version: 1
dataset: {name: digits, train_subset: 200, test_subset: 100}
noise: {kind: symmetric, rate: 0.4}
model: {name: mlp, width: 16}
training: {epochs: 2, batch_size: 50}
"""


def block(language: str, start: str) -> str:
    """The block of the README that begins so."""
    found = re.findall(rf"```{language}\n({re.escape(start)}.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(found) == 1
    return found[0]


@pytest.fixture
def nb(tmp_path, monkeypatch, capsys):
    """The command in an empty folder; what was registered goes again."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["noisybench", *arguments])
        try:
            app.main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    yield call
    for key in [key for key, component in registry._components.items() if component.origin]:
        del registry._components[key]


def records(folder: str) -> list[dict]:
    return [json.loads(path.read_text())["result"] for path in sorted(Path(folder).glob("*/record.json"))]


def test_a_loss_in_one_file(nb) -> None:
    Path("my_loss.py").write_text(block("python", "# my_loss.py"))
    Path("s.yaml").write_text(SUITE + "methods:\n  Halved: {loss: {name: halved, factor: 0.25}}\n")
    assert nb("run", "s.yaml", "--plugin", "my_loss.py", "--workers", "0") == 0
    assert [result["status"] for result in records("runs/examples")] == ["finished"]


def test_a_method_in_one_file(nb) -> None:
    Path("my_method.py").write_text(block("python", "# my_method.py"))
    Path("s.yaml").write_text(SUITE + block("yaml", "methods:\n  Trimmed"))
    assert nb("run", "s.yaml", "--plugin", "my_method.py", "--workers", "0") == 0
    found = records("runs/examples")
    assert [result["status"] for result in found] == ["finished", "finished"]
    for result in found:
        assert 0 < result["details"]["never_left_out"] < 1
        assert result["spec"]["method"]["algorithm"] == {"name": "trimmed", "keep": 0.6}
