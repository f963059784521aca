"""One run: what it records, and that stopping and resuming change nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_runs import small_spec

from noisybench import registry
from noisybench.errors import InputError
from noisybench.methods import Algorithm, Phase
from noisybench.store import read_arrays
from noisybench.train import checkpoint, trainer
from noisybench.train.trainer import Interrupted, train


class TwoPhases(Algorithm):
    """A toy with everything a resume can get wrong: a network made late, kept values, own draws, its own pace."""

    state = ("running", "kept")

    def __init__(self, task, *, first: registry.Epochs = 2):
        super().__init__(task)
        self.first = first
        self.running, self.kept = torch.zeros(len(task.labels)), 0.0

    def phases(self, training):
        later = training["epochs"] - self.first
        return [Phase("warm", self.first), Phase("pair", later, factor=lambda epoch: 0.5 / (1 + epoch))]

    def begin_phase(self, number, phase):
        if number == 0:
            self.model = self.task.model()
            self.optimizer = self.task.optimizer(self.model)
        else:
            self.networks = [self.task.model(), self.task.model()]
            self.optimizers = [self.task.optimizer(network) for network in self.networks]
            self.chosen = self.task.predict_train(lambda x: self.model(x).argmax(dim=1))
            self.kept += float(self.chosen.sum())

    def step(self, batch):
        first = not hasattr(self, "networks")
        networks = [self.model] if first else self.networks
        optimizers = [self.optimizer] if first else self.optimizers
        noise = 0.05 * torch.randn(batch.images.shape, generator=self.task.generator("jitter"))
        losses = []
        for network, optimizer in zip(networks, optimizers, strict=True):

            def closure(network=network, optimizer=optimizer):
                optimizer.zero_grad()
                loss = self.task.loss(self.task.forward(network, batch.images + noise), batch.labels).mean()
                self.task.count_gradients(len(batch.index))
                loss.backward()
                return loss.detach()

            losses.append(optimizer.step(closure))
        self.running[batch.index] = 0.9 * self.running[batch.index] + losses[0]
        return losses[-1]

    def finish(self):
        self.kept += 1000.0

    def predict(self, images):
        networks = getattr(self, "networks", [self.model])
        return torch.stack([self.task.forward(network, images) for network in networks]).mean(dim=0)


def dropout_mlp(shape, num_classes):
    """One hidden layer with dropout, which draws from torch's own generator."""
    inputs = shape[0] * shape[1] * shape[2]
    layers = [torch.nn.Flatten(), torch.nn.Linear(inputs, 32), torch.nn.ReLU(), torch.nn.Dropout(0.5)]
    return torch.nn.Sequential(*layers, torch.nn.Linear(32, num_classes))


@pytest.fixture(autouse=True)
def _toys():
    registry.algorithm("two_phases")(TwoPhases)
    registry.model("dropout_mlp")(dropout_mlp)
    yield
    registry._components.pop(("algorithm", "two_phases"))
    registry._components.pop(("model", "dropout_mlp"))


def interrupted_after(spec, store, folder, epochs, **options):
    """Train until ``epochs`` epochs are done, be asked to stop, and leave a checkpoint."""
    seen = []
    with pytest.raises(Interrupted):
        train(
            spec, store, folder, observe=seen.append, stop_after=lambda: math.inf if len(rows(seen)) >= epochs else None
        )
    assert len(rows(seen)) == epochs


def rows(events):
    return [event for event in events if event["type"] == "epoch"]


SPECS = {
    "sgd": {},
    "sam": {"training.optimizer": {"name": "sam", "rho": 0.1, "base": {"name": "sgd", "lr": 0.1}}},
    "mixup": {"method.mixup": {"alpha": 1.0}, "dataset.validation": 0.1},
    "dropout": {"model": {"name": "dropout_mlp"}},
    "batch norm": {"model": {"name": "small_cnn"}, "training.augment": ["crop", "flip"]},
    "two phases": {"method.algorithm": {"name": "two_phases", "first": 2}, "training.epochs": 4},
}


