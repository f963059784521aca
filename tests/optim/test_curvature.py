"""Hessian-vector products on functions whose Hessian is known."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from noisybench.optim.curvature import hessian_product, loss_with_graph


def test_of_a_quadratic_form_is_the_matrix_times_the_vector():
    a = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    w = nn.Parameter(torch.tensor([5.0, -1.0], dtype=torch.float64))
    (product,) = hessian_product(0.5 * w @ a @ w, [w], [torch.tensor([1.0, 2.0], dtype=torch.float64)])
    assert product.tolist() == [4.0, 7.0]


def test_couples_parameters_and_is_zero_for_linear_and_unused_ones():
    u, v, unused = (nn.Parameter(torch.tensor(value)) for value in (2.0, 3.0, 4.0))
    one = torch.tensor(1.0)
    assert [h.item() for h in hessian_product(u * v, [u, v, unused], [one, 2 * one, one])] == [2.0, 1.0, 0.0]
    assert [h.item() for h in hessian_product(5 * u, [u, unused], [one, one])] == [0.0, 0.0]


def test_closures_of_the_wrong_kind_are_refused():
    w = nn.Parameter(torch.tensor(2.0))
    assert loss_with_graph(lambda create_graph: w * w).item() == 4.0
    assert loss_with_graph(lambda **options: w * w).item() == 4.0
    with pytest.raises(TypeError, match="takes no create_graph"):
        loss_with_graph(lambda: w * w)
    with pytest.raises(TypeError, match="detached"):
        loss_with_graph(lambda create_graph: (w * w).detach())
