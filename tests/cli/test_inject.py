"""``inject``, ``posterior`` and ``bench noise`` as a user types them."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from noisybench.bench.noise import measure_noise, sample_by_sample
from noisybench.cli.app import main
from noisybench.noise import inject, measured_transition, read_labels

Command = Callable[..., tuple[int, str, str]]
REAL_DATA = os.environ.get("NOISYBENCH_DATA", "")
SYMMETRIC = ("inject", "--dataset", "digits", "--kind", "symmetric", "--rate", "0.4")


@pytest.fixture
def nb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in an empty folder; exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOISYBENCH_DATA", str(tmp_path / "data"))

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["noisybench", *arguments])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return command


@pytest.mark.parametrize("suffix", ["npz", "npy", "csv", "json", "pt"])
def test_what_is_written_reads_back_as_the_same_labels(nb: Command, suffix: str) -> None:
    code, out, err = nb(*SYMMETRIC, "--out", f"labels.{suffix}")
    assert (code, err) == (0, "")
    assert "519 of 1,297 labels are wrong (40.02%)" in out  # 0.4 of 1,297 is 518.8
    assert "true class" not in out
    sidecar = json.loads(Path(f"labels.{suffix}.meta.json").read_text())
    assert sidecar["convention"]["flip"] == "exclusive"
    assert sidecar["data"]["id"] == "digits"
    assert sidecar["flipped"] == 519
    code, _, err = nb(
        "inject", "--dataset", "digits", "--kind", "file", "--set", f"path=labels.{suffix}", "--out", "b.npz"
    )
    assert (code, err) == (0, "")
    again = json.loads(Path("b.npz.meta.json").read_text())
    assert again["sha256"]["labels"] == sidecar["sha256"]["labels"]
    assert again["realised_rate"] == pytest.approx(519 / 1297)


def test_show_prints_the_matrix_with_class_names(nb: Command) -> None:
    _, out, _ = nb("inject", "--dataset", "digits", "--kind", "pairflip", "--rate", "0.5", "--out", "l.npy", "--show")
    labels = read_labels("l.npy").labels
    assert len(labels) == 1297
    table = out[out.rindex("true class") :].splitlines()
    assert table[0].split() == ["true", "class", *map(str, range(10))]
    assert [float(x) for x in table[2].split()[1:3]] == pytest.approx([50, 50], abs=0.5)
    assert table[2].split()[3:] == ["."] * 8


def test_many_classes_are_shown_as_a_list(nb: Command) -> None:
    many = "{name: synthetic, channels: 1, height: 2, width: 2, num_classes: 25, train_size: 250, test_size: 25}"
    code, out, _ = nb("inject", "--dataset", many, "--kind", "pairflip", "--rate", "0.2", "--out", "l.npz", "--show")
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith("24 "))
    assert line.split() == ["24", "10", "80.0", "0", "20.0"]


def test_the_plot_is_the_same_twice(nb: Command) -> None:
    nb(*SYMMETRIC, "--out", "a.npz", "--plot", "a.svg")
    nb(*SYMMETRIC, "--out", "b.npz", "--plot", "b.svg")
    assert Path("a.svg").read_bytes() == Path("b.svg").read_bytes()
    nb(*SYMMETRIC, "--out", "c.npz", "--plot", "a.png")
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*SYMMETRIC, "--out", "a.txt"), ".npz, .npy, .csv, .json, .pt"),
        ((*SYMMETRIC, "--out", "a.npz", "--plot", "a.pdf"), ".svg, .png"),
        ((*SYMMETRIC, "--out", "a.npz", "--plot", "no/a.svg"), "no/a.svg"),
        ((*SYMMETRIC, "--out", "a.npz", "--set", "flip=exclusiv"), "exclusive"),
        ((*SYMMETRIC, "--out", "a.npz", "--set", "flip"), "KEY=VALUE"),
        ((*SYMMETRIC, "--out", "a.npz", "--set", "rate=0.2"), "given twice"),
        ((*SYMMETRIC, "--out", "a.npz", "--set", "flip=inclusive", "--set", "flip=exclusive"), "given twice"),
        ((*SYMMETRIC[:-1], "nan", "--out", "a.npz"), "rate"),
        (("inject", "--dataset", "digits", "--kind", "file", "--set", "path=no.npz", "--out", "a.npz"), "no.npz"),
        (("inject", "--dataset", "digits", "--kind", "human", "--set", "labels=worst", "--out", "a.npz"), "human"),
        (("inject", "--dataset", "{name: [", "--kind", "clean", "--out", "a.npz"), "--dataset"),
        (("posterior", "--dataset", "digits", "--out", "a.npy"), ".npz"),
        (("posterior", "--dataset", "digits", "--out", "a.npz", "--model", "mpl"), "mlp"),
        (("posterior", "--dataset", "digits", "--out", "a.npz", "--lr", "0"), "--lr"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    nb: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    def offline(*arguments: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    code, _, err = nb(*arguments)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert words in err
    assert [path.name for path in tmp_path.iterdir() if path.name != "data"] == []  # a download locks the data folder


def test_a_posterior_makes_pmd_noise(nb: Command) -> None:
    digits = "{name: digits, train_subset: 200}"
    code, out, err = nb(
        *("posterior", "--dataset", digits, "--out", "eta.npz", "--model", "{name: mlp, width: 32}"),
        *("--epochs", "8", "--lr", "0.05", "--batch-size", "32"),
    )
    assert (code, err) == (0, "")
    assert "mean margin" in out
    with np.load("eta.npz", allow_pickle=False) as file:
        assert file["eta"].shape == (200, 10)
        assert file["labels"].shape == (200,)
        meta = json.loads(str(file["meta"]))
    assert meta["training"] == {"batch_size": 32, "epochs": 8, "lr": 0.05, "seed": 0, "share": 0.9}
    code, _, err = nb("inject", "--dataset", digits, "--kind", "pmd", "--set", "path=eta.npz", "--out", "l.npz")
    assert (code, err) == (0, "")


def test_bench_noise_prints_a_row_a_kind(nb: Command) -> None:
    code, out, _ = nb("bench", "noise", "--size", "2000", "--repeats", "1")
    assert code == 0
    for kind in ("symmetric, exclusive, exact", "asymmetric, exact", "pairflip, exact", "matrix, exact"):
        assert kind in out
    assert "extrapolated" not in out
    timings = measure_noise(2000, 1, 500)
    assert all(t.size == 2000 and t.ratio == pytest.approx(t.loop_seconds / t.seconds) for t in timings)


def test_the_loop_draws_from_the_matrix() -> None:
    transition = 0.6 * np.eye(3) + 0.4 * np.roll(np.eye(3), 1, axis=1)
    clean = np.repeat(np.arange(3), 500)
    measured = measured_transition(clean, sample_by_sample(clean, transition, 0), 3)
    assert measured == pytest.approx(transition, abs=0.1)
    assert (measured == 0).sum() == 3


def test_injection_as_a_library_imports_no_torch() -> None:
    code = (
        "import sys, numpy; from noisybench import inject; "
        "n = inject(numpy.arange(1000) % 10, 'symmetric', num_classes=10, seed=0, rate=0.4); "
        "assert n.flipped.sum() == 400; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.data
def test_human_labels_of_real_cifar10(nb: Command) -> None:
    """``NOISYBENCH_DATA`` holds cifar10.npz (in torchvision's order) and the authors' file."""
    cifar = "{name: npz, path: cifar10.npz, train_subset: 5000, as: cifar10}"
    code, _, err = nb(
        *("inject", "--dataset", cifar, "--kind", "human", "--set", "labels=worst"),
        *("--out", "h.pt", "--data-dir", REAL_DATA),
    )
    assert (code, err) == (0, "")
    stored = read_labels("h.pt")
    assert stored.clean is not None
    assert (stored.labels != stored.clean).mean() == pytest.approx(0.402, abs=0.02)


def test_labels_of_the_command_are_those_of_the_library(nb: Command) -> None:
    nb(*SYMMETRIC, "--out", "a.npz", "--seed", "7")
    with np.load("a.npz") as file:
        clean, labels = file["clean"], file["labels"]
    assert (inject(clean, "symmetric", num_classes=10, seed=7, rate=0.4).labels == labels).all()


def test_nothing_that_is_there_is_overwritten_unasked(nb: Command) -> None:
    same = ("inject", "--dataset", "digits", "--kind", "symmetric", "--rate", "0.4", "--out", "labels.npz")
    assert nb(*same)[0] == 0
    before = Path("labels.npz").read_bytes()
    code, _, err = nb(*same, "--seed", "1")
    assert code == 2
    assert err == "noisybench: --out labels.npz: is there already; use another name, or --overwrite\n"
    assert Path("labels.npz").read_bytes() == before
    assert nb(*same, "--seed", "1", "--overwrite")[0] == 0
    assert Path("labels.npz").read_bytes() != before


def test_a_data_set_is_never_overwritten_by_its_labels(nb: Command) -> None:
    images, labels = np.zeros((20, 4, 4), np.uint8), np.arange(20) % 2
    np.savez("mine.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    before = Path("mine.npz").read_bytes()
    for more in ((), ("--overwrite",)):
        code, _, err = nb(
            *("inject", "--dataset", "{name: npz, path: mine.npz}", "--kind", "symmetric", "--rate", "0.4"),
            *("--out", "mine.npz", *more),
        )
        assert code == 2
        assert "--out mine.npz: is" in err
        assert Path("mine.npz").read_bytes() == before


def make_data(path: str) -> np.ndarray:
    """A tiny data set in a file; its training labels."""
    images, labels = np.zeros((20, 4, 4), np.uint8), np.arange(20) % 2
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    return labels


def refused(nb: Command, *arguments: str, out: str, named: str | None = None) -> None:
    """The command is refused, overwrite or not, because it reads what ``named`` (default: out) is; nothing changes."""
    source = Path(named or out)
    before = source.read_bytes()
    code, _, err = nb("inject", *arguments, "--out", out, "--overwrite")
    assert (code, len(err.splitlines())) == (2, 1)
    assert f"{source}" in err
    assert "is read by this command; use another name" in err
    assert source.read_bytes() == before


def test_labels_are_never_overwritten_by_the_labels_made_of_them(nb: Command) -> None:
    np.save("labels.npy", 1 - make_data("d.npz"))
    data = ("--dataset", "{name: npz, path: d.npz}")
    refused(nb, *data, "--kind", "file", "--set", "path=labels.npy", out="labels.npy")
    refused(nb, *data, "--kind", "file", "--set", "path=labels.npy", out="d.npz")


def test_what_a_step_of_compose_reads_is_never_overwritten(nb: Command) -> None:
    np.save("labels.npy", 1 - make_data("d.npz"))
    digest = hashlib.sha256(Path("labels.npy").read_bytes()).hexdigest()
    steps = f"steps=[{{kind: file, path: labels.npy, sha256: {digest}}}, {{kind: symmetric, rate: 0.2}}]"
    refused(nb, "--dataset", "{name: npz, path: d.npz}", "--kind", "compose", "--set", steps, out="labels.npy")


def test_a_sidecar_is_a_file_like_any_other(nb: Command) -> None:
    same = (*SYMMETRIC, "--out", "labels.npz")
    assert nb(*same)[0] == 0
    Path("labels.npz").unlink()
    before = Path("labels.npz.meta.json").read_bytes()
    code, _, err = nb(*same, "--seed", "1")
    assert code == 2
    assert err == (
        "noisybench: --out labels.npz: its sidecar labels.npz.meta.json is there already; use another name, "
        "or --overwrite\n"
    )
    assert not Path("labels.npz").exists()
    assert Path("labels.npz.meta.json").read_bytes() == before
    assert nb(*same, "--seed", "1", "--overwrite")[0] == 0
    assert Path("labels.npz.meta.json").read_bytes() != before


def test_a_sidecar_never_overwrites_what_is_read(nb: Command) -> None:
    source = Path("b.npy.meta.json")
    source.write_text(json.dumps((1 - make_data("d.npz")).tolist()))
    arguments = ("--dataset", "{name: npz, path: d.npz}", "--kind", "file", "--set", f"path={source}")
    refused(nb, *arguments, out="b.npy", named=str(source))


def test_a_plot_is_no_image_of_the_data_set(nb: Command) -> None:
    from PIL import Image

    for part, name in itertools.product(("train", "test"), ("cat", "dog")):
        Path("mine", part, name).mkdir(parents=True)
        Image.new("L", (4, 4)).save(f"mine/{part}/{name}/a.png")
    arguments = ("--dataset", "{name: imagefolder, path: mine}", "--kind", "clean", "--plot", "mine/train/cat/a.png")
    refused(nb, *arguments, out="l.npy", named="mine/train/cat/a.png")
    code, _, err = nb("inject", *arguments[:4], "--out", "mine/train/labels.npy")
    assert (code, err) == (0, ""), "what is no image is not read"


@pytest.mark.parametrize(
    ("kind", "set_"),
    [("human", "labels=worst"), ("compose", "steps=[{kind: human, labels: worst}, {kind: symmetric, rate: 0.2}]")],
)
def test_published_labels_are_never_overwritten(nb: Command, kind: str, set_: str) -> None:
    make_data("d.npz")
    Path("data").mkdir()
    Path("data/CIFAR-10_human.pt").write_bytes(b"as published")
    refused(nb, "--dataset", "{name: npz, path: d.npz}", "--kind", kind, "--set", set_, out="data/CIFAR-10_human.pt")
