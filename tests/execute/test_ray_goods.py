"""Images, files and plug-ins on machines that have no data folder, without Ray."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from small_runs import small_spec

from noisybench.execute.ray import goods
from noisybench.execute.ray.goods import Shipper, room, sweep_rooms, unload
from noisybench.execute.work import Session, execute
from noisybench.store import Store
from noisybench.train import kept
from noisybench.train.trainer import train


def say(event):
    """Nobody listens."""


@pytest.fixture
def session(store, tmp_path):
    return Session(store.root, tmp_path / "data", None)


@pytest.fixture
def own_room(monkeypatch):
    monkeypatch.setattr(goods, "_room", [])
    monkeypatch.setattr(kept, "_shared", [])
    monkeypatch.setattr(kept, "_own", {})


def test_a_node_trains_without_the_folders_of_the_command(tmp_path, own_room):
    from noisybench.suite import load_suite

    (tmp_path / "here").mkdir()
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 8, 8), np.uint8), np.arange(60) % 4
    np.savez(tmp_path / "here" / "mine.npz", x_train=images, y_train=labels, x_test=images[:20], y_test=labels[:20])
    np.savetxt(tmp_path / "here" / "matrix.csv", 0.7 * np.eye(4) + 0.075, delimiter=",")
    (tmp_path / "here" / "mine.yaml").write_text(
        "name: mine\nversion: 1\ndataset: {name: npz, path: mine.npz}\n"
        "noise: {kind: matrix, path: matrix.csv}\nmodel: {name: mlp, width: 8}\n"
        "training: {epochs: 1, batch_size: 40}\nmethods: {SGD: {}}\n"
    )
    suite = load_suite(str(tmp_path / "here" / "mine.yaml"), sets=[], name=None)
    (spec,) = suite.expand().runs
    here = Session(tmp_path / "store", tmp_path / "here" / "data", suite.directory)
    put = []
    shipped = Shipper(here, lambda value: put.append(value) or len(put) - 1)
    sent = shipped.goods(spec)
    assert shipped.goods(spec) == sent, "everything is put once"
    assert len(put) == 2
    train(spec, Store(tmp_path / "local"), here.folder)
    kept._own.clear()
    (tmp_path / "here").rename(tmp_path / "gone")
    with room().opened():
        there = unload(dataclasses.replace(here, root=tmp_path / "node"), spec, sent, put.__getitem__)
        there.root.mkdir()
        assert execute(there, spec, say, lambda: None)["status"] == "finished"
        images = kept.load_subset(spec.data, there.folder).train_images
        assert np.shares_memory(images, put[0][0]["train_images"]), "mapped, not copied"
    assert not room().folder.exists()
    results = [Store(tmp_path / name).read_record(spec.run_id)["result_sha256"] for name in ("local", "node")]
    assert results[0] == results[1]


def test_a_plug_in_s_component_gets_a_copy_of_the_data(tmp_path, own_room, session):
    from noisybench import registry

    plugin = tmp_path / "mine.py"
    plugin.write_text(
        '"""A loss."""\nfrom torch import Tensor\nfrom torch.nn.functional import cross_entropy\n'
        "from noisybench.registry import loss\n\n\n@loss('sent_along')\n"
        "def sent_along(logits: Tensor, labels: Tensor) -> Tensor:\n"
        '    """Cross entropy."""\n    return cross_entropy(logits, labels, reduction="none")\n'
    )
    registry.load_plugin(plugin)
    spec = small_spec({"method.loss": {"name": "sent_along"}})
    session = dataclasses.replace(session, plugins=(str(plugin),))
    put = []
    sent = Shipper(session, lambda value: put.append(value) or len(put) - 1).goods(spec)
    plugin.unlink()
    with room().opened():
        there = unload(session, spec, sent, put.__getitem__)
        assert Path(there.plugins[0]).read_text().startswith('"""A loss."""')
        images = kept.load_subset(spec.data, there.folder).train_images
    assert np.array_equal(images, put[0][0]["train_images"])
    assert not np.shares_memory(images, put[0][0]["train_images"])


def test_rooms_of_dead_processes_are_cleared_away(tmp_path, monkeypatch):
    for name in ("dead", "young"):
        (tmp_path / f"noisybench-node-{name}").mkdir()
    monkeypatch.setattr(goods.time, "time", lambda: 0.0)
    sweep_rooms(tmp_path)
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 2, "one who is young may be about to lock it"
    monkeypatch.setattr(goods, "YOUNG_SECONDS", -1.0)
    from filelock import FileLock

    with FileLock(tmp_path / "noisybench-node-young" / "alive.lock"):
        sweep_rooms(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["noisybench-node-young"]


@pytest.mark.slow
def test_no_built_in_algorithm_writes_to_the_data_that_a_node_shares(tmp_path):
    from noisybench.data import DataFolder
    from noisybench.data.shared import ARRAYS
    from noisybench.suite import load_suite, smoke_suite

    suite = smoke_suite(load_suite("methods-digits", sets=[], name=None), available=lambda block: True)
    one_of_each = {spec.data["method"]["algorithm"]["name"]: spec for spec in suite.expand().runs if not spec.teacher}
    assert len(one_of_each) > 30
    folder = DataFolder(tmp_path / "data")
    for name, spec in one_of_each.items():
        dataset = kept.load_subset(spec.data, folder)
        before = {array: getattr(dataset, array).tobytes() for array in ARRAYS}
        train(spec, Store(tmp_path / "store"), folder)
        assert {array: getattr(dataset, array).tobytes() for array in ARRAYS} == before, name
