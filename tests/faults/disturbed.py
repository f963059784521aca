"""A small study to be disturbed, and what is looked at afterwards."""

from __future__ import annotations

from pathlib import Path

from small_runs import small_spec

from noisybench.execute.executor import Stop
from noisybench.execute.local import Local
from noisybench.execute.study import run_study, take_stock
from noisybench.execute.work import Session
from noisybench.store import Store


def small_study(**changes):
    """Two methods, the second trained on the first one's predictions, and two seeds."""
    runs = []
    for seed in (0, 1):
        teacher = small_spec({"training.epochs": 4, "seed": seed, **changes})
        runs += [teacher, small_spec({"training.epochs": 4, "seed": seed, **changes, "method.relabel": teacher.run_id})]
    return sorted(runs, key=lambda spec: spec.teacher is not None)


def hashes(store: Store, runs) -> dict[str, str]:
    """Run id -> hash of its result; a missing record is an error."""
    return {spec.run_id: store.read_record(spec.run_id)["result_sha256"] for spec in runs}


def study(session: Session, runs, *, workers=0, observe=lambda event: None, stop=None, timeout=None, **options):
    """Take stock and train what is to do, as ``run`` does."""
    standing = take_stock(session.store, runs, {}, folder=session.folder)
    return run_study(session, runs, standing, observe, stop or Stop(), Local(workers, timeout), **options), standing


def leftovers(root: Path) -> list[Path]:
    """Half-written files."""
    return [path for path in root.rglob("*.tmp") if path.is_file()]
