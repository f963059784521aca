"""What is submitted and what a death costs, with a cluster that is made up."""

from __future__ import annotations

import pytest
from small_runs import small_spec

from noisybench.errors import InputError, MissingExtra
from noisybench.execute.executor import Stop
from noisybench.execute.queue import Queue
from noisybench.execute.ray import dispatch, needs
from noisybench.execute.ray.dispatch import AHEAD, SPARE, Dispatch
from noisybench.execute.ray.engine import End, Lost
from noisybench.execute.ray.mailbox import Letter
from noisybench.execute.ray.needs import Need, check_ray, need
from noisybench.execute.ray.task import Answer
from noisybench.execute.settings import RaySettings
from noisybench.execute.work import Session
from noisybench.spec import RunSpec

WORKER = End("worker", "was killed", "all of what Ray says")
NODE = End("node", "was lost with its node")
REFUSED = End("refused", "a node cannot work")
BEGUN = {"type": "begun", "node": "far/away", "task": "7"}


class Cluster:
    """Tasks end as ``fate`` says: it is given the run's number and that of the attempt, and returns an event or an End.
    Also the engine, and the mailbox, of a Dispatch."""

    def __init__(self, fate, begin=True, sizes=(2,)):
        self.fate, self.begin, self.sizes = fate, begin, list(sizes)
        self.tasks, self.letters, self.attempts, self.ended_early = {}, {}, {}, []
        self.most = 0
        self.take = self.answer = self

    def submit(self, spec, token):
        number = self.attempts[spec.run_id] = self.attempts.get(spec.run_id, 0) + 1
        self.tasks[token] = (spec, number)
        self.most = max(self.most, len(self.tasks))
        if self.begin:
            self.letters[token] = Letter()
            self.letters[token].events.append(BEGUN)
        return token

    def slots(self):
        return self.sizes.pop(0) if len(self.sizes) > 1 else self.sizes[0]

    def remote(self, *arguments):
        return "letters"

    def wait(self, references, seconds):
        """Everything is there at once."""

    def ended(self, references):
        return [reference for reference in references if reference == "letters" or reference in self.tasks]

    def get(self, reference, seconds=None):
        if reference == "letters":
            letters, self.letters = self.letters, {}
            return letters
        spec, number = self.tasks.pop(reference)
        fate = self.fate(spec, number)
        if isinstance(fate, End):
            raise Lost(fate)
        return Answer({"run_id": spec.run_id, **fate}, {}, [])

    def end(self, reference):
        self.ended_early.append(reference)
        self.tasks.pop(reference, None)


def settled(spec, number):
    return {"type": "settled", "status": "finished", "test_accuracy": 1.0, "seconds": 1.0, "error": None}


@pytest.fixture
def session(store, tmp_path):
    store.root.mkdir(parents=True)
    return Session(store.root, tmp_path / "data", None)


def work(session, runs, cluster, stop=None, timeout=None):
    events = []
    driver = Dispatch(
        session, Queue(list(runs), set()), events.append, stop or Stop(), cluster, cluster, cluster.submit,
        cluster.slots, timeout,
    )  # fmt: skip
    driver.work()
    driver.dismiss()
    return driver, events


def many(number):
    return [RunSpec({"method": {"relabel": None}, "seed": 0}, f"run-{n}") for n in range(number)]


def test_no_more_is_submitted_than_the_cluster_gives_a_reason_for(session, monkeypatch):
    monkeypatch.setattr(dispatch, "COUNT_SECONDS", -1.0)  # it is counted again in every round
    runs, cluster = many(3000), Cluster(settled, sizes=(0, 4, 100))
    driver, events = work(session, runs, cluster)
    assert driver.broken is None
    assert sum(event["type"] == "settled" for event in events) == 3000
    assert cluster.most == AHEAD * 100 + SPARE
    assert not driver.flights
    assert not driver.tokens


def test_a_run_whose_worker_dies_three_times_is_settled_as_failed(session):
    spec, other = small_spec(), small_spec({"seed": 1})
    cluster = Cluster(lambda run, number: WORKER if run is spec else settled(run, number))
    driver, events = work(session, [spec, other], cluster)
    assert driver.broken is None
    assert cluster.attempts == {spec.run_id: 3, other.run_id: 1}
    record = session.store.read_record(spec.run_id)
    assert record["provenance"]["error"] == "its worker was killed, 3 times without a newer checkpoint in between"
    assert record["provenance"]["traceback"] == "all of what Ray says"
    assert record["provenance"]["place"] == {"executor": "ray", "node": "far/away", "task": "7"}
    texts = [event["text"] for event in events if event["type"] == "log"]
    assert texts == ["its worker was killed; it goes on from its last checkpoint"] * 2


@pytest.mark.parametrize("end", [NODE, WORKER])
@pytest.mark.parametrize(("gets_on", "attempts"), [(True, 9), (False, 3)])
def test_the_loss_of_nodes_and_workers_counts_only_where_nothing_was_kept(session, monkeypatch, end, gets_on, attempts):
    spec, kept = small_spec(), []
    monkeypatch.setattr(dispatch, "epochs_done", lambda folder: len(kept) or None)

    def fate(run, number):
        kept.extend([number] * gets_on)
        return end if number < 9 else settled(run, number)

    cluster = Cluster(fate)
    driver, _ = work(session, [spec], cluster)
    assert driver.broken is None
    assert cluster.attempts[spec.run_id] == attempts
    assert (session.store.read_record(spec.run_id) is None) == gets_on


