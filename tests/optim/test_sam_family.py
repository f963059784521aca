"""The relatives of SAM: against published code, and by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from wrapped import closure_of, data, flat, network

from noisybench.errors import ParameterError
from noisybench.optim import SAM, build_optimizer

REFERENCE = Path(__file__).parents[1] / "reference"
FAMILY = json.loads((REFERENCE / "sam_family_trajectories.json").read_text())
RELATIVES = json.loads((REFERENCE / "sam_relatives_trajectories.json").read_text())


def ours(hyper: dict) -> tuple[str, dict]:
    """Name and parameters here for a published case."""
    name = next(n for key, n in KINDS.items() if key in hyper)
    own = {"remaining": ("alpha", lambda x: 1 - x), "images": ("gamma", lambda x: x / 12)}
    options = {"warmup": 0} if name == "saner" else {}
    for key, value in hyper.items():
        if key not in ("lr", "momentum", "weight_decay", "note"):
            renamed, convert = own.get(key, (key, lambda x: x))
            options[renamed] = convert(value)
    return name, options


KINDS = {"sigma": "fsam", "alpha": "gsam", "remaining": "saner", "theta": "vasso", "images": "esam", "rho": "msam"}
# the peers add 1e-12 (Friendly-SAM, GSAM, MSAM, SANER) or 1e-7 (VaSSO, ESAM) to the norm
TOLERANCE = {"fsam": 1e-9, "gsam": 1e-9, "msam": 1e-9, "saner": 1e-9, "vasso": 1e-7, "esam": 1e-7}


@pytest.mark.parametrize("case", [*FAMILY["cases"], *RELATIVES["cases"]], ids=lambda case: case["name"])
def test_five_steps_are_those_of_the_published_code(case):
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4)).double()
    model.load_state_dict({k: torch.tensor(v, dtype=torch.float64) for k, v in FAMILY["init"].items()})
    hyper = case["hyper"]
    name, options = ours(hyper)
    base = {"name": "sgd", **{key: hyper[key] for key in ("lr", "momentum", "weight_decay")}}
    optimizer = build_optimizer(name, model, base=base, **options)
    for x, y, step in zip(FAMILY["x"], FAMILY["y"], case["steps"], strict=True):
        log: list = []
        loss = optimizer.step(closure_of(model, torch.tensor(x, dtype=torch.float64), torch.tensor(y), log))
        if "loss_perturbed" in step:
            assert loss.item() == pytest.approx(step["loss_perturbed"], rel=1e-9)
        if "perturbation" in step:
            parts = [torch.tensor(part, dtype=torch.float64) for part in step["perturbation"].values()]
            moved = torch.cat([part.reshape(-1) for part in parts])
            torch.testing.assert_close(log[1] - log[0], moved, rtol=1e-9, atol=1e-11)
        for key, expected in step["params_after"].items():
            torch.testing.assert_close(
                model.get_parameter(key).detach(),
                torch.tensor(expected, dtype=torch.float64),
                rtol=TOLERANCE[name],
                atol=TOLERANCE[name] / 10,
            )


@pytest.mark.parametrize(
    ("name", "neutral"),
    [
        ("gsam", {"alpha": 0.0}),
        ("looksam", {"k": 1}),
        ("fsam", {"sigma": 0.0}),
        ("vasso", {"theta": 1.0}),
        ("saner", {"alpha": 0.0}),
        ("esam", {"beta": 1.0, "gamma": 1.0}),
    ],
)
def test_without_what_is_its_own_each_is_sam(name, neutral):
    one, two, (x, y) = network(), network(), data()
    relative, sam = build_optimizer(name, one, rho=0.1, **neutral), build_optimizer("sam", two, rho=0.1)
    for start in range(0, 12, 2):
        relative.step(closure_of(one, x[start:], y[start:]))
        sam.step(closure_of(two, x[start:], y[start:]))
    torch.testing.assert_close(flat(one), flat(two), rtol=1e-12, atol=1e-14)


# -- by hand: L(w) = 1/2 (w1^2 + 2 w2^2), w = (3, 2): g = (3, 4), e = 0.5 (0.6, 0.8), g' = (3.3, 4.8)


def quadratic():
    w = nn.Parameter(torch.tensor([3.0, 2.0], dtype=torch.float64))
    holder = nn.Module()
    holder.w = w

    def closure():
        w.grad = None
        loss = 0.5 * (torch.tensor([1.0, 2.0]).double() * w * w).sum()
        loss.backward()
        return loss.detach()

    return holder, w, closure


BASE = {"name": "sgd", "lr": 0.1, "momentum": 0.0}


def test_gsam_takes_away_what_is_orthogonal_to_the_peaks_gradient():
    model, w, closure = quadratic()
    build_optimizer("gsam", model, rho=0.5, alpha=0.4, base=BASE).step(closure)
    share = (3 * 3.3 + 4 * 4.8) / (3.3**2 + 4.8**2)
    final = [3.3 - 0.4 * (3 - share * 3.3), 4.8 - 0.4 * (4 - share * 4.8)]
    assert w.tolist() == pytest.approx([3 - 0.1 * final[0], 2 - 0.1 * final[1]], rel=1e-13)


def test_looksam_reuses_the_orthogonal_part_with_the_length_of_the_new_gradient():
    """g_v = g' - <g', g> g / 25 = (3.3, 4.8) - 29.1 / 25 (3, 4) = (-0.192, 0.144), of length 0.24."""
    model, w, closure = quadratic()
    optimizer = build_optimizer("looksam", model, rho=0.5, k=2, alpha=0.7, base=BASE)
    optimizer.step(closure)
    one, two = 3 - 0.1 * 3.3, 2 - 0.1 * 4.8
    assert w.tolist() == pytest.approx([one, two], rel=1e-13)
    optimizer.step(closure)
    g = [one, 2 * two]
    length = 0.7 * (g[0] ** 2 + g[1] ** 2) ** 0.5
    expected = [one - 0.1 * (g[0] - 0.8 * length), two - 0.1 * (g[1] + 0.6 * length)]
    assert w.tolist() == pytest.approx(expected, rel=1e-12)
    assert optimizer.gradient_passes == 1
    optimizer.step(closure)
    assert optimizer.gradient_passes == 2


def test_saner_weighs_down_what_sam_makes_smaller():
    """L = w1 w2 at (1, 2): g = (2, 1), e = 0.5 (2, 1) / sqrt 5, g' = g + 0.5 (1, 2) / sqrt 5: nothing gets smaller.
    L = -w1 w2 at (1, 2): g = (-2, -1), g' = -(w + e) swapped: both get smaller in size."""
    for sign, factor in ((1.0, 1.0), (-1.0, 0.25)):
        model = nn.Module()
        model.w = w = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))

        def closure(w=w, sign=sign):
            w.grad = None
            loss = sign * w[0] * w[1]
            loss.backward()
            return loss.detach()

        build_optimizer("saner", model, rho=0.5, alpha=0.75, warmup=0, base=BASE).step(closure)
        part = 0.5 / 5**0.5
        peak = [sign * (2 + sign * part * 1), sign * (1 + sign * part * 2)]
        assert w.tolist() == pytest.approx([1 - 0.1 * factor * peak[0], 2 - 0.1 * factor * peak[1]], rel=1e-13)


