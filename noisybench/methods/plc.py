"""PLC: labels that the network contradicts are replaced, surest contradictions first."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softmax

from noisybench.data.loader import Batch, Loader
from noisybench.methods.one_network import OneNetwork, refuse_mixup
from noisybench.methods.task import Task
from noisybench.registry import Epochs, algorithm

FEW = 0.001
"""The threshold rises after an epoch that corrects less than this share of the labels."""
HIGHEST = 0.9


def contradicted(probabilities: Tensor, labels: Tensor, threshold: Tensor | float) -> Tensor:
    """Where ``p_y < threshold max_k p_k``: bool ``[n]``; ``probabilities`` ``[n, K]`` of any scale, 0 is no answer."""
    own = probabilities.gather(1, labels[:, None])[:, 0]
    return own / probabilities.amax(dim=1) < threshold


def next_threshold(threshold: Tensor, corrected: Tensor, increment: float) -> Tensor:
    """The threshold after an epoch: a step up, at most to 0.9, where few of the labels were ``corrected`` ``[n]``."""
    few = corrected.sum() < FEW * len(corrected)
    return torch.where(few, (threshold + increment).clamp(max=HIGHEST), threshold)


@algorithm("plc", cite="zhang2021plc")
class ProgressiveLabelCorrection(OneNetwork):
    """PLC: mean_i l(z_i, y_i) with labels that are corrected after each epoch  (Zhang et al. 2021, algorithm 1).

    From the end of epoch ``warm_up`` (0-based) on, p_i is the mean softmax of image i at its turns in the last
    ``window`` epochs (train mode, augmented, of the forward pass it was trained with). A label y_i with
    p_i[y_i] / max p_i < theta becomes argmax p_i, for good unless it is corrected again. theta starts at ``threshold``
    and rises by ``increment``, at most to 0.9, after each epoch that corrects less than a thousandth of the labels: the
    surest contradictions go first. l is the suite's loss (the authors': cross entropy).

    Defaults are the authors' for CIFAR-10 and CIFAR-100 with feature-dependent noise. Their training (``recipe:
    authors``), pre-activation ResNet-34 (here: ``preact_resnet18``), batch 128, crop and flip:

        training: {epochs: 180, optimizer: {name: sgd, lr: 0.01, momentum: 0.9, nesterov: true, weight_decay: 5e-4},
                   schedule: {name: multistep, milestones: [40, 80], gamma: 0.5}}

    They answer with the best epoch on held-out images with *clean* labels; here the suite's rule decides. Equals their
    code otherwise. ``estimated_noise_rate``: share of the training part whose label was changed; ``threshold``: the
    last theta. Memory: ``window`` x K numbers an image.
    """

    state = ("record", "labels", "threshold")

    def __init__(
        self,
        task: Task,
        *,
        warm_up: Annotated[Epochs, Field(ge=0)] = 8,
        window: Annotated[int, Field(ge=1)] = 5,
        threshold: Annotated[float, Field(ge=0, le=1)] = 0.3,
        increment: Annotated[float, Field(ge=0)] = 0.1,
    ) -> None:
        super().__init__(task)
        refuse_mixup(task)
        self.warm_up, self.window, self.increment = warm_up, window, increment
        self.record = torch.zeros(window, len(task.labels), task.num_classes, device=task.device)
        self.labels = task.labels.clone()
        self.threshold = torch.tensor(threshold, dtype=torch.float64, device=task.device)
        self.slot = torch.zeros((), dtype=torch.int64, device=task.device)

    def begin_epoch(self, epoch: int, loader: Loader) -> None:
        """Where this epoch's predictions go, over the oldest ones."""
        self.slot.fill_(epoch % self.window)

    def train_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """One pass; after the warm-up a correction."""
        mean = super().train_epoch(epoch, loader)
        if epoch >= self.warm_up:
            self._correct()
        return mean

    def step(self, batch: Batch) -> Tensor:
        """Note the predictions and learn, in one forward pass."""
        images, labels = batch.images, self.labels[batch.index]
        logits = self.logits(images)
        self.record[self.slot.expand_as(batch.index), batch.index] = softmax(logits.detach(), dim=1)

        def losses(rows: Tensor | None) -> Tensor:
            return self.task.loss(self.logits(images, rows), labels if rows is None else labels[rows])

        return self.learn(images, losses, ready=self.task.loss(logits, labels))

    def details(self) -> dict[str, float]:
        """``estimated_noise_rate``, ``threshold``."""
        index = self.task.index
        changed = (self.labels != self.task.labels)[index].double().mean()
        return {"estimated_noise_rate": float(changed), "threshold": float(self.threshold)}

    def _correct(self) -> None:
        index = self.task.index
        probabilities, labels = self.record[:, index].mean(dim=0), self.labels[index]
        wrong = contradicted(probabilities, labels, self.threshold)
        self.labels[index] = torch.where(wrong, probabilities.argmax(dim=1), labels)
        self.threshold = next_threshold(self.threshold, wrong, self.increment)
