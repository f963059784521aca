"""The robust generative classifier of RoG (Lee et al. 2019): Gaussians with one covariance, fitted by MCD.

Everything is in the dtype of the features (float64 in the method). ``features [n, d]``, ``labels`` int64 ``[n]``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

RELATIVE_CUT = float(torch.finfo(torch.float32).eps)
"""Times d: eigenvalues below this share of the largest are noise of float32 features and are left out of inverses."""


def inverse_covariance(covariance: Tensor) -> Tensor:
    """Pseudo-inverse ``[d, d]`` of a symmetric matrix (units that never fire have no variance)."""
    inverse: Tensor = torch.linalg.pinv(covariance, rtol=len(covariance) * RELATIVE_CUT, hermitian=True)
    return inverse


def mean_and_covariance(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ``[d]`` and covariance ``[d, d]``, divided by n as the authors do (biased)."""
    mean = features.mean(dim=0)
    centred = features - mean
    return mean, centred.T @ centred / len(features)


def share_of(count: int, fraction: float) -> int:
    """int(fraction * count), and at least 1 where there is a sample."""
    return min(count, max(1, int(fraction * count)))


def initial_gaussians(
    features: Tensor, labels: Tensor, num_classes: int, fraction: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Where MCD starts: class means ``[K, d]`` and tied precision ``[d, d]`` of a random ``fraction`` of each class.

    The tied covariance weighs every class by its drawn samples. A class without samples has a mean of NaN.
    Differs from the authors' code, which divides by their number once a class, inside the loop, so that the last class
    alone decides the shape.
    """
    means = features.new_full((num_classes, features.shape[1]), math.nan)
    total, drawn = features.new_zeros(features.shape[1], features.shape[1]), 0
    for label in range(num_classes):
        own = features[labels == label]
        chosen = torch.randperm(len(own), generator=generator)[: share_of(len(own), fraction)].to(own.device)
        if len(chosen) == 0:
            continue
        means[label], covariance = mean_and_covariance(own[chosen])
        total += len(chosen) * covariance
        drawn += len(chosen)
    return means, inverse_covariance(total / drawn)


def squared_distances(features: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
    """Squared Mahalanobis distances ``[n]`` to ``mean [d]`` (or to a mean of its own for each row, ``[n, d]``)."""
    centred = features - mean
    return ((centred @ precision) * centred).sum(dim=1)


def determinant_step(
    features: Tensor, mean: Tensor, precision: Tensor, fraction: float
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of the minimum covariance determinant (MCD) on one class: its int(fraction n) samples closest to
    ``mean``; their mean ``[d]``, their covariance ``[d, d]`` and their positions (ascending)."""
    distances = squared_distances(features, mean, precision)
    kept = distances.topk(share_of(len(features), fraction), largest=False).indices.sort().values
    return *mean_and_covariance(features[kept]), kept


def robust_gaussians(
    features: Tensor, labels: Tensor, means: Tensor, precision: Tensor, fraction: float
) -> tuple[Tensor, Tensor]:
    """Means ``[K, d]`` and tied covariance ``sum_c n_c S_c / N`` after one MCD step a class; n_c counts all of c."""
    robust, tied = means.clone(), torch.zeros_like(precision)
    for label in range(len(means)):
        own = features[labels == label]
        if len(own):
            robust[label], covariance, _ = determinant_step(own, means[label], precision, fraction)
            tied += len(own) / len(features) * covariance
    return robust, tied


def linear_head(means: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """Weight ``[K, d]`` and bias ``[K]`` of linear discriminant analysis with a uniform prior.

    ``w_c = m_c S^-1``, ``b_c = -1/2 m_c S^-1 m_c + log(1/K)``. A class without a mean (NaN) is never chosen.
    """
    absent = means.isnan().any(dim=1)
    known = means.masked_fill(absent[:, None], 0.0)
    weight = known @ precision
    bias = -0.5 * (weight * known).sum(dim=1) - math.log(len(means))
    return weight, bias.masked_fill(absent, -math.inf)


def nearest_half(features: Tensor, labels: Tensor, means: Tensor, precision: Tensor) -> Tensor:
    """Positions (ascending) of the int(n / 2) samples closest to the mean of their own label's class; at least one."""
    distances = squared_distances(features, means[labels], precision)
    distances = distances.nan_to_num(nan=math.inf, posinf=math.inf)
    return distances.topk(share_of(len(features), 0.5), largest=False).indices.sort().values


def mixture(probabilities: Tensor, weights: Tensor) -> Tensor:
    """Log of ``sum_l weights_l p_l + 1e-10`` ``[n, K]``, from ``probabilities [L, n, K]`` and ``weights [L]``."""
    return torch.log(torch.einsum("l,lnk->nk", weights, probabilities) + 1e-10)


def ensemble_weights(
    probabilities: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    *,
    epochs: int = 20,
    batch_size: int = 50,
    lr: float = 0.02,
) -> Tensor:
    """Convex weights ``[L]`` = softmax(a) of the layers that minimise the negative log likelihood of ``labels``.

    ``probabilities [L, n, K]`` come from fixed heads. ``a`` starts at equal values and is trained by Adam, as the
    authors do; batches that are not full are dropped, unless there is no other.
    """
    a = torch.ones(len(probabilities), dtype=probabilities.dtype, device=probabilities.device, requires_grad=True)
    optimizer = torch.optim.Adam([a], lr=lr)
    size = min(batch_size, len(labels))
    with torch.enable_grad():
        for _ in range(epochs):
            order = torch.randperm(len(labels), generator=generator).to(labels.device)
            for rows in torch.split(order[: len(order) // size * size], size):
                optimizer.zero_grad()
                log_p = mixture(probabilities[:, rows], a.softmax(dim=0))
                torch.nn.functional.nll_loss(log_p, labels[rows]).backward()  # type: ignore[no-untyped-call]  # torch's
                optimizer.step()
    return a.detach().softmax(dim=0)
