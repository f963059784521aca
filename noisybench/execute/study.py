"""A whole suite: what is settled, what is to do, and doing it with an executor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from noisybench.data import DataFolder
from noisybench.errors import StaleData
from noisybench.execute.executor import Executor, Stop
from noisybench.execute.mend import mend
from noisybench.execute.plan import in_order
from noisybench.execute.queue import Queue
from noisybench.execute.work import Event, Session
from noisybench.spec import RunSpec, at, canonical_json
from noisybench.store import Store, damage, set_aside
from noisybench.train import checkpoint, origin
from noisybench.train.kept import load_subset, other_images
from noisybench.train.setup import fetch_noise_files, open_set_noise


@dataclass
class Standing:
    """Where the selected runs stand before anything is trained."""

    todo: list[RunSpec] = field(default_factory=list)
    settled: dict[str, dict[str, Any]] = field(default_factory=dict)  # run id -> record
    blocked: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def finished(self) -> set[str]:
        """Ids of the runs that finished."""
        return {run_id for run_id, record in self.settled.items() if record["result"]["status"] == "finished"}


def fingerprints(runs: Iterable[RunSpec], folder: DataFolder) -> dict[str, str]:
    """Load every data set the runs name (downloading what may be) -> canonical data set block: fingerprint."""
    runs = list(runs)
    for block in {canonical_json(b): b for spec in runs if (b := at(spec.data, "noise.open_set.from"))}.values():
        other_images(block, folder)
    for block in {canonical_json(spec.data["noise"]): spec.data["noise"] for spec in runs}.values():
        fetch_noise_files(block, folder)
    blocks = {canonical_json(spec.data["dataset"]): spec.data for spec in runs}
    return {key: load_subset(data, folder).fingerprint for key, data in blocks.items()}


def open_set_prints(store: Store, runs: Iterable[RunSpec], folder: DataFolder) -> dict[str, str]:
    """Hashes of the open-set images that settled runs with images of another data set would get now, by ``_open_key``:
    that data has no fingerprint in a record, the images put among the others have."""
    found: dict[str, str] = {}
    for spec in runs:
        if at(spec.data, "noise.open_set.from") and (store.folder(spec.run_id) / "record.json").exists():
            key = _open_key(spec)
            if key not in found:
                made = open_set_noise(spec.data, load_subset(spec.data, folder), _noise_seed(spec), folder)
                found[key] = str(made.sha256)
    return found


def _noise_seed(spec: RunSpec) -> int:
    fixed = at(spec.data, "noise.seed")
    return spec.seed if fixed is None else int(fixed)


def _open_key(spec: RunSpec) -> str:
    return canonical_json(["open_set", spec.data["dataset"], spec.data["noise"], _noise_seed(spec)])


def take_stock(
    store: Store,
    runs: Iterable[RunSpec],
    prints: Mapping[str, str],
    *,
    retry_failed: bool = False,
    replace_stale: bool = False,
    change: bool = True,
    folder: DataFolder | None = None,
) -> Standing:
    """Sort the runs (teachers first) into settled and to do. With ``change`` false (a dry run) nothing is touched.

    Damaged files that need no training are made again where ``folder`` says where the data lies.
    A settled teacher whose predictions are gone is redone; a settled student whose teacher's predictions are no longer
    those it was trained on, too. StaleData where a settled record was made from other data.
    """
    standing = Standing()
    redone: set[str] = set()  # ids of the runs to do
    for spec in runs:
        home = store.folder(spec.run_id)
        record, reason = _record(store, spec, change)
        if reason:
            standing.notes.append(reason)
        if record is not None:
            damaged = damage(home, record)
            if damaged and change and folder is not None:
                standing.notes += mend(store, home, record, damaged, folder)
            reason = "; ".join(damaged.values()) or _why_redo(store, spec, record, redone, retry_failed)
            stale = _stale(record, prints.get(canonical_json(spec.data["dataset"])))
            stale = stale or _stale_open_set(spec, record, prints)
            if stale and not replace_stale:
                raise StaleData(
                    f"{home}: its record was made from other data (fingerprint {stale[:12]}) than "
                    f"'{spec.data['dataset']['name']}' holds now; give the data another id, or use --replace-stale, "
                    "which sets the old folder aside"
                )
            if stale and change:
                standing.notes.append(f"{home}: made from other data; set aside as {set_aside(home, 'stale').name}")
            elif reason and change:
                for path in damaged:
                    if path.exists():
                        damaged[path] += f"; set aside as {set_aside(path).name}"
                kept = set_aside(home / "record.json", "old")
                reason = "; ".join(damaged.values()) or f"{spec.run_id}: {reason}"
                standing.notes.append(f"{reason}; the run is redone, its record is kept as {kept.name}")
            if not stale and not reason:
                if change:
                    standing.notes += _tidy(store, spec)
                standing.settled[spec.run_id] = record
                continue
        standing.todo.append(spec)
        redone.add(spec.run_id)
    _block_students(standing)
    return standing


def _record(store: Store, spec: RunSpec, change: bool) -> tuple[dict[str, Any] | None, str | None]:
    if change:
        return store.settled(spec.run_id)
    try:
        return store.read_record(spec.run_id), None
    except ValueError as error:
        return None, f"{store.folder(spec.run_id)}/record.json: {error}; the run would be redone"


def _stale(record: Mapping[str, Any], fingerprint: str | None) -> str | None:
    data = record["result"]["data"]
    if data is None or fingerprint is None or data["fingerprint"] == fingerprint:
        return None
    return str(data["fingerprint"])


def _stale_open_set(spec: RunSpec, record: Mapping[str, Any], prints: Mapping[str, str]) -> str | None:
    noise = record["result"]["noise"]
    if noise is None or not at(spec.data, "noise.open_set.from"):
        return None
    made, now = str(noise.get("open_set_sha256")), prints.get(_open_key(spec))
    return made if now is not None and now != made else None


def _why_redo(
    store: Store, spec: RunSpec, record: Mapping[str, Any], redone: set[str], retry_failed: bool
) -> str | None:
    result = record["result"]
    if result["status"] == "failed":
        return "it had failed" if retry_failed else None
    if spec.teacher is not None and result["status"] != "failed":
        found = None if spec.teacher in redone else store.predictions(spec.teacher)
        if found is not None and found[1] != result["noise"]["relabel_sha256"]:
            return "its teacher's predictions are not those it was trained on"
    return None


def _tidy(store: Store, spec: RunSpec) -> list[str]:
    """What a kill after a run's last word, or damage that costs nothing, left in a settled run's folder."""
    home = store.folder(spec.run_id)
    record = store.read_record(spec.run_id)
    if record is not None:
        origin.forget(home)
        if record["result"]["status"] != "failed":
            checkpoint.remove(home)
    mended = store.mend_spec(spec)
    return [mended] if mended else []


def _block_students(standing: Standing) -> None:
    """A student to do whose settled teacher did not finish cannot be trained."""
    ended = {**{i: r["result"]["status"] for i, r in standing.settled.items() if i not in standing.finished}}
    for spec in standing.todo:
        if spec.teacher in ended:
            standing.blocked[spec.run_id] = f"its teacher {spec.teacher} {ended[spec.teacher]}"
            ended[spec.run_id] = "is blocked"
    standing.todo = [spec for spec in standing.todo if spec.run_id not in standing.blocked]


@dataclass(frozen=True)
class Outcome:
    """How a command's runs ended."""

    counts: Mapping[str, int]
    failures: Mapping[str, str]  # run id -> reason, failed and blocked
    interrupted: bool
    broken: str | None
    unfinished: bool = False  # interrupted, broken or stopped at a failure with runs left to do

    @property
    def exit_code(self) -> int:
        """0: all finished or diverged; 1: some failed or blocked, or the store broke; 130: interrupted."""
        if self.broken is not None:
            return 1
        if self.interrupted:
            return 130
        return 1 if self.failures else 0


