"""The dual-norm problem: closed forms and the property that defines its solution."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.optim.ascent import steepest_ascent


def tensors(scale: float = 1.0, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [scale * torch.randn(shape, generator=generator, dtype=dtype) for shape in ((3, 4), (5,), (2, 2, 2), ())]


def flat(parts: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([part.reshape(-1) for part in parts])


@pytest.mark.parametrize("p", [1.1, 1.5, 2.0, 3.0, 7.5, math.inf])
def test_has_length_one_and_attains_the_dual_norm(p):
    g = tensors()
    ascent = steepest_ascent(g, p)
    e, q = flat(ascent.direction), 1.0 if p == math.inf else p / (p - 1)
    assert torch.linalg.vector_norm(e, p).item() == pytest.approx(1.0, rel=1e-12)
    dual = torch.linalg.vector_norm(flat(g), q).item()
    assert (flat(g) @ e).item() == pytest.approx(dual, rel=1e-12)
    assert ascent.norm.item() == pytest.approx(dual, rel=1e-12)


@pytest.mark.parametrize("p", [1.5, 2.0, 4.0, math.inf])
def test_no_direction_of_length_one_does_better(p):
    g, generator = flat(tensors()), torch.Generator().manual_seed(0)
    best = steepest_ascent([g], p)
    for _ in range(50):
        other = torch.randn(g.shape, generator=generator, dtype=g.dtype)
        other /= torch.linalg.vector_norm(other, p)
        assert g @ other <= best.norm + 1e-12


def test_p_two_is_the_normalised_gradient_and_infinity_its_sign():
    g = [torch.tensor([3.0, 0.0]), torch.tensor([[-4.0]])]
    assert [part.tolist() for part in steepest_ascent(g).direction] == [
        pytest.approx([0.6, 0.0]),
        [[pytest.approx(-0.8)]],
    ]
    assert [part.tolist() for part in steepest_ascent(g, math.inf).direction] == [[1.0, 0.0], [[-1.0]]]


@pytest.mark.parametrize("p", [1.1, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("scale", [1e-35, 1e-20, 1e20, 1e35])
def test_does_not_underflow_or_overflow_in_float32(p, scale):
    big, usual = steepest_ascent(tensors(scale, torch.float32), p), steepest_ascent(tensors(1.0, torch.float32), p)
    torch.testing.assert_close(flat(big.direction), flat(usual.direction), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("p", [1.5, 2.0, math.inf])
@pytest.mark.parametrize("value", [0.0, math.nan, math.inf, -math.inf])
def test_zero_and_non_finite_gradients_have_no_direction(p, value):
    g = [torch.zeros(2), torch.tensor([value, 0.0])] if value == 0 else [torch.ones(2), torch.tensor([value, 1.0])]
    ascent = steepest_ascent(g, p)
    assert not flat(ascent.direction).any()
    assert ascent.norm == 0


def test_leaves_the_gradients_alone_and_takes_none():
    g = tensors()
    before = [part.clone() for part in g]
    steepest_ascent(g, 1.5)
    assert all(torch.equal(a, b) for a, b in zip(g, before, strict=True))
    assert steepest_ascent([]).direction == []
    with pytest.raises(ValueError, match="above 1"):
        steepest_ascent(g, 1.0)


def test_half_types_take_their_norm_in_float32():
    g = [torch.full((100, 100), 0.1, dtype=torch.bfloat16)]
    ascent = steepest_ascent(g)
    assert ascent.norm.dtype == torch.float32
    assert ascent.norm.item() == pytest.approx(10.0, rel=0.01)
    assert ascent.direction[0].dtype == torch.bfloat16
