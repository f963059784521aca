"""The commands as a user types them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from noisybench import registry
from noisybench.cli.app import main
from noisybench.cli.run import roughly

SUITE = """
name: tiny
version: 1
dataset: {name: digits, train_subset: 200, test_subset: 100}
noise: {kind: symmetric, rate: [0.2, 0.4]}
model: {name: mlp, width: 16}
training: {epochs: 2, batch_size: 50}
seeds: 2
methods:
  SGD: {}
  SAM: {optimizer: {name: sam, rho: 0.1}}
  Student: {relabel: SAM}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with a suite in it and no data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOISYBENCH_DATA", str(tmp_path / "data"))
    Path("tiny.yaml").write_text(SUITE)
    return tmp_path


def noisybench(*arguments: str, capsys) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command run in this process."""
    before = sys.argv
    sys.argv = ["noisybench", *arguments]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = before
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def nb(capsys):
    return lambda *arguments: noisybench(*arguments, capsys=capsys)


def result_hashes(folder: Path) -> dict[str, str]:
    return {p.parent.name: json.loads(p.read_text())["result_sha256"] for p in folder.glob("*/record.json")}


def test_run_trains_reports_and_skips_what_is_settled(here, nb):
    code, out, err = nb("run", "tiny.yaml", "--workers", "0")
    assert (code, err) == (0, "")
    assert "12 runs" in out
    assert "12 finished" in out
    assert "SAM" in out
    for name in ("report.html", "report.md", "report.csv", "report.json", "plan.json"):
        assert (here / "runs/tiny" / name).exists()
    before = result_hashes(here / "runs/tiny")
    assert len(before) == 12
    code, out, _ = nb("run", "tiny.yaml", "--workers", "0")
    assert code == 0
    assert "12 already settled" in out
    assert "; training" not in out
    assert result_hashes(here / "runs/tiny") == before


def test_methods_of_a_cell_share_their_labels(here, nb):
    nb("run", "tiny.yaml", "--workers", "0")
    cells: dict[tuple[float, int], set[str]] = {}
    for path in (here / "runs/tiny").glob("*/record.json"):
        result = json.loads(path.read_text())["result"]
        key = (result["spec"]["noise"]["rate"], result["spec"]["seed"])
        cells.setdefault(key, set()).add(result["noise"]["sha256"])
    assert len(cells) == 4
    assert all(len(hashes) == 1 for hashes in cells.values())
    assert len(set.union(*cells.values())) == 4


def test_only_trains_a_selection_with_its_teachers_and_the_report_says_so(here, nb):
    code, out, _ = nb("run", "tiny.yaml", "--workers", "0", "--only", "method=Student", "--only", "noise.rate=0.4")
    assert code == 0
    assert len(result_hashes(here / "runs/tiny")) == 4  # two students and their two teachers
    assert "missing" not in out.replace("0 missing", "")
    assert "SGD" not in out
    assert out.endswith("10 more runs are planned; noisybench report runs/tiny shows all.\n")
    assert "8 missing" in (here / "runs/tiny/report.md").read_text()
    nb("run", "tiny.yaml", "--workers", "0", "--only", "method=SGD", "--only", "noise.rate=0.2", "--only", "seed=0")
    _, out, _ = nb("report", "runs/tiny")
    assert "1 of 2" in out
    code, _, err = nb("run", "tiny.yaml", "--only", "method=Nothing")
    assert code == 2
    assert "Nothing" in err


def test_a_dry_run_writes_nothing(here, nb):
    code, out, _ = nb("run", "tiny.yaml", "--dry-run")
    assert code == 0
    assert "12 to do" in out
    assert "'run' would train 12 on cpu in " in out
    assert re.search(r"Time: about \d+ \w+ (with \d workers?|one run after another) \(12 of 12 runs guessed", out)
    assert not (here / "runs").exists()


def test_a_part_of_a_study_without_the_suites_baseline_is_reported_too(here, nb):
    Path("tiny.yaml").write_text(SUITE + "report: {baseline: SGD}\n")
    code, out, err = nb("run", "tiny.yaml", "--workers", "0", "--only", "method=SAM", "--only", "noise.rate=0.4")
    assert (code, err) == (0, "")
    assert "10 more runs are planned" in out
    code, out, _ = nb("run", "tiny.yaml", "--workers", "0", "--only", "method=SGD|SAM|Student")
    assert (code, "more runs" in out) == (0, False)


@pytest.mark.parametrize("workers", ["0", "1", "2", "100"])
def test_a_dry_run_names_the_run_that_comes_first_and_the_workers_there_will_be(here, nb, workers):
    text = SUITE.replace("SAM: {", "SAM: {training: {epochs: 9}, ").replace("seeds: 2", "seeds: 1")
    Path("tiny.yaml").write_text(text)
    options = ["run", "tiny.yaml", "--workers", workers, "--only", "noise.rate=0.4"]
    planned = nb(*options, "--dry-run")[1]
    first = "SGD" if workers in "01" else "SAM"  # several workers begin with what takes longest
    assert f"; first: {first}, symmetric 0.4, seed 0." in planned
    place = {"0": "this process", "1": "1 worker", "2": "2 workers", "100": "3 workers"}[workers]
    assert f" on cpu in {place}, into" in planned
    assert f"{'one run after another' if workers == '0' else f'with {place}'} (3 of 3" in planned
    out = nb(*options)[1]
    assert f"training 3 on cpu in {place}." in out


def test_a_missing_package_is_told_before_anything_is_trained(here, nb, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    Path("tiny.yaml").write_text(SUITE + "  Probe: {algorithm: linear_probe}\n")
    told = "method 'Probe' (algorithm 'linear_probe') needs the package 'timm'; install it with: pip install"
    code, out, err = nb("validate", "tiny.yaml")
    assert (code, err) == (0, "")
    assert f"Note: {told} 'noisybench[timm]'." in out
    for options in (["--dry-run"], ["--smoke"], []):
        code, out, err = nb("run", "tiny.yaml", *options)
        assert (code, out) == (2, "")
        assert err == f"noisybench: {told} 'noisybench[timm]', or leave these runs out with --only\n"
    assert not (here / "runs").exists()
    assert nb("run", "tiny.yaml", "--dry-run", "--only", "method=SGD")[0] == 0


def test_what_may_not_be_meant_is_told_and_keeps_nothing_from_running(here, nb):
    told = "Note: noise 'asymmetric' without 'mapping' confuses classes as they are numbered in CIFAR-10"
    options = ["tiny.yaml", "--set", "noise={kind: asymmetric, rate: 0.4}", "--set", "dataset=digits"]
    for command in (["validate"], ["run", "--dry-run"]):
        code, out, err = nb(command[0], *options, *command[1:])
        assert (code, err) == (0, "")
        assert out.count(told) == 1
    assert told not in nb("validate", *options[:1])[1]


def test_a_missing_package_of_a_run_that_is_blocked_keeps_nothing_from_running(here, nb, monkeypatch):
    """Its teacher failed: it would not be trained anyway."""
    monkeypatch.setitem(sys.modules, "timm", None)
    Path("tiny.yaml").write_text(SUITE + "  Probe: {algorithm: linear_probe, relabel: SGD}\n")
    broken = ["--set", "model={name: mlp, width: 1000000000000}"]
    only = ["--workers", "0", "--only"]
    assert nb("run", "tiny.yaml", *broken, *only, "method=SGD")[0] == 1
    code, out, err = nb("run", "tiny.yaml", *broken, *only, "method=SGD|Probe")
    assert (code, err) == (1, "")
    assert "its teacher" in out


def test_data_that_is_not_at_its_path_is_told_by_a_dry_run_too(here, nb):
    absent = ["tiny.yaml", "--set", "dataset={name: npz, path: no.npz}"]
    told = f"'no.npz' does not exist; looked for {here}/no.npz and {here}/data/no.npz"
    assert nb("run", *absent, "--dry-run") == (2, "", f"noisybench: {told}\n")
    code, out, err = nb("validate", *absent)
    assert (code, err) == (0, "")
    assert f"Note: {told}." in out


def test_a_time_claims_no_more_than_an_estimate_knows():
    hours = (0.001, 0.3, 0.88, 1.04, 2.7, 17, 39, 41, 100, 120000)
    assert [roughly(h) for h in hours] == [
        "1 minute",
        "20 minutes",
        "50 minutes",
        "1 hour",
        "3 hours",
        "20 hours",
        "40 hours",
        "2 days",
        "4 days",
        "10 years",
    ]


def test_more_seeds_are_added_and_other_changes_refused(here, nb):
    assert nb("run", "tiny.yaml", "--workers", "0", "--set", "seeds=1")[0] == 0
    assert nb("run", "tiny.yaml", "--workers", "0")[0] == 0
    assert len(result_hashes(here / "runs/tiny")) == 12
    code, _, err = nb("run", "tiny.yaml", "--set", "training.epochs=3")
    assert code == 2
    assert "--name" in err
    assert "version" in err
    assert nb("run", "tiny.yaml", "--workers", "0", "--set", "training.epochs=1", "--name", "other")[0] == 0
    assert len(result_hashes(here / "runs/other")) == 12


BROKEN = {
    "unknown key": (SUITE + "metods: {}\n", "methods"),
    "misspelt loss": (SUITE.replace("SGD: {}", "SGD: {loss: gcee}"), "did you mean 'gce'"),
    "misspelt parameter": (SUITE.replace("rho: 0.1", "roh: 0.1"), "rho"),
    "rate": (SUITE.replace("[0.2, 0.4]", "1.2"), "less than or equal to 1"),
    "duplicate": (SUITE + "seeds: 3\n", "seeds"),
    "word": (SUITE.replace("epochs: 2", "epochs: ten"), "integer"),
    "list": (SUITE.replace("epochs: 2", "epochs: [1, 2]"), "epochs"),
    "cycle": (SUITE.replace("SAM: {optimizer", "SAM: {relabel: Student, optimizer"), "relabel"),
    "empty": ("", "empty"),
    "override": (SUITE + "overrides: [{when: {method: Nothing}, set: {epochs: 1}}]\n", "Nothing"),
    "size": ("a: " + "[" * 10_000_000, "1,000,000 bytes"),
    "nesting": ("a: " + "[" * 900_000, "nest"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_suite_is_one_line_and_nothing_is_written(here, nb, name):
    text, words = BROKEN[name]
    Path("broken.yaml").write_text(text)
    for command in (["run", "broken.yaml"], ["validate", "broken.yaml"], ["run", "broken.yaml", "--dry-run"]):
        code, out, err = nb(*command)
        assert code == 2
        assert out == ""
        assert len(err.splitlines()) == 1
        assert "broken.yaml" in err
        assert words in err
        assert len(err) < 600
        if name != "empty":
            assert ":" in err.split("broken.yaml", 1)[1]
            assert err.split("broken.yaml:", 1)[1][0].isdigit(), err
    assert not (here / "runs").exists()


def test_a_binary_file_is_one_line(here, nb):
    Path("broken.yaml").write_bytes(bytes(range(256)) * 100)
    code, _, err = nb("validate", "broken.yaml")
    assert code == 2
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "quickstar"], "quickstart"),
        (["run", "tiny.yaml", "--workers", "many"], "--workers"),
        (["run", "tiny.yaml", "--keep-weights", "some"], "--keep-weights"),
        (["run", "tiny.yaml", "--device", "gpu"], "--device"),
        (["run", "tiny.yaml", "--plugin", "absent.py"], "absent.py"),
        (["run", "tiny.yaml", "--set", "training.epoch=3"], "epochs"),
        (["run", "tiny.yaml", "--set", "dataset=cifar10"], "cifar-10-python.tar.gz"),
        (["run", "tiny.yaml", "--set", "dataset={name: npz, path: no.npz}"], "no.npz"),
        (["report", "nowhere"], "nowhere"),
        (["show", "gcee"], "gce"),
        (["list", "losss"], "loss"),
        (["inject", "--dataset", "digits", "--kind", "symetric", "--rate", "0.4", "--out", "x.npz"], "symmetric"),
        (["inject", "--dataset", "digits", "--kind", "symmetric", "--rate", "1.4", "--out", "x.npz"], "rate"),
        (["inject", "--dataset", "digits", "--kind", "symmetric", "--rate", "0.4", "--out", "no/x.npz"], "no/x.npz"),
    ],
)
def test_bad_input_is_one_line_that_names_the_remedy(here, nb, monkeypatch, arguments, words):
    import urllib.request

    def offline(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    code, _, err = nb(*arguments)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert words in err
    assert not (here / "runs").exists()


def test_a_file_that_a_suite_names_is_found_from_anywhere_and_its_content_counts(here, nb, monkeypatch):
    matrix = np.full((10, 10), 0.05) + 0.5 * np.eye(10)
    study = here / "study"
    study.mkdir()
    np.savetxt(study / "t.csv", matrix, delimiter=",")
    text = SUITE.replace("{kind: symmetric, rate: [0.2, 0.4]}", "{kind: matrix, path: t.csv}")
    (study / "tiny.yaml").write_text(text)
    only = ["--only", "method=SGD", "--only", "seed=0"]
    code, _, err = nb("run", "study/tiny.yaml", *only, "--workers", "1")
    assert (code, err) == (0, "")
    (path,) = (here / "runs/tiny").glob("*/record.json")
    record = json.loads(path.read_text())
    assert record["result"]["noise"]["realised_rate"] == pytest.approx(0.45, abs=0.02)
    assert "study" not in json.dumps(record["result"])  # a place is no part of a result
    np.savetxt(study / "t.csv", np.eye(10), delimiter=",")
    code, _, err = nb("run", "study/tiny.yaml", *only)
    assert (code, "--name" in err) == (2, True)


def test_smoke_shrinks_and_uses_synthetic_images_where_there_is_no_data(here, nb):
    Path("big.yaml").write_text(SUITE.replace("digits, train_subset: 200, test_subset: 100", "cifar10"))
    code, out, err = nb("run", "big.yaml", "--smoke", "--workers", "0")
    assert (code, err) == (0, "")
    assert "synthetic" in out
    assert (here / "runs/tiny-smoke/plan.json").exists()
    assert len(result_hashes(here / "runs/tiny-smoke")) == 6  # one seed


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["quickstart", "cifar10-tiny", "robust-losses", "sam-table4"])
def test_every_shipped_suite_smokes(here, nb, suite):
    code, _, err = nb("run", suite, "--smoke")
    assert (code, err) == (0, "")


def test_inject_writes_labels_that_can_be_checked(here, nb):
    code, out, _ = nb("inject", "--dataset", "digits", "--kind", "symmetric", "--rate", "0.4", "--out", "labels.npz")
    assert code == 0
    with np.load("labels.npz", allow_pickle=False) as file:
        flipped = file["flipped"]
        assert abs(flipped.mean() - 0.4) < 1e-3
    assert f"{flipped.sum():,} of {len(flipped):,} labels are wrong" in out


NEW_LOSS = '''
"""A newcomer's loss."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from noisybench.registry import loss


