"""Co-teaching, Co-teaching+ and JoCoR as runs: they learn, resume, and take the optimisers of the suite."""

from __future__ import annotations

import types

import numpy as np
import pytest
import torch
from small_runs import small_spec, stopped_after

from noisybench import registry
from noisybench.errors import InputError
from noisybench.methods.coteaching import Coteaching
from noisybench.methods.two_networks import answer
from noisybench.store import read_arrays
from noisybench.train.trainer import train

NAMES = ["coteaching", "coteaching_plus", "jocor"]
DIGITS = {"dataset.train_subset": None, "dataset.test_subset": None, "model.width": 256, "training.epochs": 30}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What plain training reaches on the same labels."""
    from noisybench.data import DataFolder
    from noisybench.store import Store

    home = tmp_path_factory.mktemp("plain")
    return train(small_spec(DIGITS), Store(home / "runs"), DataFolder(home / "data", None))["result"]


@pytest.mark.parametrize("name", NAMES)
def test_with_its_own_estimate_it_beats_plain_training_at_forty_percent(name, plain, store, folder):
    record = train(small_spec(DIGITS | {"method.algorithm": {"name": name}}), store, folder)["result"]
    assert record["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 5
    assert record["details"]["estimated_noise_rate"] == pytest.approx(0.4, abs=0.1)
    assert record["epochs"] == 50 + 30
    images = record["data"]["train_size"]
    assert record["gradient_evaluations"] == (50 + 2 * 30) * images


@pytest.mark.parametrize("name", NAMES)
def test_stopped_after_any_epoch_it_ends_with_the_same_record(name, tmp_path, store, folder):
    algorithm = {"name": name, "estimate_epochs": 1, "gradual": 2}
    algorithm |= {"init_epochs": 1} if name == "coteaching_plus" else {}
    changes = {"method.algorithm": algorithm, "dataset.validation": 0.1, "training.epochs": 3}
    for optimizer in ("sgd", "adam"):
        spec = small_spec(changes | {"training.optimizer": {"name": optimizer, "lr": 0.01}})
        whole = train(spec, store, folder)
        assert whole["result"]["status"] == "finished"
        for epochs in range(1, 4):
            other = type(store)(tmp_path / f"{optimizer}-{epochs}")
            stopped_after(spec, other, folder, epochs)
            assert train(spec, other, folder)["result"] == whole["result"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("m", [None, 16])
def test_with_sam_each_network_takes_both_gradients(name, m, store, folder):
    sam = {"name": "sam", "rho": 0.05, "m": m, "base": {"name": "sgd", "lr": 0.1}}
    changes = {"method.algorithm": {"name": name, "forget_rate": 0.4}, "training.optimizer": sam}
    record = train(small_spec(changes), store, folder)["result"]
    assert record["status"] == "finished"
    assert record["gradient_evaluations"] == 2 * 2 * 3 * 300


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rate", [0.0, 0.99])
def test_keeping_all_and_keeping_one_are_runs_too(name, rate, store, folder):
    changes = {"method.algorithm": {"name": name, "forget_rate": rate, "gradual": 1}, "training.batch_size": 299}
    changes |= {"training.augment": ["crop"], "model": {"name": "small_cnn"}}
    assert train(small_spec(changes), store, folder)["result"]["status"] == "finished"


@pytest.mark.parametrize("name", NAMES)
def test_the_holdout_is_not_trained_on(name, tmp_path, store, folder, monkeypatch):
    """Other labels in the hold-out, same predictions."""
    from noisybench.train import setup

    spec = small_spec({"method.algorithm": {"name": name, "estimate_epochs": 2}, "dataset.validation": 0.2})
    train(spec, store, folder)
    make = setup.make_task

    def scrambled(*args):
        task = make(*args)
        task.labels[task.holdout] = (task.labels[task.holdout] + 1) % task.num_classes
        return task

    monkeypatch.setattr("noisybench.train.trainer.make_task", scrambled)
    other = type(store)(tmp_path / "other")
    train(spec, other, folder)
    one, two = (read_arrays(s.folder(spec.run_id) / "predictions.npz")[0] for s in (store, other))
    assert np.array_equal(one["train"], two["train"])
    assert np.array_equal(one["test"], two["test"])


@pytest.mark.parametrize("name", NAMES)
def test_mixup_is_refused_in_one_line(name, store, folder):
    with pytest.raises(InputError, match="remove it"):
        train(small_spec({"method.algorithm": {"name": name}, "method.mixup": {"alpha": 1.0}}), store, folder)


def test_each_network_of_coteaching_is_trained_on_the_picks_of_the_other(store, folder):
    """One step of SGD at lr 1: the weights move by the mean gradient over the picks."""
    seen = []

    class Watched(Coteaching):
        def step(self, batch):
            before = [network[1].bias.detach().clone() for network in self.networks]
            losses, gradients = [], []
            for network in self.networks:
                logits = network(batch.images)
                losses.append(torch.nn.functional.cross_entropy(logits, batch.labels, reduction="none").detach())
                gradients.append(logits.softmax(dim=1).detach() - torch.eye(10)[batch.labels])
            value = super().step(batch)
            moved = [b - network[1].bias.detach() for b, network in zip(before, self.networks, strict=True)]
            seen.append((losses, gradients, moved))
            return value

    registry.algorithm("watched")(Watched)
    try:
        changes = {"method.algorithm": {"name": "watched", "forget_rate": 0.5, "gradual": 1}, "model.depth": 0}
        changes |= {"training.optimizer": {"name": "sgd", "lr": 1.0, "momentum": 0.0}, "training.epochs": 2}
        train(small_spec(changes | {"training.schedule": {"name": "constant"}}), store, folder)
    finally:
        registry._components.pop(("algorithm", "watched"))
    losses, gradients, moved = seen[-2]  # a whole batch of the second epoch, where half is left out
    assert len(losses[0]) == 64
    for i in (0, 1):
        picks = losses[1 - i].argsort()[:32]
        assert torch.allclose(moved[i], gradients[i][picks].mean(dim=0), atol=1e-5)
    own = gradients[0][losses[0].argsort()[:32]].mean(dim=0)
    assert not torch.allclose(moved[0], own, atol=1e-5)


def test_networks_that_agree_everywhere_learn_nothing_more(store, folder):
    """After the first epochs of Co-teaching+, equal networks have no disagreement and stay as they are."""
    component = registry.get("algorithm", "coteaching_plus").target
    begin = component.begin_epoch

    def equal(self, epoch, loader):
        self.networks[1].load_state_dict(self.networks[0].state_dict())
        self.before = [p.detach().clone() for p in self.networks[0].parameters()]
        begin(self, epoch, loader)
        kept.append(self)

    kept: list = []
    plain = {"name": "sgd", "lr": 0.1, "momentum": 0.0, "weight_decay": 0.0}
    changes = {"training.optimizer": plain, "method.algorithm": {"name": "coteaching_plus", "init_epochs": 0}}
    changes["method.algorithm"]["forget_rate"] = 0.2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(component, "begin_epoch", equal)
        train(small_spec(changes), store, folder)
    algorithm = kept[-1]
    for before, after in zip(algorithm.before, algorithm.networks[0].parameters(), strict=True):
        assert torch.equal(before, after)


def test_an_ensemble_answers_with_the_mean_probability():
    task = types.SimpleNamespace(forward=lambda network, images: network(images))
    logits = [torch.tensor([[0.0, 0.0]]), torch.tensor([[np.log(3.0), 0.0]])]
    networks = [lambda images, z=z: z for z in logits]
    assert torch.equal(answer(task, networks, torch.zeros(1), False), logits[0])
    together = answer(task, networks, torch.zeros(1), True).exp()
    assert together[0].tolist() == pytest.approx([0.625, 0.375])
