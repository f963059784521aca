"""JoCoR: two networks, one loss, one selection."""

from __future__ import annotations

import functools
from typing import Annotated

from pydantic import Field
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.descent import WeightedClosure, descend
from noisybench.methods.noise_rate import Estimate, EstimateEpochs, Rate
from noisybench.methods.small_loss import joint_losses, mean_over, smallest
from noisybench.methods.task import Task
from noisybench.methods.two_networks import Exponent, Gradual, TwoNetworks
from noisybench.registry import algorithm


@algorithm("jocor", cite="wei2020jocor")
class JoCoR(TwoNetworks):
    """JoCoR: joint training with co-regularisation  (Wei et al. 2020, algorithm 1).

    l_i = (1 - lambda) (l(z1_i, y_i) + l(z2_i, y_i)) + lambda (KL(p1 || p2) + KL(p2 || p1)), l the suite's loss; the
    floor((1 - R(e)) B) samples of a batch with the smallest l_i are chosen, and one optimiser over both networks
    descends on their mean. R(e), ``forget_rate``, ``oracle``, ``estimate``, ``gradual``, ``exponent`` and ``ensemble``
    as in ``coteaching``. Memory: two networks with one optimiser.

    Authors' defaults: lambda 0.1 in their code (0.95 in its MNIST example; the paper is said to take 0.9 on CIFAR-10),
    Tk 10; Adam 0.001, batch 128, 200 epochs, linear decay to 0 from epoch 80. Their forget rate is the noise rate, half
    of it for asymmetric noise: both are the share of wrong labels, which the rate is here. Differs from the authors'
    code in that at least one sample is kept and that Adam's beta1 does not fall to 0.1 at epoch 80.
    """

    def __init__(
        self,
        task: Task,
        *,
        co_lambda: Annotated[float, Field(ge=0, le=1)] = 0.1,
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
        self.co_lambda = co_lambda
        self.optimizer = task.optimizer(*self.networks)

    def step(self, batch: Batch) -> Tensor:
        """Rank in one forward pass, one optimiser step of both networks; returns the mean joint loss of the chosen."""
        assert self.counts is not None
        losses = self.losses(batch.images, batch.labels)
        chosen = smallest(losses, self.counts[len(losses)])
        again = functools.partial(self.losses, batch.images, batch.labels)
        closure = WeightedClosure(self.task, self.optimizer, again, mean_over(chosen), [losses], networks=2)
        return descend(self.optimizer, closure, batch.images)

    def losses(self, images: Tensor, labels: Tensor, rows: Tensor | None = None) -> Tensor:
        """The joint loss per sample, of all or of ``rows``."""
        images, labels = (images, labels) if rows is None else (images[rows], labels[rows])
        one, two = (self.task.forward(network, images) for network in self.networks)
        return joint_losses((one, two), labels, self.co_lambda, self.task.loss)
