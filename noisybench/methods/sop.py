"""SOP and SOP+: a sparse, over-parameterised term for each image explains its wrong label away."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, one_hot, softmax

from noisybench.data.loader import Batch, Loader
from noisybench.methods.algorithm import Phase
from noisybench.methods.one_network import OneNetwork, refuse_mixup, refuse_other_losses
from noisybench.methods.task import Task
from noisybench.registry import algorithm

SMALLEST = 1e-4
"""Corrected predictions are at least this, before and after they are brought to sum 1."""

LearningRate = Annotated[float, Field(ge=0)]
Strength = Annotated[float, Field(ge=0)]


def noise_terms(u: Tensor, v: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """``u^2`` at the label and ``v^2`` elsewhere, ``[B, K]`` each, at most 1; u ``[B, 1]``, v ``[B, K]``.

    The first is the label's share that the noise put there, the second what it took from the other classes.
    """
    at_label = one_hot(labels, v.shape[1]).to(v.dtype)
    return (u**2 * at_label).clamp(0, 1), (v**2 * (1 - at_label)).clamp(0, 1)


def with_noise(logits: Tensor, added: Tensor, taken: Tensor) -> Tensor:
    """``softmax(z) + u^2 - v^2`` brought back to a distribution ``[B, K]``; no gradient to v."""
    shifted = (softmax(logits, dim=1) + added - taken.detach()).clamp(min=SMALLEST)
    return (shifted / shifted.sum(dim=1, keepdim=True)).clamp(SMALLEST, 1)


def sop_losses(logits: Tensor, labels: Tensor, u: Tensor, v: Tensor, balance: float = 0.0) -> Tensor:
    """``-log q_y + |e_argmax(z) + u^2 - v^2 - e_y|^2`` per sample ``[B]``, q of ``with_noise``.

    The first term moves the network and u, the second u and v. ``balance`` times ``-1/K sum_k log(mean_i q_ik)``, which
    the batch has in common, is added to each.
    """
    added, taken = noise_terms(u, v, labels)
    q = with_noise(logits, added, taken)
    guess, label = (one_hot(k, logits.shape[1]).to(q.dtype) for k in (logits.argmax(dim=1), labels))
    losses = -(label * q.log()).sum(dim=1) + (guess + added - taken - label).square().sum(dim=1)
    if balance > 0:
        losses = losses - balance * q.mean(dim=0).clamp(min=SMALLEST).log().mean()
    return losses


def inconsistency(first: Tensor, second: Tensor) -> Tensor:
    """``KL(p_1 || p_2)`` of two views' logits per sample ``[B]``; no gradient to the first."""
    target = softmax(first.detach(), dim=1)
    return kl_div(log_softmax(second, dim=1), target, reduction="none").sum(dim=1)


