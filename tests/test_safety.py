"""Nothing executes data: what reads files, anywhere in the package, reads values and no programs."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import noisybench
from noisybench.errors import StoreError
from noisybench.methods.linear_probe import read_state
from noisybench.store import Store, plain_name

PACKAGE = Path(noisybench.__file__).parent
MUST_SAY = {"np.load": ("allow_pickle", False), "torch.load": ("weights_only", True)}
NEVER = {
    *("eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "marshal.load", "marshal.loads"),
    *("shelve.open", "yaml.unsafe_load", "yaml.full_load", "joblib.load", "pd.read_pickle", "shutil.unpack_archive"),
    *("tar.extract", "tar.extractall", "archive.extract", "archive.extractall"),
}


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """``(place, dotted name, call)`` of every call in the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", ast.unparse(node.func), node


def test_every_reader_of_arrays_and_weights_refuses_programs() -> None:
    seen = set()
    for place, name, call in calls():
        if name in MUST_SAY:
            key, wanted = MUST_SAY[name]
            said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert said.get(key) == str(wanted), place
            seen.add(name)
    assert seen == set(MUST_SAY)


def test_weights_from_elsewhere_are_read_and_never_run(tmp_path: Path) -> None:
    kept = {"module.fc.weight": torch.ones(2)}
    torch.save({"epoch": 3, "state_dict": kept}, tmp_path / "w.pt")
    assert torch.equal(read_state(str(tmp_path / "w.pt"))["fc.weight"], torch.ones(2))
    torch.save({"state_dict": {"a": Path}}, tmp_path / "bad.pt")
    with pytest.raises(pickle.UnpicklingError):
        read_state(str(tmp_path / "bad.pt"))


def test_nothing_runs_text_or_unpacks_archives_into_folders() -> None:
    for place, name, call in calls():
        assert name not in NEVER, place
        assert not any(k.arg == "shell" and ast.unparse(k.value) != "False" for k in call.keywords), place
        if name == "yaml.load":
            assert any(k.arg == "Loader" and ast.unparse(k.value) == "_Loader" for k in call.keywords), place


def test_every_unpickler_knows_a_list_of_names() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any("Unpickler" in ast.unparse(base) for base in node.bases):
                assert "find_class" in {part.name for part in node.body if isinstance(part, ast.FunctionDef)}, path


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", "a\\b", "C:x", ".hidden", "a\0", "a\nb"])
def test_a_name_cannot_lead_out_of_the_store(tmp_path: Path, name: str) -> None:
    assert not plain_name(name)
    with pytest.raises(StoreError, match="no run id"):
        Store(tmp_path).folder(name)


def test_a_run_id_is_a_plain_name(tmp_path: Path) -> None:
    assert Store(tmp_path).folder("digits-symmetric-40-mlp-ce-sgd-s0-0e5f8ce12841").parent == tmp_path