def test_saners_warm_up_rises_by_the_epoch():
    """L = -1/2 ||w||^2: g = -w, e points to zero, so every entry of g' = -(1 - 0.5 / ||w||) w is smaller."""
    shares = []
    for epoch in (0.0, 0.9, 1.0, 3.5, 9.0):
        model = nn.Module()
        model.w = w = nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))

        def closure(w=w):
            w.grad = None
            loss = -0.5 * (w * w).sum()
            loss.backward()
            return loss.detach()

        optimizer = build_optimizer("saner", model, rho=0.5, alpha=0.8, warmup=4, base=BASE)
        optimizer.set_progress(epoch, 10)
        optimizer.step(closure)
        shares.append((w[0].item() - 3) / (0.1 * 0.9 * 3))
    assert shares == pytest.approx([0.8, 0.8, 0.6, 0.2, 0.2])


def test_momentum_sam_looks_against_the_momentum():
    """v = (3, 4) after a step with lr 0 ; then e = -0.5 (0.6, 0.8) and g' = a (w + e) = (2.7, 3.2)."""
    model, w, closure = quadratic()
    optimizer = build_optimizer("msam", model, rho=0.5, base={"name": "sgd", "lr": 0.0, "momentum": 0.5})
    optimizer.step(closure)
    optimizer.param_groups[0]["lr"] = 0.1
    loss = optimizer.step(closure)
    assert loss.item() == pytest.approx(0.5 * (2.7**2 + 2 * 1.6**2))
    assert w.tolist() == pytest.approx([3 - 0.1 * (1.5 + 2.7), 2 - 0.1 * (2.0 + 3.2)], rel=1e-13)


