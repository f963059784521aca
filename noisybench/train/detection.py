"""How well wrong training labels were found: scores of suspicion held against the truth. The trainer's, as all
diagnostics are; ``training.detection: true`` asks for it.

From the final losses of a run come ``small_loss`` (the loss itself: the sample of small loss is trusted), ``gmm`` and
``bmm`` (the posterior of the component of large losses of a two-component Gaussian mixture, as in DivideMix, and beta
mixture, as in Arazo et al.), and ``permuted``, the control: the losses dealt out at random, which must find nothing
(area 0.5). A method that ranks the labels itself adds its own (``Algorithm.suspicion``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional

from noisybench.methods.algorithm import Suspicion
from noisybench.methods.beta_mixture import LossModel
from noisybench.methods.mixmatch import normalised, split_by_loss
from noisybench.seeding import Draws, derive
from noisybench.train.evaluation import Truth


def suspicions_of_losses(losses: Tensor, seed: int) -> dict[str, Suspicion]:
    """Detectors that need the losses ``[n]`` alone; larger is more suspicious."""
    losses = losses.double().cpu()
    right, gaussian_share = split_by_loss(normalised(losses).numpy(), derive(seed, "diagnostics", "gmm"))
    beta = LossModel.fit(losses)
    order = torch.from_numpy(Draws(seed, "diagnostics", "permuted").permutation(len(losses)))
    return {
        "small_loss": Suspicion(losses),
        "gmm": Suspicion(torch.from_numpy(1 - right), gaussian_share),
        "bmm": Suspicion(beta.wrong(losses), float(beta.wrong_share)),
        "permuted": Suspicion(losses[order]),
    }


def judge(suspicion: Suspicion, wrong: np.ndarray) -> dict[str, float | None]:
    """What a score finds, given which labels are wrong (bool ``[n]``); shares in percent.

    ``auc``: area under the receiver operating characteristic, the chance that a wrong label has the higher score than a
    right one, ties half (0.5: finds nothing). ``kept_right``: share of right labels among the n (1 - rate) least
    suspicious, rate being the true share of wrong labels; samples tied at the border count by their mean. ``rate``: the
    share of wrong labels that the detector itself estimates. None where there is nothing to find.
    """
    n, found = len(wrong), int(wrong.sum())
    rate = None if suspicion.rate is None else 100.0 * suspicion.rate
    if found in (0, n):
        return {"auc": None, "kept_right": None, "rate": rate}
    scores = suspicion.scores.double().cpu().numpy()
    ranks = rankdata(scores)
    auc = (ranks[wrong].sum() - found * (found + 1) / 2) / (found * (n - found))
    keep = n - found
    border = np.partition(scores, keep - 1)[keep - 1]
    below, at = scores < border, scores == border
    right = (~wrong[below]).sum() + (keep - below.sum()) * (~wrong[at]).mean()
    return {"auc": float(auc), "kept_right": 100.0 * float(right) / keep, "rate": rate}


@dataclass(frozen=True)
class Detection:
    """What a run's detectors said: ``scores`` ``[n]`` each, and how they were ``judged``, for the record."""

    scores: dict[str, np.ndarray]
    judged: dict[str, Any]


def detect(logits: Tensor, truth: Truth, index: Tensor, seed: int, own: Mapping[str, Suspicion]) -> Detection:
    """All detectors on the training part ``index``, from the final ``logits [N, K]`` and the method's ``own`` scores.

    A label is wrong where it was flipped, or where its image shows no class at all.
    """
    losses = functional.cross_entropy(logits[index], truth.noisy[index], reduction="none")
    wrong = ((truth.noisy != truth.clean) | truth.open_set)[index].cpu().numpy()
    suspicions = suspicions_of_losses(losses, seed) | dict(own)
    judged = {name: judge(suspicion, wrong) for name, suspicion in suspicions.items()}
    return Detection({name: item.scores.float().cpu().numpy() for name, item in suspicions.items()}, judged)
