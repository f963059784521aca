"""Which layers count as hidden, by their shapes, for every kind of network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from noisybench import registry
from noisybench.errors import InputError
from noisybench.methods.hidden_features import hidden_features
from noisybench.models import build_model

WIDTHS = {
    "cnn8": [196, 196, 256],  # input of the last convolution, its pooled output, the hidden layer
    "cnn9": [512, 256, 128],
    "mlp": [512],
    "preact_resnet18": [512] * 2,
    "resnet18": [512] * 2,
    "resnet20": [64] * 3,
    "resnet34": [512] * 3,  # as the authors of RoG
    "resnet32_wide": [512] * 5,
    "small_cnn": [32, 64, 64],
    "wrn": [640] * 4,
}


def network_of(name, **params):
    torch.manual_seed(0)
    return build_model(name, (3, 32, 32), 10, **params).eval()


@pytest.mark.parametrize("name", WIDTHS)
def test_the_last_hidden_layers_of_a_network(name):
    small = {"wrn": {"depth": 28, "widen": 10}}.get(name, {})
    with torch.device("meta"):  # shapes only
        network = build_model(name, (3, 32, 32), 10, **small).eval()
        layers = hidden_features(network, torch.zeros(2, 3, 32, 32))
    assert [tuple(layer.shape) for layer in layers] == [(2, width) for width in WIDTHS[name]]


def test_every_registered_network_has_hidden_layers():
    for name in registry.names("model"):
        with torch.device("meta"):
            try:
                network = build_model(name, (3, 32, 32), 10).eval()
            except Exception as error:  # needs an optional package
                pytest.skip(str(error))
            assert len(hidden_features(network, torch.zeros(2, 3, 32, 32))) >= 1, name


def test_layers_of_a_perceptron_are_its_activations():
    network, images = network_of("mlp", width=6, depth=4), torch.rand(5, 3, 32, 32)
    hidden, expected = images.flatten(1), []
    for linear in [m for m in network if isinstance(m, nn.Linear)][:-1]:
        hidden = torch.relu(linear(hidden))
        expected.append(hidden)
    layers = hidden_features(network, images)
    assert len(layers) == 3  # the last three of four
    assert all(torch.equal(a, b) for a, b in zip(layers, expected[1:], strict=True))


@pytest.mark.parametrize("name", ["resnet20", "preact_resnet18", "small_cnn", "cnn9"])
def test_the_last_layer_is_what_the_head_takes(name):
    network, images = network_of(name), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        last = hidden_features(network, images)[-1]
        assert torch.allclose(network.head(last), network(images), atol=1e-6)


def test_watching_leaves_nothing_behind():
    network = network_of("resnet20")
    hidden_features(network, torch.rand(2, 3, 32, 32))
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in network.modules())


def test_a_linear_classifier_is_refused():
    with pytest.raises(InputError, match="no hidden layer"):
        hidden_features(network_of("mlp", depth=0), torch.rand(2, 3, 32, 32))
