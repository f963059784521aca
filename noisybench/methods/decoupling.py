"""Decoupling: two networks are trained where they disagree."""

from __future__ import annotations

import functools
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from noisybench.data.loader import Batch, Loader
from noisybench.methods.algorithm import Algorithm
from noisybench.methods.descent import WeightedClosure, descend
from noisybench.methods.one_network import refuse_mixup
from noisybench.methods.task import Task
from noisybench.methods.two_networks import answer, losses_of
from noisybench.registry import Epochs, algorithm


def disagreeing(one: Tensor, two: Tensor) -> Tensor:
    """bool ``[B]``: the two networks' logits ``[B, K]`` have another argmax."""
    return one.argmax(dim=1) != two.argmax(dim=1)


def update_weights(chosen: Tensor, min_share: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Weights ``[B]`` that make the mean over a batch a sum over ``chosen`` (bool ``[B]``), divided by their number or
    by ``min_share`` B where they are fewer; 0 for the others."""
    weights = chosen.to(dtype)
    return weights * (len(weights) / weights.sum().clamp(min=max(min_share * len(weights), 1e-12)))


@algorithm("decoupling", cite="malach2017decoupling")
class Decoupling(Algorithm):
    """Decoupling: two networks learn only where their predicted classes differ  (Malach & Shalev-Shwartz 2017, alg. 1).

    Both networks see the same batches; each is trained on the n samples of a batch on which their argmaxes differ, by
    the sum of the suite's loss over them, divided by max(n, ``min_share`` B): few disagreements move little. For the
    first ``init_epochs`` epochs all samples count. A batch without disagreement gives no gradient (weight decay and
    momentum go on). Labels have no say in the choice. The first network answers, or with ``ensemble`` the mean
    probability of both. SAM's second pass uses the choice of the first.

    Defaults are the authors': init_epochs 0, min_share 0.1. Their training (``recipe: authors``), on faces, batch 128,
    in steps, of which they have 15,000: SGD with momentum 0.9, rate 0.002, halved every 5,000. Differs from their code
    in that classes are not weighted by their number in the batch (theirs are two), that the first epochs are counted
    in epochs (there in steps), and in that their other variant, which gathers disagreements until there are B of them,
    is not here. ``disagreement``: share of the samples of the last epoch on which the networks differed, as they were
    met. Memory: two networks with their optimisers.
    """

    state = ("differing",)

    def __init__(
        self,
        task: Task,
        *,
        init_epochs: Annotated[Epochs, Field(ge=0)] = 0,
        min_share: Annotated[float, Field(ge=0, le=1)] = 0.1,
        ensemble: bool = False,
    ) -> None:
        super().__init__(task)
        refuse_mixup(task)
        self.init_epochs, self.min_share, self.ensemble = init_epochs, min_share, ensemble
        self.networks = [task.model(), task.model()]
        self.optimizers = [task.optimizer(network) for network in self.networks]
        self.everything = torch.zeros((), dtype=torch.bool, device=task.device)
        self.differing = torch.zeros((), device=task.device)

    def begin_epoch(self, epoch: int, loader: Loader) -> None:
        """Whether all samples count; no disagreement met yet."""
        self.everything.fill_(epoch < self.init_epochs)
        self.differing.zero_()

    def step(self, batch: Batch) -> Tensor:
        """Compare in one forward pass of each network, one optimiser step each; the mean of both losses."""
        task, images, labels = self.task, batch.images, batch.labels
        logits = [task.forward(network, images) for network in self.networks]
        differ = disagreeing(*logits)
        self.differing += differ.sum()
        weights = update_weights(differ | self.everything, self.min_share)
        means = []
        for network, optimizer, z in zip(self.networks, self.optimizers, logits, strict=True):
            again = functools.partial(losses_of, task, network, images, labels)
            closure = WeightedClosure(task, optimizer, again, weights, [task.loss(z, labels)])
            means.append(descend(optimizer, closure, images))
        return torch.stack(means).mean()

    def predict(self, images: Tensor) -> Tensor:
        """The first network's logits, or the log mean probability of both."""
        return answer(self.task, self.networks, images, self.ensemble)

    def details(self) -> dict[str, float]:
        """``disagreement``."""
        return {"disagreement": float(self.differing) / self.task.loader().images_per_epoch}
