"""A mixture of two beta distributions over losses: the loss model of Arazo et al. 2019.

Clean samples are learnt first, so early losses have two humps. ``fit_beta_mixture`` is the mixture itself;
``LossModel`` is what methods use: from losses to the probability that a label is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

FLOOR = 1e-12
"""Smallest responsibility before normalisation, and what is added to the density where one divides by it."""
BINS = 100
"""Entries of the table that posteriors are read from."""


@dataclass(frozen=True)
class BetaMixture:
    """Two beta distributions on (0, 1): shapes ``alphas``, ``betas`` and ``weights``, float64 ``[2]`` each.

    Component 1, which starts at (2, 1), is that of the large losses: the wrong labels.
    """

    alphas: Tensor
    betas: Tensor
    weights: Tensor

    def joint(self, x: Tensor) -> Tensor:
        """weight times density at x ``[N]``, ``[N, 2]``."""
        x = x[:, None]
        log_norm = torch.lgamma(self.alphas) + torch.lgamma(self.betas) - torch.lgamma(self.alphas + self.betas)
        log_density = (self.alphas - 1) * x.log() + (self.betas - 1) * torch.log1p(-x) - log_norm
        return self.weights * log_density.exp()

    def responsibilities(self, x: Tensor) -> Tensor:
        """Share of each component in each sample, ``[N, 2]``, from joint densities of at least 1e-12."""
        joint = self.joint(x).clamp(min=FLOOR)
        return joint / joint.sum(dim=1, keepdim=True)

    def posterior(self, x: Tensor) -> Tensor:
        """Probability of component 1 given x ``[N]``, ``[N]``."""
        joint = self.joint(x)
        return joint[:, 1] / (joint.sum(dim=1) + FLOOR)


def fit_beta_mixture(x: Tensor, rounds: int = 10) -> BetaMixture:
    """Expectation maximisation with weighted moments in place of the M step's maximum  (Arazo et al. 2019).

    x ``[N]`` in [0, 1], clamped to [1e-4, 1 - 1e-4]; start: shapes (1, 2) and (2, 1), weights 1/2. In each round
    component k gets mean m and variance s of the samples under its responsibilities: alpha = m (m (1 - m) / s - 1),
    beta = alpha (1 - m) / m. A round whose shapes are not finite (all values equal) is not taken: the mixture stays as
    it was, where the authors' code goes on with NaN.
    """
    x = x.double().clamp(1e-4, 1 - 1e-4)
    mixture = BetaMixture(x.new_tensor([1.0, 2.0]), x.new_tensor([2.0, 1.0]), x.new_tensor([0.5, 0.5]))
    for _ in range(rounds):
        shares = mixture.responsibilities(x)
        total = shares.sum(dim=0)
        mean = (shares * x[:, None]).sum(dim=0) / total
        variance = (shares * (x[:, None] - mean) ** 2).sum(dim=0) / total
        alphas = mean * (mean * (1 - mean) / variance - 1)
        betas = alphas * (1 - mean) / mean
        shapes = torch.stack([alphas, betas])
        if not bool((shapes.isfinite() & (shapes > 0) & (shapes < 1e8)).all()):
            break
        mixture = BetaMixture(alphas, betas, total / total.sum())
    return mixture


def loss_range(losses: Tensor) -> tuple[float, float]:
    """5th and 95th percentile of losses ``[N]``, interpolated, in float64."""
    ends = torch.tensor([0.05, 0.95], dtype=torch.float64, device=losses.device)
    values = losses.double().sort().values
    place = ends * (len(values) - 1)
    below = place.floor().long()
    above = (below + 1).clamp(max=len(values) - 1)
    low, high = torch.lerp(values[below], values[above], place - below).tolist()
    return low, high


def normalise_losses(losses: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """(l - low') / (high - low' + 1e-6), low' = low + 1e-5; what is at or below 0 becomes 1e-3, at or above 1 becomes
    1 - 1e-3.

    As in the authors' code this is no clamp: values between 0 and 1e-3 stay.
    """
    low = low + 1e-5
    scaled = (losses - low) / (high - low + 1e-6)
    scaled = torch.where(scaled >= 1, 1 - 1e-3, scaled)
    return torch.where(scaled <= 0, 1e-3, scaled)


def posterior_table(mixture: BetaMixture) -> Tensor:
    """Posterior of component 1 at 100 points from 0 to 1, constant after its maximum, float64 ``[100]``.

    Without that the posterior may fall again for the largest losses, which are the most suspicious.
    """
    table = mixture.posterior(torch.linspace(FLOOR, 1 - FLOOR, BINS, dtype=torch.float64))
    table = table.nan_to_num(nan=0.5)
    peak = int(table.argmax())
    table[peak:] = table[peak]
    return table


def look_up(table: Tensor, x: Tensor) -> Tensor:
    """Entry floor(100 x) of the table for each x ``[N]`` in [0, 1]."""
    return table[(BINS * x).long().clamp(0, BINS - 1)]


@dataclass(frozen=True)
class LossModel:
    """From a sample's loss to the probability that its label is wrong. Small tensors, on the device of the losses.

    ``low``, ``high``: 5th and 95th percentile of the losses. ``table`` ``[100]``: posteriors. ``wrong_share``: weight
    of the component of large losses, an estimate of the noise rate.
    """

    low: Tensor
    high: Tensor
    table: Tensor
    wrong_share: Tensor

    @classmethod
    def fit(cls, losses: Tensor, rounds: int = 10) -> LossModel:
        """Fit to the losses ``[N]`` of a whole training set, in float64 on the CPU; a moment.

        Losses outside the 5th to 95th percentile take no part. Where all losses are equal there is nothing to tell
        right from wrong by, and B is 1/2.
        """
        values = losses.detach().double().cpu()
        low, high = loss_range(values)
        inner = values[(values >= low) & (values <= high)]
        mixture = fit_beta_mixture(normalise_losses(inner, low, high), rounds)
        table = posterior_table(mixture) if high - low > 1e-5 else torch.full((BINS,), 0.5)
        parts = (torch.tensor(low), torch.tensor(high), table, mixture.weights[1])
        return cls(*(part.to(losses.device, torch.float32) for part in parts))

    def wrong(self, losses: Tensor) -> Tensor:
        """B, the probability that the label is wrong, for losses ``[B]``: in [1e-4, 1 - 1e-4]."""
        x = normalise_losses(losses.float(), self.low, self.high)
        return look_up(self.table, x).clamp(1e-4, 1 - 1e-4)
