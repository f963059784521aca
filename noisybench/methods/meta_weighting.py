"""Weights learnt from a small meta set: what MW-Net and CMW-Net share.

``meta_gradient`` is the gradient through a virtual step, ``WeightNet`` the network from a loss to a weight,
``first_of_each_class`` chooses meta sets. ``MetaWeighting`` is the base of the methods.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from noisybench.data.loader import Batch, Loader
from noisybench.errors import ParameterError
from noisybench.methods.algorithm import Phase
from noisybench.methods.one_network import OneNetwork
from noisybench.methods.task import Task
from noisybench.registry import Epochs
from noisybench.seeding import Draws, derive

MetaSize = Annotated[int, Field(ge=1)]
"""How many meta images, the same number of each class (the rest of a division is dropped)."""
MetaEvery = Annotated[int, Field(ge=1)]
"""The weights are learnt at every so many-th step of an epoch, from its first on."""
WarmUp = Annotated[Epochs, Field(ge=0)]
"""Epochs on all labels alike, at most half of the run."""
MetaRate = Annotated[float, Field(ge=0)]
"""The learning rate of Adam, which trains the weight network."""

SHARE = 0.02
"""Clean meta images as a share of the training part: the authors' 1,000 of CIFAR's 50,000."""
PER_CLASS = 10
"""Meta images of a class where they are those with the smallest losses, the authors' number."""
META_DECAY = 1e-4
"""Weight decay of the weight network, the authors'."""

Network = Callable[[Tensor], Tensor]
"""Images ``[B, C, H, W]`` to logits ``[B, K]``."""


class WeightNet(nn.Module):
    """``sigmoid(W2 relu(W1 l + b1) + b2)`` of a loss l, with a last layer for each scale; 100 hidden units.

    Initialisation: torch's, from its global generator.
    """

    def __init__(self, scales: int = 1, width: int = 100) -> None:
        super().__init__()
        self.hidden, self.last = nn.Linear(1, width), nn.Linear(width, scales)

    def forward(self, losses: Tensor, scales: Tensor) -> Tensor:
        """Weights ``[B]`` in (0, 1) of ``losses`` ``[B]``; ``scales`` int64 ``[B]`` names the last layer of each."""
        answers: Tensor = self.last(torch.relu(self.hidden(losses[:, None])))
        return answers.gather(1, scales[:, None]).squeeze(1).sigmoid()


def meta_gradient(
    network: nn.Module,
    weigher: nn.Module,
    training_loss: Callable[[Network], Tensor],
    meta_loss: Callable[[Network], Tensor],
    learning_rate: float,
) -> list[Tensor]:
    """d meta_loss(w - lr d training_loss(w) / dw) / d theta for the parameters theta of ``weigher``.

    ``training_loss`` gets ``network`` as a function and depends on theta; ``meta_loss`` gets it with the weights after
    one plain gradient step. Second derivatives are exact. Batch norms act as in the network's mode; what they would
    remember of either pass is forgotten, and parameters and their gradients stay as they are.
    """
    weights: dict[str, Tensor] = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    others: dict[str, Tensor] = {
        name: weight for name, weight in network.named_parameters() if not weight.requires_grad
    }
    others |= {name: buffer.clone() for name, buffer in network.named_buffers()}

    def at(place: dict[str, Tensor]) -> Network:
        return lambda images: functional_call(network, place | others, (images,))

    gradients = torch.autograd.grad(
        training_loss(at(weights)), list(weights.values()), create_graph=True, allow_unused=True
    )
    ahead = {
        name: weight if gradient is None else weight - learning_rate * gradient
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
    }
    return list(torch.autograd.grad(meta_loss(at(ahead)), list(weigher.parameters())))


def first_of_each_class(order: Tensor, labels: Tensor, count: int) -> Tensor:
    """Of positions ``order`` int64 ``[n]`` the first ``count`` of every class of ``labels`` ``[N]``, ascending.

    A class with fewer gives all it has.
    """
    by_class = order[labels[order].argsort(stable=True)]
    classes = labels[by_class]
    counts = torch.bincount(classes)
    ranks = torch.arange(len(by_class), device=order.device) - (counts.cumsum(0) - counts)[classes]
    return by_class[ranks < count].sort().values


