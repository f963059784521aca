"""Captured steps: the same run as without, whatever the step; and where they cannot be had, eager steps."""

from __future__ import annotations

import math
from typing import Annotated

import pytest
import torch
from pydantic import Field
from recorded_graphs import NoReads, OneHot, Refused, Tape
from small_runs import small_spec, stopped_after
from torch import nn

from noisybench import registry
from noisybench.losses import build_loss
from noisybench.methods.algorithm import Algorithm
from noisybench.store import Store
from noisybench.train import numerics as numerics_module
from noisybench.train import trainer
from noisybench.train.capture import WARM_UP, graphs_for
from noisybench.train.numerics import may_capture
from noisybench.train.trainer import train

LOSS_PARAMETERS = {
    name: {"transition": [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]} for name in ("forward", "backward")
} | {"active_passive": {"active": "nce", "passive": "mae"}}
STEPS = 300 // 64
"""Full batches of an epoch; a smaller one follows."""


@pytest.fixture
def tape(monkeypatch):
    """Steps of runs on the CPU are captured on this tape; ``tape.on`` switches it."""
    made = Tape()
    made.on = True
    monkeypatch.setattr(numerics_module, "may_capture", lambda device: made.on)
    monkeypatch.setattr(trainer, "graphs_for", lambda numerics: made if made.on and numerics.capture else None)
    return made


@pytest.fixture(autouse=True)
def _fused_everywhere(monkeypatch):
    """Eager runs too: fused optimisers round otherwise than those torch takes on a CPU by default."""
    for optimizer in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        original = optimizer.__init__

        def fused(self, *arguments, _original=original, **keywords):
            _original(self, *arguments, **{"fused": True, **keywords})

        monkeypatch.setattr(optimizer, "__init__", fused)


def both(tape, tmp_path, folder, changes):
    """Records of a run taken eagerly and captured."""
    spec, captures = small_spec(changes), tape.captures
    tape.on = False
    eager = train(spec, Store(tmp_path / "eager"), folder)
    assert tape.captures == captures
    tape.on = True
    return eager, train(spec, Store(tmp_path / "captured"), folder)


def sam(name="sam", **options):
    return {"name": name, **options, "base": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}}