@pytest.mark.parametrize("name", SPECS)
def test_a_run_stopped_after_any_epoch_ends_with_the_same_record(name, tmp_path, store, folder):
    spec = small_spec(SPECS[name])
    whole = train(spec, store, folder)
    assert whole["result"]["status"] == "finished"
    for epochs in range(1, spec.data["training"]["epochs"]):
        other = type(store)(tmp_path / f"stopped-{epochs}")
        interrupted_after(spec, other, folder, epochs)
        resumed = train(spec, other, folder)
        assert resumed["provenance"]["resumes"] == 1
        assert resumed["result"] == whole["result"]
        assert resumed["result_sha256"] == whole["result_sha256"]


def test_the_same_run_twice_is_the_same_record(tmp_path, store, folder):
    one = train(small_spec(), store, folder)
    two = train(small_spec(), type(store)(tmp_path / "again"), folder)
    assert one["result_sha256"] == two["result_sha256"]
    assert one["result_sha256"] != train(small_spec({"seed": 1}), store, folder)["result_sha256"]


def test_the_record_agrees_with_its_files(store, folder):
    spec = small_spec({"dataset.validation": 0.2, "training.epochs": 12})
    record = train(spec, store, folder)
    result, home = record["result"], store.folder(spec.run_id)
    curves, content = read_arrays(home / "curves.npz")
    assert content == result["curves_sha256"]
    accuracy, holdout = curves["test_accuracy"], curves["holdout_accuracy"]
    chosen = result["test_accuracy"]
    assert chosen["last"] == accuracy[-1]
    assert chosen["last10"] == pytest.approx(accuracy[2:].mean())
    assert chosen["best"] == accuracy.max()
    assert chosen["best_epoch"] == 1 + int(accuracy.argmax())
    assert chosen["validation"] == accuracy[holdout.argmax()]
    under = result["holdout_accuracy"]
    assert under["last"] == holdout[-1]
    assert under["validation"] == holdout.max()
    assert under["best"] == holdout[accuracy.argmax()]
    predictions, _ = read_arrays(home / "predictions.npz")
    assert len(predictions["train"]) == 300
    correct, content = read_arrays(home / "correct.npz")
    assert record["provenance"]["files"]["correct.npz"] == content
    right = np.unpackbits(correct["correct"], count=int(correct["images"]))
    assert 100 * right.mean() == pytest.approx(chosen["last"])
    assert len(right) == len(predictions["test"]) == 100
    confusion = np.array(result["final"]["confusion"])
    assert confusion.sum() == 100
    assert 100 * np.trace(confusion) / 100 == pytest.approx(chosen["last"])
    assert result["data"]["train_size"] + result["data"]["holdout_size"] == 300
    assert result["gradient_evaluations"] == 12 * result["data"]["train_size"]
    assert {p.name for p in home.iterdir()} == {
        "spec.json",
        "epochs.jsonl",
        "predictions.npz",
        "correct.npz",
        "curves.npz",
        "model.pt",
        "record.json",
    }


def test_memorised_and_corrected_are_shares_of_the_flipped(store, folder):
    spec = small_spec({"training.epochs": 30, "model.width": 256})
    record = train(spec, store, folder)
    from noisybench.train.setup import load_subset, noisy_labels

    data = load_subset(spec.data, folder)
    noise = noisy_labels(spec.data, data)
    predicted, _ = store.predictions(spec.run_id)
    wrong = noise.flipped
    final = record["result"]["final"]
    assert final["memorised"] == pytest.approx(100 * (predicted == noise.labels)[wrong].mean(), abs=1e-3)
    assert final["corrected"] == pytest.approx(100 * (predicted == data.train_labels)[wrong].mean(), abs=1e-3)
    assert final["noisy_accuracy"] == pytest.approx(100 * (predicted == noise.labels).mean(), abs=1e-3)
    assert final["memorised"] > 30  # a wide network at a high rate has begun to fit the wrong labels


def test_without_flips_nothing_is_memorised(store, folder):
    final = train(small_spec({"noise.rate": 0.0}), store, folder)["result"]["final"]
    assert final["memorised"] is None
    assert final["corrected"] is None


