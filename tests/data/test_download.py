"""Published label files come the same way as the archives: fetched once, checked, or told where to put them."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest

from noisybench import registry
from noisybench.data import DataFolder
from noisybench.errors import DataError
from noisybench.noise import human
from noisybench.train.setup import fetch_noise_files

BLOCK = {"kind": "human", "labels": "worst", "path": None}


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A stand-in for the authors' file, served from disk under its own hash."""
    source = tmp_path / "served.pt"
    source.write_bytes(b"labels")

    class Served(human.HumanFile):
        url = source.as_uri()

    digest = hashlib.sha256(b"labels").hexdigest()
    file = Served("CIFAR-10_human.pt", digest, human.CIFAR10N.columns)
    component = registry.get("noise", "human")
    traits = {**component.traits, "published": lambda block: file if block["path"] is None else None}
    monkeypatch.setitem(registry._components, ("noise", "human"), dataclasses.replace(component, traits=traits))
    return source


def test_human_labels_are_fetched_once(published, tmp_path):
    folder = DataFolder(tmp_path / "data")
    fetch_noise_files(BLOCK, folder)
    assert (folder.path / "CIFAR-10_human.pt").read_bytes() == b"labels"
    published.unlink()
    fetch_noise_files(BLOCK, folder)  # it is there: nothing is asked for again
    fetch_noise_files({"kind": "human", "labels": "worst", "path": "mine.npz"}, folder)
    fetch_noise_files({"kind": "symmetric", "rate": 0.4}, folder)


def test_what_does_not_match_is_thrown_away(published, tmp_path):
    published.write_bytes(b"<html>please log in</html>")
    with pytest.raises(DataError, match="web page") as caught:
        fetch_noise_files(BLOCK, DataFolder(tmp_path / "data"))
    assert "CIFAR-10_human.pt" in str(caught.value)
    assert not list((tmp_path / "data").glob("*.pt"))
    published.unlink()
    with pytest.raises(DataError, match="cannot be downloaded"):
        fetch_noise_files(BLOCK, DataFolder(tmp_path / "data"))


@pytest.mark.parametrize(("labels", "name"), [("worst", "CIFAR-10_human.pt"), ("fine", "CIFAR-100_human.pt")])
def test_each_label_set_names_its_file(labels, name):
    file = registry.get("noise", "human").traits["published"]({"labels": labels, "path": None})
    assert file.name == name
    assert file.url.startswith("https://")
