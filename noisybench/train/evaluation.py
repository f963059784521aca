"""Accuracy, loss, and what became of the flipped labels. These are the trainer's; algorithms cannot reach them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from noisybench.methods.task import Task
from noisybench.seeding import Draws

SAMPLE = 5000
"""Training images looked at each epoch under ``diagnostics: sample``."""


@dataclass(frozen=True)
class Truth:
    """The labels diagnostics refer to, on the device, all over the training subset ``[N]``.

    ``noisy`` is what was injected (also when a run trains on a teacher's predictions), ``clean`` the truth.
    ``open_set`` bool: the image shows none of the classes, so that its ``clean`` label means nothing.
    """

    noisy: Tensor
    clean: Tensor
    open_set: Tensor


def accuracy_and_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Accuracy in percent and mean cross entropy, as scalars on the device."""
    hits = (logits.argmax(dim=1) == labels).sum()
    return 100.0 * hits.double() / len(labels), functional.cross_entropy(logits, labels)


def diagnostic_index(task: Task, truth: Truth, mode: str) -> Tensor:
    """Positions of the training part to look at each epoch: a class-balanced sample, all, or none.

    Open-set images are never among them. The sample has min(n, 5,000) images, as many of each clean class as there
    are, drawn once from (seed, diagnostics).
    """
    if mode == "off":
        return task.index[:0]
    candidates = closed_index(task, truth)
    if mode == "full" or len(candidates) <= SAMPLE:
        return candidates
    index, clean = candidates.cpu().numpy(), truth.clean.cpu().numpy()
    order = index[Draws(task.seed, "diagnostics").permutation(len(index))]
    rank = np.empty(len(order), dtype=np.int64)  # how many of its class come before it in the random order
    labels = clean[order]
    for label in np.unique(labels):
        where = np.flatnonzero(labels == label)
        rank[where] = np.arange(len(where))
    chosen = np.sort(order[np.argsort(rank, kind="stable")[:SAMPLE]])
    return torch.from_numpy(chosen).to(task.device)


def closed_index(task: Task, truth: Truth) -> Tensor:
    """The training part without open-set images."""
    return task.index[~truth.open_set[task.index]]


def training_diagnostics(predicted: Tensor, noisy: Tensor, clean: Tensor) -> dict[str, Tensor]:
    """Shares in percent, of class predictions ``[n]`` (eval mode, no augmentation).

    noisy_accuracy, clean_accuracy: agreement with the injected and with the true labels. memorised: flipped samples
    predicted as their wrong label. corrected: flipped samples predicted as their true label. Without flips the last
    two are NaN.
    """
    flipped = noisy != clean
    count = flipped.sum()
    return {
        "noisy_accuracy": 100.0 * (predicted == noisy).double().mean(),
        "clean_accuracy": 100.0 * (predicted == clean).double().mean(),
        "memorised": 100.0 * (flipped & (predicted == noisy)).sum().double() / count,
        "corrected": 100.0 * (flipped & (predicted == clean)).sum().double() / count,
    }


def confusion(predicted: Tensor, labels: Tensor, num_classes: int) -> np.ndarray:
    """Counts int64 ``[K, K]``: row = true class, column = predicted class."""
    counts = torch.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).cpu().numpy()


def evaluate_epoch(
    task: Task,
    predict: Callable[[Tensor], Tensor],
    test: tuple[Tensor, Tensor],
    truth: Truth,
    index: Tensor,
) -> dict[str, Tensor]:
    """The row of an epoch, as scalars on the device: test, hold-out, and the training diagnostics on ``index``."""
    row: dict[str, Tensor] = {}
    row["test_accuracy"], row["test_loss"] = accuracy_and_loss(task.evaluate(predict, test[0]), test[1])
    if len(task.holdout):
        logits = task.evaluate(predict, task.images[task.holdout])
        row["holdout_accuracy"], row["holdout_loss"] = accuracy_and_loss(logits, truth.noisy[task.holdout])
    if len(index):
        predicted = task.evaluate(predict, task.images[index]).argmax(dim=1)
        row |= training_diagnostics(predicted, truth.noisy[index], truth.clean[index])
    return row