def run_study(
    session: Session,
    runs: list[RunSpec],
    standing: Standing,
    observe: Callable[[Event], None],
    stop: Stop,
    executor: Executor,
    *,
    fail_fast: bool = False,
) -> Outcome:
    """Train what is to do, by ``executor``, and count how everything ended.

    ``fail_fast``: the first failure asks everything to stop.
    A student that was settled against predictions its teacher, trained in a round, has replaced is taken up again in
    the next one (none, when the teacher's predictions came out the same).
    """
    statuses = {run_id: record["result"]["status"] for run_id, record in standing.settled.items()}
    reasons: dict[str, str] = dict(standing.blocked)
    broken: str | None = None
    failed_fast = False

    def note(event: Event) -> None:
        nonlocal failed_fast
        if event["type"] == "settled":
            statuses[event["run_id"]] = event["status"]
            if event["status"] == "failed":
                reasons[event["run_id"]] = event.get("error") or "failed"
                if fail_fast and not stop.requested:
                    failed_fast = True
                    stop.request()
        elif event["type"] == "blocked":
            reasons[event["run_id"]] = event["text"]
        observe(event)

    session.root.mkdir(parents=True, exist_ok=True)
    todo = list(standing.todo)
    while todo and not broken and not stop.requested:
        finished = {run_id for run_id, status in statuses.items() if status == "finished"}
        queue = Queue(in_order(todo, session.folder, executor.parallel), finished)
        broken = executor.work(session, queue, note, stop)
        if broken:
            break
        taught = {spec.run_id for spec in todo} & statuses.keys()
        todo = take_stock(
            session.store, [s for s in runs if s.teacher in taught and s.run_id in standing.settled], {}
        ).todo
        for spec in todo:
            standing.settled.pop(spec.run_id)
            statuses.pop(spec.run_id, None)
    failed = {
        i: str(r["provenance"].get("error")) for i, r in standing.settled.items() if r["result"]["status"] == "failed"
    }
    counts = {name: sum(s == name for s in statuses.values()) for name in ("finished", "diverged", "failed")}
    counts["blocked"] = len([i for i in reasons if statuses.get(i) != "failed"])
    left = [spec for spec in runs if spec.run_id not in statuses and spec.run_id not in reasons]
    return Outcome(counts, failed | reasons, stop.requested and bool(left) and not failed_fast, broken, bool(left))
