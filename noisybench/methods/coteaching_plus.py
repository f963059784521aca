"""Co-teaching+: two networks that choose each other's samples among those they disagree on."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.coteaching import Coteaching
from noisybench.methods.noise_rate import Estimate, EstimateEpochs, Rate
from noisybench.methods.small_loss import exchange
from noisybench.methods.task import Task
from noisybench.methods.two_networks import Exponent, Gradual, learn
from noisybench.registry import Epochs, algorithm


@algorithm("coteaching_plus", cite="yu2019coteachingplus")
class CoteachingPlus(Coteaching):
    """Co-teaching+: small-loss exchange among the samples whose predicted classes differ  (Yu et al. 2019).

    Co-teaching for ``init_epochs`` epochs; afterwards, of the n samples of a batch on which the two networks' argmaxes
    differ, each network is trained on the floor((1 - R(e)) n), at least one, with the smallest loss under the other,
    by the mean of the suite's loss over them. A batch without disagreement gives no gradient. ``forget_rate``,
    ``oracle``, ``estimate``, ``gradual``, ``exponent`` and ``ensemble`` as in ``coteaching``. Memory: two networks with
    their optimisers.

    Authors' defaults: 20 first epochs on CIFAR-10, 5 on CIFAR-100, Tk 10, forget rate = noise rate; Adam 0.001, batch
    128, 200 epochs, linear decay to 0 from epoch 80. Differs from the authors' code in that the loss is taken of
    logits as published (there of softmax outputs, a double softmax), divided once, over the true list of
    disagreements (there sample 0 is lost), in that a batch without disagreement is never used whole (there it is
    while epoch times batch number is below 5,000), and that one sample is kept where the count is 0 (there all).
    """

    capturable = False  # the step is another one after init_epochs

    def __init__(
        self,
        task: Task,
        *,
        init_epochs: Annotated[Epochs, Field(ge=0)] = 20,
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
        self.init_epochs = init_epochs

    def step(self, batch: Batch) -> Tensor:
        """Rank in one forward pass of each network, exchange among disagreements, one optimiser step each."""
        if self.epoch < self.init_epochs:
            return super().step(batch)
        assert self.counts is not None
        images, labels = batch.images, batch.labels
        logits = [self.task.forward(network, images) for network in self.networks]
        losses = [self.task.loss(z, labels) for z in logits]
        differ = logits[0].argmax(dim=1) != logits[1].argmax(dim=1)
        chosen = exchange(losses[0], losses[1], self.counts, differ)
        return learn(self.task, self.networks, self.optimizers, images, labels, losses, chosen)
