"""Slurm without Slurm: packing, parameters, bookkeeping, what a job does when it is told to end, lost jobs."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace

import pytest
from small_runs import small_spec

from noisybench.errors import InputError, MissingExtra
from noisybench.execute.executor import Stop
from noisybench.execute.queue import Queue
from noisybench.execute.settings import SlurmSettings
from noisybench.execute.slurm import driver as driving
from noisybench.execute.slurm import parameters, questions
from noisybench.execute.slurm.driver import Driver
from noisybench.execute.slurm.job import BUSY, STOPPED, TEACHER, JobQueue, PackedRuns, job_machine
from noisybench.execute.slurm.ledger import Ledger, Submission, last_lines, log_path, new_name, numbered
from noisybench.execute.slurm.packing import pack
from noisybench.execute.slurm.parameters import check_parameters, parse_time
from noisybench.execute.slurm.questions import Queued, in_words
from noisybench.execute.slurm.submission import Refused
from noisybench.execute.slurm.watch import Watched
from noisybench.execute.work import Session, execute
from noisybench.spec import RunSpec


@pytest.fixture
def session(store, tmp_path):
    store.root.mkdir(parents=True)
    return Session(store.root, tmp_path / "data", None)


def spec(name, teacher=None):
    return RunSpec({"method": {"relabel": teacher}}, name)


def ids(arrays):
    return [(array.after, [[run.run_id for run in element.runs] for element in array.elements]) for array in arrays]


# -- packing --------------------------------------------------------------------------------------------------------


def test_runs_fill_elements_in_their_order():
    runs = [spec(name) for name in "abcde"]
    assert ids(pack(runs, 2)) == [(None, [["a", "b"], ["c", "d"], ["e"]])]
    assert ids(pack([], 2)) == []


def test_a_family_of_up_to_twice_the_size_stays_whole():
    runs = [spec("a1", "a"), spec("b"), spec("a"), spec("c")]
    assert ids(pack(runs, 1)) == [(None, [["b"], ["a", "a1"], ["c"]])]
    chain = [spec("x"), spec("y", "x"), spec("z", "y"), spec("w", "z"), spec("b")]
    assert ids(pack(chain, 2)) == [(None, [["x", "y", "z", "w"], ["b"]])]


def test_a_larger_family_is_cut_and_its_students_depend_on_the_teachers_element():
    runs = [spec("t"), spec("other"), *(spec(f"s{i}", "t") for i in range(5)), spec("s0s", "s0")]
    assert ids(pack(runs, 2)) == [
        (None, [["t", "other"]]),
        ("t", [["s0", "s0s"], ["s1", "s2"], ["s3", "s4"]]),
    ]


def test_students_of_a_teacher_that_is_elsewhere_depend_on_its_job_unless_it_is_finished():
    runs = [spec("a"), spec("s", "t"), spec("u", "t"), spec("v", "done")]
    assert ids(pack(runs, 4, {"done"})) == [(None, [["a", "v"]]), ("t", [["s", "u"]])]


# -- parameters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "minutes"),
    [(90, 90), ("90", 90), ("90:01", 91), ("4:00:00", 240), ("1-12", 2160), ("1-0:30", 1470), ("0-0:0:1", 1)],
)
def test_a_time_is_read_as_slurm_reads_it(text, minutes):
    assert parse_time(text) == minutes


@pytest.mark.parametrize("text", ["4h", "", "0", "-5", "1:2:3:4", "UNLIMITED", True, "1:00:000"])
def test_what_is_no_time_is_said_with_what_would_be_one(text):
    with pytest.raises(InputError, match=r"slurm parameter 'time': .*hours:minutes:seconds"):
        parse_time(text)


def checked(grace=60.0, **given):
    return check_parameters(SlurmSettings(parameters={"time": "1:00:00", **given}, grace=grace))


def test_parameters_become_submitits():
    found = checked(partition="gpu", gres="gpu:1", array_parallelism=4, cpus_per_task=3, hold=True, reboot=False)
    assert found.minutes == 60
    assert dict(found.submitit) == {
        "partition": "gpu",
        "gres": "gpu:1",
        "array_parallelism": 4,
        "cpus_per_task": 3,
        "srun_args": ["--cpus-per-task=3"],
        "time": 60,
        "signal_delay_s": 60,
        "additional_parameters": {"requeue": True, "hold": True},
    }


def test_submitit_knows_the_parameters_that_are_given_to_it():
    pytest.importorskip("submitit")
    from submitit import SlurmExecutor

    known = SlurmExecutor._valid_parameters()
    assert known >= parameters.SUBMITIT
    assert known <= parameters.SUBMITIT | set(parameters.OURS)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"partitoin": "gpu"}, "'partitoin': sbatch has no such option; did you mean 'partition'"),
        ({"output": "x"}, "'output': is set by noisybench itself"),
        ({"nodes": 2}, "'nodes': is set by noisybench itself; a job is one process"),
        ({"signal": "USR1"}, "'signal': is set by noisybench itself; set 'grace'"),
        ({"array_parallelism": "many"}, "'array_parallelism': must be a whole number from 1, not 'many'"),
        ({"cpus_per_task": 0}, "'cpus_per_task': must be a whole number from 1"),
        ({"partition": "a\nb"}, "'partition': must be one line"),
        ({"time": "1:00"}, "a time limit of 1 min leaves no time to train: jobs save 60 seconds"),
    ],
)
def test_a_wrong_parameter_is_one_line(given, text):
    with pytest.raises(InputError, match=text) as caught:
        checked(**given)
    assert "\n" not in str(caught.value)


def test_a_time_limit_must_be_said():
    with pytest.raises(InputError, match="'time' is missing: say how long"):
        check_parameters(SlurmSettings(parameters={"partition": "gpu"}))


def test_a_machine_without_slurm_is_one_line(monkeypatch):
    monkeypatch.setattr(parameters.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="no Slurm here"):
        parameters.require_slurm()
    monkeypatch.setattr(parameters.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"noisybench\[slurm\]"):
        parameters.require_slurm()


# -- bookkeeping ----------------------------------------------------------------------------------------------------


def test_bookkeeping_is_read_back_and_damage_is_named(tmp_path):
    ledger = Ledger(tmp_path)
    first = Submission("noisybench-a-20260101-000000-aaaaaa", 1.0, (("a", "b"), ("c",)))
    ledger.write(first)
    assert ledger.jobs_of() == {}
    ledger.write(numbered(first, "7"))
    second = Submission("noisybench-a-20260101-000001-aaaaaa", 2.0, (("b",),), job="8", after="7_0")
    ledger.write(second)
    assert {run: job for run, (job, _) in ledger.jobs_of().items()} == {"a": "7_0", "b": "8", "c": "7_1"}
    path = tmp_path / ".jobs" / f"{second.name}.json"
    path.write_text(path.read_text().replace("7_0", "7_1"))
    assert [problem for _, problem in ledger.read() if problem] == [f"{path}: damaged (its checksum does not match)"]
    assert ledger.submissions() == [numbered(first, "7")]


def test_names_of_jobs_differ_and_logs_lie_in_the_store(tmp_path):
    assert new_name("a suite/x") != new_name("a suite/x")
    assert new_name("a suite/x").startswith("noisybench-a-suite-x-")
    log = tmp_path / log_path("n", "3_1")
    log.parent.mkdir(parents=True)
    assert last_lines(log) is None
    log.write_text("one\ntwo\n\n")
    assert last_lines(log) == "two"


@pytest.mark.parametrize(
    ("state", "code", "words"),
    [
        ("CANCELLED by 0", "0:15", "was cancelled (CANCELLED)"),
        ("OUT_OF_MEMORY", "0:125", "was killed for memory (OUT_OF_MEMORY)"),
        ("FAILED", "0:9", "was killed by signal 9 (FAILED)"),
        ("FAILED", "1:0", "ended with code 1 (FAILED)"),
        ("COMPLETED", "0:0", "ended with code 0 (COMPLETED)"),
    ],
)
def test_how_a_job_ended_in_words(state, code, words):
    assert in_words(state, code) == words


# -- in a job -------------------------------------------------------------------------------------------------------


def test_a_job_leaves_what_others_hold_and_what_waits_for_it():
    a, b, c, d = spec("a"), spec("b", "a"), spec("c", "b"), spec("d")
    queue = JobQueue([a, b, c, d], set())
    assert queue.next() is a
    queue.put_off(a)
    assert queue.left == {"a": BUSY, "b": TEACHER, "c": TEACHER}
    assert queue.waiting == [d]


def test_a_job_uses_what_slurm_gave_it():
    found = job_machine("cpu", {"SLURM_CPUS_ON_NODE": "1", "SLURM_MEM_PER_NODE": "100"})
    assert (found.cores, found.memory) == (1, 100 * 2**20)


def packed(session, runs, **changes):
    function = PackedRuns(session, "noisybench-n", tuple((run.run_id, run.data) for run in runs), 60, 60.0)
    (session.root / ".jobs" / "noisybench-n").mkdir(parents=True, exist_ok=True)
    return replace(function, **changes)


@pytest.fixture
def in_this_process(monkeypatch):
    """A job without worker processes, number 5_0."""
    from noisybench.execute.local import run_here
    from noisybench.execute.slurm import job

    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    monkeypatch.setattr(job.Local, "work", lambda self, *given: run_here(*given))


def test_a_job_trains_its_runs_and_records_say_where(session, in_this_process):
    runs = [small_spec({"training.epochs": 1})]
    runs.append(small_spec({"training.epochs": 1, "method.relabel": runs[0].run_id}))
    lost = small_spec({"training.epochs": 1, "seed": 9, "method.relabel": "somewhere-else"})
    assert packed(session, [*runs, lost])() == {lost.run_id: TEACHER}
    place = session.store.read_record(runs[1].run_id)["provenance"]["place"]
    assert place == {"executor": "slurm", "job": "5_0", "node": "node7", "log": ".jobs/noisybench-n/5_0_0_log.err"}
    told = Ledger(session.root).read_end("noisybench-n", "5_0")
    assert told == {"left": {lost.run_id: TEACHER}, "broken": None, "saved": False, "why": None}


class Requeued(Exception):
    pass


@pytest.mark.parametrize(
    ("number", "state", "epoch", "minutes", "requeued", "saved", "why"),
    [
        ("early", "RUNNING", 1, 1, True, True, None),  # at its time limit, with an epoch done
        ("early", "RUNNING", 0, 1, False, False, "its time limit (1 min) is too short for one epoch"),
        ("early", "RUNNING", 0, 600, True, True, None),  # preempted: nobody knows how it would have got on
        ("term", "RUNNING", 1, 600, True, True, None),  # preempted, some time left
        ("term", "COMPLETING", 1, 600, False, False, None),  # cancelled
        ("term", "PENDING", 1, 600, False, False, None),  # requeued by Slurm itself
    ],
)
def test_what_a_job_does_when_it_is_told_to_end(
    session, in_this_process, monkeypatch, number, state, epoch, minutes, requeued, saved, why
):
    from noisybench.execute.slurm.job import preemption_signal
    from noisybench.train import trainer

    told = preemption_signal() if number == "early" else signal.SIGTERM

    def submitit(signum, frame):
        raise Requeued(signum)

    whole = trainer.Run.train_one_epoch

    def interrupt(self, index):
        if index == epoch:
            os.kill(os.getpid(), told)
            if not epoch:
                raise trainer.Interrupted(self.spec.run_id)
        whole(self, index)

    monkeypatch.setattr(trainer.Run, "train_one_epoch", interrupt)
    monkeypatch.setattr(questions, "queue", lambda: {"5_0": Queued(state)})
    before = [(each, signal.getsignal(each)) for each in (preemption_signal(), signal.SIGTERM)]
    signal.signal(preemption_signal(), submitit)
    run = small_spec({"training.epochs": 5})
    function = packed(session, [run], minutes=minutes)
    try:
        if requeued:
            with pytest.raises(Requeued, match=str(int(told))):
                function()
        else:
            assert function() == {run.run_id: STOPPED}
            end = Ledger(session.root).read_end("noisybench-n", "5_0")
            assert (end["saved"], end["why"]) == (saved, why)
    finally:
        for each, handler in before:
            signal.signal(each, handler)
    assert session.store.read_record(run.run_id) is None


def test_a_job_that_cannot_be_requeued_says_so(session, in_this_process, monkeypatch):
    from noisybench.execute.slurm.job import preemption_signal
    from noisybench.train import trainer

    def interrupt(self, index):
        os.kill(os.getpid(), preemption_signal())
        raise trainer.Interrupted(self.spec.run_id)

    monkeypatch.setattr(trainer.Run, "train_one_epoch", interrupt)

    def refuse(signum, frame):
        raise RuntimeError("requeue is off")

    before = signal.signal(preemption_signal(), refuse)
    try:
        packed(session, [small_spec()], minutes=600)()
    finally:
        signal.signal(preemption_signal(), before)
    end = Ledger(session.root).read_end("noisybench-n", "5_0")
    assert end["saved"]
    assert end["why"] == "it cannot be requeued (requeue is off)"


# -- beside the jobs ------------------------------------------------------------------------------------------------


class Cluster:
    """Slurm as the driver sees it. Each element becomes a job that does, at the first look at the queue, what
    ``fates`` says of its first run ("trained" by default), once for each entry."""

    def __init__(self, session, fates=None):
        self.session, self.fates = session, dict(fates or {})
        self.jobs, self.submitted, self.waits, self.room = {}, [], [], 10**6
        self.cancelled, self.number, self.growing = [], 0, False

    def submit(self, arrays, known):
        for array in arrays:
            if self.number >= self.room and not (self.growing and not self.jobs and self.number):
                raise Refused("too many jobs")
            self.number += 1
            runs = tuple(tuple(run.run_id for run in element.runs) for element in array.elements)
            done = Submission(new_name("n"), time.time(), runs, job=str(self.number), after=array.after)
            Ledger(self.session.root).write(done)
            (self.session.root / ".jobs" / done.name).mkdir()
            self.submitted.append((done.after, [list(element) for element in runs]))
            for job, element in zip(done.jobs, array.elements, strict=True):
                self.jobs[job] = (done, element)
            yield done

    def queue(self):
        for job, (submission, element) in list(self.jobs.items()):
            fate = self.fates.get(element.runs[0].run_id, [])
            self._meet(fate.pop(0) if fate else "trained", job, submission, element)
        return {job: Queued("RUNNING") for job in self.jobs}

    def _meet(self, fate, job, submission, element):
        ledger = Ledger(self.session.root)
        if fate == "wait":
            return
        del self.jobs[job]
        if fate == "trained":
            for run in element.runs:
                execute(self.session, run, lambda event: None, lambda: None)
            ledger.write_end(submission.name, job, {"left": {}, "broken": None, "saved": False, "why": None})
        elif isinstance(fate, dict):
            ledger.write_end(submission.name, job, fate)


@pytest.fixture
def make(session, monkeypatch):
    """Drives runs on a Cluster; gives back what happened."""
    monkeypatch.setattr(driving, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(driving, "ASK_SECONDS", 0.0)
    monkeypatch.setattr(driving, "ASK_SELDOM", 0.0)

    def drive(runs, fates=None, *, room=10**6, stop=None, observe=None, runs_per_job=1, detach=False, growing=False):
        cluster = Cluster(session, fates)
        cluster.room, cluster.growing = room, growing
        monkeypatch.setattr(questions, "queue", cluster.queue)
        monkeypatch.setattr(questions, "job_named", lambda name: None)
        monkeypatch.setattr(questions, "why_ended", lambda job: "was killed for memory (OUT_OF_MEMORY)")
        monkeypatch.setattr(questions, "scancel", cluster.cancelled.extend)
        events = []

        def hear(event):
            events.append(event)
            if observe:
                observe(event)

        settings = SlurmSettings(parameters={"time": 5}, runs_per_job=runs_per_job, detach=detach)
        driver = Driver(settings, session, Queue(list(runs), set()), hear, stop or Stop(), cluster)
        driver.begin()
        if not detach:
            driver.follow()
        return cluster, driver, events

    return drive


def small(seed, **changes):
    return small_spec({"training.epochs": 1, "seed": seed, **changes})


def of(events, kind):
    return [event for event in events if event["type"] == kind]


def test_a_study_is_submitted_and_followed_to_its_end(make, session):
    teacher = small(0)
    runs = [teacher, small(0, **{"method.relabel": teacher.run_id}), small(1)]
    cluster, driver, events = make(runs)
    assert cluster.submitted == [(None, [[runs[0].run_id, runs[1].run_id], [runs[2].run_id]])]
    assert driver.broken is None
    assert {event["run_id"]: event["status"] for event in of(events, "settled")} == {
        run.run_id: "finished" for run in runs
    }


def test_a_lost_job_is_submitted_again_alone_and_given_up_after_three(make, session):
    runs = [small(0), small(1)]
    cluster, _, events = make(runs, {runs[0].run_id: ["gone"] * 3}, runs_per_job=2)
    both, first, second = (run.run_id for run in runs), runs[0].run_id, runs[1].run_id
    assert cluster.submitted[0] == (None, [list(both)])
    assert cluster.submitted[1] == (None, [[first], [second]]), "the other one is not to suffer again"
    assert cluster.submitted[2:] == [(None, [[first]])]
    settled = {event["run_id"]: event for event in of(events, "settled")}
    assert settled[second]["status"] == "finished"
    assert settled[first]["status"] == "failed"
    record = session.store.read_record(first)
    assert record["provenance"]["error"] == "its job was killed for memory (OUT_OF_MEMORY), 3 times; the last was 3"
    assert record["provenance"]["place"]["log"].endswith("/3_0_log.err")


def test_a_teacher_that_fails_blocks_its_students(make, session):
    teacher = small(0)
    student = small(0, **{"method.relabel": teacher.run_id})
    _, driver, events = make([teacher, student], {teacher.run_id: ["gone"] * 3})
    assert [event["run_id"] for event in of(events, "blocked")] == [student.run_id]
    assert not driver.open
    assert not driver.losses.counted[student.run_id], "it never had its turn"


def test_a_job_that_saved_but_was_not_requeued_goes_on_and_costs_nothing(make, session):
    run = small(0)
    saved = {"left": {run.run_id: STOPPED}, "broken": None, "saved": True, "why": "it cannot be requeued"}
    cluster, driver, _ = make([run], {run.run_id: [saved] * 5})
    assert len(cluster.submitted) == 6
    assert session.store.read_record(run.run_id)["result"]["status"] == "finished"
    assert not driver.losses.counted


def test_a_time_limit_without_an_epoch_is_a_loss(make, session):
    run = small(0)
    why = "its time limit (1 min) is too short for one epoch"
    stuck = {"left": {run.run_id: STOPPED}, "broken": None, "saved": False, "why": why}
    make([run], {run.run_id: [stuck] * 3})
    error = session.store.read_record(run.run_id)["provenance"]["error"]
    assert error == f"its job ended: {why}, 3 times without a newer checkpoint in between; the last was 3"


def test_what_is_wrong_with_the_store_ends_the_command(make, session):
    run = small(0)
    _, driver, _ = make([run], {run.run_id: [{"left": {}, "broken": "disk full", "saved": False, "why": None}]})
    assert driver.broken.startswith("disk full (said job 1; its log: ")


def test_a_job_that_is_gone_is_submitted_again_by_a_second_command(make, session):
    run = small(0)
    make([run], {run.run_id: ["wait"] * 3}, detach=True)
    cluster, driver, _ = make([run], {run.run_id: ["wait"]}, detach=True)  # which knows nothing of the first one's job
    assert cluster.submitted == [(None, [[run.run_id]])]
    assert len(driver.numbers) == 1


def test_a_job_under_way_is_watched_by_a_second_command(make, session, monkeypatch):
    run = small(0)
    first, _, _ = make([run], {run.run_id: ["wait"] * 3}, detach=True)
    events = []
    submitter = Cluster(session)
    monkeypatch.setattr(questions, "queue", first.queue)
    settings = SlurmSettings(parameters={"time": 5})
    driver = Driver(settings, session, Queue([run], set()), events.append, Stop(), submitter)
    driver.begin()
    driver.follow()
    assert submitter.submitted == []
    assert list(driver.numbers) == ["1"]
    assert of(events, "settled")[0]["status"] == "finished"


def test_jobs_whose_submitter_died_are_found_by_their_name(make, session, monkeypatch):
    run = small(0)
    name = new_name("n")
    Ledger(session.root).write(Submission(name, time.time(), ((run.run_id,),)))
    cluster = Cluster(session)
    monkeypatch.setattr(questions, "queue", lambda: {"77": Queued("PENDING")})
    monkeypatch.setattr(questions, "job_named", {name: "77"}.get)
    driver = Driver(
        SlurmSettings(parameters={"time": 5}), session, Queue([run], set()), lambda event: None, Stop(), cluster
    )
    driver.begin()
    assert cluster.submitted == []
    assert Ledger(session.root).jobs_of()[run.run_id][0] == "77"


def test_a_run_that_another_process_holds_is_not_submitted_but_waited_for(make, session):
    from noisybench.execute.running import Presence

    run, other = small(0), small(1)
    presence = Presence(session.store, run.run_id, {})
    presence.__enter__()

    def observe(event):
        if event["type"] == "settled" and event["run_id"] == other.run_id:
            presence.__exit__()

    cluster, _, events = make([run, other], observe=observe)
    assert cluster.submitted == [(None, [[other.run_id]]), (None, [[run.run_id]])]
    assert len(of(events, "settled")) == 2


def test_what_slurm_has_no_room_for_is_submitted_once_jobs_have_ended(make, session):
    teacher = small(0)
    students = [small(0, **{"method.relabel": teacher.run_id, "training.epochs": 1 + i}) for i in range(3)]
    made = []

    def observe(event):
        if event["type"] == "log" and "Slurm refuses more jobs (too many jobs)" in event["text"]:
            made.append(event)

    with pytest.raises(InputError, match="Slurm refuses the job: too many jobs"):
        make([small(1)], room=0)
    cluster, _, events = make([teacher, *students], room=1, observe=observe, growing=True)
    assert len(made) == 1
    assert len(cluster.submitted) == 2
    assert len(of(events, "settled")) == 4


def test_leaving_touches_no_job_and_failing_fast_cancels_them(make, session):
    runs, stop = [small(0), small(1)], Stop()
    forever = {run.run_id: ["wait"] * 10**4 for run in runs}

    def leave(event):
        stop.request()

    (session.root / runs[0].run_id).mkdir()
    (session.root / runs[0].run_id / "running.json").write_text("{}")
    cluster, driver, _ = make(runs, forever, stop=stop, observe=leave)
    assert cluster.cancelled == []
    assert len(driver.open) == 2
    stop = Stop()
    fates = {runs[0].run_id: ["gone"] * 3, runs[1].run_id: ["wait"] * 10**4}
    cluster, _, _ = make(runs, fates, stop=stop, observe=lambda e: e["type"] == "settled" and stop.request())
    assert len(cluster.cancelled) == 1


def test_the_files_of_a_run_become_events(session):
    run = small(0, **{"training.epochs": 4})
    home = session.store.folder(run.run_id)
    home.mkdir()
    (home / "run.log").write_text("2026-01-01T00:00:00 old words\n")
    watched = Watched.of(run, session.store)
    assert list(watched.look()) == []
    (home / "running.json").write_text("{}")
    rows = [{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": 1.0}]
    (home / "epochs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"epoch": 3')
    with (home / "run.log").open("a") as log:
        log.write("2026-01-01T00:00:00 epoch 1/4 loss 2\n2026-01-01T00:00:00 a word\n2026-01-01T00:00:00 half")
    assert list(watched.look()) == [
        {"type": "start", "run_id": run.run_id},
        {"type": "log", "run_id": run.run_id, "text": "a word"},
        {"type": "epoch", "run_id": run.run_id, "epochs": 4, "epoch": 2, "train_loss": 1.0},
    ]
    assert list(watched.look()) == []
    assert watched.stopped()
    assert [event["type"] for event in watched.look()] == ["start", "epoch"]


# -- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, monkeypatch):
    """``noisybench run`` of a small suite where there is no Slurm -> exit code and last line."""
    import subprocess
    import sys

    (tmp_path / "study.yaml").write_text(
        "name: study\nversion: 1\ndataset: {name: digits, train_subset: 300, test_subset: 100}\n"
        "noise: {kind: symmetric, rate: 0.4}\nmodel: {name: mlp, width: 32}\ntraining: {epochs: 2, batch_size: 50}\n"
        "seeds: 1\nmethods: {SGD: {}}\n"
    )

    def call(*options):
        command = [sys.executable, "-m", "noisybench", "run", "study.yaml", "--executor", "slurm", *options]
        env = {**os.environ, "PATH": str(tmp_path)}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        return done.returncode, (done.stdout + done.stderr).strip().splitlines()[-1]

    return call


def test_a_dry_run_needs_no_slurm(run):
    assert run("--slurm", "time=60", "--dry-run") == (0, "Nothing was trained or written.")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--slurm", "time=60"), "no Slurm here"),
        (("--slurm", "tme=60"), "did you mean 'time'?"),
        (("--slurm", "time=60", "--workers", "0"), "a Slurm job trains in worker processes"),
    ],
)
def test_what_cannot_work_is_one_line_and_nothing_is_written(run, tmp_path, options, text):
    pytest.importorskip("submitit")
    code, line = run(*options)
    assert code == 2
    assert text in line
    assert not (tmp_path / "runs").exists()
