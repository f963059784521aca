"""Where one loss becomes another: limits and special cases."""

from __future__ import annotations

import pytest
import torch

from noisybench.losses import build_loss


def batch(classes: int = 4, scale: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(11)
    logits = scale * torch.randn(12, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (12,), generator=generator)


def both(loss, logits, labels):
    """Values and gradient."""
    logits = logits.detach().requires_grad_()
    losses = loss(logits, labels)
    return losses.detach(), torch.autograd.grad(losses.sum(), logits)[0]


@pytest.mark.parametrize(
    ("left", "right", "tolerance"),
    [
        (("gce", {"q": 1e-9}), ("ce", {}), 1e-7),
        (("gce", {"q": 1.0}), ("mae", {}), 1e-14),
        (("sce", {"beta": 0.0, "alpha": 1.0}), ("ce", {}), 1e-14),
        (("sce", {"alpha": 0.0, "beta": 1.0}), ("rce", {}), 1e-14),
        (("rce", {"A": -1.0}), ("mae", {}), 1e-14),
        (("ngce", {"q": 1e-9}), ("nce", {}), 1e-7),
        (("ngce", {"q": 1.0}), ("nmae", {}), 1e-13),
        (("nfl", {"gamma": 0.0}), ("nce", {}), 1e-14),
        (("nrce", {}), ("nmae", {}), 1e-14),
        (("focal", {"gamma": 0.0}), ("ce", {}), 1e-14),
        (("focal", {"gamma": 0.0, "detached": False}), ("ce", {}), 1e-14),
        (("taylor_ce", {"t": 1}), ("mae", {}), 1e-14),
        (("taylor_ce", {"t": 20000}), ("ce", {}), 1e-9),
        (("phuber_ce", {"tau": 1e9}), ("ce", {}), 1e-14),
        (("phuber_gce", {"tau": 1e9}), ("gce", {}), 1e-14),
        (("unhinged", {}), ("mae", {}), 1e-14),
        (("aul", {"q": 1.0}), ("mae", {}), 1e-13),
        (("agce", {"q": 1.0}), ("mae", {}), 1e-13),
        (("bootstrap_soft", {"beta": 1.0}), ("ce", {}), 1e-14),
        (("bootstrap_hard", {"beta": 1.0}), ("ce", {}), 1e-14),
        (("js", {"pi": 1e-7}), ("ce", {}), 1e-4),
        (("js", {"pi": 1 - 1e-9}), ("mae", {}), 1e-1),
        (("forward", {"transition": torch.eye(4).tolist()}), ("ce", {}), 1e-14),
        (("backward", {"transition": torch.eye(4).tolist()}), ("ce", {}), 1e-14),
        (("forward", {"transition": {"rate": 0.0}}), ("ce", {}), 1e-14),
        (("eps_ce", {"m": 0.0, "floor": 0.0}), ("ce", {}), 1e-14),
        (("eps_focal", {"m": 0.0, "floor": 0.0}), ("focal", {"gamma": 0.1}), 1e-12),
        (("logit_clip", {"tau": 1e3, "form": "paper"}), ("ce", {}), 1e-14),
        (("label_smoothing", {"smoothing": 0.0}), ("ce", {}), 1e-14),
        (("active_passive", {"active": "nce", "passive": "rce"}), ("nce_rce", {}), 1e-14),
        (("nce_agce", {"alpha": 0.0, "beta": 1.0, "a": 0.6, "q": 0.6}), ("agce", {}), 1e-14),
    ],
    ids=lambda value: "-".join([value[0], *map(str, value[1])]) if isinstance(value, tuple) else "",
)
def test_is_the_other_loss(left, right, tolerance):
    logits, labels = batch(scale=0.7 if left[0] == "taylor_ce" else 2.0)
    got, expected = (
        both(build_loss(left[0], **left[1]), logits, labels),
        both(build_loss(right[0], **right[1]), logits, labels),
    )
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_negative_learning_of_two_classes_is_cross_entropy():
    logits, labels = batch(classes=2)
    got, expected = both(build_loss("negative_learning"), logits, labels), both(build_loss("ce"), logits, labels)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-14)