@pytest.mark.parametrize(
    ("base", "key"), [({"name": "adam"}, "base"), ({"name": "sgd", "momentum": 0.0}, "base.momentum")]
)
def test_momentum_sam_needs_momentum(base, key):
    with pytest.raises(ParameterError, match="momentum") as error:
        build_optimizer("msam", network(), base=base)
    assert error.value.key == key


def test_esam_trains_on_the_images_whose_loss_rises_most():
    model, (x, y) = network(norm=False), data()
    twin = network(norm=False)
    weights = list(twin.parameters())
    before = cross_entropy(twin(x), y, reduction="none")
    gradients = torch.autograd.grad(before.mean(), weights)
    length = torch.cat([g.reshape(-1) for g in gradients]).norm()
    with torch.no_grad():
        for weight, gradient in zip(weights, gradients, strict=True):
            weight += 0.1 * gradient / length
    after = cross_entropy(twin(x), y, reduction="none")
    worst = (after - before).argsort(descending=True)[:4]
    expected = torch.autograd.grad(after[worst].mean(), weights)
    build_optimizer("esam", model, rho=0.1, beta=1.0, gamma=0.25, base={"name": "sgd", "lr": 0.0}).step(
        closure_of(model, x, y)
    )
    for weight, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(weight.grad, gradient, rtol=1e-10, atol=1e-13)


def test_esam_moves_the_tensors_it_draws_and_those_by_more():
    model, (x, y) = network(norm=False), data()
    optimizer = build_optimizer("esam", model, rho=0.1, beta=0.5, base={"name": "sgd", "lr": 0.0})
    moved = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(200):
            log: list = []
            optimizer.step(closure_of(model, x, y, log))
            change = log[1] - log[0]
            parts = torch.split(change, [weight.numel() for weight in model.parameters()])
            moved.append([bool(part.abs().max() > 0) for part in parts])
            if any(moved[-1]):
                assert change.norm().item() == pytest.approx(0.1 / 0.5)
    share = torch.tensor(moved).double().mean(dim=0)
    assert ((share - 0.5).abs() < 0.15).all()  # 200 draws: standard deviation 0.035


def test_esam_says_what_closure_it_needs():
    model, _, closure = quadratic()
    with pytest.raises(TypeError, match="per_image"):
        build_optimizer("esam", model, base=BASE).step(closure)


# -- schedules of rho, and every k-th step ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("constant", [1.0, 1.0, 1.0]),
        ("linear", [1.0, 0.7, 0.4]),  # 0.4 + 0.6 (1 - t) at t = 0, 1/2, 1
        ("cosine", [1.0, 0.7, 0.4]),
        ("lr", [0.4 + 0.6 * 0.5, 0.4 + 0.6 * 0.2, 0.4]),
    ],
)
def test_rho_follows_its_schedule(schedule, shares):
    for (epoch, factor), share in zip(((0.0, 0.5), (5.0, 0.2), (10.0, 0.0)), shares, strict=True):
        model, (x, y) = network(norm=False), data()
        sam = SAM(model.parameters(), torch.optim.SGD, rho=0.2, rho_schedule=schedule, rho_end=0.4, lr=0.0)
        sam.set_progress(epoch, 10, factor)
        log: list = []
        sam.step(closure_of(model, x, y, log))
        assert (log[1] - log[0]).norm().item() == pytest.approx(0.2 * share)


