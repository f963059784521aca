"""SAM: what a step must do, by hand, by closed form and by finite differences."""

from __future__ import annotations

import copy
import io
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from noisybench.errors import InputError, ParameterError
from noisybench.optim.sam import SAM


def seeded(*layers_of) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return nn.Sequential(*(layer() for layer in layers_of)).double()


def small_net() -> nn.Sequential:
    return seeded(lambda: nn.Linear(3, 4), nn.Tanh, lambda: nn.Linear(4, 2))


def data(n: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(n, 3, generator=generator, dtype=torch.float64), torch.randint(2, (n,), generator=generator)


def closure_of(model: nn.Module, x: Tensor, y: Tensor, log: list | None = None):
    def closure(create_graph: bool = False) -> Tensor:
        for weight in model.parameters():
            weight.grad = None
        if log is not None:
            log.append([weight.detach().clone() for weight in model.parameters()])
        loss = cross_entropy(model(x), y)
        if create_graph:
            return loss
        loss.backward()
        return loss.detach()

    return closure


def values(model: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in model.parameters()]


def equal(one: list[Tensor], two: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def quadratic(start: list[float], curvature: list[float]):
    """L(w) = 1/2 sum a w^2 with its closure."""
    w = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    a = torch.tensor(curvature, dtype=torch.float64)

    def closure(create_graph: bool = False) -> Tensor:
        w.grad = None
        loss = 0.5 * (a * w * w).sum()
        if create_graph:
            return loss
        loss.backward()
        return loss.detach()

    return w, closure


# -- the step by hand -----------------------------------------------------------------------------------------------


def test_a_step_on_a_quadratic_by_hand():
    """g = (3, 4), e = 0.5 (0.6, 0.8), g' = a (w + e) with a = (1, 2)."""
    w, closure = quadratic([3.0, 2.0], [1.0, 2.0])
    loss = SAM([w], torch.optim.SGD, rho=0.5, lr=0.1).step(closure)
    assert loss.item() == 0.5 * (9 + 8)
    assert w.tolist() == pytest.approx([3 - 0.1 * 3.3, 2 - 0.1 * 2 * 2.4], rel=1e-14)


def test_p_infinity_moves_every_weight_by_rho():
    w, closure = quadratic([3.0, -2.0, 0.0], [1.0, 2.0, 1.0])
    SAM([w], torch.optim.SGD, rho=0.5, p=math.inf, lr=0.1).step(closure)
    assert w.tolist() == pytest.approx([3 - 0.1 * 3.5, -2 + 0.1 * 2 * 2.5, 0.0], rel=1e-14)


def test_p_one_and_a_half_by_hand():
    """q = 3: e = rho sign(g) g^2 / (|g1|^3 + |g2|^3)^(2/3)."""
    w, closure = quadratic([3.0, -2.0], [1.0, 2.0])
    SAM([w], torch.optim.SGD, rho=0.5, p=1.5, lr=0.1).step(closure)
    scale = 0.5 / (27 + 64) ** (2 / 3)
    assert w.tolist() == pytest.approx([3 - 0.1 * (3 + 9 * scale), -2 - 0.1 * 2 * (-2 - 16 * scale)], rel=1e-13)


def test_rho_may_differ_by_group_while_the_norm_is_one():
    """g = (3, 4): both groups divide by 5."""
    u, v = nn.Parameter(torch.tensor(3.0).double()), nn.Parameter(torch.tensor(4.0).double())

    def closure():
        u.grad = v.grad = None
        loss = 0.5 * (u * u + v * v)
        loss.backward()
        return loss.detach()

    groups = [{"params": [u], "rho": 0.5}, {"params": [v], "lr": 0.2}]
    SAM(groups, torch.optim.SGD, rho=1.0, lr=0.1).step(closure)
    assert u.item() == pytest.approx(3 - 0.1 * (3 + 0.5 * 0.6), rel=1e-14)
    assert v.item() == pytest.approx(4 - 0.2 * (4 + 1.0 * 0.8), rel=1e-14)


def test_a_group_with_rho_zero_stays_while_the_other_moves():
    model, (x, y) = small_net(), data()
    log: list = []
    groups = [{"params": model[0].parameters(), "rho": 0.0}, {"params": model[2].parameters()}]
    SAM(groups, torch.optim.SGD, rho=0.1, lr=0.1).step(closure_of(model, x, y, log))
    assert equal(log[0][:2], log[1][:2])
    assert not equal(log[0][2:], log[1][2:])


def test_asam_scales_weights_by_their_size_and_leaves_biases_alone():
    """T = (|w| + eta, 1); e = rho T^2 g / ||T g||."""
    layer = nn.Linear(1, 1).double()
    with torch.no_grad():
        layer.weight.fill_(-2.0)
        layer.bias.fill_(0.5)
    log: list = []

    def closure():
        layer.zero_grad()
        log.append((layer.weight.item(), layer.bias.item()))
        loss = 3 * layer.weight.sum() + 4 * layer.bias.sum()  # g = (3, 4) everywhere
        loss.backward()
        return loss.detach()

    SAM(layer.parameters(), torch.optim.SGD, rho=0.5, adaptive=True, eta=0.01, lr=0.0, model=layer).step(closure)
    norm = math.hypot(2.01 * 3, 4)
    assert log[1][0] == pytest.approx(-2 + 0.5 * 2.01**2 * 3 / norm, rel=1e-14)
    assert log[1][1] == pytest.approx(0.5 + 0.5 * 4 / norm, rel=1e-14)
    log.clear()
    absolute = SAM(layer.parameters(), torch.optim.SGD, rho=0.5, adaptive=True, eta=0.0, biases="abs", lr=0.0)
    absolute.step(closure)
    norm = math.hypot(2 * 3, 0.5 * 4)
    assert log[1][0] == pytest.approx(-2 + 0.5 * 4 * 3 / norm, rel=1e-14)
    assert log[1][1] == pytest.approx(0.5 + 0.5 * 0.25 * 4 / norm, rel=1e-14)


def test_asam_needs_names_to_tell_biases_and_says_so():
    model, (x, y) = small_net(), data()
    with pytest.raises(ParameterError, match=r"model=.*'abs'"):
        SAM(model.parameters(), torch.optim.SGD, adaptive=True, eta=0.01, lr=0.1).step(closure_of(model, x, y))
    named = SAM(model.named_parameters(), torch.optim.SGD, adaptive=True, eta=0.01, lr=0.1)
    named.step(closure_of(model, x, y))


# -- what the second pass must leave alone --------------------------------------------------------------------------


def test_weights_come_back_exactly_before_the_base_steps():
    model, (x, y) = small_net(), data()
    with torch.no_grad():
        model[0].weight.mul_(1e8)  # where w + e - e is not w
        model[0].bias[0] = -0.0
    before, log = values(model), []
    SAM(model.parameters(), torch.optim.SGD, rho=0.3, lr=0.0).step(closure_of(model, x, y, log))
    assert not equal(log[1], before)
    assert equal(values(model), before)
    assert math.copysign(1, model[0].bias[0].item()) == -1


def test_weights_are_copied_back_in_place_so_that_views_stay_views():
    model, (x, y) = small_net(), data()
    view = model[0].weight.detach()
    address = model[0].weight.data_ptr()
    SAM(model.parameters(), torch.optim.SGD, rho=0.3, lr=0.1).step(closure_of(model, x, y))
    assert model[0].weight.data_ptr() == address
    assert torch.equal(view, model[0].weight)


@pytest.mark.parametrize("which", [1, 2])
def test_a_closure_that_raises_leaves_everything_as_it_was(which):
    model = seeded(lambda: nn.Linear(3, 4), lambda: nn.BatchNorm1d(4), lambda: nn.Dropout(0.5), lambda: nn.Linear(4, 2))
    x, y = data()
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.3, lr=0.1, momentum=0.9, model=model)
    inner, calls = closure_of(model, x, y), 0

    def closure():
        nonlocal calls
        calls += 1
        loss = inner()
        if calls == which:
            raise RuntimeError("out of memory")
        return loss

    before = values(model)
    with pytest.raises(RuntimeError, match="out of memory"):
        optimizer.step(closure)
    assert equal(values(model), before)
    assert not optimizer.base.state
    assert model[1].num_batches_tracked.item() == 1  # the first pass, and it alone


def test_a_parameter_used_in_one_pass_only_is_restored_by_what_was_moved():
    model, (x, y) = small_net(), data()
    extra = nn.Parameter(torch.ones(2, dtype=torch.float64))  # first pass only
    late = nn.Parameter(torch.ones(2, dtype=torch.float64))  # second pass only
    weights = [*model.parameters(), extra, late]
    seen = []

    def closure():
        for weight in weights:
            weight.grad = None
        seen.append((extra.detach().clone(), late.detach().clone()))
        loss = cross_entropy(model(x) + (extra if len(seen) == 1 else late), y)
        loss.backward()
        return loss.detach()

    SAM(weights, torch.optim.SGD, rho=0.3, lr=0.1).step(closure)
    assert not torch.equal(seen[1][0], torch.ones(2).double())
    assert torch.equal(extra, torch.ones(2).double())  # moved, put back, no second gradient: no step
    assert torch.equal(seen[1][1], torch.ones(2).double())  # no first gradient: not moved
    assert not torch.equal(late, torch.ones(2).double())  # second gradient: stepped


@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_statistics_move_in_the_first_pass_only(momentum):
    model = seeded(lambda: nn.Linear(3, 4), lambda: nn.BatchNorm1d(4, momentum=momentum), lambda: nn.Linear(4, 2))
    twin, (x, y) = copy.deepcopy(model), data()
    SAM(model.parameters(), torch.optim.SGD, rho=0.3, lr=0.1, model=model).step(closure_of(model, x, y))
    twin(x)  # one forward pass in training mode
    for name, buffer in model[1].named_buffers():
        assert torch.equal(buffer, twin[1].get_buffer(name)), name


def test_the_second_pass_uses_batch_statistics_of_the_moved_network():
    """Against batch norm without running statistics, which has nothing to keep."""
    model = seeded(lambda: nn.Linear(3, 4), lambda: nn.BatchNorm1d(4), lambda: nn.Linear(4, 2))
    twin, (x, y) = copy.deepcopy(model), data()
    bare = nn.BatchNorm1d(4, track_running_stats=False).double()
    bare.load_state_dict(twin[1].state_dict(), strict=False)
    twin[1] = bare
    for net in (model, twin):
        SAM(net.parameters(), torch.optim.SGD, rho=0.3, lr=0.1, model=net).step(closure_of(net, x, y))
    assert equal(values(model), values(twin))


def test_without_the_model_statistics_move_twice():
    model = seeded(lambda: nn.Linear(3, 4), lambda: nn.BatchNorm1d(4), lambda: nn.Linear(4, 2))
    x, y = data()
    SAM(model.parameters(), torch.optim.SGD, rho=0.3, lr=0.1).step(closure_of(model, x, y))
    assert model[1].num_batches_tracked.item() == 2


def test_the_second_pass_repeats_the_dropout_of_the_first_and_the_stream_goes_on_from_there():
    masks = []

    class Spy(nn.Module):
        def forward(self, x):
            masks.append(x.detach() != 0)
            return x

    model = seeded(lambda: nn.Linear(3, 64), lambda: nn.Dropout(0.5), Spy, lambda: nn.Linear(64, 2))
    x, y = data()
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.1, lr=0.1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        optimizer.step(closure_of(model, x, y))
        optimizer.step(closure_of(model, x, y))
        after = torch.rand(1)
        torch.manual_seed(1)
        model(x)
        model(x)
        assert torch.equal(torch.rand(1), after)  # the generator has moved by two passes, not four
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[2], masks[3])
    assert not torch.equal(masks[0], masks[2])


