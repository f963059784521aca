"""Sharpness-aware minimisation around any torch optimiser."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from noisybench.errors import ParameterError
from noisybench.optim.ascent import Ascent, steepest_ascent
from noisybench.optim.curvature import loss_with_graph, second_order_term
from noisybench.optim.gradients import Perturbed, accumulated, add_to_gradients, taken
from noisybench.optim.passes import Draws, norms_with_statistics, refuse_single_images, restored, still_statistics
from noisybench.optim.wrapper import Closure, Schedule, Wrapper, run


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
    - ``rho_schedule`` (constant, linear, cosine, lr) takes rho from its value to ``rho_end`` times it, as a function of
      the step alone: ``set_progress(epoch, epochs, lr_factor)`` before each step says where training stands.
      ``every`` = k perturbs at steps 0, k, 2k, ... only; the others are the base's own, at half the cost.
    - A zero gradient means no perturbation (the authors' code: 0/0). A non-finite one too: g' is then g and the step
      is that of the plain optimiser. There is no epsilon in the norm.
    - ``model`` (or ``models``): batch-norm running statistics move in the first pass only, as in the authors' code.
      Without it they move twice. The second pass repeats the first one's random draws (dropout) either way.
    - ``adaptive``: e = T dual_p(T g), T = |w| + ``eta`` (ASAM). ``biases="one"``: T = 1 for parameters whose
      name does not contain "weight", as the ASAM authors have it (names come from ``model`` or from named parameters);
      ``biases="abs"``: |w| + eta everywhere. Default: "one" if eta > 0; "abs" if eta = 0, which is davda54/sam.
    - ``convention="pytorch"`` (davda54/sam): the base alone decays, at w, as the paper's objective has it.
      ``convention="jax"`` (google-research/sam): weight decay is an L2 term of the loss: g + decay w gives e, and the
      base gets g' + decay (w + e), clipped as a whole, instead of decaying by itself. Its authors also run Nesterov
      momentum (the base's option) and ``max_grad_norm=5.0``.
    - ``second_order``: adds the term the paper drops (section 2), H rho (I - u u^T) g' / ||g||, u = g / ||g||, by one
      Hessian-vector product at w, in a third pass. p = 2, not adaptive; the closure must accept ``create_graph=True``
      and then return the loss without calling backward.
    - ``max_grad_norm`` clips what the base gets, never the ascent gradient.
    - ``m``: m-sharpness (section 4.1), one perturbation for each micro-batch of m images. The batch is split by whoever
      has it: ``step(closures=[...], sizes=[...])`` takes one closure a micro-batch, which makes both passes alone, with
      its own e and batch statistics; the g' are averaged, weighted by ``sizes`` (default: equally). With ``m`` set,
      ``step(closure)`` is refused. A micro-batch of one image is refused if a batch norm of ``model`` sees it.

    >>> parts = list(zip(images.split(32), labels.split(32)))  # by hand: SAM(..., m=32), a batch of images and labels
    >>> closures = [functools.partial(closure, *part) for part in parts]
    >>> optimizer.step(closures=closures, sizes=[len(part[1]) for part in parts])

    ``gradient_passes`` of the last step: 1 (rho 0, or between two perturbations), 2, or 3 (second order).
    """

    micro_batches = True
    """``step(closures=...)`` is there; wrappers that remember something from step to step take whole batches."""
    passes = 2
    _radii: Sequence[Tensor] = ()
    """Scheduled radii of the groups on the device, once they were held there."""

    def __init__(
        self,
        params: Any,
        base_class: Callable[..., torch.optim.Optimizer],
        *,
        model: nn.Module | None = None,
        rho: float = 0.05,
        p: float = 2,
        adaptive: bool = False,
        eta: float = 0.0,
        biases: Literal["one", "abs"] | None = None,
        convention: Literal["pytorch", "jax"] = "pytorch",
        m: int | None = None,
        every: int = 1,
        rho_schedule: Schedule = "constant",
        rho_end: float = 0.0,
        second_order: bool = False,
        max_grad_norm: float | None = None,
        models: Sequence[nn.Module] = (),
        **base_kwargs: Any,
    ) -> None:
        for key, value in (("rho", rho), ("eta", eta), ("rho_end", rho_end)):
            if not value >= 0:
                raise ParameterError("must be at least 0", key=key)
        for key, count in (("every", every), ("m", m)):
            if count is not None and count < 1:
                raise ParameterError("must be at least 1", key=key)
        if not p > 1:
            raise ParameterError("must be above 1", key="p")
        if convention not in ("pytorch", "jax"):
            raise ParameterError("must be 'pytorch' or 'jax'", key="convention")
        if second_order and (p != 2 or adaptive):
            raise ParameterError("is there for p = 2 and adaptive = false only", key="second_order")
        models = [*models, *([model] if model is not None else [])]
        super().__init__(
            params, base_class, base_kwargs, defaults={"rho": rho}, models=models, max_grad_norm=max_grad_norm
        )
        self.p, self.adaptive, self.eta = float(p), adaptive, eta
        self.biases = biases or ("one" if eta > 0 else "abs")
        self.convention, self.m, self.every, self.second_order = convention, m, every, second_order
        self.rho_schedule, self.rho_end = rho_schedule, rho_end
        self.decay_in_gradient = convention == "jax"
        self.passes = 3 if second_order else type(self).passes
        self._check_decay()

    def _check_decay(self) -> None:
        decoupled = any(group.get("decoupled_weight_decay") for group in self.param_groups)
        if self.decay_in_gradient and (decoupled or isinstance(self.base, torch.optim.AdamW)):
            raise ParameterError("makes decay part of the gradient, which AdamW keeps apart", key="convention")

    def rhos(self) -> list[float]:
        """The radius of each parameter group at this step."""
        factor = self.scheduled(self.rho_schedule, self.rho_end)
        return [float(group["rho"]) * factor for group in self.param_groups]

    def kind(self) -> tuple[Any, ...]:
        """Whether the next step perturbs."""
        reaches = any(rho > 0 for rho in self.rhos())
        return *super().kind(), reaches, reaches and self.count % self.every == 0

    def hold(self, dtype: torch.dtype) -> None:
        """Learning rates and, where they follow a schedule, radii."""
        super().hold(dtype)
        if self.rho_schedule != "constant" and not self._radii:
            device = self.weights()[0].device
            self._radii = [torch.zeros((), device=device) for _ in self.param_groups]
        self.set_progress(self.epoch, self.epochs, self.lr_factor)

    def set_progress(self, epoch: float, epochs: float, lr_factor: float = 1.0) -> None:
        """Where training stands, and with it the radii on the device."""
        super().set_progress(epoch, epochs, lr_factor)
        for radius, rho in zip(self._radii, self.rhos() if self._radii else (), strict=True):
            radius.fill_(rho)

    @torch.no_grad()
    def step(
        self,
        closure: Closure | None = None,
        *,
        closures: Sequence[Closure] | None = None,
        sizes: Sequence[int] | None = None,
    ) -> Any:
        """One step on a batch (``closure``) or on micro-batches (``closures``); returns the (mean) loss at w."""
        assert self.base is not None
        batches = self._batches(closure, closures)
        reaches = any(rho > 0 for rho in self.rhos())
        sharp = reaches and self.count % self.every == 0
        norms = norms_with_statistics(self.models)
        shares = [size / sizes[0] for size in sizes] if sizes else [1.0] * len(batches)
        losses: list[Any] = []
        total: list[Tensor | None] = []
        self._pending: list[tuple[str, Sequence[Tensor], Sequence[Tensor]]] = []
        with refuse_single_images(norms) if closures else contextlib.nullcontext():
            for batch, share in zip(batches, shares, strict=True):
                losses.append(self._sharp_gradient(batch, norms) if sharp else run(batch))
                if closures:
                    total = accumulated(total, taken(self.weights()), share)
        if closures:
            for weight, gradient in zip(self.weights(), total, strict=True):
                weight.grad = None if gradient is None else gradient / sum(shares)
        if reaches and not sharp:
            self._between()
        self.gradient_passes = self.passes if sharp else 1
        self._step_base(sharp)
        for item in self._pending:
            self.remember(*item)
        self.count += 1
        if closure is not None:
            return losses[0]
        return sum(loss * share for loss, share in zip(losses, shares, strict=True)) / sum(shares)

    def _batches(self, closure: Closure | None, closures: Sequence[Closure] | None) -> list[Closure]:
        name = type(self).__name__
        if (closure is None) == (not closures):
            raise TypeError(
                f"{name}.step needs a closure (zero_grad, forward, backward, return loss) or closures=[...]"
            )
        if closure is None and not self.micro_batches:
            raise TypeError(f"{name} remembers directions from step to step and takes whole batches, no closures=[...]")
        if closure is not None and self.m is not None:
            raise TypeError(
                f"m = {self.m}: split the batch and call step(closures=[...]), one for each {self.m} images"
            )
        return [closure] if closure is not None else list(closures or ())

    def _step_base(self, sharp: bool) -> None:
        """Clip and step the base; with decay in the gradient it does not decay by itself."""
        assert self.base is not None
        decay_here = self.decay_in_gradient and (sharp or self.max_grad_norm is not None)
        if decay_here and not sharp:  # clipping as a whole needs the decay inside
            self._add_decay([], [])
        with self._base_without_decay() if decay_here else contextlib.nullcontext():
            self.clip()
            self.base.step()

    def _sharp_gradient(self, closure: Closure, norms: Sequence[Any]) -> Any:
        """Leave g' (with what belongs to it) of one batch in ``.grad``; returns the loss at w."""
        draws = Draws(self.weights())
        loss = self._backward(closure)
        move = self._perturbation()
        with still_statistics(norms):
            with restored(move.weights):
                e = self._climb(move)
                with draws.repeated():
                    self._backward(closure)
            if self.decay_in_gradient:
                self._add_decay(e, move.weights)
            if self.second_order:
                with draws.repeated():
                    second_order_term(closure, move, self.weights(), self.decay_in_gradient)
            self._at_peak(move)
        return loss

    def _climb(self, move: Perturbed) -> list[Tensor]:
        """Add e = rho times the direction to the weights and forget the gradients; returns e."""
        e = move.scaled(move.ascent.direction)
        if e:
            torch._foreach_add_(move.weights, e)
        taken(self.weights())
        return e

    # -- what a relative of SAM changes -----------------------------------------------------------------------------

    def _ascent_gradient(self, weights: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """The vector that is followed upwards, from the gradient of the batch."""
        return gradients

    def _at_peak(self, move: Perturbed) -> None:
        """Change ``.grad``, which holds g', before the base gets it; the weights are back at w."""

    def _between(self) -> None:
        """Change ``.grad``, which holds g, in a step without perturbation."""

    # -- the perturbation -------------------------------------------------------------------------------------------

    def _perturbation(self) -> Perturbed:
        """Read g from ``.grad`` and solve for the direction of e."""
        weights, decays = [], []
        rhos: list[float | Tensor] = []
        radii: Sequence[float | Tensor] = self._radii or self.rhos()
        for group, rho in zip(self.param_groups, radii, strict=True):
            for weight in group["params"]:
                if weight.grad is not None:
                    weights.append(weight)
                    rhos.append(rho)
                    decays.append(float(group.get("weight_decay", 0.0)))
        at_w: list[Tensor] = [weight.grad for weight in weights]
        gradients = self._ascent_gradient(weights, at_w)
        if self.decay_in_gradient and weights:
            gradients = list(torch._foreach_add(gradients, torch._foreach_mul(weights, decays)))
        scale = self._scales(weights) if self.adaptive and weights else None
        ascent = steepest_ascent(torch._foreach_mul(gradients, scale) if scale else gradients, self.p)
        if scale:
            ascent = Ascent(list(torch._foreach_mul(ascent.direction, scale)), ascent.norm)
        return Perturbed(weights, rhos, decays, at_w, ascent)

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

    # -- gradients and decay ----------------------------------------------------------------------------------------

    def _add_decay(self, e: Sequence[Tensor], moved: Sequence[Tensor]) -> None:
        """Add decay (w + e) to ``.grad``; the weights are back at w, ``moved`` are those with an e."""
        decays: dict[Tensor, float] = {}
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            decay = float(group.get("weight_decay", 0.0))
            decays.update(dict.fromkeys(group["params"], decay))
            if weights and decay:
                torch._foreach_add_([weight.grad for weight in weights], torch._foreach_mul(weights, decay))
        if e:
            add_to_gradients(moved, torch._foreach_mul(list(e), [decays[weight] for weight in moved]))

    def _backward(self, closure: Closure) -> Any:
        """Run the closure; afterwards gradients are in ``.grad``. Returns the detached loss."""
        if not self.second_order:
            return run(closure)
        loss = loss_with_graph(closure)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
        return loss.detach()

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
