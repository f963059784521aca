"""The unpickler of CIFAR-N's files knows four names, and nothing else runs."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from noisybench.errors import DataError
from noisybench.noise.pickles import dump_pt, load_pt


def archive(content: bytes, name: str = "CIFAR-100_human/data.pkl") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as writer:
        writer.writestr(name, content)
    return file.getvalue()


def test_arrays_and_lists_come_back():
    read = load_pt(archive(pickle.dumps({"a": np.arange(5), "b": [1, 2]}, protocol=2)), "x.pt")
    assert read["a"].tolist() == [0, 1, 2, 3, 4]
    assert read["b"] == [1, 2]


def test_what_we_write_torch_reads_and_so_do_we(tmp_path):
    import torch

    with (tmp_path / "x.pt").open("wb") as file:
        dump_pt({"clean_label": np.arange(300), "noisy_label": np.arange(300)[::-1]}, file)
    content = (tmp_path / "x.pt").read_bytes()
    assert load_pt(content, "x.pt")["noisy_label"][0] == 299
    assert torch.load(tmp_path / "x.pt", weights_only=False)["clean_label"][299] == 299
    again = io.BytesIO()
    dump_pt({"clean_label": np.arange(300), "noisy_label": np.arange(300)[::-1]}, again)
    assert again.getvalue() == content


class Evil:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_runs(tmp_path, protocol):
    content = archive(pickle.dumps({"a": Evil(tmp_path / "made")}, protocol=protocol))
    with pytest.raises(DataError, match=r"x\.pt: cannot be read: it asks for \w+\.mkdir"):
        load_pt(content, "x.pt")
    assert not (tmp_path / "made").exists()


def test_tensors_are_not_read(tmp_path):
    import torch

    torch.save({"a": torch.ones(3)}, tmp_path / "x.pt")
    with pytest.raises(DataError, match="only plain numpy arrays are read"):
        load_pt((tmp_path / "x.pt").read_bytes(), "x.pt")


@pytest.mark.parametrize(
    "content",
    [b"", b"not a zip", archive(b""), archive(b"\x80\x02]q"), archive(b"x", "other"), archive(pickle.dumps([1]))],
)
def test_damaged_files(content):
    with pytest.raises(DataError, match=r"x\.pt: ") as caught:
        load_pt(content, "x.pt")
    assert "\n" not in str(caught.value)