# -- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [torch.optim.SGD, torch.optim.Adam])
def test_rho_zero_is_the_base_step_bit_for_bit_and_runs_the_closure_once(base):
    one, two, (x, y) = small_net(), small_net(), data()
    settings = {"lr": 0.1, "weight_decay": 0.01}
    sam = SAM(one.parameters(), base, rho=0.0, convention="jax", **settings)
    plain = base(two.parameters(), **settings)
    log: list = []
    for _ in range(3):
        sam.step(closure_of(one, x, y, log))
        plain.step(closure_of(two, x, y))
    assert len(log) == 3
    assert sam.gradient_passes == 1
    assert equal(values(one), values(two))


@pytest.mark.parametrize("p", [1.5, 2.0, math.inf])
def test_a_zero_gradient_is_no_perturbation(p):
    w, closure = quadratic([0.0, 0.0], [1.0, 1.0])
    SAM([w], torch.optim.SGD, rho=0.5, p=p, lr=0.1).step(closure)
    assert w.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("p", [1.5, 2.0, math.inf])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_non_finite_gradient_does_what_the_plain_optimiser_does(bad, p):
    """L = w . c has the gradient c at any w; one entry of it is not finite."""
    c = torch.tensor([1.0, bad, 2.0])

    def run(make):
        w = nn.Parameter(torch.ones(3))

        def closure():
            w.grad = None
            loss = (w * c).sum()
            loss.backward()
            return loss.detach()

        make(w).step(closure)
        return w.detach()

    plain = run(lambda w: torch.optim.SGD([w], lr=0.1))
    sam = run(lambda w: SAM([w], torch.optim.SGD, rho=0.5, p=p, lr=0.1))
    assert torch.equal(sam.nan_to_num(nan=99.0), plain.nan_to_num(nan=99.0))
    assert torch.isfinite(sam[[0, 2]]).all()


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_tiny_and_huge_gradients_give_the_same_perturbation(size):
    """In float32, where the square of either is 0 or infinite."""
    w = nn.Parameter(torch.zeros(2))
    seen = []

    def closure():
        w.grad = None
        seen.append(w.detach().clone())
        loss = (w * torch.tensor([3.0, 4.0]) * size).sum()
        loss.backward()
        return loss.detach()

    SAM([w], torch.optim.SGD, rho=0.5, lr=0.0).step(closure)
    assert seen[1].tolist() == pytest.approx([0.3, 0.4], rel=1e-6)


