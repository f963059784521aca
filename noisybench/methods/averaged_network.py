"""Exponential moving averages of a network's parameters, with batch-norm statistics of their own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from noisybench.methods.task import Task
from noisybench.optim.passes import norms_with_statistics


def average_decay(updates: int, decay: float) -> float:
    """min(decay, (1 + n) / (10 + n)) for the n-th update, n = 1, 2, ...: short runs forget their start (TensorFlow)."""
    return min(decay, (1 + updates) / (10 + updates))


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """average <- decay average + (1 - decay) network, all parameters in place; buffers are left alone."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)


def recompute_statistics(task: Task, network: nn.Module, epoch: int, index: Tensor | None = None) -> None:
    """Batch-norm statistics of a network whose parameters were not trained with them, from the training part, or from
    the images ``index`` of it.

    One pass over its unaugmented images in batches of the run's size, shuffled by ``epoch``; mean and variance are the
    plain averages over the batches. Everything but the batch norms is in eval mode, nothing is trained. A network
    without batch norm costs nothing. Averaged variances lean towards those inside a batch, as the running ones do.
    """
    norms = norms_with_statistics([network])
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    with task.eval_mode():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # cumulative
            norm.train()
        try:
            index = task.index if index is None else index
            size = min(task.training["batch_size"], len(index))
            for batch in task.loader(index, augment=[], batch_size=size).epoch(epoch):
                task.forward(network, batch.images)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
