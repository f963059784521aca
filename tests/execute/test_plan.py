"""The order in which runs are begun."""

from __future__ import annotations

from itertools import permutations

from small_runs import small_spec

from noisybench.data import DataFolder
from noisybench.execute.plan import in_order, longest_first
from noisybench.execute.queue import Queue
from noisybench.spec import RunSpec


def run(run_id, teacher=None):
    return RunSpec({"method": {"relabel": teacher}}, run_id)


def ids(runs):
    return [spec.run_id for spec in runs]


def finish(runs, costs, workers):
    """(run, start, end) of every run as a queue hands them to ``workers`` workers, by the clock of their costs."""
    queue, working, now, done = Queue(list(runs), set()), [], 0.0, []
    while queue.waiting or working:
        while len(working) < workers and (spec := queue.next()):
            working.append((now + costs[spec.run_id], spec.run_id, now))
        end, run_id, start = min(working)
        working.remove((end, run_id, start))
        now = end
        queue.settle(run_id, "finished", "")
        done.append((run_id, start, end))
    return done


def test_the_longest_run_is_begun_first_and_equal_ones_keep_their_order():
    runs = [run("a"), run("b"), run("c"), run("d")]
    assert ids(longest_first(runs, {"a": 1, "b": 5, "c": 1, "d": 3})) == ["b", "d", "a", "c"]
    assert ids(longest_first(runs, dict.fromkeys("abcd", 2))) == ["a", "b", "c", "d"]


def test_a_teacher_goes_by_what_hangs_on_it():
    runs = [run("long"), run("teacher"), *(run(name, "teacher") for name in "xyz")]
    costs = {"long": 3, "teacher": 1, "x": 1, "y": 1, "z": 1}
    order = longest_first(runs, costs)
    assert Queue(list(order), set()).next().run_id == "teacher"
    assert ids(longest_first(runs, costs | {"long": 5}))[3:] == ["long", "teacher"]


def test_the_students_of_students_count():
    runs = [run("long"), run("teacher"), run("student", "teacher"), run("its student", "student")]
    order = longest_first(runs, {"long": 5, "teacher": 1, "student": 1, "its student": 4})
    assert ids(order) == ["student", "its student", "teacher", "long"]


def test_a_student_starts_as_its_teacher_ends():
    runs = [run("a"), run("b"), run("c"), run("d"), run("student", "a")]
    costs = {"a": 4, "b": 4, "c": 3, "d": 3, "student": 1}
    begun = {run_id: start for run_id, start, _ in finish(longest_first(runs, costs), costs, 2)}
    ended = {run_id: end for run_id, _, end in finish(longest_first(runs, costs), costs, 2)}
    assert begun["student"] == ended["a"] == 4


def test_a_study_ends_early():
    costs = {"a": 1, "b": 1, "c": 1, "d": 1, "long": 4}
    runs = [run(name) for name in costs]
    assert max(end for *_, end in finish(runs, costs, 2)) == 6
    assert max(end for *_, end in finish(longest_first(runs, costs), costs, 2)) == 4


def test_every_order_begins_every_run():
    runs = [run("a"), run("b", "a"), run("c", "b"), run("d", "settled elsewhere")]
    for order in permutations(runs):
        assert sorted(ids(longest_first(order, dict.fromkeys("abcd", 1)))) == ["a", "b", "c", "d"]


def test_costs_are_epochs_times_passes_times_multiply_adds_times_images(folder):
    sam = {"name": "sam", "rho": 0.05, "base": {"name": "sgd", "lr": 0.1}}
    runs = [
        small_spec(),
        small_spec({"training.epochs": 5}),
        small_spec({"training.optimizer": sam}),
        small_spec({"model.width": 512}),
        small_spec({"dataset.train_subset": 1000}),
    ]
    order = in_order(runs, folder, 2)
    assert order[0] is runs[3]
    assert order[1] is runs[4]
    assert order[-1] is runs[0]
    assert in_order(runs, folder, 1) == runs


def test_data_that_cannot_be_loaded_leaves_the_order_to_the_suite(tmp_path):
    runs = [small_spec(), small_spec({"dataset.train_subset": 10**6, "training.epochs": 9})]
    assert in_order(runs, DataFolder(tmp_path), 2) == runs
