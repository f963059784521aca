"""Sharpness-aware minimisation around any torch optimiser."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from noisybench.errors import ParameterError
from noisybench.optim.ascent import Ascent, steepest_ascent
from noisybench.optim.curvature import hessian_product, loss_with_graph
from noisybench.optim.passes import Draws, norms_with_statistics, refuse_single_images, restored, still_statistics
from noisybench.optim.wrapper import Closure, Wrapper, run


@dataclass(frozen=True)
class Perturbed:
    """The parameters a step moves, their rho and the direction of the move, tensor by tensor."""

    weights: list[Tensor]
    rhos: list[float]
    decays: list[float]
    ascent: Ascent

    def scaled(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """rho times each tensor, every parameter by its group's rho."""
        return list(torch._foreach_mul(list(tensors), self.rhos)) if tensors else []


class SAM(Wrapper):
    """Sharpness-aware minimisation (Foret et al. 2021), m-sharpness and second-order term included; ASAM (Kwon 2021).

    min_w max_{||e||_p <= rho} L(w + e): with g = grad L(w), the perturbation e(w) = rho sign(g) |g|^(q-1) /
    (||g||_q^q)^(1/p) (eq. 2; p = 2: rho g / ||g||), one norm over all parameters; the base optimiser gets
    g' = grad L(w + e) at w (eq. 3).

    >>> optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.05, lr=0.1, momentum=0.9, model=model)
    >>> loss = optimizer.step(closure)  # closure: zero_grad, forward, backward, return the loss

    ``step`` runs the closure at w, moves to w + e, runs it again, copies w back exactly (also if the second closure
    raises) and steps the base on g'. It returns the loss at w. Details:

    - ``rho`` may differ by parameter group (``{"params": ..., "rho": 0.1}``); the norm is one for all groups. rho 0 in
      all groups is the base's own step, run once, bit for bit. A parameter without gradient at w is not moved.
    - A zero gradient means no perturbation (the authors' code: 0/0). A non-finite one too: g' is then g and the step
      is that of the plain optimiser. There is no epsilon in the norm.
    - ``model`` (or ``models``): batch-norm running statistics move in the first pass only, as in the authors' code.
      Without it they move twice. The second pass repeats the first one's random draws (dropout) either way.
    - ``adaptive``: e = T dual_p(T g), T = |w| + ``eta`` (ASAM). ``biases="one"``: T = 1 for parameters whose
      name does not contain "weight", as the ASAM authors have it (names come from ``model`` or from named parameters);
      ``biases="abs"``: |w| + eta everywhere, with eta 0 as in davda54/sam.
    - ``decay_in_ascent``: weight decay counts as an L2 term of the loss, as in google-research/sam: g + decay w gives
      e, and the base gets g' + decay (w + e) (clipped as a whole) instead of decaying by itself. Default: the base
      alone decays, at w, as the paper's objective has it. Ignored at rho 0.
    - ``second_order``: adds the term the paper drops (section 2), H rho (I - u u^T) g' / ||g||, u = g / ||g||, by one
      Hessian-vector product at w, in a third pass. p = 2, not adaptive; the closure must accept ``create_graph=True``
      and then return the loss without calling backward.
    - ``max_grad_norm`` clips what the base gets, never the ascent gradient.
    - ``step(closures=[...])``: m-sharpness (section 4.1). Each closure is one micro-batch and makes both passes alone,
      with its own e and batch statistics; the g' are averaged with equal weights. A micro-batch of one image is refused
      if a batch norm of ``model`` sees it.

    ``gradient_passes`` of the last step: 1 (rho 0), 2, or 3 (second order).
    """

    def __init__(
        self,
        params: Any,
        base: Callable[..., torch.optim.Optimizer],
        rho: float = 0.05,
        *,
        p: float = 2.0,
        adaptive: bool = False,
        eta: float = 0.01,
        biases: Literal["one", "abs"] = "one",
        decay_in_ascent: bool = False,
        second_order: bool = False,
        max_grad_norm: float | None = None,
        model: nn.Module | None = None,
        models: Sequence[nn.Module] = (),
        **base_params: Any,
    ) -> None:
        if rho < 0 or eta < 0:
            raise ParameterError("must be at least 0", key="rho" if rho < 0 else "eta")
        if not p > 1:
            raise ParameterError("must be above 1", key="p")
        if second_order and (p != 2 or adaptive):
            raise ParameterError("is there for p = 2 and adaptive = false only", key="second_order")
        models = [*models, *([model] if model is not None else [])]
        super().__init__(params, base, base_params, defaults={"rho": rho}, models=models, max_grad_norm=max_grad_norm)
        decoupled = any(group.get("decoupled_weight_decay") for group in self.param_groups)
        if decay_in_ascent and (decoupled or isinstance(self.base, torch.optim.AdamW)):
            raise ParameterError("makes decay part of the gradient, which AdamW keeps apart", key="decay_in_ascent")
        self.p, self.adaptive, self.eta, self.biases = p, adaptive, eta, biases
        self.decay_in_ascent, self.second_order = decay_in_ascent, second_order

    @torch.no_grad()
    def step(self, closure: Closure | None = None, *, closures: Sequence[Closure] | None = None) -> Any:
        """One step on a batch (``closure``) or on micro-batches (``closures``); returns the (mean) loss at w."""
        assert self.base is not None
        if (closure is None) == (not closures):
            raise TypeError("SAM.step needs a closure (zero_grad, forward, backward, return loss) or closures=[...]")
        batches = [closure] if closure is not None else list(closures or ())
        sharp = any(group["rho"] > 0 for group in self.param_groups)
        norms = norms_with_statistics(self.models)
        losses: list[Any] = []
        total: list[Tensor | None] = []
        with refuse_single_images(norms) if closures else contextlib.nullcontext():
            for batch in batches:
                losses.append(self._sharp_gradient(batch, norms) if sharp else run(batch))
                if closures:
                    total = self._added_to(total)
        if closures:
            for weight, gradient in zip(self.weights(), total, strict=True):
                weight.grad = None if gradient is None else gradient / len(batches)
        self.gradient_passes = (3 if self.second_order else 2) if sharp else 1
        with self._base_without_decay() if sharp and self.decay_in_ascent else contextlib.nullcontext():
            self.clip()
            self.base.step()
        return losses[0] if closure is not None else sum(losses) / len(losses)

    def _sharp_gradient(self, closure: Closure, norms: Sequence[Any]) -> Any:
        """Leave g' (with what belongs to it) of one batch in ``.grad``; returns the loss at w."""
        weights = self.weights()
        draws = Draws(weights)
        loss = self._backward(closure)
        move = self._perturbation()
        with still_statistics(norms):
            with restored(move.weights):
                e = move.scaled(move.ascent.direction)
                if e:
                    torch._foreach_add_(move.weights, e)
                self._forget_gradients()
                with draws.repeated():
                    self._backward(closure)
            if self.decay_in_ascent:
                self._add_decay(move, e)
            if self.second_order:
                with draws.repeated():
                    self._add_second_order(closure, move)
        return loss

    def _perturbation(self) -> Perturbed:
        """Read g from ``.grad`` and solve for the direction of e."""
        weights, rhos, decays = [], [], []
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weights.append(weight)
                    rhos.append(float(group["rho"]))
                    decays.append(float(group.get("weight_decay", 0.0)))
        gradients = [weight.grad for weight in weights]
        if self.decay_in_ascent and weights:
            gradients = list(torch._foreach_add(gradients, torch._foreach_mul(weights, decays)))
        scale = self._scales(weights) if self.adaptive and weights else None
        ascent = steepest_ascent(torch._foreach_mul(gradients, scale) if scale else gradients, self.p)
        if scale:
            ascent = Ascent(list(torch._foreach_mul(ascent.direction, scale)), ascent.norm)
        return Perturbed(weights, rhos, decays, ascent)

    def _scales(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """ASAM's T for each parameter."""
        sizes = list(torch._foreach_add(torch._foreach_abs(list(weights)), self.eta))
        if self.biases == "abs":
            return sizes
        names = self._names()
        missing = [weight for weight in weights if weight not in names]
        if missing:
            raise ParameterError(
                "'one' needs parameter names: pass model=..., or named parameters, or choose 'abs'", key="biases"
            )
        return [s if "weight" in names[w] else torch.ones_like(s) for w, s in zip(weights, sizes, strict=True)]

    def _names(self) -> dict[Tensor, str]:
        names: dict[Tensor, str] = {w: name for model in self.models for name, w in model.named_parameters()}
        for group in self.param_groups:
            names.update(zip(group["params"], group.get("param_names", ()), strict=False))
        return names

    def _add_decay(self, move: Perturbed, e: Sequence[Tensor]) -> None:
        """Add decay (w + e) to ``.grad``; the weights are back at w."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            decay = group.get("weight_decay", 0.0)
            if weights and decay:
                torch._foreach_add_([weight.grad for weight in weights], torch._foreach_mul(weights, decay))
        _add_to_gradients(move.weights, torch._foreach_mul(list(e), move.decays) if e else [])

    def _backward(self, closure: Closure) -> Any:
        """Run the closure; afterwards gradients are in ``.grad``. Returns the detached loss."""
        if not self.second_order:
            return run(closure)
        loss = loss_with_graph(closure)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
        return loss.detach()

    def _add_second_order(self, closure: Closure, move: Perturbed) -> None:
        """Add H (I - u u^T) (rho g') / ||g|| to ``.grad``, with H the Hessian of the loss (and its decay) at w."""
        at_peak = [(weight, weight.grad) for weight in self.weights()]
        self._forget_gradients()
        u, norm = move.ascent.direction, move.ascent.norm
        known = {weight: gradient for weight, gradient in at_peak if gradient is not None}
        v = move.scaled([known.get(weight, torch.zeros_like(weight)) for weight in move.weights])
        along = torch.stack([(a * b).sum() for a, b in zip(u, v, strict=True)]).sum() if u else torch.zeros(())
        v = [(b - a * along) / torch.where(norm > 0, norm, torch.inf) for a, b in zip(u, v, strict=True)]
        loss = loss_with_graph(closure)
        product = hessian_product(loss, move.weights, v)
        for weight, gradient in at_peak:
            weight.grad = gradient
        if self.decay_in_ascent and v:
            product = list(torch._foreach_add(product, torch._foreach_mul(v, move.decays)))
        # no direction (g zero or not finite): no term, whatever g' is
        _add_to_gradients(move.weights, [torch.where(norm > 0, term, torch.zeros_like(term)) for term in product])

    def _forget_gradients(self) -> None:
        for weight in self.weights():
            weight.grad = None

    def _added_to(self, total: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Take the gradients out of ``.grad`` and add them to a running sum; a missing one counts as zero."""
        gradients = [weight.grad for weight in self.weights()]
        self._forget_gradients()
        if not total:
            return gradients
        return [
            new if old is None else old if new is None else old.add_(new)
            for old, new in zip(total, gradients, strict=True)
        ]

    @contextlib.contextmanager
    def _base_without_decay(self) -> Iterator[None]:
        """Keep the base from decaying: the gradient has it already."""
        groups = [(group, group["weight_decay"]) for group in self.param_groups if "weight_decay" in group]
        for group, _ in groups:
            group["weight_decay"] = 0.0
        try:
            yield
        finally:
            for group, decay in groups:
                group["weight_decay"] = decay


def _add_to_gradients(weights: Sequence[Tensor], terms: Sequence[Tensor]) -> None:
    for weight, term in zip(weights, terms, strict=True):
        weight.grad = term.clone() if weight.grad is None else weight.grad.add_(term)
