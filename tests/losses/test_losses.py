"""What must hold for every registered loss, and for the registry's way of building one."""

from __future__ import annotations

import pytest
import torch

from noisybench import registry
from noisybench.errors import ParameterError, UnknownName
from noisybench.losses import build_loss

BY_DEFAULT = [c for c in registry.components("loss") if all(c.field(key).is_required() is False for key in c.keys)]
every_loss = pytest.mark.parametrize("component", BY_DEFAULT, ids=lambda component: component.name)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def batch(dtype: torch.dtype, classes: int = 5, scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    logits = scale * torch.randn(24, classes, generator=generator, dtype=torch.float64)
    return logits.to(dtype), torch.randint(classes, (24,), generator=generator)


@every_loss
@every_dtype
def test_gives_one_finite_number_per_sample_in_the_dtype_of_the_logits(component, dtype):
    logits, labels = batch(dtype)
    losses = build_loss(component.name)(logits, labels)
    assert losses.shape == (24,)
    assert losses.dtype == dtype
    assert torch.isfinite(losses).all()
    if not component.traits.get("signed"):
        assert (losses >= -1e-6).all()


@every_loss
def test_is_pure_and_per_sample(component):
    logits, labels = batch(torch.float64)
    loss = build_loss(component.name)
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
        logits = (size * signs).requires_grad_()
        losses = build_loss(component.name)(logits, torch.full((6,), label))
        (gradient,) = torch.autograd.grad(losses.sum(), logits)
        assert torch.isfinite(losses).all()
        assert torch.isfinite(gradient).all()


@every_loss
def test_gradient_is_that_of_the_value(component):
    logits, labels = batch(torch.float64)
    loss = build_loss(component.name)
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), logits.requires_grad_(), atol=1e-6)


@every_loss
def test_does_not_depend_on_a_shift_of_the_logits(component):
    logits, labels = batch(torch.float64)
    loss = build_loss(component.name)
    torch.testing.assert_close(loss(logits + 3.0, labels), loss(logits, labels), rtol=1e-12, atol=1e-12)


@every_loss
def test_states_its_equation(component):
    assert component.summary


def test_unknown_names_and_parameters_are_refused_with_a_hint():
    with pytest.raises(UnknownName, match="did you mean 'gce'"):
        build_loss("gec")
    with pytest.raises(ParameterError, match="no parameter 'alpha'"):
        build_loss("gce", alpha=1.0)
    with pytest.raises(ParameterError):
        build_loss("gce", q=1.5)
