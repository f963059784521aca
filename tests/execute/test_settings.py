"""Settings of executors: file, then options; every mistake is one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from noisybench.errors import InputError
from noisybench.execute.settings import RaySettings, SlurmSettings, parse_parameters, read_settings
from noisybench.execute.work import Session, load_code
from noisybench.registry import load_plugin


def written(folder: Path, text: str) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(text)
    return path


def test_options_go_before_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "executor: ray\nray: {gpus_per_run: 0.25, checkpoint_every: 5}\n")
    name, settings = read_settings(None, path, {"ray": {"gpus_per_run": 1.0, "address": None}})
    assert name == "ray"
    assert settings == RaySettings(gpus_per_run=1.0, checkpoint_every=5)
    assert read_settings("local", path, {})[0] == "local"


def test_parameters_of_slurm_are_merged(tmp_path: Path) -> None:
    path = written(tmp_path, "slurm: {parameters: {partition: cpu, time: 60}, runs_per_job: 3}\n")
    _, settings = read_settings("slurm", path, {"slurm": {"parameters": parse_parameters("partition=gpu,gres=gpu:1")}})
    assert settings == SlurmSettings(parameters={"partition": "gpu", "time": 60, "gres": "gpu:1"}, runs_per_job=3)


def test_numbers_are_those_that_are_written_as_such() -> None:
    found = parse_parameters("account=00123, array-parallelism=64, time=4:00:00, nice=\u00b2")
    assert found == {"account": "00123", "array_parallelism": 64, "time": "4:00:00", "nice": "\u00b2"}
    assert parse_parameters(None) is None


@pytest.mark.parametrize(
    ("text", "executor", "options", "message"),
    [
        ("executor: raay\n", None, {}, r"cluster.yaml:1: executor: must be .* not 'raay'; did you mean 'ray'"),
        ("executor: [slurm]\n", None, {}, r"executor: must be .* not '\['slurm'\]'"),
        ("ray: {gpus_per_run: -1}\n", "ray", {}, r"cluster.yaml:1: ray.gpus_per_run: .*greater than or equal to 0"),
        ("ray: {adress: x}\n", "ray", {}, r"ray: unknown key; did you mean 'address'|ray.adress: unknown key"),
        ("rai: {}\n", "ray", {}, r"unknown key; did you mean 'ray'"),
        ("ray: 5\n", "ray", {}, r"ray: must be a mapping"),
        ("[]\n", "ray", {}, r"must be a mapping"),
        (
            "slurm: {parameters: null}\n",
            "slurm",
            {"slurm": {"parameters": {"time": 1}}},
            r"parameters: must be a mapping",
        ),
        ("ray: {}\n", "local", {"ray": {"address": "auto"}}, r"--address belongs to --executor ray"),
        ("slurm: {}\n", "slurm", {"slurm": {"runs_per_job": 0}}, r"--runs-per-job: .*greater than or equal to 1"),
    ],
)
def test_every_mistake_is_one_line(
    tmp_path: Path, text: str, executor: str | None, options: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_settings(executor, written(tmp_path, text), options)
    assert "\n" not in str(caught.value)


def test_a_plugin_that_changed_since_the_suite_was_read_is_refused(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text("A = 1\n")
    session = Session(tmp_path, tmp_path, None, plugins=(str(plugin),), plugin_hashes=(load_plugin(plugin),))
    load_code(session)
    plugin.write_text("A = 2\n")
    with pytest.raises(InputError, match=r"mine\.py: changed since the suite was read"):
        load_code(session)
    with pytest.raises(InputError, match="planned with noisybench 0"):
        load_code(replace(session, code=("0", 1)))
