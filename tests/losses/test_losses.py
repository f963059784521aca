"""What must hold for every registered loss, and for the registry's way of building one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from noisybench import registry
from noisybench.errors import ParameterError, UnknownName
from noisybench.literature import citations
from noisybench.losses import build_loss

EVERY = registry.components("loss")
every_loss = pytest.mark.parametrize("component", EVERY, ids=lambda component: component.name)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
CLASSES = pytest.mark.parametrize("classes", [2, 5, 1000])


def needed(component: registry.Component) -> dict[str, Any]:
    """Values for the parameters that have no default."""
    given = {"transition": {"rate": 0.3}, "active": "nce", "passive": {"name": "agce", "a": 6.0, "q": 1.5}}
    return {key: given[key] for key in component.keys if component.field(key).is_required()}


def build(component: registry.Component, **params: Any) -> Any:
    return build_loss(component.name, **{**needed(component), **params})


def batch(
    dtype: torch.dtype, classes: int = 5, scale: float = 3.0, size: int = 24
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    logits = scale * torch.randn(size, classes, generator=generator, dtype=torch.float64)
    return logits.to(dtype), torch.randint(classes, (size,), generator=generator)


def gradient_of(loss: Any, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    logits = logits.detach().requires_grad_()
    losses = loss(logits, labels)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    return losses.detach(), gradient


@every_loss
@every_dtype
@CLASSES
def test_gives_one_finite_number_per_sample_in_the_dtype_of_the_logits(component, dtype, classes):
    logits, labels = batch(dtype, classes)
    losses = build(component)(logits, labels)
    assert losses.shape == (24,)
    assert losses.dtype == dtype
    assert torch.isfinite(losses).all()
    if not component.traits.get("signed"):
        assert (losses >= -1e-6).all()


@every_loss
def test_is_pure_and_per_sample(component):
    logits, labels = batch(torch.float64)
    loss = build(component)
    before = logits.clone()
    whole = loss(logits, labels)
    assert torch.equal(loss(logits, labels), whole)
    assert torch.equal(logits, before)
    rows = torch.cat([loss(logits[i : i + 1], labels[i : i + 1]) for i in range(len(labels))])
    torch.testing.assert_close(rows, whole, rtol=1e-14, atol=1e-14)


@every_loss
@every_dtype
@pytest.mark.parametrize("size", [1e2, 1e4])
def test_value_and_gradient_are_finite_at_extreme_logits(component, dtype, size):
    signs = torch.tensor(
        [[1, -1, -1, -1], [-1, 1, 1, 1], [1, 1, 1, 1], [-1, -1, -1, -1], [0, 1, -1, 0], [0, 0, 0, 0]], dtype=dtype
    )
    for label in range(4):
        losses, gradient = gradient_of(build(component), size * signs, torch.full((6,), label))
        assert torch.isfinite(losses).all()
        assert torch.isfinite(gradient).all()


@every_loss
@CLASSES
@pytest.mark.parametrize("low", [-1e4, 0.0], ids=["from -10000", "from 0"])
def test_a_batch_of_one_is_finite_at_any_number_of_classes(component, classes, low):
    for top in (0, classes - 1):
        logits = torch.full((1, classes), low)
        logits[0, top] = 1e4
        for label in (0, classes - 1):
            losses, gradient = gradient_of(build(component), logits, torch.tensor([label]))
            assert losses.shape == (1,)
            assert torch.isfinite(losses).all()
            assert torch.isfinite(gradient).all()


@every_loss
@CLASSES
def test_half_precision_logits_are_finite_once_raised_to_float32(component, classes):
    logits, labels = batch(torch.float64, classes, scale=2000.0)
    losses, gradient = gradient_of(build(component), logits.to(torch.bfloat16).float(), labels)
    assert losses.dtype == torch.float32
    assert torch.isfinite(losses).all()
    assert torch.isfinite(gradient).all()


@every_loss
def test_gradient_is_that_of_the_value(component):
    """Of the formula as written, where the default holds a factor constant (those are tested by themselves)."""
    written = {"detached": False} if component.defaults.get("detached") else {}
    logits, labels = batch(torch.float64)
    loss = build(component, **written)
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), logits.requires_grad_(), atol=1e-7, rtol=1e-5)


@every_loss
def test_a_factor_held_constant_changes_the_gradient_and_not_the_value(component):
    if "detached" not in component.keys:
        return
    logits, labels = batch(torch.float64, scale=1.0)
    held, held_gradient = gradient_of(build(component, detached=True), logits, labels)
    free, free_gradient = gradient_of(build(component, detached=False), logits, labels)
    torch.testing.assert_close(held, free, rtol=1e-14, atol=0)
    assert not torch.equal(held_gradient, free_gradient)


@every_loss
def test_float32_agrees_with_float64(component):
    logits, labels = batch(torch.float32)
    loss = build(component)
    single, gradient = gradient_of(loss, logits, labels)
    double, exact = gradient_of(loss, logits.double(), labels)
    torch.testing.assert_close(single.double(), double, rtol=2e-5, atol=2e-6)
    torch.testing.assert_close(gradient.double(), exact, rtol=2e-4, atol=2e-5)


@every_loss
def test_does_not_depend_on_a_shift_of_the_logits(component):
    logits, labels = batch(torch.float64)
    loss = build(component)
    same = torch.allclose(loss(logits + 3.0, labels), loss(logits, labels), rtol=1e-12, atol=1e-12)
    assert same != bool(component.traits.get("absolute_logits"))


@every_loss
def test_does_not_depend_on_the_order_of_the_classes(component):
    logits, labels = batch(torch.float64)
    order = torch.tensor([3, 1, 4, 0, 2])
    loss = build(component)
    permuted = loss(logits[:, order], order.argsort()[labels])
    torch.testing.assert_close(permuted, loss(logits, labels), rtol=1e-12, atol=1e-12)


@every_loss
def test_states_its_equation_and_a_citation_that_exists(component):
    assert component.summary
    assert component.name == "ce" or component.cite in citations()


def test_unknown_names_and_parameters_are_refused_with_a_hint():
    with pytest.raises(UnknownName, match="did you mean 'gce'"):
        build_loss("gec")
    with pytest.raises(ParameterError, match="no parameter 'alpha'"):
        build_loss("gce", alpha=1.0)
    with pytest.raises(ParameterError):
        build_loss("gce", q=1.5)


def test_every_loss_of_the_field_is_here():
    names = """ce label_smoothing mae rce gce sce nce nfl ngce nmae nrce active_passive nce_mae nce_rce nfl_mae nfl_rce
    ngce_mae ngce_rce nce_agce nce_aul nce_ael agce aul ael focal taylor_ce phuber_ce phuber_gce unhinged bootstrap_soft
    bootstrap_hard js forward backward eps_ce eps_focal eps_ce_mae eps_focal_mae nnce nnfl anl_ce anl_fl ldr_kl
    logit_clip negative_learning"""
    assert set(names.split()) <= set(registry.names("loss"))
