"""The number of workers, the order and the shared data change no result."""

from __future__ import annotations

import random

from small_runs import small_spec

from noisybench.execute.executor import Stop
from noisybench.execute.local import Local
from noisybench.execute.study import run_study, take_stock
from noisybench.execute.work import Session
from noisybench.store import Store


def study():
    """Runs of different length, noise and data, a teacher and its student; precision fp32."""
    fp32 = {"training.precision": "fp32", "model.width": 64}
    teacher = small_spec(fp32)
    sam = {"name": "sam", "rho": 0.1, "base": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0005}}
    return [
        teacher,
        small_spec({**fp32, "seed": 1}),
        small_spec({**fp32, "method.relabel": teacher.run_id, "training.optimizer": sam}),
        small_spec({**fp32, "training.epochs": 5, "model": {"name": "small_cnn", "width": 8}}),
        small_spec({**fp32, "dataset.train_subset": 200, "dataset.validation": 0.1}),
        small_spec({**fp32, "noise.open_set": {"from": {"name": "digits"}, "rate": 0.1}}),
    ]


def trained(root, data, runs, workers):
    session = Session(root, data, None)
    events = []
    outcome = run_study(session, runs, take_stock(session.store, runs, {}), events.append, Stop(), Local(workers))
    assert outcome.exit_code == 0, outcome
    assert outcome.counts["finished"] == len(runs)
    begun = [event["run_id"] for event in events if event["type"] == "start"]
    return [Store(root).read_record(spec.run_id)["result_sha256"] for spec in study()], begun


def test_results_are_equal_with_0_1_and_2_workers_and_in_any_order(tmp_path):
    runs = study()
    expected, begun = trained(tmp_path / "0", tmp_path, runs, 0)
    assert begun == [spec.run_id for spec in runs]
    assert trained(tmp_path / "1", tmp_path, runs, 1)[0] == expected
    again, begun = trained(tmp_path / "2", tmp_path, runs, 2)
    assert again == expected
    assert begun[0] == runs[3].run_id  # the longest first
    assert begun.index(runs[2].run_id) > begun.index(runs[0].run_id)
    shuffled = random.Random(0).sample(runs, len(runs))
    assert trained(tmp_path / "shuffled", tmp_path, shuffled, 0)[0] == expected
