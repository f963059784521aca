"""VolMinNet: network and transition matrix learnt together, the matrix of the least volume that explains the labels."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize

from noisybench.data.loader import Batch
from noisybench.methods.one_network import OneNetwork, refuse_mixup, refuse_other_losses
from noisybench.methods.task import Task
from noisybench.registry import algorithm


class LearntTransition(nn.Module):
    """T ``[K, K]`` from free numbers w: T_ii = 1 / s_i and T_ij = sigmoid(w_ij) / s_i, s_i the sum that makes row i 1.

    Every entry is positive and the largest of a row is its diagonal, whatever w: the class that a network's output
    means cannot wander. All w are ``-init`` at first; those of the diagonal have no effect.
    """

    def __init__(self, num_classes: int, init: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.full((num_classes, num_classes), -init))

    def forward(self) -> Tensor:
        """T, differentiable."""
        identity = torch.eye(len(self.w), dtype=self.w.dtype, device=self.w.device)
        entries = identity + torch.sigmoid(self.w) * (1 - identity)
        return normalize(entries, p=1, dim=1)


def corrected(logits: Tensor, labels: Tensor, transition: Tensor) -> Tensor:
    """``-log sum_i p_i T[i][y]`` per sample ``[B]``, differentiable in both; every T[i][j] > 0."""
    return -torch.logsumexp(log_softmax(logits, dim=1) + transition.log().T[labels], dim=1)


def log_volume(transition: Tensor) -> Tensor:
    """``log |det T|``, a scalar: 0 for the identity, lower the further the rows come together."""
    log_abs: Tensor = torch.linalg.slogdet(transition).logabsdet
    return log_abs


@algorithm("volminnet", cite="li2021volminnet")
class VolMinNet(OneNetwork):
    """VolMinNet, mean_i -log sum_k p_ik T[k][y_i] + lambda log |det T|, over the network and T  (Li et al. 2021).

    p is the network's clean class posterior, which answers; T[i][j] = P(noisy j | true i) has its parameters (see
    ``LearntTransition``) and an optimiser of its own without weight decay: ``matrix_optimizer`` (``sgd`` with momentum
    0.9, or ``adam``) at ``matrix_rate`` times the schedule's factor. Many T explain the labels equally well; that of
    the least volume is the true one where samples of each class are scattered enough, no anchor point needed. Both
    move at once, each by the gradient at the other's old value. With SAM T's gradient is that of the unperturbed
    weights. In YAML the strength is written ``lambda``.

    Defaults are the authors' for CIFAR-10; MNIST: adam; CIFAR-100: adam and ``init: 4.5``. lambda 1e-4 everywhere.
    ``matrix_rate`` is their network's learning rate as well, at 350 steps an epoch: a run of few steps wants more, or
    T stays at its start, whose off-diagonal is e^-2 / (1 + e^-2) each before the rows are scaled (the wrong share that
    it assumes is 0.52 at K = 10). Their training (``recipe: authors``), ResNet-18 or 34, batch 128, crop and flip:

        training: {epochs: 80, optimizer: {name: sgd, lr: 0.01, momentum: 0.9, weight_decay: 1e-4},
                   schedule: {name: multistep, milestones: [30, 60], gamma: 0.1}}

    They answer with the epoch of the lowest noisy hold-out loss: rule ``validation``. Equals their code, in log space.
    ``estimated_noise_rate``: 1 - mean of T's diagonal. Memory: that of one network, and K x K numbers thrice.
    """

    capturable = False  # two optimisers in a step

    def __init__(
        self,
        task: Task,
        *,
        lambda_: Annotated[float, Field(ge=0)] = 1e-4,
        matrix_optimizer: Literal["sgd", "adam"] = "sgd",
        matrix_rate: Annotated[float, Field(gt=0)] = 0.01,
        init: Annotated[float, Field(gt=0)] = 2.0,
    ) -> None:
        super().__init__(task)
        refuse_mixup(task)
        refuse_other_losses(task)
        self.strength = lambda_
        self.matrix = LearntTransition(task.num_classes, init).to(task.device)
        self.matrix_optimizer: torch.optim.Optimizer
        if matrix_optimizer == "sgd":
            self.matrix_optimizer = torch.optim.SGD(self.matrix.parameters(), lr=matrix_rate, momentum=0.9)
        else:
            self.matrix_optimizer = torch.optim.Adam(self.matrix.parameters(), lr=matrix_rate)
        task.drive(self.matrix_optimizer)

    def step(self, batch: Batch) -> Tensor:
        """One step of the network and one of T, in one forward pass."""
        images, labels = batch.images, batch.labels
        logits, transition = self.logits(images), self.matrix()
        self.matrix_optimizer.zero_grad()
        volume = self.strength * log_volume(transition)
        objective = corrected(logits.detach(), labels, transition).mean() + volume
        objective.backward()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
        fixed, constant = transition.detach(), volume.detach()

        def losses(rows: Tensor | None) -> Tensor:
            return corrected(self.logits(images, rows), labels if rows is None else labels[rows], fixed) + constant

        mean = self.learn(images, losses, ready=corrected(logits, labels, fixed) + constant)
        self.matrix_optimizer.step()
        return mean

    def details(self) -> dict[str, float]:
        """``estimated_noise_rate``."""
        return {"estimated_noise_rate": 1 - float(self.matrix().detach().diagonal().mean())}