CASES = {
    "sgd": ({}, 1),
    "no momentum": ({"training.optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.0}}, 1),
    "dampening": ({"training.optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "dampening": 0.5}}, 1),
    "adam": ({"training.optimizer": {"name": "adam", "lr": 0.01, "amsgrad": True}}, 1),
    "adamw": ({"training.optimizer": {"name": "adamw", "lr": 0.01}}, 1),
    "clip": ({"training.clip": 0.5}, 1),
    "warm-up": ({"training.warmup": 2, "training.schedule": {"name": "cosine", "end": 0.1}}, 1),
    "batch norm": ({"model": {"name": "small_cnn"}, "training.augment": ["crop", "flip"]}, 1),
    "sam": ({"training.optimizer": sam(rho=0.1), "model": {"name": "small_cnn"}}, 1),
    "sam, jax": ({"training.optimizer": sam(rho=0.1, convention="jax"), "training.clip": 1.0}, 1),
    "sam, rho schedule": ({"training.optimizer": sam(rho=0.2, rho_schedule="linear", rho_end=0.1)}, 1),
    "sam, micro-batches": ({"training.optimizer": sam(rho=0.1, m=16)}, 1),
    "sam, second order": ({"training.optimizer": sam(rho=0.1, second_order=True)}, 1),
    "sam, every other step": ({"training.optimizer": sam(rho=0.1, every=2), "training.epochs": 4}, 2),
    "sam, p": ({"training.optimizer": sam(rho=0.1, p=3.0)}, 1),
    "asam": ({"training.optimizer": sam("asam", rho=0.5, rho_schedule="lr")}, 1),
    "gsam": ({"training.optimizer": sam("gsam", rho_schedule="cosine")}, 1),
    "fsam": ({"training.optimizer": sam("fsam")}, 1),
    "vasso": ({"training.optimizer": sam("vasso")}, 1),
    "looksam": ({"training.optimizer": sam("looksam", k=2), "training.epochs": 4}, 2),
    "msam": ({"training.optimizer": sam("msam")}, 1),
    "saner": ({"training.optimizer": sam("saner", warmup=2)}, 2),
    "mixup": ({"method.mixup": {"alpha": 1.0}}, 1),
    "mixup and sam": ({"method.mixup": {"alpha": 8.0}, "training.optimizer": sam(rho=0.1)}, 1),
    "moving average": ({"method.averaging": {"kind": "ema", "decay": 0.9, "start": 0.4}}, 1),
    "elr": ({"method.algorithm": {"name": "elr"}}, 2),
    "every batch full": ({"dataset.train_subset": 320}, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_captured_runs_are_the_eager_runs_bit_for_bit(name, tape, tmp_path, folder):
    changes, captures = CASES[name]
    eager, captured = both(tape, tmp_path, folder, changes)
    assert captured["provenance"]["capture_error"] is None
    assert captured["provenance"]["capture"] is True
    assert tape.captures >= captures
    assert tape.replays > 0
    assert captured["result"] == eager["result"]


def test_a_steady_step_is_warmed_up_and_captured_once(tape, store, folder):
    train(small_spec(), store, folder)
    assert (tape.warmed, tape.captures, tape.replays) == (WARM_UP, 1, 3 * STEPS - WARM_UP)


def test_resuming_on_either_side_of_a_capture_changes_nothing(tape, tmp_path, folder):
    for changes in ({}, {"training.optimizer": sam("vasso", rho=0.1)}, {"training.optimizer": {"name": "adam"}}):
        spec, home = small_spec(changes), tmp_path / str(len(str(changes)))
        eager, _ = both(tape, home, folder, changes)
        for first, second in ((True, True), (True, False)):
            store = Store(home / f"{first}-{second}")
            tape.on = first
            stopped_after(spec, store, folder, 2)
            tape.on = second
            record = train(spec, store, folder)
            assert record["provenance"]["resumes"] == 1
            assert record["result"] == eager["result"]


def test_checkpoints_hold_plain_numbers(tape, store, folder):
    spec = small_spec({"training.optimizer": sam(rho=0.1, rho_schedule="linear")})
    stopped_after(spec, store, folder, 2)
    assert tape.captures == 1
    saved, _ = trainer.checkpoint.load(store.folder(spec.run_id), device="cpu")
    (group,) = saved["algorithm"]["optimizers"]["optimizer"]["param_groups"]
    assert isinstance(group["lr"], float)
    assert isinstance(group["rho"], float)
    assert group["foreach"] is None


# -- steps that cannot be captured ----------------------------------------------------------------------------------


class Odd(Algorithm):
    """An algorithm whose step does what a graph does not repeat, if ``what`` says so."""

    def __init__(self, task, *, what: str = "", at: Annotated[int, Field(ge=0)] = 0):
        super().__init__(task)
        self.model = task.model()
        self.optimizer = task.optimizer(self.model)
        self.what, self.total, self.turns = what, torch.zeros(()), 0

    def step(self, batch):
        def closure():
            self.optimizer.zero_grad()
            images = batch.images
            if self.what == "draws":
                images = images + 0.1 * torch.rand(images.shape)
            losses = self.task.loss(self.task.forward(self.model, images), batch.labels)
            if self.what == "masks":
                losses = losses[losses < 100]
            self.task.count_gradients(len(images))
            losses.mean().backward()
            return losses.mean().detach()

        loss = self.optimizer.step(closure)
        if self.what == "reads":
            self.turns += float(loss)
        elif self.what == "counts":
            self.turns += 1
        elif self.what == "rebinds":
            self.total = self.total + loss
        elif self.what == "fails" and torch.utils._python_dispatch._get_current_dispatch_mode() is not None:
            raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors")
        return loss

    def details(self):
        return {"total": float(self.total), "turns": float(self.turns)}


@pytest.fixture
def _odd():
    registry.algorithm("odd")(Odd)
    yield
    registry._components.pop(("algorithm", "odd"))


REFUSALS = {
    "draws": "the step draws random numbers",
    "masks": "aten.index.Tensor with a mask",
    "reads": "aten._local_scalar_dense",
    "counts": "the step gives 'turns' a new value",
    "rebinds": "the step gives 'total' a new value",
    "fails": "operation not permitted when stream is capturing",
}


@pytest.mark.usefixtures("_odd")
@pytest.mark.parametrize("what", REFUSALS)
def test_steps_that_cannot_be_captured_are_taken_eagerly_and_undo_nothing(what, tape, tmp_path, folder):
    changes = {
        "method.algorithm": {"name": "odd", "what": what},
        "method.averaging": {"kind": "ema", "decay": 0.9, "start": 0.0},
    }
    eager, captured = both(tape, tmp_path, folder, changes)
    assert captured["result"] == eager["result"]
    assert tape.replays == 0
    assert captured["provenance"]["capture"] is False
    assert REFUSALS[what] in captured["provenance"]["capture_error"]


@pytest.mark.usefixtures("_odd")
def test_a_refusal_is_one_line_and_is_inherited(tape, store, folder):
    spec, seen = small_spec({"method.algorithm": {"name": "odd", "what": "fails"}}), []
    tape.on = True
    deadline = lambda: math.inf if any(event["type"] == "epoch" for event in seen) else None  # noqa: E731
    with pytest.raises(trainer.Interrupted):
        train(spec, store, folder, observe=seen.append, stop_after=deadline)
    lines = [event["text"] for event in seen if event["type"] == "log"]
    assert len(lines) == 1
    assert "\n" not in lines[0]
    assert "are not captured as CUDA graphs (RuntimeError: operation not permitted" in lines[0]
    warmed = tape.warmed
    record = train(spec, store, folder)
    assert tape.warmed == warmed
    assert record["provenance"]["capture"] is False
    assert "not permitted" in record["provenance"]["capture_error"]


def test_dropout_keeps_a_run_eager(tape, tmp_path, folder):
    def with_dropout(shape, num_classes):
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(math.prod(shape), num_classes))

    registry.model("with_dropout")(with_dropout)
    try:
        for optimizer in ({"name": "sgd"}, sam(rho=0.1), sam("esam")):
            changes = {"model": {"name": "with_dropout"}, "training.optimizer": optimizer}
            eager, captured = both(tape, tmp_path / optimizer["name"], folder, changes)
            assert captured["result"] == eager["result"]
            assert tape.captures == 0
    finally:
        registry._components.pop(("model", "with_dropout"))


def test_only_cuda_captures_and_the_environment_may_forbid_it(monkeypatch):
    monkeypatch.delenv("NOISYBENCH_GRAPHS", raising=False)
    assert may_capture("cuda:1")
    assert not may_capture("cpu")
    monkeypatch.setenv("NOISYBENCH_GRAPHS", "off")
    assert not may_capture("cuda")
    assert graphs_for(numerics_module.Numerics("cuda", "bf16", False, 1, True, capture=True)) is None
    monkeypatch.delenv("NOISYBENCH_GRAPHS")
    assert graphs_for(numerics_module.Numerics("cpu", "bf16", False, 1, True, capture=True)) is None


# -- every algorithm ------------------------------------------------------------------------------------------------


def test_the_stand_in_refuses_what_cuda_refuses():
    values = torch.arange(3.0)
    with NoReads():
        for refused in (lambda: values.sum().item(), lambda: values[values > 1], lambda: torch.tensor([1.0])):
            with pytest.raises(Refused):
                refused()


ALGORITHMS = [
    name
    for name in registry.names("algorithm")
    if getattr(registry.get("algorithm", name).target, "capturable", False) and name != "linear_probe"
]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_that_says_so_is_captured_bit_for_bit_without_a_read(name, tape, tmp_path, folder):
    if extra := registry.get("algorithm", name).traits.get("extra"):
        pytest.importorskip(extra)
    changes = {"method.algorithm": {"name": name}, "training.epochs": 3, "training.batch_size": 32}
    changes |= {"dataset.train_subset": 200, "dataset.validation": 0.1, "noise.rate": 0.2, "model.width": 8}
    eager, captured = both(tape, tmp_path, folder, changes)
    assert captured["provenance"]["capture_error"] is None
    assert tape.replays > 0
    assert captured["result"] == eager["result"]


@pytest.mark.parametrize("name", registry.names("loss"))
def test_no_loss_reads_from_the_device_or_copies_to_it(name):
    params = LOSS_PARAMETERS.get(name, {})
    loss = build_loss(name, **params)
    logits, labels = torch.randn(6, 3, requires_grad=True), torch.arange(6) % 3
    loss(logits, labels)  # a matrix is put beside the logits once, in a warm-up
    with NoReads(), OneHot():
        loss(logits, labels).mean().backward()
    assert logits.grad is not None


# -- the real thing -------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["batch norm", "adam", "sam", "sam, rho schedule", "looksam", "mixup", "elr"])
def test_cuda_graphs_train_as_eager_steps_do(name, tmp_path, folder, monkeypatch):
    spec = small_spec(CASES[name][0])
    monkeypatch.setenv("NOISYBENCH_GRAPHS", "off")
    eager = train(spec, Store(tmp_path / "eager"), folder, device="cuda")
    monkeypatch.delenv("NOISYBENCH_GRAPHS")
    captured = train(spec, Store(tmp_path / "captured"), folder, device="cuda")
    assert eager["provenance"]["capture"] is False
    assert captured["provenance"]["capture"] is True
    assert captured["provenance"]["capture_error"] is None
    assert captured["result"]["gradient_evaluations"] == eager["result"]["gradient_evaluations"]
    assert captured["result"]["final"]["train_loss"] == pytest.approx(eager["result"]["final"]["train_loss"], rel=0.02)