def test_learning_rates_follow_schedule_and_warmup(store, folder):
    seen = []
    spec = small_spec({"training.epochs": 4, "training.warmup": 2, "training.schedule": {"name": "constant"}})
    train(spec, store, folder, observe=seen.append)
    steps = 5  # 300 images in batches of 64, the last of 44
    first = [row["learning_rate"] for row in rows(seen)]
    assert first == pytest.approx([0.1 / (2 * steps), 0.1 * (steps + 1) / (2 * steps), 0.1, 0.1])


def test_sam_counts_both_gradients_and_a_student_its_teacher(store, folder):
    sam = {"training.optimizer": {"name": "sam", "rho": 0.1, "base": {"name": "sgd", "lr": 0.1}}}
    teacher = small_spec(sam)
    record = train(teacher, store, folder)
    assert record["result"]["gradient_evaluations"] == 2 * 3 * 300
    student = train(small_spec({"method.relabel": teacher.run_id}), store, folder)["result"]
    assert student["gradient_evaluations"] == 3 * 300 + 2 * 3 * 300
    predicted, content = store.predictions(teacher.run_id)
    assert student["noise"]["relabel_sha256"] == content
    assert student["noise"]["sha256"] == record["result"]["noise"]["sha256"]
    from noisybench.train.setup import load_subset

    wrong = (predicted != load_subset(teacher.data, folder).train_labels).mean()
    assert student["noise"]["new_label_wrong_share"] == pytest.approx(wrong)


def test_divergence_ends_the_run_and_is_recorded(store, folder):
    spec = small_spec({"training.optimizer": {"name": "sgd", "lr": 1e8}, "training.epochs": 5})
    record = train(spec, store, folder)
    assert record["result"]["status"] == "diverged"
    assert record["result"]["test_accuracy"] is None
    assert store.read_record(spec.run_id)["result"]["status"] == "diverged"


def test_a_damaged_checkpoint_gives_way_to_the_one_before(store, folder, monkeypatch):
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(trainer, "CHECKPOINT_COST", 0.0)
    spec = small_spec({"training.epochs": 5})
    whole = train(spec, store, folder)
    other = type(store)(store.root.parent / "damaged")
    interrupted_after(spec, other, folder, 3)
    newest = other.folder(spec.run_id) / checkpoint.NAME
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(bytes(data))
    seen = []
    assert train(spec, other, folder, observe=seen.append)["result_sha256"] == whole["result_sha256"]
    texts = [event["text"] for event in seen if event["type"] == "log"]
    assert any("checksum" in text for text in texts)
    assert any("resumed after epoch 2" in text for text in texts)
    assert newest.with_name("checkpoint.pt.corrupt").exists()


def test_a_checkpoint_made_from_other_labels_is_not_used(store, folder, monkeypatch):
    spec = small_spec()
    interrupted_after(spec, store, folder, 1)
    path = store.folder(spec.run_id)
    state, _ = checkpoint.load(path, device="cpu")
    state["run"]["noise"] = "0" * 64
    checkpoint.save(path, state)
    seen = []
    record = train(spec, store, folder, observe=seen.append)
    assert record["provenance"]["resumes"] == 0
    assert len(rows(seen)) == 3
    assert any("other data or labels" in event.get("text", "") for event in seen)


def test_threads_and_precision_are_inherited_by_a_resume(store, folder):
    spec = small_spec()
    interrupted_after(spec, store, folder, 1)
    record = train(spec, store, folder, threads=2)
    assert record["provenance"]["threads"] == 1
    torch.set_num_threads(1)


def test_oracle_knowledge_has_one_door(store, folder):
    class Peeks(TwoPhases):
        def __init__(self, task, *, oracle: bool = False):
            super().__init__(task)
            self.rate = task.oracle().noise_rate

    registry.algorithm("peeks")(Peeks)
    try:
        changes = {"training.epochs": 3, "method.algorithm": {"name": "peeks", "oracle": False}}
        with pytest.raises(InputError, match="oracle: true"):
            train(small_spec(changes), store, folder)
        changes["method.algorithm"] = {"name": "peeks", "oracle": True}
        assert train(small_spec(changes), store, folder)["result"]["status"] == "finished"
    finally:
        registry._components.pop(("algorithm", "peeks"))


def test_torch_global_state_is_left_alone(store, folder):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train(small_spec(), store, folder)
    assert torch.equal(torch.rand(3), expected)
