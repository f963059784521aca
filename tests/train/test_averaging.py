"""Averaged weights around any method: by hand on a network of one weight, and as runs."""

from __future__ import annotations

import pytest
import torch
from small_runs import small_spec, stopped_after
from torch import nn

from noisybench.store import Store
from noisybench.train.averaging import Averaging
from noisybench.train.trainer import Run, train

EMA, SWA = {"kind": "ema", "decay": 0.9, "start": 0.0}, {"kind": "swa", "decay": None, "start": 0.0}
CNN = {"model": {"name": "small_cnn", "width": 4}}


class Bare:
    """As much of a task as averages need of a network without batch norm."""

    after_step = None
    optimizer_models: list

    def __init__(self, network):
        self.optimizer_models = [[network]]


def one_weight():
    network = nn.Linear(1, 1, bias=False)
    return network, Bare(network)


def put(network, value):
    with torch.no_grad():
        network.weight.fill_(value)


def test_ema_by_hand():
    network, task = one_weight()
    averaging = Averaging(task, {"kind": "ema", "decay": 0.25, "start": 0.0})
    averaging.begin_epoch(0, 1)
    expected = None
    for updates, value in enumerate([1.0, 5.0, 3.0]):
        put(network, value)
        task.after_step([network])
        decay = min(0.25, (1 + updates) / (10 + updates))  # 2/11, then 1/4
        expected = value if expected is None else decay * expected + (1 - decay) * value
    assert averaging.averages[0].weights[0].item() == pytest.approx(expected)
    assert expected == pytest.approx(0.25 * (2 / 11 * 1 + 9 / 11 * 5) + 0.75 * 3)
    with averaging.lent(0, torch.arange(3)):
        assert network.weight.item() == pytest.approx(expected)
    assert network.weight.item() == 3.0


def test_swa_is_the_mean_of_the_weights_at_epoch_ends_from_its_start_on():
    network, task = one_weight()
    averaging = Averaging(task, SWA | {"start": 0.5})
    for phase, (epochs, values) in enumerate([(2, [100.0, 200.0]), (4, [1.0, 2.0, 4.0, 9.0])]):
        for within, value in enumerate(values):
            averaging.begin_epoch(within if phase == 1 else None, epochs)
            put(network, value)
            averaging.end_epoch()
            if phase == 0 or within < 2:
                assert averaging.averages == []  # evaluated as it is
    averaging.settle(5, torch.arange(3))
    assert network.weight.item() == 6.5
    put(network, 1.0)
    with averaging.lent(6, torch.arange(3)):
        assert network.weight.item() == 1.0  # nothing is lent once it is settled


@pytest.mark.parametrize("start", [0.0, 0.5, 0.99])
def test_averaging_has_begun_by_the_last_epoch(start):
    averaging = Averaging(one_weight()[1], SWA | {"start": start})
    averaging.begin_epoch(2, 3)
    assert averaging.active


def test_released_networks_are_forgotten():
    network, task = one_weight()
    averaging = Averaging(task, EMA)
    averaging.begin_epoch(0, 1)
    task.after_step([network])
    task.optimizer_models = []
    averaging.end_epoch()
    assert averaging.averages == []


def test_without_averaging_nothing_changes(tmp_path, store, folder):
    plain = train(small_spec(CNN), store, folder)
    null = train(small_spec(CNN | {"method.averaging": None}), Store(tmp_path / "null"), folder)
    for result in (plain["result"], null["result"]):
        result.pop("spec")
    assert plain["result"] == null["result"]


