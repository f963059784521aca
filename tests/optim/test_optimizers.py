"""Optimisers as a suite builds them: base, wrapper, clipping, refusals."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from wrapped import closure_of

from noisybench import registry
from noisybench.errors import ParameterError, UnknownName
from noisybench.optim import Wrapper, build_optimizer
from noisybench.optim.sam import SAM

NAMES = registry.names("optimizer")


def problem() -> tuple[nn.Module, object]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    generator = torch.Generator().manual_seed(2)
    x, y = torch.randn(16, 3, generator=generator), torch.randint(2, (16,), generator=generator)

    return model, closure_of(model, x, y)


def values(model: nn.Module) -> torch.Tensor:
    return torch.cat([weight.detach().reshape(-1) for weight in model.parameters()])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("clip", [None, 0.5])
def test_every_optimiser_trains_counts_its_passes_and_resumes(name, clip):
    model, closure = problem()
    optimizer = build_optimizer(name, model, clip=clip)
    first = optimizer.step(closure)
    assert isinstance(optimizer, Wrapper)
    perturbs = registry.get("optimizer", name).traits.get("wraps") and name != "msam"
    assert optimizer.gradient_passes == (2 if perturbs else 1)
    assert not first.requires_grad
    for _ in range(5):
        optimizer.step(closure)
    again, other_closure = problem()
    resumed = build_optimizer(name, again, clip=clip)
    again.load_state_dict(model.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # torch hands out its own tensors
    for _ in range(3):
        with torch.random.fork_rng(devices=[]):  # ESAM draws from torch's generator, as dropout does
            last = optimizer.step(closure)
        with torch.random.fork_rng(devices=[]):
            resumed.step(other_closure)
    assert torch.equal(values(model), values(again))
    assert last < first
    assert model[1].num_batches_tracked.item() == 9


@pytest.mark.parametrize("name", NAMES)
def test_the_learning_rate_is_read_from_the_groups(name):
    model, closure = problem()
    optimizer = build_optimizer(name, model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = values(model)
    optimizer.step(closure)
    assert torch.equal(values(model), before)


@pytest.mark.parametrize(
    ("name", "params", "torch_class", "torch_params"),
    [
        ("sgd", {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}, torch.optim.SGD, None),
        ("sgd", {"lr": 0.1, "momentum": 0.5, "dampening": 0.5}, torch.optim.SGD, None),
        ("adam", {"lr": 0.01, "beta1": 0.8, "beta2": 0.99}, torch.optim.Adam, {"lr": 0.01, "betas": (0.8, 0.99)}),
        ("adamw", {"lr": 0.01, "weight_decay": 0.1}, torch.optim.AdamW, None),
    ],
)
def test_base_optimisers_are_torchs(name, params, torch_class, torch_params):
    model, closure = problem()
    twin, twin_closure = problem()
    ours = build_optimizer(name, model, **params)
    theirs = torch_class(twin.parameters(), **(torch_params or params))
    for _ in range(3):
        ours.step(closure)
        theirs.step(twin_closure)
    assert torch.equal(values(model), values(twin))


def test_clip_bounds_the_gradient_of_the_base_and_changes_nothing_below():
    for clip in (0.01, 1e6):
        model, closure = problem()
        before = values(model)
        closure()
        norm = torch.cat([weight.grad.reshape(-1) for weight in model.parameters()]).norm().item()
        build_optimizer("sgd", model, lr=1.0, momentum=0.0, clip=clip).step(closure)
        assert (values(model) - before).norm().item() == pytest.approx(min(norm, clip), rel=1e-4)


def test_sam_is_built_around_its_base_with_networks_and_clip():
    model, closure = problem()
    sam = build_optimizer("sam", model, base={"name": "adam", "lr": 0.01}, clip=5.0, rho=0.2, p="inf")
    assert isinstance(sam, SAM)
    assert isinstance(sam.base, torch.optim.Adam)
    assert sam.models == [model]
    assert sam.max_grad_norm == 5.0
    assert sam.p == float("inf")
    assert [group["rho"] for group in sam.param_groups] == [0.2]
    sam.step(closure)
    assert model[1].num_batches_tracked.item() == 1
    assert isinstance(build_optimizer("sam", model).base, torch.optim.SGD)


def test_asam_has_its_authors_defaults_and_finds_biases_by_itself():
    model, closure = problem()
    asam = build_optimizer("asam", model)
    assert (asam.param_groups[0]["rho"], asam.eta, asam.adaptive, asam.biases) == (0.5, 0.01, True, "one")
    asam.step(closure)


def test_rho_zero_under_the_name_sam_equals_sgd():
    model, closure = problem()
    twin, twin_closure = problem()
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
    sam = build_optimizer("sam", model, rho=0.0, base={"name": "sgd", **settings}, clip=0.1)
    sgd = build_optimizer("sgd", twin, clip=0.1, **settings)
    for _ in range(3):
        sam.step(closure)
        sgd.step(twin_closure)
    assert torch.equal(values(model), values(twin))
    assert sam.gradient_passes == 1


def test_several_networks_share_one_optimiser_and_shared_weights_count_once():
    one, closure = problem()
    two, _ = problem()
    two[0].weight = one[0].weight
    optimizer = build_optimizer("sam", [one, two])
    assert len(optimizer.param_groups[0]["params"]) == 6 + 6 - 1
    assert optimizer.models == [one, two]
    optimizer.step(closure)  # parameters without gradient are left alone


@pytest.mark.parametrize(
    ("name", "arguments", "key", "message"),
    [
        ("sgd", {"base": {"name": "adam"}}, "base", "wraps nothing"),
        ("sam", {"base": {"name": "asam"}}, "base.name", "cannot be wrapped"),
        ("sam", {"base": {"name": "sgd", "momentun": 0.9}}, "base.momentun", "did you mean 'momentum'"),
        ("sam", {"p": 1.0}, "p", "greater than 1"),
        ("sam", {"p": "infinite"}, "p", "inf"),
        ("sam", {"rho": -0.1}, "rho", "greater than or equal to 0"),
        ("sgd", {"nesterov": True, "momentum": 0.0}, "nesterov", "momentum"),
        ("adam", {"momentum": 0.9}, "momentum", "no parameter"),
    ],
)
def test_what_cannot_be_built_is_refused_with_its_key(name, arguments, key, message):
    with pytest.raises(ParameterError, match=message) as error:
        build_optimizer(name, nn.Linear(2, 2), **arguments)
    assert error.value.key == key


def test_an_unknown_name_is_refused_with_a_hint():
    with pytest.raises(UnknownName, match="did you mean 'adam'"):
        build_optimizer("adan", nn.Linear(2, 2))
