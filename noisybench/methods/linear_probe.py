"""Linear probing: a linear head on the features of a frozen encoder that was trained on other data."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate

from noisybench.data.loader import Batch
from noisybench.errors import InputError, MissingExtra, ParameterError
from noisybench.methods.algorithm import Algorithm
from noisybench.methods.descent import WeightedClosure, descend
from noisybench.methods.one_network import refuse_mixup
from noisybench.methods.task import Task
from noisybench.registry import FILE, PLACE, algorithm, did_you_mean
from noisybench.seeding import derive

IMAGES_AT_ONCE = 100
"""Images that go through the encoder together; they are enlarged for it."""


def load_encoder(name: str, weights: str | None) -> nn.Module:
    """An encoder of timm without its classifier, frozen, in eval mode.

    Its weights come from timm's cache or network address, or from a file. Raises MissingExtra without timm,
    ParameterError for an unknown name or a file that does not fit, InputError where weights are not to be had.
    """
    try:
        timm = importlib.import_module("timm")
    except ImportError:
        raise MissingExtra("timm", "timm", "algorithm 'linear_probe'") from None
    if not timm.is_model(name):
        raise ParameterError(f"timm has no model '{name}'{did_you_mean(name, timm.list_models())}", key="encoder")
    if weights is not None:
        encoder: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
        _fill(encoder, name, weights)
        return encoder.eval().requires_grad_(False)
    try:
        encoder = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # whatever timm's sources of weights raise, which depends on what is installed
        raise InputError(
            f"the pretrained weights of '{name}' are neither in timm's cache nor to be had ({_reason(error)}); "
            "download them where there is a network, or name a file with algorithm.weights"
        ) from None
    return encoder.eval().requires_grad_(False)


def _fill(encoder: nn.Module, name: str, weights: str) -> None:
    """All weights of an encoder from a file; a classifier in it is left out."""
    try:
        state = read_state(weights)
        missing = encoder.load_state_dict(state, strict=False).missing_keys
    except Exception as error:  # an unreadable file, or weights of another shape
        raise ParameterError(f"{weights} does not fit '{name}' ({_reason(error)})", key="weights") from None
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing:
        raise ParameterError(f"{weights} does not fit '{name}' (it has no '{missing[0]}')", key="weights")


def read_state(path: str) -> dict[str, torch.Tensor]:
    """The state dict in a ``.safetensors`` or torch file, under one of the keys training scripts use, without the
    prefix of parallel training. Only tensors and plain values are read: a pickled program is refused."""
    if path.endswith(".safetensors"):
        state = importlib.import_module("safetensors.torch").load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict_ema", "model_ema", "state_dict", "model"):
        if isinstance(state.get(key), dict):
            state = state[key]
            break
    return {name.removeprefix("module."): value for name, value in state.items()}


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def expected_input(encoder: nn.Module) -> tuple[int, list[float], list[float]]:
    """Image size, mean and standard deviation that an encoder was trained with."""
    config = importlib.import_module("timm.data").resolve_model_data_config(encoder)
    return int(config["input_size"][-1]), list(config["mean"]), list(config["std"])


def prepared(
    images: Tensor,
    own: tuple[tuple[float, ...], tuple[float, ...]],
    theirs: tuple[list[float], list[float]],
    size: int,
) -> Tensor:
    """Images normalised by ``own`` mean and standard deviation ``[B, C, H, W]`` as an encoder takes them.

    ``[B, 3, size, size]``, normalised by ``theirs``; a single channel is repeated; bicubic, antialiased.
    """

    def column(values: Any) -> Tensor:
        return torch.tensor(list(values), dtype=images.dtype, device=images.device).view(1, -1, 1, 1)

    pixels = images * column(own[1]) + column(own[0])
    if pixels.shape[1] == 1:
        pixels = pixels.expand(-1, 3, -1, -1)
    if pixels.shape[2:] != (size, size):
        pixels = interpolate(pixels, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
    return (pixels - column(theirs[0])) / column(theirs[1])


class Remembered:
    """A function of images, row by row, that is computed once for every image, known again by its content."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function
        self.known: dict[bytes, Tensor] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """``function(images)`` ``[B, d]``."""
        rows = images.detach().cpu().contiguous().numpy()
        keys = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]
        new = [row for row, key in enumerate(keys) if key not in self.known]
        for start in range(0, len(new), IMAGES_AT_ONCE):
            part = new[start : start + IMAGES_AT_ONCE]
            answers = self.function(images[torch.tensor(part, device=images.device)])
            self.known.update((keys[row], answer) for row, answer in zip(part, answers, strict=True))
        return torch.stack([self.known[key] for key in keys])


