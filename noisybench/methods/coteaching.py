"""Co-teaching: two networks that choose each other's samples."""

from __future__ import annotations

from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.noise_rate import Estimate, EstimateEpochs, Rate
from noisybench.methods.small_loss import exchange
from noisybench.methods.task import Task
from noisybench.methods.two_networks import Exponent, Gradual, TwoNetworks, learn, losses_of
from noisybench.registry import algorithm


@algorithm("coteaching", cite="han2018coteaching")
class Coteaching(TwoNetworks):
    """Co-teaching: each of two networks is trained on the other's small-loss samples  (Han et al. 2018, algorithm 1).

    In a batch of B, network 1 is trained on the floor((1 - R(e)) B) samples with the smallest loss under network 2, and
    the other way round, by the mean of the suite's loss over them; R(e) rises over ``gradual`` epochs from 0 to the
    forget rate (``small_loss.forget_rate_at``; ``exponent`` is c). The first network answers, or with ``ensemble`` the
    mean probability of both. Memory: two networks with their optimisers.

    ``forget_rate``: null is estimated in ``estimate_epochs`` epochs of its own before training (``estimate``:
    ``agreement`` for symmetric noise, ``mixture`` for any; see ``noise_rate``), or with ``oracle: true`` the true rate
    of wrong labels, which the authors take. A number is the user's statement and wins; ``oracle: true`` beside it
    changes no number but marks the cell, and belongs there when the number was chosen knowing the true rate.

    Authors' defaults: Tk 10, c 1, forget rate = noise rate. Their schedule (``recipe: authors``), network ``cnn9``,
    without augmentation:

        training: {epochs: 200, batch_size: 128, drop_last: true, augment: [], optimizer: {name: adam, lr: 0.001}}

    and from epoch 80 a linear decay to 0. Differs from the authors' code in that the loss is divided once by the number
    of picks (there twice, which Adam hides), that at least one sample is kept (there NaN), that R(0) belongs to
    the first epoch (there it starts with R(1)), and that Adam's beta1 does not fall to 0.1 at epoch 80.
    """

    def __init__(
        self,
        task: Task,
        *,
        forget_rate: Rate | None = None,
        oracle: bool = False,
        estimate: Estimate = "agreement",
        estimate_epochs: EstimateEpochs = 50,
        gradual: Gradual = 10,
        exponent: Exponent = 1.0,
        ensemble: bool = False,
    ) -> None:
        super().__init__(
            task,
            forget_rate=forget_rate,
            oracle=oracle,
            estimate=estimate,
            estimate_epochs=estimate_epochs,
            gradual=gradual,
            exponent=exponent,
            ensemble=ensemble,
        )
        self.optimizers = [task.optimizer(network) for network in self.networks]

    def step(self, batch: Batch) -> Tensor:
        """Rank in one forward pass of each network, exchange, one optimiser step each; the mean of both losses."""
        assert self.counts is not None
        images, labels = batch.images, batch.labels
        losses = [losses_of(self.task, network, images, labels) for network in self.networks]
        chosen = exchange(losses[0], losses[1], self.counts)
        return learn(self.task, self.networks, self.optimizers, images, labels, losses, chosen)
