"""INCV: cross-validate, keep the samples whose label the other half's network predicts, then Co-teaching on them."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from noisybench.data.loader import Batch, Loader
from noisybench.methods.algorithm import Algorithm, Phase, Suspicion
from noisybench.methods.descent import descend
from noisybench.methods.erm import BatchClosure
from noisybench.methods.noise_rate import rate_from_agreement
from noisybench.methods.restart import Weights, weights_of
from noisybench.methods.small_loss import smallest
from noisybench.methods.task import Task
from noisybench.methods.two_networks import Gradual, answer, learn, losses_of, refuse_mixup
from noisybench.registry import Epochs, algorithm

WarmUp = Annotated[Epochs, Field(ge=0)]


def discard_ratio(rate: float) -> float:
    """Samples to discard for each one kept: min(2, e / (1 - e))."""
    return min(2.0, rate / (1 - rate)) if rate < 1 else 2.0


def rate_of_selected(rate: float, num_classes: int, symmetric: bool) -> float:
    """Share of wrong labels among those a network agrees with: e^2 / (e^2 + c (1 - e)^2), c = K - 1 or 1."""
    c = num_classes - 1 if symmetric else 1
    return rate**2 / (rate**2 + c * (1 - rate) ** 2)


def selection_factor(position: float, epochs: int) -> float:
    """The authors' learning rate while halves are trained: 1, then .5, .25 and .1 after epochs 20, 30, 40 of 50."""
    share = math.floor(position) / epochs
    return 0.1 if share > 0.8 else 0.25 if share > 0.6 else 0.5 if share > 0.4 else 1.0