# -- weight decay, clipping, state ----------------------------------------------------------------------------------


def test_decay_in_the_jax_convention_is_an_l2_term_of_the_loss():
    """SAM on L with decay inside equals SAM on L + decay/2 ||w||^2 without decay, momentum and clipping included."""
    one, two, (x, y) = small_net(), small_net(), data()
    decay = 0.05

    def with_penalty():
        two.zero_grad()
        loss = cross_entropy(two(x), y) + 0.5 * decay * sum((w * w).sum() for w in two.parameters())
        loss.backward()
        return loss.detach()

    shared = {"rho": 0.2, "lr": 0.1, "momentum": 0.9, "max_grad_norm": 0.3}
    inside = SAM(one.parameters(), torch.optim.SGD, convention="jax", weight_decay=decay, **shared)
    penalty = SAM(two.parameters(), torch.optim.SGD, **shared)
    for _ in range(4):
        inside.step(closure_of(one, x, y))
        penalty.step(with_penalty)
    for a, b in zip(values(one), values(two), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    assert inside.param_groups[0]["weight_decay"] == decay


def test_decay_outside_is_the_base_optimisers_own():
    """w <- w - lr (g' + decay w), with e from the loss alone: g = (3, 4), rho 0.5."""
    w, closure = quadratic([3.0, 2.0], [1.0, 2.0])
    SAM([w], torch.optim.SGD, rho=0.5, lr=0.1, weight_decay=0.5).step(closure)
    assert w.tolist() == pytest.approx([3 - 0.1 * (3.3 + 1.5), 2 - 0.1 * (4.8 + 1.0)], rel=1e-14)


def test_decay_in_the_jax_convention_is_refused_with_decoupled_decay():
    with pytest.raises(ParameterError, match="AdamW"):
        SAM(small_net().parameters(), torch.optim.AdamW, convention="jax")


def test_clipping_acts_on_the_final_gradient_only():
    w, closure = quadratic([3.0, 2.0], [1.0, 2.0])
    SAM([w], torch.optim.SGD, rho=0.5, lr=1.0, max_grad_norm=1.0).step(closure)
    g = torch.tensor([3.3, 4.8], dtype=torch.float64)  # at w + 0.5 (0.6, 0.8): the ascent was not clipped
    expected = torch.tensor([3.0, 2.0], dtype=torch.float64) - g / (g.norm() + 1e-6)
    torch.testing.assert_close(w.detach(), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("base", [torch.optim.SGD, torch.optim.Adam])
def test_a_saved_state_continues_bit_for_bit(base):
    settings = {"rho": 0.2, "lr": 0.05, "weight_decay": 0.01}
    if base is torch.optim.SGD:
        settings["momentum"] = 0.9
    model, (x, y) = small_net(), data()
    optimizer = SAM(model.parameters(), base, **settings)
    for _ in range(2):
        optimizer.step(closure_of(model, x, y))
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = small_net()
    resumed = SAM(again.parameters(), base, rho=0.7, lr=9.0)
    again.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    for _ in range(2):
        optimizer.step(closure_of(model, x, y))
        resumed.step(closure_of(again, x, y))
    assert equal(values(model), values(again))


def test_a_state_of_the_bare_base_optimiser_can_be_loaded():
    model, (x, y) = small_net(), data()
    plain = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    plain.step(closure_of(model, x, y))
    sam = SAM(model.parameters(), torch.optim.SGD, rho=0.2, lr=0.1, momentum=0.9)
    sam.load_state_dict(plain.state_dict())
    sam.step(closure_of(model, x, y))
    assert sam.param_groups[0]["lr"] == 0.3
    assert sam.param_groups[0]["rho"] == 0.2


def test_schedulers_and_whoever_writes_lr_act_on_the_base():
    w, closure = quadratic([3.0, 2.0], [1.0, 2.0])
    sam = SAM([w], torch.optim.SGD, rho=0.5, lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(sam, step_size=1, gamma=0.5)
    sam.step(closure)
    scheduler.step()
    assert sam.base.param_groups[0]["lr"] == 0.05
    sam.param_groups[0]["lr"] = 0.0
    before = w.detach().clone()
    sam.step(closure)
    assert torch.equal(w, before)


def test_groups_can_be_added_later_and_get_rho():
    model, (x, y) = small_net(), data()
    sam = SAM(model[0].parameters(), torch.optim.SGD, rho=0.5, lr=0.1)
    sam.add_param_group({"params": list(model[2].parameters())})
    assert [group["rho"] for group in sam.base.param_groups] == [0.5, 0.5]
    before = values(model)
    sam.step(closure_of(model, x, y))
    assert not any(torch.equal(a, b) for a, b in zip(before, values(model), strict=True))


def test_can_be_copied_with_its_network():
    model, (x, y) = small_net(), data()
    sam = SAM(model.parameters(), torch.optim.SGD, rho=0.5, lr=0.1, momentum=0.9)
    sam.step(closure_of(model, x, y))
    twin_model, twin = copy.deepcopy((model, sam))
    sam.step(closure_of(model, x, y))
    twin.step(closure_of(twin_model, x, y))
    assert equal(values(model), values(twin_model))


def test_the_base_state_sees_the_final_gradient_only():
    w, closure = quadratic([3.0, 2.0], [1.0, 2.0])
    sam = SAM([w], torch.optim.SGD, rho=0.5, lr=0.1, momentum=0.9)
    sam.step(closure)
    assert sam.state[w]["momentum_buffer"].tolist() == pytest.approx([3.3, 4.8], rel=1e-14)


def test_a_step_without_closure_is_refused():
    w, closure = quadratic([3.0], [1.0])
    sam = SAM([w], torch.optim.SGD, lr=0.1)
    with pytest.raises(TypeError, match="needs a closure"):
        sam.step()
    with pytest.raises(TypeError, match="needs a closure"):
        sam.step(closure, closures=[closure])


@pytest.mark.parametrize(("params", "key"), [({"rho": -1.0}, "rho"), ({"p": 1.0}, "p"), ({"eta": -1.0}, "eta")])
def test_impossible_parameters_are_refused(params, key):
    with pytest.raises(ParameterError) as error:
        SAM(small_net().parameters(), torch.optim.SGD, lr=0.1, **params)
    assert error.value.key == key


# -- m-sharpness ----------------------------------------------------------------------------------------------------


def test_micro_batches_ascend_alone_and_their_gradients_are_averaged():
    model = seeded(lambda: nn.Linear(3, 4), lambda: nn.BatchNorm1d(4), lambda: nn.Linear(4, 2))
    x, y = data()
    parts = [(x[:4], y[:4]), (x[4:8], y[4:8]), (x[8:], y[8:])]
    expected, losses = [], []
    for part in parts:  # SAM's final gradient on each part by itself, at the same w
        twin = copy.deepcopy(model)
        losses.append(SAM(twin.parameters(), torch.optim.SGD, rho=0.3, lr=0.0).step(closure_of(twin, *part)))
        expected.append([weight.grad for weight in twin.parameters()])
    before, log = values(model), []
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.3, lr=0.0, model=model)
    loss = optimizer.step(closures=[closure_of(model, *part, log) for part in parts])
    for weight, grads in zip(model.parameters(), zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(weight.grad, sum(grads) / 3, rtol=1e-13, atol=1e-15)
    assert loss.item() == pytest.approx(sum(losses).item() / 3, rel=1e-14)
    assert equal(log[2], before)
    assert equal(log[4], before)
    assert model[1].num_batches_tracked.item() == 3
    assert optimizer.gradient_passes == 2


def test_one_micro_batch_is_the_ordinary_step():
    one, two, (x, y) = small_net(), small_net(), data()
    SAM(one.parameters(), torch.optim.SGD, rho=0.3, lr=0.1).step(closure_of(one, x, y))
    SAM(two.parameters(), torch.optim.SGD, rho=0.3, lr=0.1).step(closures=[closure_of(two, x, y)])
    assert equal(values(one), values(two))


def test_micro_batches_at_rho_zero_are_gradient_accumulation():
    one, two, (x, y) = small_net(), small_net(), data()
    sam = SAM(one.parameters(), torch.optim.SGD, rho=0.0, lr=0.1)
    sam.step(closures=[closure_of(one, x[:6], y[:6]), closure_of(one, x[6:], y[6:])])
    torch.optim.SGD(two.parameters(), lr=0.1).step(closure_of(two, x, y))
    for a, b in zip(values(one), values(two), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-15)


def test_single_images_are_refused_with_batch_norm_and_welcome_without():
    x, y = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1])
    normed = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    plain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2))
    for model, allowed in ((normed, False), (plain, True)):
        singles = [closure_of(model, x[i : i + 1], y[i : i + 1]) for i in range(2)]
        optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.3, lr=0.1, model=model)
        before = values(model)
        if allowed:
            optimizer.step(closures=singles)
            assert not equal(values(model), before)
        else:
            with pytest.raises(InputError, match="m = 1"):
                optimizer.step(closures=singles)
            assert equal(values(model), before)
            model.eval()
            optimizer.step(closures=singles)  # nothing to normalise by the image itself
    assert not normed[1]._forward_pre_hooks


