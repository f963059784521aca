"""The training loop that most published code has, here to be measured against.

PIL images one by one through torchvision's transforms in DataLoader workers with pinned memory, float32, contiguous
layout, ``loss.item()`` every step, one thread a core. SAM as the usual port has it: a Python loop over parameters.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from noisybench.data import Dataset
from noisybench.models import build_model

RHO = 0.1


class Pictures(TorchDataset[tuple[Tensor, int]]):
    """Images as a torchvision data set hands them out: one PIL image, transformed, and its label."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, mean: Any, std: Any) -> None:
        self.images, self.labels = np.ascontiguousarray(images.transpose(0, 2, 3, 1)), labels
        size = images.shape[2]
        steps = [transforms.RandomCrop(size, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        self.transform = transforms.Compose([*steps, transforms.Normalize(mean, std)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[place])), int(self.labels[place])


class TextbookLoop:
    """Trains ``model`` on a data set, an epoch a call, and says how many images a second it did."""

    def __init__(
        self, data: Dataset, model: str, optimizer: str, *, batch_size: int, device: str, threads: int, workers: int
    ) -> None:
        torch.manual_seed(0)
        self.device, self.threads, self.sharp = torch.device(device), threads, optimizer == "sam"
        self.model = build_model(model, data.shape, data.num_classes).to(self.device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
        self.criterion = nn.CrossEntropyLoss()
        self.size = len(data.train_labels)
        self.loader = DataLoader(
            Pictures(data.train_images, data.train_labels, data.mean, data.std),
            batch_size=batch_size,
            shuffle=True,
            num_workers=workers,
            pin_memory=self.device.type == "cuda",
            persistent_workers=workers > 0,
        )

    def epoch(self) -> float:
        """Images a second of one epoch."""
        torch.set_num_threads(self.threads)
        self.model.train()
        start, total = time.perf_counter(), 0.0
        for images, labels in self.loader:
            images, labels = images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
            loss = self.criterion(self.model(images), labels)
            self.optimizer.zero_grad()
            loss.backward()
            if self.sharp:
                moves = self._climb()
                self.criterion(self.model(images), labels).backward()
                with torch.no_grad():
                    for weight, move in moves:
                        weight.sub_(move)
            self.optimizer.step()
            total += loss.item()
        return self.size / (time.perf_counter() - start)

    def _climb(self) -> list[tuple[Tensor, Tensor]]:
        weights = [weight for weight in self.model.parameters() if weight.grad is not None]
        norm = torch.norm(torch.stack([weight.grad.norm(p=2) for weight in weights if weight.grad is not None]), p=2)
        moves: list[tuple[Tensor, Tensor]] = []
        with torch.no_grad():
            for weight in weights:
                assert weight.grad is not None
                move = weight.grad * (RHO / (norm + 1e-12))
                weight.add_(move)
                moves.append((weight, move))
        self.optimizer.zero_grad()
        return moves