def explained(labels: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """The classes that are left, argmax of ``e_y - u^2 + v^2``, int64 ``[n]``."""
    added, taken = noise_terms(u, v, labels)
    return (one_hot(labels, v.shape[1]) - added + taken).argmax(dim=1)


@algorithm("sop", cite="liu2022sop")
class SparseOverParameterisation(OneNetwork):
    """SOP: the network's prediction plus a noise term of the image fits the label  (Liu et al. 2022, algorithm 1).

    Each image has u in R and v in R^K, which start at ``std`` times a normal draw; its noise term is u^2 at its label
    and -v^2 elsewhere. A step takes, in one forward pass,

        mean_i -log q_iy + |e_argmax(z_i) + u_i^2 - v_i^2 - e_y|^2,    q = softmax(z) + u^2 - v^2, brought to sum 1

    by one step of the suite's optimiser for the network (the square has no gradient there), and one of plain gradient
    descent at the constant rates ``lr_u`` and ``lr_v`` for u and v of the batch, whatever the suite's optimiser and
    schedule. The squares make growth from next to nothing exponential, so that few images get a noise term: those whose
    label the network does not fit for long. The rates act on the gradient of the batch mean: they go with the batch
    size, and with the number of epochs that growth may take. SAM's second pass uses the u and v of the first.

    SOP+ (``consistency: 0.9, balance: 0.1``): a second view of each image, by the suite's ``augment`` like the first
    and with it in one batch of 2 B, is brought to the first's prediction: plus ``consistency`` KL(p_1 || p_2); and the
    batch's mean q to the uniform distribution: plus ``balance`` times the cross entropy. Two gradients an image.

    Defaults are the authors' for CIFAR-100 with symmetric noise; asymmetric: lr_u 0.1, lr_v 100: overrides by noise,
    rate-aware. Their training (``recipe: authors``), PreActResNet-18, batch 128, with SOP+:

        training: {epochs: 300, optimizer: {name: sgd, lr: 0.02, momentum: 0.9, weight_decay: 1e-3},
                   schedule: {name: cosine, end: 0.01, every: epoch}}

    Equals their published code, in which u follows both terms; in the paper, as in their first version, it follows
    the cross entropy alone. Differs from it in that their second view has AutoAugment and cutout beside crop and flip.
    ``estimated_noise_rate``: share of the training part whose label the noise term explains away (``explained``).
    Memory: K + 1 numbers an image; with ``consistency`` activations of 2 B images.
    """

    state = ("u", "v")

    def __init__(
        self,
        task: Task,
        *,
        lr_u: LearningRate = 1.0,
        lr_v: LearningRate = 10.0,
        std: Annotated[float, Field(gt=0)] = 1e-8,
        consistency: Strength = 0.0,
        balance: Strength = 0.0,
    ) -> None:
        super().__init__(task)
        refuse_mixup(task)
        refuse_other_losses(task)
        self.lr_u, self.lr_v, self.consistency, self.balance = lr_u, lr_v, consistency, balance
        start = std * torch.randn(len(task.labels), 1 + task.num_classes, generator=task.generator("sop start"))
        self.u, self.v = start[:, :1].to(task.device), start[:, 1:].to(task.device)

    def loader(self, phase: Phase) -> Loader:
        """Two views of every image where they are to agree."""
        return self.task.loader(views=2 if self.consistency > 0 else 1)

    def step(self, batch: Batch) -> Tensor:
        """One step of the network and one of the batch's noise terms, in one forward pass."""
        views = list(batch.images) if self.consistency > 0 else [batch.images]
        u, v = self.u[batch.index], self.v[batch.index]

        def losses(logits: list[Tensor], rows: Tensor | None, u: Tensor = u, v: Tensor = v) -> Tensor:
            labels, u, v = (t if rows is None else t[rows] for t in (batch.labels, u, v))
            losses = sop_losses(logits[0], labels, u, v, self.balance)
            return losses + self.consistency * inconsistency(*logits) if len(logits) == 2 else losses

        logits = self._logits(views, None)
        leaves = u.clone().requires_grad_(), v.clone().requires_grad_()
        of_noise = losses([z.detach() for z in logits], None, *leaves).mean()
        gradients = torch.autograd.grad(of_noise, leaves)
        self.u[batch.index] = u - self.lr_u * gradients[0]
        self.v[batch.index] = v - self.lr_v * gradients[1]
        return self.learn(
            views[0],
            lambda rows: losses(self._logits(views, rows), rows),
            ready=losses(logits, None),
            passes=len(views),
        )

    def details(self) -> dict[str, float]:
        """``estimated_noise_rate``."""
        index = self.task.index
        labels = self.task.labels[index]
        wrong = explained(labels, self.u[index], self.v[index]) != labels
        return {"estimated_noise_rate": float(wrong.double().mean())}

    def _logits(self, views: list[Tensor], rows: Tensor | None) -> list[Tensor]:
        """Each view's logits, of one forward pass of all."""
        images = views if rows is None else [view[rows] for view in views]
        return list(self.logits(torch.cat(images) if len(images) > 1 else images[0]).chunk(len(images)))
