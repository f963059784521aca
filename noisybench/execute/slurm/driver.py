"""What a command does beside its jobs: submits what nobody has, watches store and queue, looks after what gets lost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from noisybench.errors import InputError
from noisybench.execute.deaths import Deaths
from noisybench.execute.executor import Stop, take_end
from noisybench.execute.queue import Queue
from noisybench.execute.running import who_runs
from noisybench.execute.settings import SlurmSettings
from noisybench.execute.slurm import questions
from noisybench.execute.slurm.job import BUSY, TEACHER
from noisybench.execute.slurm.ledger import Ledger, Submission, last_lines, log_path, numbered
from noisybench.execute.slurm.packing import pack
from noisybench.execute.slurm.submission import Refused, Submitter
from noisybench.execute.slurm.watch import Watched
from noisybench.execute.work import Event, Session, how_it_ended, settle_for
from noisybench.train.checkpoint import epochs_done

LOOK_SECONDS = 1.0
"""Seconds between two looks at the files of runs in progress; more where a look takes long."""
ASK_SECONDS, ASK_SELDOM = 3.0, 30.0
"""Seconds between two questions to Slurm, at first and at most."""
AGAIN_SECONDS = 60.0
"""Seconds until jobs that Slurm refused are offered again."""
UNABLE = ("held", "Held", "NeverSatisfied", "BadConstraints", "PartitionTimeLimit", "PartitionNodeLimit", "AccountNot")
"""In Slurm's reason why a job waits: it will not start by itself."""


@dataclass
class Place:
    """A job with runs of this command. ``missing``: how often Slurm did not know it in a row."""

    submission: Submission
    runs: list[str]
    state: str = "PENDING"
    missing: int = 0
    told: bool = False