@loss("halved")
def halved(logits: Tensor, labels: Tensor, *, factor: float = 0.5) -> Tensor:
    """Cross entropy times a factor."""
    return factor * cross_entropy(logits, labels, reduction="none")
'''


def test_a_plugin_is_known_to_every_command_and_changes_the_identity(here, nb):
    Path("mine.py").write_text(NEW_LOSS)
    suite = SUITE.replace("SGD: {}", "SGD: {loss: {name: halved, factor: 0.25}}")
    Path("tiny.yaml").write_text(suite)
    try:
        assert nb("validate", "tiny.yaml")[0] == 2
        assert nb("validate", "tiny.yaml", "--plugin", "mine.py")[0] == 0
        assert "Cross entropy times a factor" in nb("show", "halved", "--plugin", "mine.py")[1]
        assert "halved" in nb("list", "loss", "--plugin", "mine.py")[1]
        only = ["--only", "method=SGD", "--only", "seed=0", "--workers", "1"]
        assert nb("run", "tiny.yaml", "--plugin", "mine.py", *only)[0] == 0
        before = set(result_hashes(here / "runs/tiny"))
        Path("mine.py").write_text(NEW_LOSS + "# edited\n")
        registry._components.pop(("loss", "halved"))
        code, _, err = nb("run", "tiny.yaml", "--plugin", "mine.py", *only)
        assert code == 2
        assert "--name" in err
        assert "--set version=2) to replace the plan: what did not change is kept, only the changed runs" in err
        assert set(result_hashes(here / "runs/tiny")) == before
        code, out, _ = nb("run", "tiny.yaml", "--plugin", "mine.py", "--set", "version=2", *only)
        assert (code, "training 2" in out) == (0, True)
        registry._components.pop(("loss", "halved"))
        code, out, _ = nb("verify", "runs/tiny")
        assert code == 1
        told = [line.partition(": ")[2] for line in out.splitlines()[:-1]]
        assert len(told) == 4
        reason = ": no loss 'halved' here; name its file with --plugin (what holds: files, data, labels)"
        assert all(line.endswith(reason) for line in told)
    finally:
        registry._components.pop(("loss", "halved"), None)


@pytest.mark.parametrize("family", sorted(registry.FAMILIES))
def test_show_prints_every_component(here, nb, family):
    for name in registry.names(family):
        code, out, err = nb("show", f"{family}:{name}")
        assert (code, err) == (0, ""), name
        assert registry.get(family, name).summary[:30] in out


def test_list_show_and_validate_print_suites(here, nb):
    code, out, _ = nb("list")
    assert code == 0
    for word in ("quickstart", "sam-table4", "foret2021_table4", "resnet32_wide", "gce"):
        assert word in out
    code, out, _ = nb("validate", "quickstart")
    assert (code, "72 runs" in out) == (0, True)
    code, out, _ = nb("show", "tiny.yaml")
    assert (code, "relabel" in out) == (0, True)
    assert nb("show", "foret2021_table4")[0] == 0
    assert nb("show", "loss", "gce")[1] == nb("show", "loss:gce")[1] == nb("show", "gce")[1]


SLOW = SUITE.replace("epochs: 2", "epochs: 400").replace("width: 16", "width: 512")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_study_is_resumable(here, nb, number):
    Path("slow.yaml").write_text(SLOW)
    command = [sys.executable, "-m", "noisybench", "run", "slow.yaml", "--only", "method=SGD", "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while not list(here.glob("runs/tiny/*/epochs.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Go on with the same command" in out
    assert not result_hashes(here / "runs/tiny")
    assert list(here.glob("runs/tiny/*/checkpoint.pt"))
    code, out, _ = nb("run", "slow.yaml", "--only", "method=SGD", "--only", "seed=0", "--only", "noise.rate=0.2")
    assert code == 0
    assert "resumed after epoch" in out


def test_a_full_disk_is_one_line_and_a_rerun_goes_on(here, nb, monkeypatch):
    real, calls = os.fsync, [0]

    def full(handle):
        calls[0] += 1
        if calls[0] > 6:
            raise OSError(28, "No space left on device")
        return real(handle)

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = nb("run", "tiny.yaml", "--workers", "0")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "No space left on device" in err
    monkeypatch.undo()
    assert not list(here.rglob("*.tmp"))
    assert nb("run", str(here / "tiny.yaml"), "--runs", str(here / "runs"), "--workers", "0")[0] == 0


def test_usage_errors_exit_with_2(here, nb):
    assert nb("run")[0] == 2
    assert nb("fly")[0] == 2
    assert nb("--help")[0] == 0


def test_failures_are_told_once_a_reason(here, nb):
    """A width that no memory holds fails every run of a method; its students are blocked."""
    Path("tiny.yaml").write_text(SUITE.replace("width: 16", "width: 1000000000000"))
    code, out, _ = nb("run", "tiny.yaml", "--workers", "0")
    assert code == 1
    told = [line for line in out.splitlines() if line.startswith("  ") and "runs, the first" in line]
    assert len(told) == 2
    assert any("8 runs, the first SGD" in line and "record.json" in line for line in told)
    assert any(line.startswith("  its teacher did not finish: 4 runs, the first Student") for line in told)
    code, out, _ = nb("run", "tiny.yaml", "--workers", "0", "--retry-failed", "--only", "method=SGD")
    assert (code, "training 4" in out) == (1, True)
    clause = "--retry-failed trains them again)"
    assert f"0 finished, 4 failed ({clause}" in out
    code, out, _ = nb("run", "tiny.yaml", "--workers", "0", "--only", "method=SGD")
    assert f"4 already settled (4 of them failed; {clause}" in out
    assert "8 failed, 4 blocked. With --retry-failed, run trains failed runs again." in nb("status", "runs/tiny")[1]