class MetaWeighting(OneNetwork):
    """One network whose samples are weighted by a second, which is trained to lower the loss on a meta set.

    A step of the weight network: from the batch's weighted loss L(w, theta) a virtual step w' = w - lr dL/dw, then a
    step of Adam on theta along the gradient of the cross entropy that w' has on a batch of meta images. lr is the
    suite's at that step, and the virtual step is plain gradient descent whatever the suite's optimiser (no momentum, no
    decay, no SAM), as in the authors' code. Then the network takes a real step on weights of the new theta.

    The meta set without ``oracle``: the images of each noisy class with the smallest cross entropy, chosen anew before
    each epoch after the warm-up (eval mode, no augmentation); they are trained on as well. With ``oracle``: images with
    their clean labels, drawn once, which leave the training part. Subclasses set ``scales`` int64 ``[K]``.
    """

    capturable = False  # the learning rate enters the virtual step as a plain number; meta batches change their size
    state: tuple[str, ...] = ("meta_state", "meta_index", "weight_sum", "weighed")

    def __init__(
        self,
        task: Task,
        *,
        oracle: bool,
        meta_size: int | None,
        meta_every: int,
        warm_up: int | None,
        meta_lr: float,
        groups: int = 1,
    ) -> None:
        super().__init__(task)
        self.meta_every, self.oracle = meta_every, oracle
        epochs = int(task.training["epochs"])
        self.warm_up = min((0 if oracle else 10) if warm_up is None else warm_up, epochs // 2)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(task.seed, "method", "weight network"))
            self.weigher = WeightNet(groups).to(task.device)
        adam = torch.optim.Adam(self.weigher.parameters(), lr=meta_lr, weight_decay=META_DECAY)
        self._meta = {"optimizer": adam}  # in a dictionary: not the suite's optimiser, no schedule acts on it
        self.index, self.meta_labels = task.index, task.labels
        self.meta_index = task.index[:0]
        self.per_class = self._per_class(meta_size)
        if oracle:
            self._take_clean()
        self.scales = torch.zeros(task.num_classes, dtype=torch.int64, device=task.device)
        self.weight_sum = torch.zeros((), device=task.device)
        self.weighed = 0

    @property
    def meta_state(self) -> dict[str, Any]:
        """The state of the weight network's optimiser."""
        state: dict[str, Any] = self._meta["optimizer"].state_dict()
        return state

    @meta_state.setter
    def meta_state(self, state: dict[str, Any]) -> None:
        self._meta["optimizer"].load_state_dict(state)

    # -- the meta set -----------------------------------------------------------------------------------------------

    def _per_class(self, meta_size: int | None) -> int:
        """Meta images of each class."""
        images, classes = len(self.task.index), self.task.num_classes
        if meta_size is None:
            return max(1, int(SHARE * images) // classes) if self.oracle else PER_CLASS
        if meta_size < classes:
            raise ParameterError(f"must be at least the number of classes, {classes}, not {meta_size}", key="meta_size")
        if meta_size > images * 2 // 3:
            message = f"must leave at least a third of the {images} training images, not take {meta_size}"
            raise ParameterError(message, key="meta_size")
        return meta_size // classes

    def _take_clean(self) -> None:
        """Draw images with clean labels, which leave the training part."""
        task = self.task
        self.meta_labels = task.oracle().clean_labels
        drawn = torch.from_numpy(Draws(task.seed, "method", "meta set").permutation(len(task.index)))
        order = task.index[drawn.to(task.index.device)]
        self.meta_index = first_of_each_class(order, self.meta_labels, self.per_class)
        self.index = task.index[~torch.isin(task.index, self.meta_index)]

    def _take_small_losses(self) -> None:
        """Choose images that ``judge`` finds easy, by their noisy labels."""
        index, labels = self.index, self.task.labels
        logits = self.task.predict_train(lambda images: self.task.forward(self.judge, images))[index]
        order = index[cross_entropy(logits, labels[index], reduction="none").argsort(stable=True)]
        self.meta_index = first_of_each_class(order, labels, self.per_class)

    @property
    def judge(self) -> nn.Module:
        """The network whose losses choose the meta set."""
        return self.model

    def _meta_loader(self) -> Loader:
        size = min(int(self.task.training["batch_size"]), len(self.meta_index))
        return self.task.loader(self.meta_index, self.meta_labels, batch_size=size)

    def _meta_batches(self, loader: Loader, epoch: int) -> Iterator[Batch]:
        """Meta batches without end, in a new order each time round."""
        for cycle in itertools.count():
            yield from loader.epoch(derive(self.task.seed, "method", "meta batches", epoch, cycle))

    # -- training ---------------------------------------------------------------------------------------------------

    def loader(self, phase: Phase) -> Loader:
        """The training part, without the clean meta images."""
        return self.task.loader(self.index)

    def begin_epoch(self, epoch: int, loader: Loader) -> None:
        """Choose the meta set, where the clean one is not given."""
        self.warming, self.turn = epoch < self.warm_up, 0
        self.weight_sum, self.weighed = torch.zeros_like(self.weight_sum), 0
        if self.warming:
            return
        if not self.oracle:
            self._take_small_losses()
        meta = self._meta_loader()
        self.meta_sizes = meta.sizes
        self.meta_batches = self._meta_batches(meta, epoch)

    def step(self, batch: Batch) -> Tensor:
        """The weight network's step, when it is its turn, then the network's."""
        if self.warming:
            return self.learn(batch.images, lambda rows: self.plain(batch, rows))
        if self.turn % self.meta_every == 0:
            self.learn_weights(batch)
        self.turn += 1
        return self.weighted_step(batch)

    def plain(self, batch: Batch, rows: Tensor | None) -> Tensor:
        """The suite's losses of a batch, of all images or of ``rows``."""
        labels = batch.labels if rows is None else batch.labels[rows]
        return self.task.loss(self.logits(batch.images, rows), labels)

    def learn_weights(self, batch: Batch) -> None:
        """One step of the weight network."""
        task, meta = self.task, next(self.meta_batches)
        adam = self._meta["optimizer"]
        rate = float(self.optimizer.param_groups[0]["lr"])
        gradients = meta_gradient(
            self.model,
            self.weigher,
            lambda network: self.training_loss(network, batch),
            lambda network: self.meta_loss(network, meta),
            rate,
        )
        task.count_gradients(2 * len(batch.index) + len(meta.index))
        for parameter, gradient in zip(self.weigher.parameters(), gradients, strict=True):
            parameter.grad = gradient
        adam.step()

    def weigh(self, losses: Tensor, labels: Tensor) -> Tensor:
        """Weights ``[B]`` of losses ``[B]``, which are taken as given; their gradient reaches the weight network."""
        weights: Tensor = self.weigher(losses.detach(), self.scales[labels])
        return weights

    def noted(self, weights: Tensor) -> Tensor:
        """The same weights, counted for ``weight_mean``."""
        self.weight_sum += weights.sum()
        self.weighed += len(weights)
        return weights

    def apply(self, network: Network, images: Tensor) -> Tensor:
        """Logits in float32, in the run's precision, of the network as a function."""
        with self.task.autocast():
            logits = network(images)
        return logits.float()

    def training_loss(self, network: Network, batch: Batch) -> Tensor:
        """The weighted mean loss ``mean_i v_i l_i`` whose gradient is the virtual step."""
        losses = self.task.loss(self.apply(network, batch.images), batch.labels)
        return (self.weigh(losses, batch.labels) * losses).mean()

    def meta_loss(self, network: Network, meta: Batch) -> Tensor:
        """The mean cross entropy of a meta batch."""
        return cross_entropy(self.apply(network, meta.images), meta.labels)

    def weighted_step(self, batch: Batch) -> Tensor:
        """The network's step on ``mean_i v_i l_i``."""
        losses = self.plain(batch, None)
        with torch.no_grad():
            weights = self.noted(self.weigh(losses, batch.labels))
        return self.learn(batch.images, lambda rows: self.plain(batch, rows), weights=weights, ready=losses)

    def details(self) -> dict[str, float]:
        """``weight_mean`` of the last epoch and ``meta_images``, how many there are."""
        return {
            "weight_mean": float(self.weight_sum) / self.weighed if self.weighed else 1.0,
            "meta_images": float(len(self.meta_index)),
        }
