"""Active passive losses: one loss that raises p_y and one that lowers the other probabilities (Ma et al. 2020)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from noisybench.losses.asymmetric import (
    AboveOne,
    Positive,
    asymmetric_exponential,
    asymmetric_generalized_cross_entropy,
    asymmetric_unhinged,
)
from noisybench.losses.focal import Gamma
from noisybench.losses.mae import mean_absolute_error
from noisybench.losses.normalized import (
    normalized_cross_entropy,
    normalized_focal,
    normalized_generalized_cross_entropy,
)
from noisybench.losses.part import Part, apply_part
from noisybench.losses.symmetric_cross_entropy import LOG_ZERO, LogZero, reverse_cross_entropy
from noisybench.registry import loss

Weight = Annotated[float, Field(ge=0)]
Q = Annotated[float, Field(gt=0, le=1)]


def weighted(alpha: float, active: Tensor, beta: float, passive: Tensor) -> Tensor:
    """alpha active + beta passive."""
    return alpha * active + beta * passive


@loss("active_passive", cite="ma2020apl")
def active_passive(
    logits: Tensor, labels: Tensor, *, active: Part, passive: Part, alpha: Weight = 1.0, beta: Weight = 1.0
) -> Tensor:
    """Active passive loss, alpha active + beta passive, of any two losses  (Ma et al. 2020).

    ``active`` and ``passive`` are names (``nce``) or mappings (``{name: agce, a: 6, q: 1.5}``) of registered losses.
    Authors' weights: CIFAR-10 1 and 1, CIFAR-100 10 and 0.1. logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    return weighted(alpha, apply_part(active, logits, labels), beta, apply_part(passive, logits, labels))


@loss("nce_mae", cite="ma2020apl")
def nce_mae(logits: Tensor, labels: Tensor, *, alpha: Weight = 1.0, beta: Weight = 1.0) -> Tensor:
    """NCE + MAE, alpha log p_y / sum_k log p_k + beta (1 - p_y)  (Ma et al. 2020).

    MAE in its half form, as in all published codes of this pair. Authors' weights: CIFAR-10 1 and 1, CIFAR-100 10 and
    0.1. logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    return weighted(alpha, normalized_cross_entropy(logits, labels), beta, mean_absolute_error(logits, labels))


@loss("nce_rce", cite="ma2020apl")
def nce_rce(
    logits: Tensor, labels: Tensor, *, alpha: Weight = 1.0, beta: Weight = 1.0, A: LogZero = LOG_ZERO
) -> Tensor:
    """NCE + RCE, alpha log p_y / sum_k log p_k - beta A (1 - p_y)  (Ma et al. 2020).

    Authors' weights: CIFAR-10 1 and 1, CIFAR-100 10 and 0.1. A is log 1e-4, as in the code; see ``rce``.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    return weighted(alpha, normalized_cross_entropy(logits, labels), beta, reverse_cross_entropy(logits, labels, A=A))


@loss("nfl_mae", cite="ma2020apl")
def nfl_mae(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: Weight = 1.0,
    beta: Weight = 1.0,
    gamma: Gamma = 0.5,
    detached: bool = True,
) -> Tensor:
    """NFL + MAE, alpha NFL + beta (1 - p_y)  (Ma et al. 2020).

    Authors' weights: CIFAR-10 1 and 1, CIFAR-100 10 and 0.1; ``detached`` as in ``nfl``.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    active = normalized_focal(logits, labels, gamma=gamma, detached=detached)
    return weighted(alpha, active, beta, mean_absolute_error(logits, labels))


@loss("nfl_rce", cite="ma2020apl")
def nfl_rce(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: Weight = 1.0,
    beta: Weight = 1.0,
    gamma: Gamma = 0.5,
    detached: bool = True,
    A: LogZero = LOG_ZERO,
) -> Tensor:
    """NFL + RCE, alpha NFL - beta A (1 - p_y)  (Ma et al. 2020).

    Authors' weights: CIFAR-10 1 and 1, CIFAR-100 10 and 0.1; ``detached`` as in ``nfl``, ``A`` as in ``rce``.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    active = normalized_focal(logits, labels, gamma=gamma, detached=detached)
    return weighted(alpha, active, beta, reverse_cross_entropy(logits, labels, A=A))


