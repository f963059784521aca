"""What must hold for every wrapper in the registry."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn
from wrapped import WRAPPERS, closure_of, data, flat, network

from noisybench.errors import ParameterError
from noisybench.optim import build_optimizer

COST = {"msam": 1}  # passes of a perturbed step; 2 for the others
BASES = [
    {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
    {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True},
    {"name": "adam", "lr": 0.01},
    {"name": "adamw", "lr": 0.01},
]


def built(name: str, model, **options):
    options.setdefault("base", BASES[0])
    return build_optimizer(name, model, **options)


@pytest.mark.parametrize("base", BASES, ids=["sgd", "nesterov", "adam", "adamw"])
@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("name", WRAPPERS)
def test_rho_zero_is_the_base_bit_for_bit_at_the_price_of_the_base(name, clip, base):
    one, two, (x, y) = network(), network(), data()
    if name == "msam" and "adam" in base["name"]:
        with pytest.raises(ParameterError, match="momentum"):
            built(name, one, rho=0.0, base=base)
        return
    log: list = []
    wrapper = built(name, one, rho=0.0, base=base, clip=clip)
    plain = build_optimizer(base["name"], two, clip=clip, **{k: v for k, v in base.items() if k != "name"})
    for _ in range(4):
        wrapper.step(closure_of(one, x, y, log))
        plain.step(closure_of(two, x, y))
        assert wrapper.gradient_passes == 1
    assert torch.equal(flat(one), flat(two))
    assert len(log) == 4
    assert torch.equal(one[1].running_mean, two[1].running_mean)


@pytest.mark.parametrize("name", WRAPPERS)
def test_the_perturbed_point_is_at_distance_rho(name):
    model, (x, y) = network(norm=False), data()
    options = {"esam": {"beta": 1.0, "gamma": 1.0}, "asam": {"biases": "abs", "eta": 1e9}}.get(name, {})
    optimizer = built(name, model, rho=0.05, **options)
    for step in range(3):
        before, log = flat(model), []
        optimizer.step(closure_of(model, x, y, log))
        distance = (log[-1] - before).norm().item()
        if name == "asam":  # T = 1e9 everywhere, so e = rho T g / ||g||
            distance /= 1e9
        quiet = (name == "looksam" and step > 0) or (name == "msam" and step == 0)
        assert distance == pytest.approx(0.0 if quiet else 0.05, rel=1e-5)


@pytest.mark.parametrize("which", [1, 2])
@pytest.mark.parametrize("name", WRAPPERS)
def test_a_pass_that_raises_leaves_weights_statistics_and_memory_as_they_were(name, which):
    model, (x, y) = network(), data()
    optimizer = built(name, model)
    optimizer.step(closure_of(model, x, y))
    if name == "looksam":
        optimizer.count = 5  # where it perturbs again
    before, state = flat(model), copy.deepcopy(optimizer.state_dict())
    with pytest.raises(RuntimeError, match="out of memory"):
        optimizer.step(closure_of(model, x, y, fail_at=1 if name == "msam" else which))
    assert torch.equal(flat(model), before)
    assert_same(optimizer.state_dict(), state)
    assert model[1].num_batches_tracked.item() == (1 if which == 1 or name == "msam" else 2)


@pytest.mark.parametrize("name", WRAPPERS)
def test_batch_norm_statistics_move_once_a_step(name):
    model, (x, y) = network(), data()
    twin = network()
    optimizer = built(name, model)
    optimizer.step(closure_of(model, x, y))
    twin(x)
    assert torch.equal(model[1].running_mean, twin[1].running_mean)  # from the first, unperturbed pass
    for _ in range(5):
        optimizer.step(closure_of(model, x, y))
    assert model[1].num_batches_tracked.item() == 6


@pytest.mark.parametrize("name", WRAPPERS)
def test_unused_parameters_neither_move_nor_jump(name):
    model, (x, y) = network(), data()
    with torch.no_grad():
        spare = nn.Parameter(torch.ones(3, dtype=torch.float64))
    model.register_parameter("spare", spare)
    optimizer = built(name, model)
    for _ in range(6):
        optimizer.step(closure_of(model, x, y))
        assert torch.equal(spare, torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("name", WRAPPERS)
def test_passes_are_counted_as_they_are_made(name):
    model, (x, y) = network(), data()
    log: list = []
    optimizer = built(name, model)
    counted = 0
    for _ in range(6):
        optimizer.step(closure_of(model, x, y, log))
        counted += optimizer.gradient_passes
    forward_only = 6 if name == "esam" else 0
    assert counted == len(log) - forward_only
    expected = {"looksam": 6 + 2, "msam": 6}.get(name, 12)
    assert counted == expected


@pytest.mark.parametrize("stop", [1, 3, 5])
@pytest.mark.parametrize("name", WRAPPERS)
def test_a_saved_state_continues_bit_for_bit(name, stop):
    x, y = data()
    batches = [(x[i::4], y[i::4]) for i in range(4)] * 3

    def train(optimizer, model, part):
        for step, (a, b) in part:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(step)
                optimizer.set_progress(step / 4, 3, 1 - step / 12)
                optimizer.step(closure_of(model, a, b))

    model = network()
    optimizer = built(name, model)
    numbered = list(enumerate(batches))
    train(optimizer, model, numbered[:stop])
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = network()
    resumed = built(name, again)
    again.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    train(optimizer, model, numbered[stop:])
    train(resumed, again, numbered[stop:])
    assert torch.equal(flat(model), flat(again))
    assert_same(optimizer.state_dict(), resumed.state_dict())


@pytest.mark.parametrize("name", WRAPPERS)
def test_the_state_of_the_bare_base_can_be_loaded(name):
    model, (x, y) = network(), data()
    plain = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    plain.step(closure_of(model, x, y))
    optimizer = built(name, model)
    optimizer.load_state_dict(plain.state_dict())
    assert optimizer.param_groups[0]["lr"] == 0.3
    optimizer.step(closure_of(model, x, y))


@pytest.mark.parametrize("name", sorted(set(WRAPPERS) - {"sam", "asam"}))
def test_wrappers_that_remember_take_whole_batches(name):
    model, (x, y) = network(), data()
    with pytest.raises(TypeError, match="whole batches"):
        built(name, model).step(closures=[closure_of(model, x, y)])


def assert_same(one, two):
    assert type(one) is type(two)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two)
    elif isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            assert_same(one[key], two[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert_same(a, b)
    else:
        assert one == two