@algorithm("incv", cite="chen2019incv")
class INCV(Algorithm):
    """Iterative noisy cross-validation, then Co-teaching on what it selected  (Chen et al. 2019).

    S is empty, C the whole training part. In each of ``rounds`` rounds C is split at random in halves; a network is
    trained from the same initial weights on S and one half for ``select_epochs`` epochs, and the samples of the other
    half whose label it predicts are found; likewise with the halves exchanged (phases ``round 1a``, ``round 1b``, ...).
    What was found moves to S. After the first half the noise rate e is estimated from the share of agreement
    (``noise_rate.rate_from_agreement``); with symmetric noise the int(r found) samples of each half with the largest
    cross entropy leave C for good, r = min(2, e / (1 - e)). In the first round, in the second if e <= .6 and in four if
    e <= .3 the network that answers is that of its best epoch on the other half's noisy labels, otherwise the last.

    Then (phase ``train``) two new networks exchange small-loss samples on S as in Co-teaching, keeping
    round(B (1 - e_S min(1, epoch / ``gradual``))) of a batch of B, e_S = ``rate_of_selected``. After ``warm_up`` epochs
    (``warm_up_hard`` if e > .6 or the noise is not symmetric) each batch is joined by one of min(|C| B / |S|, B / 2)
    samples of C, and as many are kept as of S alone. The first network answers, or with ``ensemble`` the mean
    probability of both. Memory: two networks with their optimisers (one, and two copies of its weights, before).

    The method takes no oracle knowledge; ``symmetric`` is the user's statement about the kind of noise, which the
    authors' code reads from its settings. Should fewer than two samples be selected, all are trained on.

    Authors' settings (``recipe: authors``), with ResNet-32 and ``select_schedule: authors``:

        training: {epochs: 200, batch_size: 128, augment: [crop, flip], optimizer: {name: adam, lr: 0.001},
          schedule: {name: multistep, milestones: [80, 120, 160, 180], gamma: [0.1, 0.1, 0.1, 0.5]}}

    Differs from the authors' code in that a discard count of 0 discards none and one beyond the half no more than the
    half (there both slips discard the whole half), in that the exchange ranks and trains on one forward pass in train
    mode (there it ranks in eval mode and passes the picks alone), and that Adam's state survives a learning-rate drop.
    """

    capturable = False  # batches of S and C have sizes that depend on the selection
    selector: nn.Module
    selector_optimizer: torch.optim.Optimizer
    state = (
        "initial",
        "selected",
        "candidates",
        "halves",
        "found",
        "dropped",
        "rate",
        "best",
        "best_accuracy",
        "doubt",
    )

    def __init__(
        self,
        task: Task,
        *,
        rounds: Annotated[int, Field(ge=1)] = 4,
        select_epochs: Annotated[Epochs, Field(ge=1)] = 50,
        select_schedule: Literal["suite", "authors"] = "suite",
        symmetric: bool = True,
        gradual: Gradual = 10,
        warm_up: WarmUp = 40,
        warm_up_hard: WarmUp = 80,
        ensemble: bool = False,
    ) -> None:
        super().__init__(task)
        refuse_mixup(task)
        self.rounds, self.select_epochs, self.select_schedule = rounds, select_epochs, select_schedule
        self.symmetric, self.gradual, self.ensemble = symmetric, gradual, ensemble
        self.warm_up, self.warm_up_hard = warm_up, warm_up_hard
        self.networks: list[nn.Module] = []
        self.optimizers: list[torch.optim.Optimizer] = []
        none = torch.zeros(len(task.labels), dtype=torch.bool, device=task.device)
        self.selected, self.found, self.dropped, self.candidates = none, none.clone(), none.clone(), none.clone()
        self.candidates[task.index] = True
        self.doubt = torch.zeros(len(task.labels), device=task.device)
        self.halves: list[Tensor] = []
        self.rate: float | None = None
        self.initial: Weights | None = None
        self.best: Weights | None = None
        self.best_accuracy = -1.0
        self.number = 0

    # -- phases -----------------------------------------------------------------------------------------------------

    def phases(self, training: Mapping[str, Any]) -> list[Phase]:
        """Two for each round of selection, then the training on what was selected."""
        factor = functools.partial(selection_factor, epochs=self.select_epochs)
        own = factor if self.select_schedule == "authors" else None
        names = [f"round {r + 1}{half}" for r in range(self.rounds) for half in "ab"]
        return [*(Phase(name, self.select_epochs, own) for name in names), Phase("train", int(training["epochs"]))]

    def begin_phase(self, number: int, phase: Phase) -> None:
        """Draw what the phase before has found, then start the half, or the two networks, from initial weights."""
        if number == 0:
            self.selector = self.task.model()
            self.initial = weights_of(self.selector)
        else:
            self._conclude(number - 1)
            self.task.release([], [self.selector_optimizer])
        if phase.name == "train":
            self.task.release([self.selector], [])
            del self.selector, self.selector_optimizer
            self.initial, self.halves = None, []
            self.networks = [self.task.model(), self.task.model()]
            self.optimizers = [self.task.optimizer(network) for network in self.networks]
            return
        if number % 2 == 0:
            self.halves = self._split()
        assert self.initial is not None
        self.selector.load_state_dict(self.initial)
        self.selector_optimizer = self.task.optimizer(self.selector)
        self.best, self.best_accuracy = None, -1.0

    def loader(self, phase: Phase) -> Loader:
        """S and one half while selecting, S afterwards."""
        self.number = [item.name for item in self.phases(self.task.training)].index(phase.name)
        index = self.selected.nonzero().flatten()
        if phase.name != "train":
            index = torch.cat([index, self.halves[self.number % 2]])
        elif len(index) < 2:
            index = self.task.index
        return self.task.loader(index, batch_size=min(self.task.training["batch_size"], len(index)))

    def train_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """An epoch of selection or of the training on S."""
        if self.number == 2 * self.rounds:
            return self._train_together(epoch - self.number * self.select_epochs, epoch, loader)
        mean = super().train_epoch(epoch, loader)
        if self._answers_best(self.number // 2):
            self._remember_best()
        return mean

    def step(self, batch: Batch) -> Tensor:
        """While selecting: plain training on S and one half."""
        closure = BatchClosure(self.task, self.selector, self.selector_optimizer, batch.images, batch.labels, None)
        return descend(self.selector_optimizer, closure, batch.images)

    def predict(self, images: Tensor) -> Tensor:
        """While selecting, the network of this half; then the first network or the mean probability of both."""
        if not self.networks:
            return self.task.forward(self.selector, images)
        return answer(self.task, self.networks, images, self.ensemble)

    def details(self) -> dict[str, float]:
        """The estimated noise rate, that of the selected, and the shares of the training part in S and discarded."""
        n = len(self.task.index)
        shares = {"selected_share": float(self.selected.sum()) / n, "candidate_share": float(self.candidates.sum()) / n}
        if self.rate is None:
            return shares
        selected = rate_of_selected(self.rate, self.task.num_classes, self.symmetric)
        return {"estimated_noise_rate": self.rate, "estimated_noise_rate_selected": selected} | shares

    def suspicion(self) -> dict[str, Suspicion]:
        """The loss under the network that was last asked about a sample, 1 - exp(-loss); all of S comes first."""
        doubt = 1 - torch.exp(-self.doubt) + (~self.selected).float()
        return {"incv": Suspicion(doubt[self.task.index], self.rate)}

    # -- selection --------------------------------------------------------------------------------------------------

    def _split(self) -> list[Tensor]:
        """C at random in two halves, the second the larger one."""
        index = self.candidates.nonzero().flatten()
        order = torch.randperm(len(index), generator=self.task.generator("halves")).to(index.device)
        return [index[order[: len(index) // 2]], index[order[len(index) // 2 :]]]

    def _asked(self, number: int) -> tuple[Tensor, Tensor]:
        """Positions of the half that was not trained on, and the network's logits for them."""
        asked = self.halves[1 - number % 2]
        if not len(asked):
            return asked, torch.zeros(0, self.task.num_classes, device=self.task.device)
        return asked, self.task.evaluate(functools.partial(self.task.forward, self.selector), self.task.images[asked])

    def _answers_best(self, number: int) -> bool:
        """Whether in this round (0-based) the best epoch answers, not the last."""
        if number == 0 or self.rate is None:
            return True
        return number < (1 if not self.symmetric or self.rate > 0.6 else 2 if self.rate > 0.3 else 4)

    def _remember_best(self) -> None:
        asked, logits = self._asked(self.number)
        accuracy = float((logits.argmax(dim=1) == self.task.labels[asked]).double().mean())
        if accuracy > self.best_accuracy:
            self.best, self.best_accuracy = weights_of(self.selector), accuracy

    def _conclude(self, number: int) -> None:
        """Ask the network of a finished half; after the second, move what was found to S."""
        if self.best is not None:
            self.selector.load_state_dict(self.best)
            self.best = None
        asked, logits = self._asked(number)
        labels = self.task.labels[asked]
        agrees = logits.argmax(dim=1) == labels
        if self.rate is None:
            self.rate = rate_from_agreement(float(agrees.double().mean()), self.task.num_classes)
        count = min(len(asked), int(discard_ratio(self.rate) * int(agrees.sum())))
        losses = functional.cross_entropy(logits, labels, reduction="none")
        self.doubt[asked] = losses
        worst = smallest(-losses, count)
        self.found[asked[agrees]] = True
        self.dropped[asked[worst]] = True
        if number % 2 == 1:
            self.selected = self.selected | self.found
            self.candidates = self.candidates & ~self.found
            if self.symmetric:
                self.candidates = self.candidates & ~self.dropped
            self.found, self.dropped = torch.zeros_like(self.found), torch.zeros_like(self.dropped)

    # -- training on the selected -----------------------------------------------------------------------------------

    def _train_together(self, within: int, epoch: int, loader: Loader) -> Tensor:
        """One pass over S, joined by samples of C after the warm-up, with Co-teaching's exchange."""
        assert self.rate is not None
        hard = self.rate > 0.6 or not self.symmetric
        joined = within >= (self.warm_up_hard if hard else self.warm_up)
        others = self._others(epoch, loader) if joined else None
        forget = rate_of_selected(self.rate, self.task.num_classes, self.symmetric) * min(1.0, within / self.gradual)
        total, images = torch.zeros((), device=self.task.device), 0
        for batch in self.task.batches(loader, epoch):
            count = max(1, round(len(batch.labels) * (1 - forget)))
            total += self._exchange(batch if others is None else join(batch, next(others)), count) * len(batch.labels)
            images += len(batch.labels)
        return total / images

    def _exchange(self, batch: Batch, count: int) -> Tensor:
        images, labels = batch.images, batch.labels
        losses = [losses_of(self.task, network, images, labels) for network in self.networks]
        chosen = [smallest(losses[1], count), smallest(losses[0], count)]
        return learn(self.task, self.networks, self.optimizers, images, labels, losses, chosen)

    def _others(self, epoch: int, loader: Loader) -> Iterator[Batch] | None:
        """Batches of C without end, in proportion to those of S, at most half their size; None where C is too small."""
        index, batch_size = self.candidates.nonzero().flatten(), loader.batch_size
        size = min(len(index) * batch_size // len(loader.index), batch_size // 2, len(index))
        if size < 1:
            return None
        side = self.task.loader(index, batch_size=size)
        return (batch for _ in itertools.count() for batch in side.epoch(epoch))


def join(one: Batch, two: Batch) -> Batch:
    """Two batches as one."""
    images, labels = torch.cat([one.images, two.images]), torch.cat([one.labels, two.labels])
    return Batch(torch.cat([one.index, two.index]), images, labels)