@dataclass
class Driver:
    """One command's view of its runs and jobs."""

    settings: SlurmSettings
    session: Session
    queue: Queue
    observe: Callable[[Event], None]
    stop: Stop
    submitter: Submitter
    broken: str | None = None
    open: dict[str, Watched] = field(default_factory=dict)  # unsettled runs
    places: dict[str, Place] = field(default_factory=dict)  # job -> its runs
    free: dict[str, None] = field(default_factory=dict)  # runs to submit, in their order
    elsewhere: set[str] = field(default_factory=set)  # runs that other processes hold
    losses: Deaths = field(default_factory=Deaths)
    numbers: dict[str, None] = field(default_factory=dict)  # of the arrays with runs of this command, adopted too
    refused_at: float | None = None

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.session.root)

    # -- from the queue into jobs -----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Find what is under way, and submit the rest."""
        for spec in self.queue.waiting:
            self.open[spec.run_id] = Watched.of(spec, self.session.store)
        self.free = dict.fromkeys(self.open)
        self.submit()

    def submit(self) -> None:
        """Submit the free runs whose teachers are finished, in a job or come along, if nobody has them already."""
        in_jobs = {run_id for place in self.places.values() for run_id in place.runs}
        ready = [run_id for run_id in self.free if self._ready(run_id, in_jobs)]
        if not ready or self.broken:
            return
        with self.session.store.jobs_lock():
            try:
                known = questions.queue()
                self._find_nameless()
            except questions.NoAnswer as error:
                if self.places:
                    return  # later
                self.broken = f"Slurm does not answer: {error}"
                return
            ready = self._not_under_way(ready, known)
            once = [self.open[i].spec for i in ready if not self._suspect(i)]
            lost = [self.open[i].spec for i in ready if self._suspect(i)]  # alone: the others are not to suffer again
            finished = self.queue.finished
            arrays = [*pack(once, self.settings.runs_per_job, finished), *pack(lost, 1, finished)]
            try:
                for submission in self.submitter.submit(arrays, known):
                    self._take_in(submission)
                self.refused_at = None
            except Refused as error:
                self._refused(str(error))

    def _ready(self, run_id: str, in_jobs: set[str]) -> bool:
        teacher = self.open[run_id].spec.teacher
        if teacher is None or teacher in self.queue.finished or teacher in in_jobs:
            return True
        return teacher in self.free and self._ready(teacher, in_jobs)

    def _waits(self, run_id: str) -> bool:
        """Whether its teacher is not settled: it cannot have begun."""
        return self.open[run_id].spec.teacher in self.open

    def _suspect(self, run_id: str) -> bool:
        """Whether a job was lost in which it, or a teacher that it waits for, had its turn."""
        return self.losses.counted[run_id] > 0 or (
            self._waits(run_id) and self._suspect(str(self.open[run_id].spec.teacher))
        )

    def _find_nameless(self) -> None:
        """Jobs whose submitter died before it could write down their number."""
        for submission in self.ledger.submissions():
            if not submission.job:
                job = questions.job_named(submission.name)
                if job is not None:
                    self.ledger.write(numbered(submission, job))
                else:
                    self.ledger.forget(submission)

    def _not_under_way(self, ready: Iterable[str], known: dict[str, questions.Queued]) -> list[str]:
        """Without those in a living job, which are watched from now on, and those that another process trains."""
        jobs = self.ledger.jobs_of()
        left = []
        for run_id in ready:
            job, submission = jobs.get(run_id, ("", None))
            if submission is not None and job in known:
                self._put(job, submission, run_id)
            elif who_runs(self.session.store, run_id) is not None:
                self.free.pop(run_id)
                self.elsewhere.add(run_id)
            else:
                left.append(run_id)
        return left

    def _take_in(self, submission: Submission) -> None:
        for job, runs in zip(submission.jobs, submission.runs, strict=True):
            for run_id in runs:
                self._put(job, submission, run_id)

    def _put(self, job: str, submission: Submission, run_id: str) -> None:
        self.free.pop(run_id)
        self.places.setdefault(job, Place(submission, [])).runs.append(run_id)
        self.numbers[submission.job] = None

    def _refused(self, text: str) -> None:
        """With jobs under way the rest is offered again later; without any, nothing can go on."""
        if not self.places and not self.numbers:
            raise InputError(f"Slurm refuses the job: {text}")  # the first one: what was asked for cannot be had
        if self.settings.detach:
            self.broken = f"Slurm refuses more jobs ({text}); {len(self.free)} runs are not submitted yet"
        elif self.refused_at is None:
            said = f"Slurm refuses more jobs ({text}); the rest is submitted when others have ended"
            self.observe({"type": "log", "run_id": next(iter(self.free)), "text": said})
        self.refused_at = time.monotonic()

    # -- following --------------------------------------------------------------------------------------------------

    def follow(self) -> None:
        """Until everything is settled or blocked, nothing can go on, or somebody asks to stop."""
        began = asked = time.monotonic()
        while self.open and not self.broken and not self.stop.requested:
            start = time.monotonic()
            self._look()
            if time.monotonic() - asked > min(ASK_SELDOM, max(ASK_SECONDS, (start - began) / 30)):
                self._ask()
                asked = time.monotonic()
                again = AGAIN_SECONDS if self.places else AGAIN_SECONDS / 12  # with nothing under way there is room
                if self.refused_at is None or asked - self.refused_at > again:
                    self.submit()
            self._tidy()
            end = start + max(LOOK_SECONDS, 5 * (time.monotonic() - start))
            while time.monotonic() < end and not self.stop.requested:
                time.sleep(0.1)

    def _look(self) -> None:
        """Files of runs in jobs that are not waiting."""
        for place in list(self.places.values()):
            if place.state != "PENDING":
                for run_id in list(place.runs):
                    self._look_at(run_id)

    def _look_at(self, run_id: str) -> None:
        watched = self.open.get(run_id)
        if watched is None or self.broken:
            return
        for event in watched.look():
            self.observe(event)
        if watched.settled:
            record, problem = self.session.store.settled(run_id)
            if problem:
                self.observe({"type": "log", "run_id": run_id, "text": problem})
            if record is not None:
                self._end(run_id, {"run_id": run_id, **how_it_ended(record)})

    def _end(self, run_id: str, event: Event) -> None:
        """A run is settled, or cannot be."""
        watched = self.open.get(run_id)
        if watched is None:
            return
        asked = self.stop.requested
        self.broken = take_end(self.queue, watched.spec, event, self.observe) or self.broken
        if event["type"] == "settled":
            blocked = [] if event["status"] == "finished" else [i for i in self.queue.blocked if i in self.open]
            for gone in [run_id, *blocked]:
                self.open.pop(gone, None)
                self.elsewhere.discard(gone)
                self.free.pop(gone, None)
            if self.stop.requested and not asked:  # --fail-fast: the jobs are to end too, not only the watching
                questions.scancel(self.places)

    def _tidy(self) -> None:
        """Forget settled runs where they are listed still."""
        for place in self.places.values():
            place.runs = [run_id for run_id in place.runs if run_id in self.open]
        self.places = {job: place for job, place in self.places.items() if place.runs}
        if len(self.queue.waiting) != len(self.open):
            self.queue.waiting = [spec for spec in self.queue.waiting if spec.run_id in self.open]

    def _ask(self) -> None:
        """What became of the jobs."""
        with contextlib.suppress(questions.NoAnswer):  # it may come back: jobs go on without an answer
            known = questions.queue()
            for job, place in list(self.places.items()):
                self._compare(job, place, known.get(job))
        for run_id in list(self.elsewhere):
            self._look_at(run_id)
            if run_id in self.elsewhere and who_runs(self.session.store, run_id) is None:
                self.elsewhere.discard(run_id)
                self.free[run_id] = None

    def _compare(self, job: str, place: Place, found: questions.Queued | None) -> None:
        if found is None:
            place.missing += 1
            place.state = "MISSING"  # its runs are looked at once more: files may arrive late
            if place.missing > 1:
                self._ended(job, place)
            return
        place.missing = 0
        if found.state == "PENDING" and place.state not in ("PENDING", "MISSING"):
            self._requeued(job, place)
        if found.state == "PENDING" and not place.told and any(word in found.reason for word in UNABLE):
            place.told = True
            text = f"its job {job} does not start by itself: {found.reason}"
            self.observe({"type": "log", "run_id": place.runs[0], "text": text})
        place.state = found.state

    def _requeued(self, job: str, place: Place) -> None:
        for run_id in place.runs:
            if run_id in self.open and self.open[run_id].stopped():
                self.observe({"type": "interrupted", "run_id": run_id})
                self.observe({"type": "log", "run_id": run_id, "text": f"its job {job} was requeued"})

    # -- what jobs leave behind -------------------------------------------------------------------------------------

    def _ended(self, job: str, place: Place) -> None:
        """A job is gone: its unsettled runs go on in another one, or are settled as failed."""
        del self.places[job]
        runs = [run_id for run_id in place.runs if run_id in self.open]
        if not runs:
            return
        told = self.ledger.read_end(place.submission.name, job)
        if told is not None and told.get("broken"):
            self.broken = f"{told['broken']} (said job {job}; {self._log(place, job)})"
            return
        left = dict(told.get("left") or {}) if told is not None else {}
        why: str | None = None
        for run_id in runs:
            if run_id not in self.open:  # blocked by one before it
                continue
            if self.open[run_id].stopped():
                self.observe({"type": "interrupted", "run_id": run_id})
            reason = left.get(run_id)
            if reason == BUSY:
                self.elsewhere.add(run_id)
            elif reason == TEACHER or (told is not None and told.get("saved")) or self._waits(run_id):
                self.free[run_id] = None
            else:
                why = why or (told or {}).get("why") or questions.why_ended(job) or "vanished"
                self._lost(run_id, job, place, why)

    def _lost(self, run_id: str, job: str, place: Place, why: str) -> None:
        epochs = epochs_done(self.session.store.folder(run_id)) or 0
        often = self.losses.count(run_id, epochs, memory="memory" in why.lower())
        if often is None:
            text = f"its job {job} {_verb(why)}; it goes on in another job, from its last checkpoint"
            self.observe({"type": "log", "run_id": run_id, "text": text})
            self.free[run_id] = None
            return
        log = log_path(place.submission.name, job)
        place_told = {"executor": "slurm", "job": job, "log": log}
        session = replace(self.session, device="cpu", place=place_told)  # this machine writes it, and may have no GPU
        reason = f"its job {_verb(why)}, {often}; the last was {job}"
        words = last_lines(self.session.root / log, 20)
        event = settle_for(session, self.open[run_id].spec, reason, words)
        if event["type"] == "busy":
            self.elsewhere.add(run_id)
        else:
            self._end(run_id, event)

    def _log(self, place: Place, job: str) -> str:
        return f"its log: {self.session.root / log_path(place.submission.name, job)}"


def _verb(why: str) -> str:
    """A reason as the rest of a sentence that begins with "its job"."""
    return f"ended: {why}" if why.startswith(("its ", "it ", "nobody ")) else why
