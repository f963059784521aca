"""A Slurm of one node for tests: munged, slurmctld and slurmd, started as root in a folder of their own.

By hand: ``python tests/execute/slurm_cluster.py FOLDER`` starts one and prints how to use it; Ctrl-C ends it.
With ``NOISYBENCH_INSTALL_SLURM=1`` in the environment Debian's packages are installed where they are missing.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PACKAGES = ("slurm-wlm", "munge")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
SlurmctldPort={controller}
SlurmdPort={node}
SrunPortRange={first}-{last}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.txt
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0,default_queue_depth=1000,defer_batch=0
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=300
KillWait={kill_wait}
OverTimeLimit=0
InactiveLimit=0
MaxArraySize={array}
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class NoSlurm(Exception):
    """Slurm cannot be had here; the message says why."""


class Cluster:
    """A running Slurm; ``env`` is what its commands need. ``kill_wait``: seconds between SIGTERM and SIGKILL."""

    def __init__(self, folder: Path, *, cpus: int = 8, kill_wait: int = 4, array: int = 1001) -> None:
        self.folder = folder
        self.env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self._settings = {"cpus": cpus, "kill_wait": kill_wait, "array": array}
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start everything and wait until the node is idle; NoSlurm says why that cannot be."""
        require()
        munge = self.folder / "munge"
        for path in (munge, self.folder / "state", self.folder / "spool"):
            path.mkdir(parents=True, mode=0o755)
        key = munge / "key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(1024))
        ports = _free_ports(2)
        first = ports[-1] + 1
        text = CONFIG.format(
            folder=self.folder,
            host=socket.gethostname().partition(".")[0],
            controller=ports[0],
            node=ports[1],
            first=first,
            last=first + 200,
            **self._settings,
        )
        (self.folder / "slurm.conf").write_text(text.lstrip())
        files = {"key-file": "key", "socket": "socket", "log-file": "log", "pid-file": "pid", "seed-file": "seed"}
        self._spawn("munged", "--foreground", "--force", *(f"--{key}={munge / name}" for key, name in files.items()))
        _wait(lambda: (munge / "socket").exists(), "munged does not start", self.folder / "munge.out")
        self._spawn("slurmctld", "-D", "-i")
        self._spawn("slurmd", "-D")
        _wait(self._idle, "the node does not get ready", self.folder / "slurmctld.log")

    def stop(self) -> None:
        """End every job and every process of it."""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            self.call("scancel", "--signal=KILL", "--full", "--me", check=False)
            self.call("scancel", "--me", check=False)
            end = time.monotonic() + 10
            while self.call("squeue", "-h", check=False).stdout.strip() and time.monotonic() < end:
                time.sleep(0.2)
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def call(self, *command: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command of Slurm's."""
        return subprocess.run(
            command,
            env=self.env,
            check=check,
            timeout=timeout,
            text=True,
            capture_output=True,
        )

    def _idle(self) -> bool:
        return self.call("sinfo", "-h", "-o", "%T", check=False).stdout.strip() == "idle"

    def _spawn(self, program: str, *arguments: str) -> None:
        path = shutil.which(program, path=SEARCH)
        assert path is not None
        with (self.folder / f"{program}.out").open("wb") as out:
            self._processes.append(
                subprocess.Popen([path, *arguments], env=self.env, stdout=out, stderr=out, start_new_session=True)
            )


SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def require() -> None:
    """NoSlurm where one cannot be started."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise NoSlurm("a Slurm for tests is started by root only")
    missing = [program for program in PROGRAMS if shutil.which(program, path=SEARCH) is None]
    if missing and os.environ.get("NOISYBENCH_INSTALL_SLURM") == "1":
        install()
        missing = [program for program in PROGRAMS if shutil.which(program, path=SEARCH) is None]
    if missing:
        packages = " ".join(PACKAGES)
        raise NoSlurm(f"no {missing[0]} here: apt-get install {packages}, or set NOISYBENCH_INSTALL_SLURM=1")


def install() -> None:
    """Install Debian's packages; NoSlurm where that fails."""
    if shutil.which("apt-get") is None:
        raise NoSlurm("no apt-get here")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(["apt-get", "-qq", *command], env=env, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise NoSlurm(f"apt-get {command[0]} failed: {' '.join(last)}")


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return sorted(each.getsockname()[1] for each in sockets)
    finally:
        for each in sockets:
            each.close()


def _wait(ready, what: str, log: Path, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            words = log.read_text(errors="replace").strip().splitlines()[-3:] if log.exists() else []
            raise NoSlurm(f"{what}: {' / '.join(words)}")
        time.sleep(0.1)


if __name__ == "__main__":
    cluster = Cluster(Path(sys.argv[1]).absolute())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        cluster.start()
        print(f"export SLURM_CONF={cluster.env['SLURM_CONF']}", flush=True)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        pass
    except NoSlurm as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    finally:
        cluster.stop()