def test_workers_that_die_before_they_begin_end_the_command(session):
    driver, _ = work(session, many(5), Cluster(lambda run, number: WORKER, begin=False))
    assert driver.broken == "workers die before they can work: the last was killed"


def test_what_no_node_can_do_ends_the_command_and_what_one_cannot_is_tried_elsewhere(session):
    assert work(session, many(5), Cluster(lambda run, number: REFUSED))[0].broken == "a node cannot work"
    full = {"type": "unable", "text": "far/away: No space left on device"}
    driver, events = work(session, many(1), Cluster(lambda run, number: full if number < 3 else settled(run, number)))
    assert driver.broken is None
    assert [event["type"] for event in events] == ["start", "log", "start", "log", "start", "settled"]
    driver, _ = work(session, many(1), Cluster(lambda run, number: full))
    assert driver.broken == "far/away: No space left on device (the last of 3 times)"


def test_a_run_that_was_late_is_settled_with_where_it_was(session):
    spec = small_spec()
    cluster = Cluster(lambda run, number: WORKER)
    begin = cluster.submit

    def submit(run, token):
        reference = begin(run, token)
        cluster.letters[token].events.append({"type": "late", "trace": "in this line"})
        return reference

    cluster.submit = submit
    work(session, [spec], cluster, timeout=5.0)
    told = session.store.read_record(spec.run_id)["provenance"]
    assert told["error"] == "took longer than 5 seconds (--timeout) and was ended"
    assert told["traceback"] == "in this line"


def test_a_run_whose_lock_is_not_free_yet_is_settled_later(session, monkeypatch):
    monkeypatch.setattr(dispatch, "BUSY_SECONDS", 0.0)
    spec, tried = small_spec(), []
    real = dispatch.settle_for

    def busy_first(*arguments):
        tried.append(arguments)
        return {"type": "busy", "run_id": spec.run_id} if len(tried) < 3 else real(*arguments)

    monkeypatch.setattr(dispatch, "settle_for", busy_first)
    driver, _ = work(session, [spec], Cluster(lambda run, number: WORKER))
    assert (len(tried), driver.debts) == (3, [])
    assert session.store.read_record(spec.run_id)["result"]["status"] == "failed"


def test_a_request_to_stop_ends_what_has_not_begun_and_waits_for_the_others(session):
    stop, runs, rounds = Stop(), many(2), []

    class Slow(Cluster):
        def submit(self, spec, token):
            self.begin = spec is runs[0]
            return super().submit(spec, token)

        def ended(self, references):
            rounds.append(references)
            if len(rounds) == 5:
                stop.request()
            return super().ended(references) if references == ["letters"] or len(rounds) > 20 else []

    cluster = Slow(lambda run, number: {"type": "interrupted"})
    driver, events = work(session, runs, cluster, stop)
    assert driver.broken is None
    assert cluster.ended_early == ["run-1/2"]
    assert [event["type"] for event in events] == ["start", "interrupted"]
    assert not driver.flights


# -- what a run needs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "resources", "device", "expected"),
    [
        ({}, {"CPU": 8.0}, "auto", Need(2.0, 0.0, 0)),
        ({}, {"CPU": 8.0, "GPU": 2.0}, "auto", Need(2.0, 1.0, 0)),
        ({}, {}, "cuda", Need(2.0, 1.0, 0)),
        ({}, {"CPU": 8.0, "GPU": 2.0}, "cpu", Need(2.0, 0.0, 0)),
        ({"gpus_per_run": 0.25, "cpus_per_run": 0.5, "memory_per_run": 2.0}, {}, "cpu", Need(0.5, 0.25, 2**31)),
    ],
)
def test_what_a_run_needs(settings, resources, device, expected):
    assert need(RaySettings(**settings), resources, device, 2) == expected


def test_how_many_runs_a_cluster_takes():
    assert Need(1.0, 0.0, 0).fits({"CPU": 7.0, "GPU": 1.0}) == 7
    assert Need(0.1, 0.0, 0).fits({"CPU": 0.3}) == 3
    assert Need(1.0, 0.25, 0).fits({"CPU": 16.0, "GPU": 2.0}) == 8
    assert Need(1.0, 0.0, 2**30).fits({"CPU": 16.0, "memory": 3.5 * 2**30}) == 3
    assert Need(1.0, 1.0, 0).fits({"CPU": 16.0}) == 0


def test_what_must_be_there_before_a_cluster_is_asked(monkeypatch):
    settings = RaySettings()
    found = {"ray": object(), "grpc": None}
    monkeypatch.setattr(needs.importlib.util, "find_spec", found.get)
    check_ray(settings, workers="auto")
    with pytest.raises(InputError, match="belongs to the local executor"):
        check_ray(settings, workers="4")
    with pytest.raises(InputError, match=r"pip install 'ray\[client\]'"):
        check_ray(settings.model_copy(update={"address": "ray://head:10001"}), workers="auto")
    with pytest.raises(InputError, match="a part of a GPU, or whole ones"):
        check_ray(settings.model_copy(update={"gpus_per_run": 1.5}), workers="auto")
    found["ray"] = None
    with pytest.raises(MissingExtra, match=r"pip install 'noisybench\[ray\]'"):
        check_ray(settings, workers="auto")
