"""How a run computes: chosen by a rule, given up where it does not work, and the same on resume."""

from __future__ import annotations

import contextlib

import pytest
import torch
from small_runs import SMALL, small_spec, stopped_after
from torch import nn

from noisybench.errors import InputError
from noisybench.methods import task as task_module
from noisybench.methods.compiled import compiled
from noisybench.train import numerics
from noisybench.train.numerics import (
    choose_device,
    choose_numerics,
    cuda_settings,
    gradient_images,
    multiply_adds,
    settle_cuda,
    why_not_compile,
)
from noisybench.train.trainer import train

TRAINING = {**SMALL["training"], "compile": "auto", "epochs": 200}
SAM = {"name": "sam", "rho": 0.1, "base": {"name": "sgd", "lr": 0.1}}


def chosen(training=TRAINING, images=50_000, static=True, device="cpu", model="resnet32"):
    return choose_numerics(training, {"name": model}, (3, 32, 32), 10, device, 1, images=images, static=static)


def test_multiply_adds_of_layers_by_hand():
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(8 * 4 * 4, 10))
    assert multiply_adds(network, (3, 8, 8)) == 8 * 4 * 4 * (3 * 3 * 3) + 8 * 4 * 4 * 10
    assert gradient_images({"epochs": 3, "optimizer": {"name": "sgd"}}, 100) == 300
    assert gradient_images({"epochs": 3, "optimizer": SAM}, 100) == 600


def test_auto_compiles_where_there_is_much_to_do(monkeypatch):
    monkeypatch.setattr(numerics, "why_not_compile", lambda training, device: None)
    assert chosen().compile  # 50,000 images, 200 epochs, 69 million multiply-adds: 7e14
    assert not chosen({**TRAINING, "epochs": 50}).compile  # 1.7e14
    assert chosen({**TRAINING, "epochs": 50, "optimizer": SAM}).compile  # twice that
    assert not chosen(images=5000).compile
    assert not chosen(static=False).compile
    assert not chosen({**TRAINING, "compile": "off"}).compile
    assert chosen({**TRAINING, "compile": "on"}, images=1, static=False).compile


def test_auto_does_without_a_compiler_and_on_says_what_is_missing(monkeypatch):
    builder = pytest.importorskip("torch._inductor.cpp_builder")

    def none():
        raise RuntimeError("no compiler")

    monkeypatch.setattr(builder, "get_cpp_compiler", none)
    assert not chosen().compile
    with pytest.raises(InputError, match=r"training\.compile: on .*C\+\+ compiler.*install g\+\+"):
        chosen({**TRAINING, "compile": "on"})
    assert "second derivatives" in why_not_compile({"optimizer": {**SAM, "second_order": True}}, "cpu")


class Spy:
    """Stands where compiled networks stand and notes what they are given."""

    def __init__(self):
        self.batches = []

    def __call__(self, model, images, precision):
        spy = self

        class Network:
            def __len__(self):  # as torch's own: asking for its truth value raises
                raise TypeError("has no length")

            def __call__(self, images):
                spy.batches.append((len(images), model.training, torch.is_grad_enabled()))
                return model(images)

        return Network()


@pytest.fixture
def _any_compiler(monkeypatch):
    monkeypatch.setattr(numerics, "why_not_compile", lambda training, device: None)


@pytest.mark.usefixtures("_any_compiler")
def test_compiled_code_sees_full_batches_in_training_and_nothing_else(store, folder, monkeypatch):
    spy = Spy()
    monkeypatch.setattr(task_module, "compiled", spy)
    record = train(small_spec({"training.compile": "on"}), store, folder)
    assert record["provenance"]["compile"] is True
    assert record["provenance"]["compile_error"] is None
    assert spy.batches == [(64, True, True)] * (3 * (300 // 64))


@pytest.mark.usefixtures("_any_compiler")
def test_a_compilation_that_fails_is_given_up_under_auto_for_good(store, folder, monkeypatch):
    tried = []

    def broken(model, images, precision):
        tried.append(images.shape)
        raise RuntimeError("no such instruction\nmore of it")

    monkeypatch.setattr(task_module, "compiled", broken)
    monkeypatch.setattr(numerics, "COMPILE_WORK", 0)
    spec, seen = small_spec({"training.compile": "auto"}), []
    stopped_after(spec, store, folder, 1)
    assert len(tried) == 1
    record = train(spec, store, folder, observe=seen.append)
    assert len(tried) == 1
    assert record["result"]["status"] == "finished"
    assert record["provenance"]["compile"] is False
    assert record["provenance"]["compile_error"] == "RuntimeError: no such instruction"
    eager = train(small_spec(), type(store)(store.root.parent / "eager"), folder)
    assert record["result"]["test_accuracy"] == eager["result"]["test_accuracy"]


@pytest.mark.usefixtures("_any_compiler")
def test_a_compilation_that_fails_ends_a_run_that_insists(store, folder, monkeypatch):
    def broken(model, images, precision):
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(task_module, "compiled", broken)
    with pytest.raises(
        InputError, match=r"torch\.compile failed \(RuntimeError: no such instruction\); set it to auto"
    ):
        train(small_spec({"training.compile": "on"}), store, folder)


@pytest.mark.slow
def test_compiled_networks_of_one_shape_share_their_code_and_agree_with_eager():
    if why_not_compile(TRAINING, "cpu") is not None:
        pytest.skip("no compiler")
    from torch._dynamo.utils import counters

    from noisybench.models import build_model

    counters.clear()
    images = torch.randn(16, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    for seed in range(10):
        torch.manual_seed(seed)
        model = build_model("small_cnn", (3, 8, 8), 10).to(memory_format=torch.channels_last)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        network = compiled(model, images, contextlib.nullcontext)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert all(weight.grad is None for weight in model.parameters())
        torch.testing.assert_close(network(images), model(images), rtol=1e-4, atol=1e-4)
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("device", ["meta", "mps", "gpu", "cuda:x"])
def test_only_devices_that_can_train_are_taken(device):
    with pytest.raises(InputError, match=f"--device {device}: no such kind of device; use auto, cpu, cuda or cuda:N"):
        choose_device(device)


def test_the_number_of_a_gpu_is_checked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == "cuda:1"
    with pytest.raises(InputError, match="--device cuda:2: the last CUDA device of this machine is cuda:1"):
        choose_device("cuda:2")


@pytest.fixture
def _settings_put_back():
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic
    yield
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = before


@pytest.mark.usefixtures("_settings_put_back")
def test_float32_is_float32_on_a_gpu_and_cpu_runs_touch_no_setting():
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = True, False
    settle_cuda("cpu")
    assert torch.backends.cudnn.allow_tf32
    assert cuda_settings("cpu") is None
    settle_cuda("cuda:0")
    assert not torch.backends.cudnn.allow_tf32
    settings = cuda_settings("cuda:0")
    assert settings["tf32"] is False
    assert settings["cudnn_benchmark"] is True
    assert settings["cudnn_deterministic"] is False
