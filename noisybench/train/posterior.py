"""The posterior that PMD noise is made from: how sure a network is of each training image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from noisybench.data import Dataset, Loader, split_holdout
from noisybench.models import build_model
from noisybench.seeding import derive

AUGMENT = ("crop", "flip")


@dataclass(frozen=True, eq=False)
class Posterior:
    """``eta`` float32 ``[N, K]``, rows sum to one; ``trained`` bool ``[N]``: the network was trained on this image;
    ``accuracy``: share of trained images whose likeliest class is the clean label."""

    eta: np.ndarray
    trained: np.ndarray
    accuracy: float


def record_posterior(
    dataset: Dataset,
    model: Mapping[str, Any],
    *,
    epochs: int = 25,
    lr: float = 1e-3,
    batch_size: int = 128,
    share: float = 0.9,
    augment: Sequence[Any] = AUGMENT,
    seed: int = 0,
    device: str = "cpu",
    observe: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Posterior:
    """Train on a share of the *clean* training labels and keep the softmax of the last epoch (Zhang et al. 2021).

    As cifar/gen_noise_label.py of the authors: cross entropy, SGD with momentum 0.9 (Nesterov), weight decay 5e-4 and a
    constant rate of 1e-3, batches of 128, crop and flip, 25 epochs, 90 % of the training set. The posterior of an
    image is what the network said while it was trained on it in the last epoch: in train mode (batch statistics), on
    the augmented image, before that step. Their network, named PreAct-ResNet-34, is the ordinary ResNet-34
    (``resnet34``) in the code.

    Differs from the authors' code in that the held-out images get a row too, so that ``eta`` fits the whole training
    set: the softmax of the finished network in train mode on augmented images. There noise is made for the 90 % only.
    Split, initialisation, order and augmentation are drawn apart from ``seed``. ``observe`` gets epoch and mean loss.
    """
    place = torch.device(device)
    index, rest = split_holdout(dataset.train_labels, round(1 - share, 12), seed)
    images = torch.from_numpy(np.ascontiguousarray(dataset.train_images)).to(place)
    labels = torch.from_numpy(dataset.train_labels).to(place)

    def loader(positions: np.ndarray) -> Loader:
        return Loader(
            images,
            labels,
            seed=seed,
            batch_size=batch_size,
            augment=augment,
            mean=dataset.mean,
            std=dataset.std,
            index=torch.from_numpy(positions),
        )

    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(derive(seed, "init", 0))
        params = dict(model)
        network = build_model(params.pop("name"), dataset.shape, dataset.num_classes, **params).to(place)
        optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
        eta = torch.zeros(len(images), dataset.num_classes, device=place)
        network.train()
        for epoch in range(epochs):
            observe(epoch, _train(network, optimizer, loader(index), epoch, eta))
        if len(rest):
            with torch.no_grad():
                for batch in loader(rest).epoch(epochs):
                    eta[batch.index] = functional.softmax(network(batch.images).float(), dim=1)
    trained = np.zeros(len(images), bool)
    trained[index] = True
    found = eta.cpu().numpy()
    accuracy = float((found.argmax(axis=1) == dataset.train_labels)[trained].mean())
    return Posterior(found, trained, accuracy)


def _train(network: nn.Module, optimizer: torch.optim.Optimizer, loader: Loader, epoch: int, eta: Tensor) -> float:
    """One epoch; ``eta`` keeps what was said. Returns the mean loss over its batches."""
    losses = []
    for batch in loader.epoch(epoch):
        optimizer.zero_grad()
        logits = network(batch.images).float()
        loss = functional.cross_entropy(logits, batch.labels)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature
        optimizer.step()
        eta[batch.index] = functional.softmax(logits.detach(), dim=1)
        losses.append(loss.detach())
    return float(torch.stack(losses).mean())
