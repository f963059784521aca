"""Which layers are a network's last stage and its head: as the authors of PES renew them, and for every network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from noisybench import registry
from noisybench.methods.network_parts import parts_of
from noisybench.models import build_model

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "pes.json").read_text())
SAME = {"ResNet18": "resnet18", "ResNet34": "resnet34", "PreActResNet18": "preact_resnet18"}
STAGES = {
    "airbench_cnn": ["features.4.4", "features.4.5"],
    "cnn8": ["hidden.0", "hidden.1"],
    "cnn9": ["convs.8", "norms.8"],
    "mlp": [],
    "small_cnn": ["features.4.0", "features.4.1"],
}


def parts(name, **params):
    with torch.device("meta"):  # shapes only
        network = build_model(name, (3, 32, 32), 10, **params).eval()
        return network, parts_of(network, torch.zeros(2, 3, 32, 32))


def shapes(network, names):
    own = [weight for name in names for weight in network.get_submodule(name).parameters(recurse=False)]
    return sorted(list(weight.shape) for weight in own)


@pytest.mark.parametrize("theirs", SAME)
def test_residual_networks_are_cut_where_the_authors_cut(theirs):
    network, found = parts(SAME[theirs])
    expected = REFERENCE["renewed_parameter_shapes"][theirs]
    assert shapes(network, found.stage + found.head) == expected["1"]
    assert shapes(network, found.head) == expected["0"]
    assert len(list(network.parameters())) == expected["total"]


@pytest.mark.parametrize("name", STAGES)
def test_plain_networks_are_cut_before_their_last_hidden_layer(name):
    assert parts(name)[1].stage == STAGES[name]


def test_a_final_batch_norm_belongs_to_the_last_stage():
    assert parts("wrn", depth=16, widen=1)[1].stage[-1] == "bn"


def test_the_parts_of_every_registered_network_are_all_of_it():
    for name in registry.names("model"):
        try:
            network, found = parts(name)
        except Exception as error:  # needs an optional package
            pytest.skip(str(error))
        names = found.former + found.stage + found.head
        assert len(names) == len(set(names))
        owners = {
            n for n, module in network.named_modules() if next(module.parameters(recurse=False), None) is not None
        }
        assert set(names) == owners, name
        assert found.former, name
        assert len(found.head) == 1, name


def test_one_layer_is_a_head_alone_and_two_layers_have_no_stage():
    assert parts("mlp", depth=0)[1].former == parts("mlp", depth=0)[1].stage == []
    deep = parts("mlp", depth=2)[1]
    assert (len(deep.former), len(deep.stage), len(deep.head)) == (1, 1, 1)
