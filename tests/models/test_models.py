"""What must hold for every registered network, and parameter counts of published code."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from noisybench import registry
from noisybench.errors import ParameterError
from noisybench.models import build_model

REFERENCE = Path(__file__).parents[1] / "reference"
NAMES = registry.names("model")
SMALLEST = {"cnn9": 28, "airbench_cnn": 9}  # the networks that cannot take 8x8
# Small enough for a test on one core where the network can be made so; the heavy ones run at the smallest size only.
PARAMS = {
    "wrn": {"depth": 10, "widen": 2},
    "mlp": {"width": 32},
    "small_cnn": {"width": 8},
    "airbench_cnn": {"width": 8},
}


def seeded(name: str, shape: tuple[int, int, int], classes: int, **params) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        return build_model(name, shape, classes, **params)


def parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def multiply_adds(model: nn.Module, shape: tuple[int, int, int]) -> int:
    """Of convolutions and linear layers for one image."""
    total = 0

    def count(module, inputs, output):
        nonlocal total
        total += module.weight[0].numel() * output[0].numel()

    handles = [
        module.register_forward_hook(count) for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    model.eval()(torch.zeros(1, *shape))
    for handle in handles:
        handle.remove()
    return total


@pytest.mark.parametrize(("channels", "classes"), [(1, 10), (3, 7)])
@pytest.mark.parametrize("name", NAMES)
def test_maps_images_to_logits_and_trains(name, channels, classes):
    size = SMALLEST.get(name, 8)
    model = seeded(name, (channels, size, size), classes, **PARAMS.get(name, {}))
    images = torch.randn(3, channels, size, size, generator=torch.Generator().manual_seed(0))
    logits = model(images)
    assert logits.shape == (3, classes)
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    for weight_name, weight in model.named_parameters():
        assert weight.grad is not None, weight_name
        assert torch.isfinite(weight.grad).all(), weight_name


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("resnet34", "resnet32_wide", "resnet110", "cnn9")])
def test_takes_the_size_of_cifar_odd_sizes_and_oblong_images(name):
    for shape in ((3, 32, 32), (2, 13, 10)):
        model = seeded(name, shape, 10, **PARAMS.get(name, {})).eval()
        with torch.no_grad():
            assert model(torch.zeros(1, *shape)).shape == (1, 10)


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_gives_one_network(name):
    size = SMALLEST.get(name, 8)
    params = PARAMS.get(name, {})
    one = seeded(name, (1, size, size), 4, **params).state_dict()
    two = seeded(name, (1, size, size), 4, **params).state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("resnet34", "resnet32_wide", "resnet110")])
def test_channels_last_changes_nothing_but_rounding(name):
    size = SMALLEST.get(name, 8)
    model = seeded(name, (3, size, size), 5, **PARAMS.get(name, {})).eval().double()
    images = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        plain = model(images)
        model.to(memory_format=torch.channels_last)
        torch.testing.assert_close(model(images.contiguous(memory_format=torch.channels_last)), plain)


@pytest.mark.parametrize("name", sorted({*NAMES} - {"mlp"}))
def test_images_that_are_too_small_are_refused(name):
    with pytest.raises(ParameterError, match=rf"'{name}' needs images of at least \d+x\d+ pixels, not 3x3"):
        build_model(name, (3, 3, 3), 10)


def test_impossible_shapes_and_class_counts_are_refused():
    with pytest.raises(ParameterError, match="channels, height, width"):
        build_model("mlp", (8, 8), 10)
    with pytest.raises(ParameterError, match="at least 2 classes"):
        build_model("mlp", (1, 8, 8), 1)


@pytest.mark.parametrize(
    ("name", "params", "count"),
    [
        ("resnet20", {}, 269_722),
        ("resnet32", {}, 464_154),
        ("resnet44", {}, 658_586),
        ("resnet56", {}, 853_018),
        ("resnet110", {}, 1_727_962),
        ("resnet32_wide", {}, 29_442_378),
        ("resnet18", {}, 11_173_962),
        ("resnet34", {}, 21_282_122),
        ("preact_resnet18", {}, 11_171_274),
        ("wrn", {}, 36_479_194),
        ("wrn", {"depth": 40, "widen": 2}, 2_243_546),
        ("wrn", {"depth": 16, "widen": 8}, 10_961_370),
        ("cnn8", {}, 1_639_794),
        ("cnn9", {}, 4_434_570),
        ("airbench_cnn", {}, 1_972_792),
    ],
)
def test_parameter_counts_for_ten_classes(name, params, count):
    with torch.device("meta"):
        assert parameters(build_model(name, (3, 32, 32), 10, **params)) == count


PUBLISHED = {
    "resnet20 (option A)": ("resnet20", {}),
    "resnet44 (option A)": ("resnet44", {}),
    "resnet110 (option A)": ("resnet110", {}),
    "DivideMix ResNet18 (PreResNet.py)": ("preact_resnet18", {}),
    "CIFAR-N PreResNet18": ("preact_resnet18", {}),
    "ELR+ PreActResNet18": ("preact_resnet18", {}),
    "WRN-40-2": ("wrn", {"depth": 40, "widen": 2}),
    "WRN-16-8": ("wrn", {"depth": 16, "widen": 8}),
    "Co-teaching 9-layer CNN": ("cnn9", {}),
    "APL ResNet34 CIFAR100": ("resnet34", {}),
    "CIFAR-N ResNet34": ("resnet34", {}),
    "CIFAR-N ResNet18": ("resnet18", {}),
}


@pytest.mark.parametrize("published", sorted(PUBLISHED))
def test_layers_are_those_of_the_published_code(published):
    models = json.loads((REFERENCE / "architectures.json").read_text())["models"]
    (reference,) = [entry for entry in models if entry["name"] == published]
    name, params = PUBLISHED[published]
    with torch.device("meta"):
        model = build_model(name, (3, 32, 32), reference["num_classes"], **params)
        assert parameters(model) == reference["trainable_parameters"]
        assert [list(weight.shape) for weight in model.parameters()] == reference["parameter_shapes"]
        assert multiply_adds(model, (3, 32, 32)) == reference["multiply_adds_32x32"]


def test_the_wide_resnet32_costs_4_point_3_giga_multiply_adds():
    with torch.device("meta"):
        model = build_model("resnet32_wide", (3, 32, 32), 10)
        assert round(multiply_adds(model, (3, 32, 32)) / 1e9, 1) == 4.3
        layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 32


def test_mlp_is_what_its_parameters_say():
    assert parameters(build_model("mlp", (1, 8, 8), 10)) == 64 * 512 + 512 + 512 * 10 + 10
    assert parameters(build_model("mlp", (1, 8, 8), 10, depth=0)) == 64 * 10 + 10
    assert parameters(build_model("mlp", (3, 2, 2), 4, width=5, depth=2)) == (12 * 5 + 5) + (5 * 5 + 5) + (5 * 4 + 4)


def test_a_wide_resnet_has_6n_plus_4_layers():
    with pytest.raises(ParameterError, match="6n \\+ 4"):
        build_model("wrn", (3, 32, 32), 10, depth=30)


@pytest.mark.parametrize(
    ("name", "layer", "deviation"),
    [
        ("resnet32", "stages.0.conv1", math.sqrt(2 / (9 * 16))),  # fan-in
        ("wrn", "stages.2.0.conv1", math.sqrt(2 / (9 * 128))),  # fan-out
        ("resnet32_wide", "conv1", math.sqrt(2 / (9 * 64))),  # fan-out
    ],
)
def test_convolutions_start_at_the_variance_of_their_source(name, layer, deviation):
    model = seeded(name, (3, 32, 32), 10, **PARAMS.get(name, {}))
    weight = model.get_submodule(layer).weight
    assert weight.std().item() == pytest.approx(deviation, rel=0.1)
    assert weight.mean().item() == pytest.approx(0.0, abs=0.2 * deviation)


def test_option_a_shortcut_subsamples_and_pads_with_zero_channels():
    model = seeded("resnet20", (3, 8, 8), 10)
    block = model.stages[3]  # 16 -> 32 channels
    nn.init.zeros_(block.conv2.weight)  # residual 0 in eval mode with fresh statistics
    x = torch.rand(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    y = block.eval()(x)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


def test_wide_shortcut_averages_and_pads_with_zero_channels():
    block = seeded("resnet32_wide", (3, 8, 8), 10).blocks[5].eval()  # 128 -> 256 channels
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(1, 128, 8, 8, generator=torch.Generator().manual_seed(0))
    y = block(x)
    means = x.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5))
    torch.testing.assert_close(y[:, 64:192], means)
    assert not y[:, :64].any()
    assert not y[:, 192:].any()


def test_cnn9_drops_channels_in_training_only():
    model = seeded("cnn9", (1, 28, 28), 4)
    x = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert not torch.equal(model(x), model(x))
        model.eval()
        assert torch.equal(model(x), model(x))