METHODS = {
    "sam": {"training.optimizer": {"name": "sam", "rho": 0.1, "base": {"name": "sgd", "lr": 0.1}}},
    "batch norm": CNN,
    "two networks": {"method.algorithm": {"name": "dividemix", "warm_up": 1, "ramp": 1}} | CNN,
    "classifier on features": {"method.algorithm": {"name": "rog"}},
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("block", [EMA, SWA], ids=lambda block: block["kind"])
def test_a_stopped_run_ends_with_the_same_record(name, block, tmp_path, store, folder):
    spec = small_spec(METHODS[name] | {"method.averaging": block, "training.epochs": 4})
    whole = train(spec, store, folder)
    assert whole["result"]["status"] == "finished"
    for epochs in (1, 3, 4):
        other = type(store)(tmp_path / f"stopped-{epochs}")
        stopped_after(spec, other, folder, epochs)
        assert train(spec, other, folder)["result"] == whole["result"]


@pytest.mark.parametrize("block", [EMA, SWA], ids=lambda block: block["kind"])
def test_training_goes_on_as_without_averages(block, store, folder):
    """The weights that a method trains, and so its training loss, are the same; what is evaluated is not."""
    rows = {}
    for name, averaging in (("plain", None), ("averaged", block)):
        seen = rows[name] = []
        changes = CNN | {"method.averaging": averaging, "training.epochs": 4, "dataset.validation": 0.1}
        train(small_spec(changes), store, folder, observe=lambda event, seen=seen: seen.append(event))
    losses = {name: [row["train_loss"] for row in seen if row["type"] == "epoch"] for name, seen in rows.items()}
    assert losses["plain"] == losses["averaged"]
    tests = {name: [row["test_loss"] for row in seen if row["type"] == "epoch"] for name, seen in rows.items()}
    assert tests["plain"][-1] != tests["averaged"][-1]


def test_the_saved_weights_are_averages_with_statistics_of_their_own(store, folder):
    weights = []
    end_epoch = Averaging.end_epoch

    class Watched(Averaging):
        def end_epoch(self):
            weights.append(
                [p.detach().clone() for networks in self.task.optimizer_models for p in networks[0].parameters()]
            )
            end_epoch(self)

    spec = small_spec(CNN | {"method.averaging": SWA, "training.epochs": 3})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("noisybench.train.trainer.Averaging", Watched)
        train(spec, store, folder)
    saved = torch.load(store.folder(spec.run_id) / "model.pt", weights_only=True)
    from noisybench.models import build_model

    network = build_model("small_cnn", (1, 8, 8), 10, width=4)
    network.load_state_dict(saved)
    assert len(weights) == 3
    for parameter, *values in zip(network.parameters(), *weights, strict=True):
        torch.testing.assert_close(parameter.detach(), torch.stack(values).mean(dim=0), rtol=1e-5, atol=1e-6)
    # the first batch norm sees what the first convolution makes of the training images: 300 in five batches
    from noisybench.data.augment import normalise
    from noisybench.train.setup import load_subset

    data = load_subset(spec.data, folder)
    images = normalise(torch.from_numpy(data.train_images), data.mean, data.std, torch.float32)
    conv, norm = network.features[0][0], network.features[0][1]
    with torch.no_grad():
        means = conv(images).mean(dim=(0, 2, 3))
    assert norm.num_batches_tracked == 5
    torch.testing.assert_close(norm.running_mean, means, rtol=0.05, atol=0.01)  # the last batch is smaller


def test_averages_help_where_weights_still_move(store, folder):
    """Constant learning rate, 40 % wrong labels: the mean of the last quarter predicts better than its last epoch."""
    accuracies = {}
    for kind, block in {"plain": None, "swa": SWA | {"start": 0.5}, "ema": EMA | {"decay": 0.99}}.items():
        changes = {"dataset.train_subset": 1200, "dataset.test_subset": 500, "training.epochs": 16, "model.width": 64}
        changes |= {"training.schedule": {"name": "constant"}, "method.averaging": block}
        accuracies[kind] = train(small_spec(changes), store, folder)["result"]["test_accuracy"]["last"]
    assert min(accuracies["swa"], accuracies["ema"]) > accuracies["plain"]


def test_finish_sees_the_averages(store, folder, monkeypatch):
    settled = []
    monkeypatch.setattr("noisybench.methods.erm.EmpiricalRiskMinimisation.finish", lambda self: settled.append(runs[0]))
    runs = []
    made = Run.__init__

    def remember(self, *arguments):
        made(self, *arguments)
        runs.append(self.averaging)

    monkeypatch.setattr(Run, "__init__", remember)
    train(small_spec({"method.averaging": EMA}), store, folder)
    assert [averaging.settled for averaging in settled] == [True]
