"""What an algorithm is given: networks, optimisers, loaders, noisy labels, and nothing it must not see."""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from noisybench.data.augment import normalise
from noisybench.data.loader import Batch, Loader
from noisybench.errors import InputError
from noisybench.losses import build_loss
from noisybench.methods.compiled import Compiled, compiled
from noisybench.models import build_model
from noisybench.optim import Wrapper, build_optimizer
from noisybench.seeding import derive, torch_generator


@dataclass(frozen=True)
class Numerics:
    """How a run computes, chosen once at its first start and inherited by every resume."""

    device: str
    precision: str  # "fp32" or "bf16"
    compile: bool
    threads: int
    channels_last: bool
    compile_error: str | None = None  # why ``compile`` was given up after all
    capture: bool = False  # steps as CUDA graphs
    capture_error: str | None = None


@dataclass(frozen=True)
class Oracle:
    """What authors take from the clean labels. Handed out under ``oracle: true`` only, and footnoted in reports."""

    noise_rate: float
    clean_labels: Tensor


Capture = Callable[[Any, int], contextlib.AbstractContextManager[Callable[[Batch], Tensor]]]


class Task:
    """Everything an algorithm may use.

    ``images`` uint8 ``[N, C, H, W]`` and ``labels`` int64 ``[N]`` (noisy, or a teacher's predictions) are the training
    subset on the device; ``index`` ``[n]`` are the positions to train on and ``holdout`` ``[N - n]`` those held out
    (as noisy as the rest). There are no clean labels and no test data here; ``oracle()`` is the only door to them.
    """

    def __init__(
        self,
        spec: Mapping[str, Any],
        *,
        images: Tensor,
        labels: Tensor,
        index: Tensor,
        holdout: Tensor,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        numerics: Numerics,
        oracle: Callable[[], Oracle],
        check_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.spec, self.training, self.seed = spec, spec["training"], int(spec["seed"])
        self.images, self.labels, self.index, self.holdout = images, labels, index, holdout
        self.num_classes, self.mean, self.std = num_classes, tuple(mean), tuple(std)
        self.shape: tuple[int, int, int] = (images.shape[1], images.shape[2], images.shape[3])
        self.numerics, self.device = numerics, torch.device(numerics.device)
        self.epoch = 0
        self.learning_rate = math.nan  # of the epoch's first step, for its row
        self.gradient_evaluations = 0
        self.models: list[nn.Module] = []
        self.models_made = 0  # numbers the initialisations; restored on resume, where fewer objects may exist
        self.optimizers: list[torch.optim.Optimizer] = []
        self.optimizer_models: list[list[nn.Module]] = []
        self._oracle, self._check_stop = oracle, check_stop
        self.log: Callable[[str], None] = lambda text: None  # the trainer's: a line for the run's log
        self._compiled: weakref.WeakKeyDictionary[nn.Module, Compiled] = weakref.WeakKeyDictionary()
        self.capture: Capture | None = None  # the trainer's: takes the steps of an epoch as CUDA graphs
        self.moves: list[Sequence[nn.Module]] | None = None  # while a step is captured: what ``moved`` would be told
        self.after_step: Callable[[Sequence[nn.Module]], None] | None = None  # the trainer's: weights were moved
        self._factor: Callable[[float, float], float] = lambda position, step: 1.0
        self._within, self._epochs = 0, 1
        method = spec["method"]
        loss = dict(method["loss"])
        self.loss = build_loss(loss.pop("name"), **loss)
        self.mixup: Mapping[str, Any] | None = method.get("mixup")

    # -- networks and optimisers ------------------------------------------------------------------------------------

    def model(self) -> nn.Module:
        """A new network on the device. The n-th network of a run is initialised from ``(seed, init, n)``."""
        params = dict(self.spec["model"])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.seed, "init", self.models_made))
            model: nn.Module = build_model(params.pop("name"), self.shape, self.num_classes, **params)
        model = model.to(device=self.device, memory_format=self._memory_format)  # type: ignore[call-overload]  # torch's stub omits memory_format with device
        if self.numerics.compile:
            self._compile(model)
        self.models.append(model)
        self.models_made += 1
        return model

    def optimizer(self, *models: nn.Module) -> torch.optim.Optimizer:
        """The suite's optimiser over the parameters of these networks. The trainer sets its learning rate."""
        params = dict(self.training["optimizer"])
        optimizer: torch.optim.Optimizer = build_optimizer(
            params.pop("name"), models[0] if len(models) == 1 else list(models), clip=self.training["clip"], **params
        )
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        if self.after_step is not None:
            optimizer.register_step_post_hook(lambda *arguments: self.moved(models))
        self.optimizers.append(optimizer)
        self.optimizer_models.append(list(models))
        return optimizer

    def moved(self, models: Sequence[nn.Module]) -> None:
        """An optimiser has moved these networks; a captured step tells so at each replay."""
        if self.moves is not None:
            self.moves.append(models)
        elif self.after_step is not None:
            self.after_step(models)

    def steps(self, algorithm: Any, batch_size: int) -> contextlib.AbstractContextManager[Callable[[Batch], Tensor]]:
        """The algorithm's ``step`` for an epoch's batches, captured where the trainer wants it so."""
        if self.capture is None:
            return contextlib.nullcontext(algorithm.step)
        return self.capture(algorithm, batch_size)

    def drive(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Let the trainer set the learning rate of an algorithm's own optimiser too, the phase's factor times the rate
        that it has; for parameters of no network, as a transition matrix's, which averages leave alone. Returned."""
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.optimizers.insert(0, optimizer)  # an epoch's row tells the last one's learning rate: a network's
        self.optimizer_models.insert(0, [])
        return optimizer

    def release(self, models: Sequence[nn.Module], optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Forget networks and optimisers that are not used any more, so that their memory can go."""
        kept = [i for i, item in enumerate(self.optimizers) if all(item is not other for other in optimizers)]
        self.optimizers = [self.optimizers[i] for i in kept]
        self.optimizer_models = [self.optimizer_models[i] for i in kept]
        self.models = [model for model in self.models if all(model is not other for other in models)]

    def forward(self, model: nn.Module, images: Tensor) -> Tensor:
        """Logits ``[B, K]`` in float32: the network runs in the run's precision, losses never do.

        With ``compile`` full batches in train mode with gradients go through compiled code; all others do not, which
        keeps it to one compilation a network.
        """
        network: Callable[[Tensor], Tensor] | None = None
        if model.training and torch.is_grad_enabled() and images.shape == (self.training["batch_size"], *self.shape):
            network = self._compiled.get(model)
        if network is not None:
            images = images.contiguous(memory_format=self._memory_format)
        with self.autocast():
            logits = (model if network is None else network)(images)
        return logits.float()

    @property
    def _memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.numerics.channels_last else torch.contiguous_format

    def _compile(self, model: nn.Module) -> None:
        images = torch.zeros(self.training["batch_size"], *self.shape, device=self.device)
        try:
            self._compiled[model] = compiled(model, images.contiguous(memory_format=self._memory_format), self.autocast)
        except Exception as error:  # a compiler may raise anything
            told = next(iter(f"{type(error).__name__}: {error}".splitlines()))
            if self.training["compile"] == "on":
                raise InputError(f"training.compile: torch.compile failed ({told}); set it to auto or off") from error
            self.numerics = replace(self.numerics, compile=False, compile_error=told)
            self.log(f"torch.compile failed ({told}); the run goes on without it")

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The run's mixed precision for forward passes."""
        if self.numerics.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    @contextlib.contextmanager
    def eval_mode(self) -> Iterator[None]:
        """All networks in eval mode and without gradients; their modes come back afterwards."""
        modes = [(module, module.training) for model in self.models for module in model.modules()]
        try:
            for model in self.models:
                model.eval()
            with torch.no_grad():
                yield
        finally:
            for module, mode in modes:
                module.training = mode

    # -- data -------------------------------------------------------------------------------------------------------

    def loader(
        self,
        index: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        views: int = 1,
        first_view: int = 0,
        augment: Sequence[Any] | None = None,
        batch_size: int | None = None,
    ) -> Loader:
        """Batches over ``index`` (default: the training part) with ``labels`` ``[N]`` (default: the noisy ones)."""
        return Loader(
            self.images,
            self.labels if labels is None else labels,
            seed=self.seed,
            index=self.index if index is None else index,
            views=views,
            first_view=first_view,
            batch_size=self.training["batch_size"] if batch_size is None else batch_size,
            augment=self.training["augment"] if augment is None else augment,
            mean=self.mean,
            std=self.std,
            drop_last=self.training["drop_last"],
            channels_last=self.numerics.channels_last,
        )

    def batches(self, loader: Loader, epoch: int) -> Iterator[Batch]:
        """The batches of ``loader`` in ``epoch``; before each, every optimiser gets its learning rate for that step."""
        steps = len(loader)
        for number, batch in enumerate(loader.epoch(epoch)):
            self._check_stop()
            factor = self._factor(number / steps, 1 / steps)
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    _set_rate(group, group["initial_lr"] * factor)
                if isinstance(optimizer, Wrapper):
                    optimizer.set_progress(self._within + number / steps, self._epochs, factor)
            if number == 0 and self.optimizers:
                self.learning_rate = float(self.optimizers[-1].param_groups[0]["initial_lr"] * factor)
            yield batch

    def predict_train(self, function: Callable[[Tensor], Tensor], batch_size: int | None = None) -> Tensor:
        """``function`` (normalised images ``[B, C, H, W]`` -> ``[B, ...]``) of all N images: eval mode, no
        augmentation, fixed order. Rows line up with ``batch.index``; rows of ``holdout`` must not steer training."""
        return self.evaluate(function, self.images, batch_size)

    def evaluate(self, function: Callable[[Tensor], Tensor], images: Tensor, batch_size: int | None = None) -> Tensor:
        """As ``predict_train``, of any uint8 images, 250 at a time on a CPU (more leave its caches), else 2,000."""
        parts, batch_size = [], batch_size or (250 if self.device.type == "cpu" else 2000)
        with self.eval_mode():
            for start in range(0, len(images), batch_size):
                x = normalise(images[start : start + batch_size], self.mean, self.std, torch.float32)
                if self.numerics.channels_last:
                    x = x.contiguous(memory_format=torch.channels_last)
                parts.append(function(x))
        return torch.cat(parts)

    # -- randomness, counting, oracle -------------------------------------------------------------------------------

    def generator(self, purpose: str, view: int = 0) -> torch.Generator:
        """A CPU generator for ``(seed, purpose, epoch, view)``, made anew at every call: resuming needs no state."""
        return torch_generator(self.seed, "method", purpose, self.epoch, view)

    def count_gradients(self, images: int) -> None:
        """Algorithms report every forward-backward pass here: one evaluation is the gradient of one image."""
        self.gradient_evaluations += images

    def oracle(self) -> Oracle:
        """The true noise rate and clean labels. Only for an algorithm whose ``oracle`` parameter is true."""
        if not self.spec["method"]["algorithm"].get("oracle", False):
            name = self.spec["method"]["algorithm"]["name"]
            raise InputError(f"algorithm '{name}' asked for oracle knowledge; set algorithm.oracle: true to allow it")
        return self._oracle()

    def set_pace(
        self, epoch: int, factor: Callable[[float, float], float], within: int | None = None, epochs: int = 1
    ) -> None:
        """The trainer's: the current epoch, the learning-rate factor as a function of the share of it done, and the
        epoch's number ``within`` its phase of ``epochs``, which other schedules (SAM's rho) follow."""
        self.epoch, self._factor = epoch, factor
        self._within, self._epochs = (epoch if within is None else within), epochs


def _set_rate(group: dict[str, Any], rate: float) -> None:
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)  # held on the device for a captured step
    else:
        group["lr"] = rate
