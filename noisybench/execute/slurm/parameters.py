"""What a user says about jobs, checked before anything is submitted, and as submitit wants it."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from noisybench.errors import InputError, MissingExtra
from noisybench.execute.settings import SlurmSettings
from noisybench.registry import did_you_mean

Value = str | int | bool

SUBMITIT = {
    *("partition", "time", "cpus_per_task", "cpus_per_gpu", "gpus_per_node", "gpus_per_task", "qos", "setup"),
    *("teardown", "mem", "mem_per_gpu", "mem_per_cpu", "comment", "constraint", "exclude", "account", "gres"),
    *("mail_type", "mail_user", "nodelist", "exclusive", "array_parallelism", "wckey", "srun_args", "use_srun"),
}
"""Parameters that submitit takes itself."""
SBATCH = {
    *("acctg_freq", "batch", "bb", "bbf", "begin", "chdir", "cluster_constraint", "contiguous"),
    *("core_spec", "cores_per_socket", "cpu_freq", "deadline", "delay_boot", "distribution", "export"),
    *("export_file", "extra_node_info", "get_user_env", "gpu_bind", "gpu_freq", "gpus", "gpus_per_socket"),
    *("gres_flags", "hint", "hold", "licenses", "mcs_label", "mem_bind", "mincpus", "network", "nice", "no_kill"),
    *("nodefile", "overcommit", "oversubscribe", "power", "prefer", "priority", "profile", "propagate", "reboot"),
    *("reservation", "sockets_per_node", "spread_job", "switches", "thread_spec", "threads_per_core", "time_min"),
    *("tmp", "tres_bind", "tres_per_task", "use_min_nodes", "wait_all_nodes"),
}
"""Other options of sbatch, handed on as they are."""
OURS = {
    **dict.fromkeys(("array", "dependency", "job_name", "output", "error", "open_mode", "stderr_to_stdout")),
    **dict.fromkeys(("requeue", "no_requeue", "wrap", "wait", "parsable", "input", "kill_on_invalid_dep")),
    "additional_parameters": "write its entries beside the others",
    **dict.fromkeys(("clusters", "cluster"), "log in to that cluster: jobs are looked after where squeue finds them"),
    **dict.fromkeys(("uid", "gid"), "submit as that user: jobs are looked after as yours"),
    "num_gpus": "use gpus_per_node",
    "signal": "set 'grace' in the settings file",
    "signal_delay_s": "set 'grace' in the settings file",
    **dict.fromkeys(
        ("nodes", "ntasks", "ntasks_per_node", "ntasks_per_core", "ntasks_per_gpu", "ntasks_per_socket"),
        "a job is one process on one node, which trains several runs at once",
    ),
}
"""Set by noisybench -> what to do instead."""
COUNTS = ("array_parallelism", "cpus_per_task", "cpus_per_gpu", "gpus_per_node", "gpus_per_task")
SWITCHES = ("use_srun", "exclusive")
TIME = re.compile(
    r"(?P<m>\d+)|(?P<m2>\d+):(?P<s2>\d{1,2})|(?P<h3>\d+):(?P<m3>\d{1,2}):(?P<s3>\d{1,2})"
    r"|(?P<d4>\d+)-(?P<h4>\d{1,2})(:(?P<m4>\d{1,2}))?(:(?P<s4>\d{1,2}))?"
)
EARLY = 60.0
"""Seconds by which Slurm's signal before a time limit may come early."""


@dataclass(frozen=True)
class JobParameters:
    """Checked parameters: ``minutes`` a job may take, ``grace`` seconds before that at which it is told to save, and
    what submitit's executor is given."""

    minutes: int
    grace: float
    submitit: Mapping[str, Any]


def require_slurm() -> None:
    """MissingExtra without submitit, InputError on a machine that cannot submit."""
    if importlib.util.find_spec("submitit") is None:
        raise MissingExtra("submitit", "slurm", "--executor slurm")
    for program in ("sbatch", "srun", "squeue", "scontrol"):
        if shutil.which(program) is None:
            raise InputError(f"--executor slurm: no Slurm here ('{program}' is not found); run it on a login node")


def check_parameters(settings: SlurmSettings) -> JobParameters:
    """The parameters of ``settings``; InputError names the first that cannot be used."""
    given = {key.replace("-", "_"): value for key, value in settings.parameters.items()}
    known: dict[str, Value] = {}
    others: dict[str, Value] = {}
    for key, value in given.items():
        if key in OURS:
            hint = f"; {OURS[key]}" if OURS[key] else ""
            raise _wrong(key, f"is set by noisybench itself{hint}")
        if key not in SUBMITIT | SBATCH:
            raise _wrong(key, f"sbatch has no such option{did_you_mean(key, sorted(SUBMITIT | SBATCH))}")
        if isinstance(value, str) and ("\n" in value and key not in ("setup", "teardown")):
            raise _wrong(key, "must be one line")
        (known if key in SUBMITIT else others)[key] = value
    if "time" not in given:
        raise InputError(
            "slurm parameter 'time' is missing: say how long a job may take, e.g. time=4:00:00 (what is not done by "
            "then is saved and goes on in the same job, requeued)"
        )
    minutes = parse_time(known.pop("time"))
    if minutes * 60 <= settings.grace + EARLY:
        raise InputError(
            f"slurm: a time limit of {minutes} min leaves no time to train: jobs save {settings.grace:g} seconds "
            "('grace' in the settings file) before it, and Slurm's signal may come a minute early; raise 'time'"
        )
    converted = {key: _convert(key, value) for key, value in known.items() if value is not False or key == "use_srun"}
    if "cpus_per_task" in converted and converted.get("use_srun", True):  # srun does not take it over from sbatch
        converted["srun_args"] = [f"--cpus-per-task={converted['cpus_per_task']}", *converted.get("srun_args", [])]
    extra = {"requeue": True} | {key: value for key, value in others.items() if value is not False}
    return JobParameters(
        minutes,
        settings.grace,
        converted | {"time": minutes, "signal_delay_s": round(settings.grace), "additional_parameters": extra},
    )


def parse_time(value: Value) -> int:
    """Minutes, rounded up, of a time as Slurm writes it; InputError for what is none."""
    found = TIME.fullmatch(str(value).strip()) if not isinstance(value, bool) else None
    parts = {"d": 0, "h": 0, "m": 0, "s": 0}
    if found:
        parts.update({key[0]: int(text) for key, text in found.groupdict().items() if text is not None})
    seconds = ((parts["d"] * 24 + parts["h"]) * 60 + parts["m"]) * 60 + parts["s"]
    if not seconds or seconds > 366 * 86400:
        raise _wrong(
            "time",
            f"'{value}' is no time limit; write minutes (90), minutes:seconds (90:00), hours:minutes:seconds (4:00:00) "
            "or days-hours (1-12), also days-hours:minutes:seconds",
        )
    return -(-seconds // 60)


def _convert(key: str, value: Value) -> Any:
    if key in COUNTS and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise _wrong(key, f"must be a whole number from 1, not '{value}'")
    if key in SWITCHES:
        words: dict[str, Value] = {"true": True, "false": False}
        value = words.get(str(value).lower(), value)
        if key == "use_srun" and not isinstance(value, bool):
            raise _wrong(key, "must be true or false")
    if key in ("setup", "teardown"):
        return str(value).splitlines()
    if key == "srun_args":
        try:
            return shlex.split(str(value))
        except ValueError as error:
            raise _wrong(key, f"{error} in '{value}'") from None
    return value


def _wrong(key: str, text: str) -> InputError:
    return InputError(f"slurm parameter '{key}': {text}")