# -- the second-order term ------------------------------------------------------------------------------------------


def sam_objective(model: nn.Module, x: Tensor, y: Tensor, rho: float) -> float:
    """L(w + rho g / ||g||) with autograd's own gradient."""
    weights = list(model.parameters())
    gradients = torch.autograd.grad(cross_entropy(model(x), y), weights)
    norm = torch.sqrt(sum((g * g).sum() for g in gradients))
    moved = {n: w + rho * g / norm for (n, w), g in zip(model.named_parameters(), gradients, strict=True)}
    return cross_entropy(torch.func.functional_call(model, moved, x), y).item()


def test_second_order_gradient_is_that_of_the_sam_objective():
    model, (x, y) = small_net(), data()
    rho, h = 0.3, 1e-5
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=rho, lr=0.0, second_order=True)
    optimizer.step(closure_of(model, x, y))
    assert optimizer.gradient_passes == 3
    for weight in model.parameters():
        for i in range(weight.numel()):
            flat = weight.data.view(-1)
            kept = flat[i].item()
            flat[i] = kept + h
            above = sam_objective(model, x, y, rho)
            flat[i] = kept - h
            below = sam_objective(model, x, y, rho)
            flat[i] = kept
            assert weight.grad.view(-1)[i].item() == pytest.approx((above - below) / (2 * h), rel=1e-6, abs=1e-8)


