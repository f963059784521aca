"""Hessian-vector products, for the second-order term of SAM."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor

from noisybench.optim.gradients import Perturbed, add_to_gradients, inner, taken
from noisybench.optim.wrapper import Closure


def loss_with_graph(closure: Closure) -> Tensor:
    """``closure(create_graph=True)``: the loss with its graph, backward not called."""
    remedy = "second_order needs a closure(create_graph=True) that returns the loss without calling backward"
    parameters = inspect.signature(closure).parameters.values()
    if not any(item.name == "create_graph" or item.kind is item.VAR_KEYWORD for item in parameters):
        raise TypeError(f"{remedy}; this one takes no create_graph")
    with torch.enable_grad():
        loss = closure(create_graph=True)
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        raise TypeError(f"{remedy}; this one returned a detached loss")
    return loss


def hessian_product(loss: Tensor, weights: Sequence[Tensor], v: Sequence[Tensor]) -> list[Tensor]:
    """H v at the weights the loss was computed at: the gradient of <grad loss, v>."""
    with torch.enable_grad():
        gradients = torch.autograd.grad(loss, list(weights), create_graph=True, allow_unused=True)
        curved = [(g, d) for g, d in zip(gradients, v, strict=True) if g is not None and g.requires_grad]
        if not curved:
            return [torch.zeros_like(weight) for weight in weights]
        along = torch.stack([(g * d).sum() for g, d in curved]).sum()
        product = torch.autograd.grad(along, list(weights), allow_unused=True)
    return [torch.zeros_like(w) if h is None else h for w, h in zip(weights, product, strict=True)]


def second_order_term(closure: Closure, move: Perturbed, weights: Sequence[Tensor], decays_too: bool) -> None:
    """Add SAM's second-order term, H (I - u u^T) (rho g') / ||g||, to ``.grad``, which holds g'; u = g / ||g||.

    H is the Hessian at w of the loss and, with ``decays_too``, of its L2 term. ``weights`` are all parameters, those
    in ``move`` the ones with a gradient at w.
    """
    at_peak = dict(zip(weights, taken(weights), strict=True))
    u, norm = move.ascent.direction, move.ascent.norm
    known = [at_peak[weight] for weight in move.weights]
    v = move.scaled([torch.zeros_like(w) if g is None else g for w, g in zip(move.weights, known, strict=True)])
    along = inner(u, v)
    v = [(b - a * along) / torch.where(norm > 0, norm, torch.inf) for a, b in zip(u, v, strict=True)]
    product = hessian_product(loss_with_graph(closure), move.weights, v)
    for weight, gradient in at_peak.items():
        weight.grad = gradient
    if decays_too and v:
        product = list(torch._foreach_add(product, torch._foreach_mul(v, move.decays)))
    # no direction (g zero or not finite): no term, whatever g' is
    add_to_gradients(move.weights, [torch.where(norm > 0, term, torch.zeros_like(term)) for term in product])