def test_a_cosine_is_above_the_line_at_first():
    model = network()
    sam = SAM(model.parameters(), torch.optim.SGD, rho=1.0, rho_schedule="cosine", lr=0.0)
    sam.set_progress(1.0, 4)
    assert sam.rhos() == pytest.approx([(1 + 0.5**0.5) / 2])


def test_every_third_step_perturbs_and_the_others_are_the_bases_own():
    one, two, (x, y) = network(), network(), data()
    sam = SAM(one.parameters(), torch.optim.SGD, rho=0.2, every=3, lr=0.1, model=one)
    full = SAM(two.parameters(), torch.optim.SGD, rho=0.2, lr=0.1, model=two)
    passes = []
    for step in range(7):
        sam.step(closure_of(one, x, y))
        passes.append(sam.gradient_passes)
        full.param_groups[0]["rho"] = 0.2 if step % 3 == 0 else 0.0
        full.step(closure_of(two, x, y))
    assert passes == [2, 1, 1, 2, 1, 1, 2]
    assert torch.equal(flat(one), flat(two))


# -- micro-batches ----------------------------------------------------------------------------------------------------


def test_micro_batches_of_unequal_size_count_by_their_images():
    x, y = data()
    parts = [slice(0, 6), slice(6, 12), slice(12, 16)]
    finals = []
    for part in parts:
        twin = network(norm=False)
        SAM(twin.parameters(), torch.optim.SGD, rho=0.3, lr=0.0).step(closure_of(twin, x[part], y[part]))
        finals.append(torch.cat([weight.grad.reshape(-1) for weight in twin.parameters()]))
    model = network(norm=False)
    sam = SAM(model.parameters(), torch.optim.SGD, rho=0.3, lr=0.0, m=6)
    loss = sam.step(closures=[closure_of(model, x[part], y[part]) for part in parts], sizes=[6, 6, 4])
    mean = (6 * finals[0] + 6 * finals[1] + 4 * finals[2]) / 16
    torch.testing.assert_close(torch.cat([w.grad.reshape(-1) for w in model.parameters()]), mean)
    assert loss.item() == pytest.approx(cross_entropy(model(x), y).item())


def test_m_without_micro_batches_is_refused():
    model, (x, y) = network(), data()
    with pytest.raises(TypeError, match=r"m = 4: split the batch"):
        SAM(model.parameters(), torch.optim.SGD, m=4, lr=0.1).step(closure_of(model, x, y))


def test_clipping_in_the_jax_convention_includes_the_decay_also_at_rho_zero():
    """g + decay w = (3 + 1.5, 4 + 1), clipped to length 1, and nothing decays after that."""
    _, w, closure = quadratic()
    sam = SAM([w], torch.optim.SGD, rho=0.0, convention="jax", max_grad_norm=1.0, lr=1.0, weight_decay=0.5)
    sam.step(closure)
    length = (4.5**2 + 5**2) ** 0.5 + 1e-6
    assert w.tolist() == pytest.approx([3 - 4.5 / length, 2 - 5 / length], rel=1e-12)


@pytest.mark.parametrize(
    ("options", "key"), [({"convention": "tf"}, "convention"), ({"every": 0}, "every"), ({"m": 0}, "m")]
)
def test_impossible_options_are_refused(options, key):
    with pytest.raises(ParameterError) as error:
        SAM(network().parameters(), torch.optim.SGD, lr=0.1, **options)
    assert error.value.key == key


def test_adaptive_without_eta_is_davda54s_and_with_eta_the_authors():
    model = network()
    assert SAM(model.parameters(), torch.optim.SGD, adaptive=True, lr=0.1).biases == "abs"
    assert SAM(model.parameters(), torch.optim.SGD, adaptive=True, eta=0.01, lr=0.1).biases == "one"