def test_second_order_on_a_quadratic_by_hand():
    """a = (1, 2), w = (3, 2): g = (3, 4), u = (0.6, 0.8), g' = (3.3, 4.8), plus a (I - u u^T) g' rho / 5."""
    w, closure = quadratic([3.0, 2.0], [1.0, 2.0])
    SAM([w], torch.optim.SGD, rho=0.5, lr=1.0, second_order=True).step(closure)
    along = 0.6 * 3.3 + 0.8 * 4.8
    extra = [0.1 * (3.3 - 0.6 * along), 0.1 * 2 * (4.8 - 0.8 * along)]
    assert w.tolist() == pytest.approx([3 - 3.3 - extra[0], 2 - 4.8 - extra[1]], rel=1e-13)


def test_second_order_with_decay_inside_is_that_of_the_penalised_loss():
    one, two, (x, y) = small_net(), small_net(), data()
    decay = 0.05

    def with_penalty(create_graph=False):
        two.zero_grad()
        return cross_entropy(two(x), y) + 0.5 * decay * sum((w * w).sum() for w in two.parameters())

    shared = {"rho": 0.2, "lr": 0.1, "second_order": True}
    SAM(one.parameters(), torch.optim.SGD, convention="jax", weight_decay=decay, **shared).step(closure_of(one, x, y))
    SAM(two.parameters(), torch.optim.SGD, **shared).step(with_penalty)
    for a, b in zip(values(one), values(two), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_second_order_keeps_statistics_and_draws_too():
    model = seeded(lambda: nn.Linear(3, 4), lambda: nn.BatchNorm1d(4), lambda: nn.Dropout(0.5), lambda: nn.Linear(4, 2))
    x, y = data()
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.1, lr=0.0, second_order=True, model=model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        optimizer.step(closure_of(model, x, y))
        after = torch.rand(1)
        torch.manual_seed(3)
        torch.nn.functional.dropout(torch.ones(12, 4, dtype=torch.float64), 0.5)
        assert torch.equal(torch.rand(1), after)
    assert model[1].num_batches_tracked.item() == 1


def test_second_order_tells_what_closure_it_needs():
    model, (x, y) = small_net(), data()
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.1, lr=0.1, second_order=True)
    plain = closure_of(model, x, y)
    with pytest.raises(TypeError, match="create_graph"):
        optimizer.step(lambda: plain())
    with pytest.raises(TypeError, match="detached"):
        optimizer.step(lambda create_graph: plain())
    with pytest.raises(ParameterError, match="p = 2"):
        SAM(model.parameters(), torch.optim.SGD, rho=0.1, lr=0.1, second_order=True, p=math.inf)


def test_second_order_on_a_gradient_that_is_not_finite_adds_nothing():
    w = nn.Parameter(torch.ones(2))

    def closure(create_graph=False):
        w.grad = None
        return (w * w * torch.tensor([1.0, math.inf])).sum()

    SAM([w], torch.optim.SGD, rho=0.5, lr=0.1, second_order=True).step(closure)
    assert w[0].item() == pytest.approx(0.8)  # plain descent: 1 - 0.1 x 2
