"""The pieces of DivideMix's semi-supervised step (Li et al. 2020): targets, mixing, losses, and the split."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

# -- targets ------------------------------------------------------------------------------------------------------


def sharpen(probabilities: Tensor, temperature: float) -> Tensor:
    """``p^(1/T)``, normalised over the classes: ``[B, K]``."""
    raised = probabilities ** (1 / temperature)
    return raised / raised.sum(dim=1, keepdim=True)


def refined_targets(logits: list[Tensor], labels: Tensor, clean: Tensor, temperature: float) -> Tensor:
    """Co-refinement: ``sharpen(w y + (1 - w) p)``, p the mean prediction over the views (Li et al. 2020, eq. 3, 4).

    ``logits``: ``[B, K]`` a view; ``labels`` int64 ``[B]``; ``clean`` ``[B]``: w, the probability of a right label.
    """
    predicted = mean_probabilities(logits)
    given = torch.nn.functional.one_hot(labels, predicted.shape[1]).to(predicted.dtype)
    weight = clean[:, None].to(predicted.dtype)
    return sharpen(weight * given + (1 - weight) * predicted, temperature)


def guessed_targets(logits: list[Tensor], temperature: float) -> Tensor:
    """Co-guessing: the sharpened mean prediction over both networks and all views (eq. 5)."""
    return sharpen(mean_probabilities(logits), temperature)


def mean_probabilities(logits: list[Tensor]) -> Tensor:
    """Mean of the softmax of each ``[B, K]``."""
    return torch.stack([z.softmax(dim=1) for z in logits]).mean(dim=0)


# -- losses -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MixedBatch:
    """Mixed images ``[n, C, H, W]`` and soft targets ``[n, K]``, of which the first ``labelled`` rows count as such."""

    images: Tensor
    targets: Tensor
    labelled: int

    def losses(self, logits: Tensor, lambda_u: float, rows: Tensor | None = None) -> Tensor:
        """Losses ``[n]`` whose mean is ``Lx + lambda_u Lu + penalty`` (eq. 8 to 12, lambda_r = 1).

        Lx: soft cross entropy, mean over the labelled rows. Lu: mean over all unlabelled rows *and classes* of
        ``(p - q)^2``, as the authors compute it (the paper's norm is not divided by K). penalty: KL(uniform || mean
        prediction over all rows), the same for every row. ``rows``: ``logits`` are of these rows alone.
        """
        targets = self.targets if rows is None else self.targets[rows]
        number = torch.arange(len(targets), device=logits.device) if rows is None else rows
        total = len(self.targets)
        supervised = (number < self.labelled).to(logits.dtype) * (total / max(self.labelled, 1))
        guessed = (number >= self.labelled).to(logits.dtype) * (total / max(total - self.labelled, 1))
        log_p = log_softmax(logits, dim=1)
        squares = ((log_p.exp() - targets) ** 2).mean(dim=1)
        cross_entropy = -(targets * log_p).sum(dim=1)
        return supervised * cross_entropy + lambda_u * guessed * squares + uniform_penalty(logits)


def uniform_penalty(logits: Tensor) -> Tensor:
    """KL(uniform || mean prediction), a scalar: it keeps a network from giving everything one class (eq. 11)."""
    mean = log_softmax(logits, dim=1).logsumexp(dim=0) - float(np.log(len(logits)))
    return -float(np.log(logits.shape[1])) - mean.mean()


def negative_entropy(logits: Tensor) -> Tensor:
    """``sum_k p_k log p_k`` ``[B]``: added in warm-up under asymmetric noise, against confident predictions."""
    log_p = log_softmax(logits, dim=1)
    return (log_p.exp() * log_p).sum(dim=1)


def mix(batch: MixedBatch, weight: Tensor, partner: Tensor) -> MixedBatch:
    """``weight a + (1 - weight) a[partner]`` of images and targets; ``weight`` >= 1/2, so rows stay what they are."""
    return MixedBatch(
        torch.lerp(batch.images[partner], batch.images, weight),
        torch.lerp(batch.targets[partner], batch.targets, weight.to(batch.targets.dtype)),
        batch.labelled,
    )


# -- the split ----------------------------------------------------------------------------------------------------


def normalised(losses: Tensor) -> Tensor:
    """Losses brought to [0, 1] by their minimum and maximum; zeros when all are equal."""
    span = losses.max() - losses.min()
    return torch.where(span > 0, (losses - losses.min()) / span, torch.zeros_like(losses))


def split_by_loss(losses: np.ndarray, seed: int, rounds: int = 10) -> tuple[np.ndarray, float]:
    """Probability ``[n]`` that each label is right, and the share of wrong labels, from normalised losses ``[n]``.

    The posterior of the component with the smaller mean, and the weight of the other one, of two Gaussians fitted by
    scikit-learn with the authors' settings: at most ``rounds``, tolerance 1e-2, 5e-4 added to the variances. Equal
    losses say nothing: then all labels count as right.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    if not losses.max() - losses.min() > 1e-12:
        return np.ones(len(losses)), 0.0
    column = np.asarray(losses, dtype=np.float64).reshape(-1, 1)
    mixture: Any = GaussianMixture(n_components=2, max_iter=rounds, tol=1e-2, reg_covar=5e-4, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the authors stop after so many rounds, converged or not
        mixture.fit(column)
    clean = int(mixture.means_.argmin())
    posterior: np.ndarray = mixture.predict_proba(column)[:, clean]
    return posterior, float(mixture.weights_[1 - clean])


def ramp(epochs_done: float, length: float) -> float:
    """``clip(epochs_done / length, 0, 1)``: how much of lambda_u counts, ``epochs_done`` after the warm-up."""
    return min(1.0, max(0.0, epochs_done / length)) if length > 0 else 1.0