@algorithm("linear_probe", extra="timm")
class LinearProbe(Algorithm):
    """A linear head on the features of a frozen encoder of timm (extra ``timm``) that was trained on other data.

    ``encoder``: a name of timm's, without its classifier; its weights come from timm's cache or its network address, or
    from the file ``weights`` (a state dict with timm's names). Every image, enlarged to ``image_size`` (null: the
    encoder's own) and normalised as the encoder expects, goes through it once; one of a single channel is repeated.
    Features, with ``standardise`` less their mean over the training part, divided by their standard deviation there and
    by sqrt(d) so that a step does not depend on their number, are what the head is trained on, with the suite's loss,
    optimiser and schedule on the noisy labels. As nothing is computed twice there is no augmentation:
    ``training.augment`` must be empty, and mixup is refused. The suite's ``model`` is not used.

    The encoder has seen other images: a result is not comparable with one from scratch. ``pretraining`` names what it
    saw (``ImageNet-1k``), for the report; ``pretrained: 1`` is in the record. Not from a paper. Only the head is kept
    with a run. Memory: the encoder, N + test images times d features, no gradients but the head's.
    """

    def __init__(
        self,
        task: Task,
        *,
        encoder: Annotated[str, Field(min_length=1)] = "resnet50.a1_in1k",
        weights: Annotated[str | None, FILE] = None,
        image_size: Annotated[int, Field(ge=1)] | None = None,
        standardise: bool = True,
        pretraining: Annotated[str, PLACE, Field(min_length=1)] = "an encoder of timm",
    ) -> None:
        super().__init__(task)
        refuse_mixup(task)
        if task.training["augment"]:
            raise InputError(
                "algorithm 'linear_probe' computes the features of an image once and cannot augment it; set "
                "training.augment: []"
            )
        if task.shape[0] not in (1, 3):
            raise InputError(f"algorithm 'linear_probe' takes images of 1 or 3 channels, not {task.shape[0]}")
        network = load_encoder(encoder, weights).to(task.device)
        size, *theirs = expected_input(network)
        size = image_size or size

        def encode(images: Tensor) -> Tensor:
            with torch.no_grad():
                features = task.forward(network, prepared(images, (task.mean, task.std), (theirs[0], theirs[1]), size))
            return features.flatten(1)

        self._features = Remembered(encode)  # no attribute of its own: the encoder is not saved with the run
        table = task.predict_train(self._features)
        seen = table[task.index]
        self._shift, self._scale = torch.zeros_like(seen[0]), torch.ones_like(seen[0])
        if standardise:
            self._shift = seen.mean(dim=0)
            self._scale = seen.std(dim=0, correction=0).clamp(min=1e-6) * table.shape[1] ** 0.5
        self._table = (table - self._shift) / self._scale
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(task.seed, "init", 0))
            self.model = nn.Linear(table.shape[1], task.num_classes)
        self.model.to(task.device)
        task.models.append(self.model)
        self.optimizer = task.optimizer(self.model)

    def step(self, batch: Batch) -> Tensor:
        """One optimiser step of the head."""
        features = self._table[batch.index]

        def losses(rows: Tensor | None) -> Tensor:
            x, y = (features, batch.labels) if rows is None else (features[rows], batch.labels[rows])
            return self.task.loss(self.task.forward(self.model, x), y)

        ones = torch.ones(len(features), device=self.task.device)
        return descend(self.optimizer, WeightedClosure(self.task, self.optimizer, losses, ones, []), features)

    def predict(self, images: Tensor) -> Tensor:
        """The head's logits of the images' features."""
        return self.task.forward(self.model, (self._features(images) - self._shift) / self._scale)

    def details(self) -> dict[str, float]:
        """``pretrained``: 1; ``features``: their number."""
        return {"pretrained": 1.0, "features": float(self._table.shape[1])}
