"""MD-DYR-SH: dynamic mixup, and bootstrapping that goes from soft to hard (Arazo et al. 2019)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.errors import ParameterError
from noisybench.methods.dynamic_bootstrap import Alpha, BetaGuided, Coefficient, Until
from noisybench.methods.mixing import Mix
from noisybench.methods.task import Task
from noisybench.registry import Epochs, algorithm


def share_of_first(wrong: Tensor, partner: Tensor) -> Tensor:
    """Weight of the sample itself, (1 - B_i) / ((1 - B_i) + (1 - B_j)), ``[B]``: the cleaner of two images prevails."""
    clean = 1 - wrong
    return clean / (clean + clean[partner])


def temperature_at(epoch: int, cooling: int, coldest: float = 0.001) -> float:
    """Temperature of the guesses in epoch 0, 1, ... of the bootstrapping: ``cooling`` values from 1 to ``coldest`` in
    equal steps, one an epoch, then ``coldest``."""
    return 1 + (coldest - 1) * min(1.0, epoch / max(1, cooling - 1))


@algorithm("md_dyr_sh", cite="arazo2019")
class DynamicMixupSoftToHard(BetaGuided):
    """MD-DYR-SH: dynamic mixup with bootstrapping from soft to hard guesses  (Arazo et al. 2019).

    Three stages. ``warmup`` epochs of mixup. Then dynamic mixup: image i is mixed with weight w_i = (1 - B_i) /
    ((1 - B_i) + (1 - B_j)), the loss still with lambda ~ Beta(alpha, alpha). From ``bootstrap`` completed epochs on,
    mixed in the same way: 1/2 [(1 - B_i) CE(z, y_i) + B_i CE(z, softmax(h_i / T))] + 1/2 [the same of the partner],
    plus ``regularisation`` times KL(uniform || mean prediction of the batch); T falls from 1 to ``coldest`` over
    ``cooling`` epochs. B, h and the cost as in ``dynamic_bootstrap``. ``details``: ``estimated_noise_rate``.

    The authors' settings: as for ``dynamic_bootstrap``, with ``warmup: 105, bootstrap: 110, cooling: 89``. Defaults
    (None): these shares of the run's epochs. Differs from the authors' code: regularisation, which is off by
    default there (the scripts set it). Memory: one network.
    """

    def __init__(
        self,
        task: Task,
        *,
        alpha: Alpha = 32.0,
        warmup: Until | None = None,
        bootstrap: Until | None = None,
        cooling: Annotated[Epochs, Field(ge=1)] | None = None,
        coldest: Annotated[float, Field(gt=0, le=1)] = 0.001,
        regularisation: Coefficient = 1.0,
    ) -> None:
        super().__init__(task, alpha=alpha, warmup=warmup, regularisation=regularisation)
        self.bootstrap = self.warmup + self.stage(None, 5) if bootstrap is None else bootstrap
        if self.bootstrap < self.warmup:
            raise ParameterError(f"must not be below the warm-up's {self.warmup} epochs", key="bootstrap")
        if bootstrap is not None and bootstrap >= self.epochs:
            raise ParameterError(f"{bootstrap} of {self.epochs} epochs leave none to bootstrapping", key="bootstrap")
        self.cooling, self.coldest = self.stage(cooling, 89), coldest

    def guided_step(self, batch: Batch, mix: Mix) -> Tensor:
        """Dynamic mixup, then bootstrapping."""
        bootstrapping = self.epoch >= self.bootstrap
        logits = self.unmixed_logits(batch.images) if bootstrapping else None
        wrong = self.wrong(batch)
        share = share_of_first(wrong, mix.partner)[:, None, None, None]
        images = share * batch.images + (1 - share) * batch.images[mix.partner]
        if logits is None:
            return self.mixup_step(batch, mix, images)
        temperature = temperature_at(self.epoch - self.bootstrap, self.cooling, self.coldest)
        guesses = (logits / temperature).softmax(dim=1)
        return self.bootstrapping_step(batch, images, guesses, wrong, mix.partner, 0.5)
