"""Where and how runs are executed: what the command line and ``--executor-config`` say. Never part of a suite.

A settings file names an executor and has one block an executor; what the command line says goes before it::

    executor: ray
    ray: {address: auto, gpus_per_run: 0.25, cpus_per_run: 2, checkpoint_every: 60}
    slurm:
      parameters: {partition: gpu, time: "4:00:00", gres: "gpu:1", array_parallelism: 64}
      runs_per_job: 8
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from noisybench.errors import InputError
from noisybench.registry import STRICT, did_you_mean
from noisybench.suite.reading import Node, plain, read

EXECUTORS = ("local", "ray", "slurm")


class LocalSettings(pydantic.BaseModel):
    """Worker processes of this machine: nothing to set but ``--workers``, ``--threads`` and ``--timeout``."""

    model_config = STRICT


class RaySettings(pydantic.BaseModel):
    """A Ray cluster. ``address``: of a running cluster (``auto`` finds it; ``local`` starts one on this machine).
    ``checkpoint_every``: seconds between two checkpoints that a run sends where nodes do not see the results folder.
    ``shared``: whether they see it; ``auto`` looks."""

    model_config = STRICT
    address: str = "auto"
    gpus_per_run: Annotated[float, Field(ge=0, le=64)] | None = None  # None: 1 where the device is cuda, else 0
    cpus_per_run: Annotated[float, Field(gt=0, le=1024)] | None = None  # None: the threads of a run
    memory_per_run: Annotated[float, Field(gt=0)] | None = None  # GiB that Ray sets aside for a run
    checkpoint_every: Annotated[float, Field(ge=0)] = 60.0
    shared: Literal["auto", "yes", "no"] = "auto"


class SlurmSettings(pydantic.BaseModel):
    """Job arrays of a Slurm cluster. ``parameters``: of sbatch (and ``array_parallelism``). ``runs_per_job``: at least
    so many runs share a job, which trains as many at once as its processors or its GPU allow."""

    model_config = STRICT
    parameters: dict[str, str | int | bool] = {}
    runs_per_job: Annotated[int, Field(ge=1, le=10_000)] = 1
    grace: Annotated[float, Field(ge=5)] = 60.0  # seconds before its time limit at which a job saves and requeues
    detach: bool = False


BLOCKS: dict[str, type[pydantic.BaseModel]] = {"local": LocalSettings, "ray": RaySettings, "slurm": SlurmSettings}
OPTIONS = {  # settings that the command line has options for -> the option
    "ray": {
        "address": "--address",
        "gpus_per_run": "--gpus-per-run",
        "cpus_per_run": "--cpus-per-run",
        "checkpoint_every": "--checkpoint-every",
    },
    "slurm": {"parameters": "--slurm", "runs_per_job": "--runs-per-job", "detach": "--detach"},
}

Settings = LocalSettings | RaySettings | SlurmSettings


def read_settings(
    executor: str | None, file: Path | None, options: Mapping[str, Mapping[str, Any]]
) -> tuple[str, Settings]:
    """Name and settings of the executor: file first, then what the command line says (None: not said).

    ``options``: executor -> setting -> value. InputError names the file and key, or the option, and the remedy.
    """
    root = read(file) if file is not None else Node({})
    if not root.is_mapping:
        raise root.error("must be a mapping: 'executor:' and a block for it")
    for key, node in root.value.items():
        if key != "executor" and key not in BLOCKS:
            raise node.error(f"unknown key{did_you_mean(key, ['executor', *BLOCKS])}")
    named = root.get("executor")
    name = executor or (str(plain(named)) if named is not None else "local")
    if name not in EXECUTORS:
        text = f"must be {', '.join(EXECUTORS[:-1])} or {EXECUTORS[-1]}, not '{name}'{did_you_mean(name, EXECUTORS)}"
        raise InputError(f"--executor: {text}") if executor or named is None else named.error(text)
    for other, said in options.items():
        first = next((key for key, value in said.items() if value is not None), None)
        if other != name and first is not None:
            raise InputError(f"{OPTIONS[other][first]} belongs to --executor {other}; this is '{name}'")
    block = root.get(name) or Node({})
    given = {key: value for key, value in options.get(name, {}).items() if value is not None}
    merged: dict[str, Any] = {**(_plain_block(block)), **given}
    in_file = _plain_block(block).get("parameters", {})
    if isinstance(given.get("parameters"), Mapping):
        if not isinstance(in_file, Mapping):
            raise (block.get("parameters") or block).error("must be a mapping, e.g. {partition: gpu}")
        merged["parameters"] = {**in_file, **given["parameters"]}
    try:
        settings = BLOCKS[name].model_validate(merged)
    except pydantic.ValidationError as error:
        raise _wrong(error, name, block, given) from None
    assert isinstance(settings, Settings)
    return name, settings


def parse_parameters(text: str | None) -> dict[str, str | int | bool] | None:
    """``partition=gpu,time=4:00:00,array_parallelism=64`` -> a mapping; InputError for a part without ``=``."""
    if text is None:
        return None
    found: dict[str, str | int | bool] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise InputError(f"--slurm: '{part}' is no KEY=VALUE; write e.g. partition=gpu,time=4:00:00,gres=gpu:1")
        found[key.replace("-", "_")] = int(value) if re.fullmatch("0|[1-9][0-9]*", value) else value
    return found


def _plain_block(block: Node) -> dict[str, Any]:
    value = plain(block)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise block.error("must be a mapping")
    return value


def _wrong(error: pydantic.ValidationError, name: str, block: Node, given: Mapping[str, Any]) -> InputError:
    first = error.errors()[0]
    key = str(first["loc"][0])
    known = list(BLOCKS[name].model_fields)
    text = f"unknown key{did_you_mean(key, known)}" if first["type"] == "extra_forbidden" else str(first["msg"])
    if key in given:
        return InputError(f"{OPTIONS[name][key]}: {text}")
    return (block.get(key) or block).error(text)