@loss("ngce_mae", cite="ma2020apl")
def ngce_mae(logits: Tensor, labels: Tensor, *, alpha: Weight = 1.0, beta: Weight = 1.0, q: Q = 0.7) -> Tensor:
    """NGCE + MAE, alpha (1 - p_y^q) / (K - sum_k p_k^q) + beta (1 - p_y)  (Ma et al. 2020).

    The authors' configurations of this pair set q = 0.1; 0.7 is their class default and ours.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    active = normalized_generalized_cross_entropy(logits, labels, q=q)
    return weighted(alpha, active, beta, mean_absolute_error(logits, labels))


@loss("ngce_rce", cite="ma2020apl")
def ngce_rce(
    logits: Tensor, labels: Tensor, *, alpha: Weight = 1.0, beta: Weight = 1.0, q: Q = 0.7, A: LogZero = LOG_ZERO
) -> Tensor:
    """NGCE + RCE, alpha (1 - p_y^q) / (K - sum_k p_k^q) - beta A (1 - p_y)  (Ma et al. 2020).

    The authors' configurations of this pair set q = 0.1; 0.7 is their class default and ours. ``A`` as in ``rce``.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    active = normalized_generalized_cross_entropy(logits, labels, q=q)
    return weighted(alpha, active, beta, reverse_cross_entropy(logits, labels, A=A))


@loss("nce_agce", cite="zhou2021alf")
def nce_agce(
    logits: Tensor, labels: Tensor, *, alpha: Weight = 1.0, beta: Weight = 4.0, a: Positive = 6.0, q: Positive = 1.5
) -> Tensor:
    """NCE + AGCE, alpha NCE + beta ((a + 1)^q - (a + p_y)^q) / q  (Zhou et al. 2021).

    Authors' defaults: CIFAR-10 alpha 1, beta 4, a 6, q 1.5; CIFAR-100 alpha 10, beta 0.1, a 1.8, q 3.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    passive = asymmetric_generalized_cross_entropy(logits, labels, a=a, q=q)
    return weighted(alpha, normalized_cross_entropy(logits, labels), beta, passive)


@loss("nce_aul", cite="zhou2021alf")
def nce_aul(
    logits: Tensor, labels: Tensor, *, alpha: Weight = 1.0, beta: Weight = 4.0, a: AboveOne = 6.3, q: Positive = 1.5
) -> Tensor:
    """NCE + AUL, alpha NCE + beta ((a - p_y)^q - (a - 1)^q) / q  (Zhou et al. 2021).

    Authors' defaults: CIFAR-10 alpha 1, beta 4, a 6.3, q 1.5; CIFAR-100 alpha 10, beta 0.015, a 6, q 3.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    return weighted(
        alpha, normalized_cross_entropy(logits, labels), beta, asymmetric_unhinged(logits, labels, a=a, q=q)
    )


@loss("nce_ael", cite="zhou2021alf")
def nce_ael(logits: Tensor, labels: Tensor, *, alpha: Weight = 1.0, beta: Weight = 4.0, a: Positive = 5.0) -> Tensor:
    """NCE + AEL, alpha NCE + beta exp(-p_y / a)  (Zhou et al. 2021).

    Authors' defaults: CIFAR-10 alpha 1, beta 4, a 5; CIFAR-100 alpha 10, beta 0.1, a 1.5.
    logits [B, K], labels [B] int64 -> per-sample loss [B].
    """
    return weighted(alpha, normalized_cross_entropy(logits, labels), beta, asymmetric_exponential(logits, labels, a=a))
