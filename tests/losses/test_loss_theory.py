"""What the papers prove about their losses, exactly, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from noisybench.losses import build_loss

CLASSES = 6
SYMMETRIC = [
    "mae",
    "rce",
    "unhinged",
    "nce",
    "nfl",
    "ngce",
    "nmae",
    "nrce",
    "nnce",
    "nnfl",
    "nce_mae",
    "nfl_rce",
    "anl_ce",
]
NORMALISED = ["nce", "nfl", "ngce", "nmae", "nrce"]


def logits_of(classes: int = CLASSES, size: int = 40) -> torch.Tensor:
    return 3 * torch.randn(size, classes, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def under_every_label(name: str, logits: torch.Tensor, **params) -> torch.Tensor:
    """Loss of each sample under each label: [B, K]."""
    loss = build_loss(name, **params)
    return torch.stack([loss(logits, torch.full((len(logits),), k)) for k in range(logits.shape[1])], dim=1)


def transition(seed: int, classes: int = CLASSES) -> np.ndarray:
    """Random rows with most of their mass on the diagonal."""
    table = np.random.default_rng(seed).dirichlet(np.ones(classes), size=classes)
    return 0.6 * np.eye(classes) + 0.4 * table


def misses_of_noise_tolerance(name: str, rate: float) -> float:
    """Largest relative gap between the expected loss under exclusive noise and (1 - rK/(K-1)) L + rC/(K-1)."""
    losses = under_every_label(name, logits_of())
    total = losses.sum(dim=1, keepdim=True)
    expected = (1 - rate) * losses + rate / (CLASSES - 1) * (total - losses)
    constant = total.mean()
    tolerant = (1 - rate * CLASSES / (CLASSES - 1)) * losses + rate * constant / (CLASSES - 1)
    return ((expected - tolerant).abs().max() / constant).item()


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("name", SYMMETRIC)
def test_a_symmetric_loss_expects_a_line_in_its_clean_value(name, rate):
    assert misses_of_noise_tolerance(name, rate) < 1e-12


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("name", ["ce", "gce", "sce", "focal", "taylor_ce", "phuber_ce", "js", "agce"])
def test_other_losses_do_not(name, rate):
    assert misses_of_noise_tolerance(name, rate) > 1e-4


@pytest.mark.parametrize(
    ("name", "constant"),
    [
        *[(name, 1.0) for name in NORMALISED],
        ("mae", CLASSES - 1),
        ("unhinged", CLASSES - 1),
        ("rce", (CLASSES - 1) * math.log(1e4)),
        ("nnce", CLASSES - 1),
        ("nnfl", CLASSES - 1),
        ("nce_rce", 1 + (CLASSES - 1) * math.log(1e4)),
    ],
)
def test_symmetric_losses_sum_to_their_constant_over_the_labels(name, constant):
    total = under_every_label(name, logits_of()).sum(dim=1)
    assert total.tolist() == pytest.approx([constant] * 40, rel=1e-13)


@pytest.mark.parametrize("name", ["nce", "nfl", "ngce", "mae", "rce"])
def test_at_the_largest_tolerable_rate_the_expected_loss_says_nothing(name):
    """r = 1 - 1/K: every label is equally likely and the expected loss is the same for all true classes."""
    losses = under_every_label(name, logits_of())
    assert losses.mean(dim=1).std().item() < 1e-13 * losses.mean().item()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_backward_correction_is_the_clean_loss_on_average(seed):
    logits, table = logits_of(), transition(seed)
    clean = under_every_label("ce", logits)
    corrected = under_every_label("backward", logits, transition=table.tolist())
    for true in range(CLASSES):
        mean = corrected @ torch.from_numpy(table[true])
        torch.testing.assert_close(mean, clean[:, true], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_forward_correction_is_least_at_the_clean_posterior(seed):
    """Noisy labels drawn from p T: the expected forward loss has no gradient at p (Patrini et al. 2017)."""
    logits, table = logits_of(size=7), transition(seed)
    posterior = torch.softmax(logits, dim=1)
    noisy = posterior @ torch.from_numpy(table)
    logits.requires_grad_()
    expected = (under_every_label("forward", logits, transition=table.tolist()) * noisy).sum()
    (gradient,) = torch.autograd.grad(expected, logits)
    assert gradient.abs().max().item() < 1e-14


def test_negative_learning_is_the_mean_over_complementary_labels():
    logits = logits_of()
    log_not = torch.log1p(-torch.softmax(logits, dim=1))
    for label in range(CLASSES):
        others = [k for k in range(CLASSES) if k != label]
        mean = torch.stack([-log_not[:, k] for k in others]).mean(dim=0)
        loss = build_loss("negative_learning")(logits, torch.full((40,), label))
        torch.testing.assert_close(loss, mean, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("a", [4.0, 6.0])
def test_asymmetric_losses_prefer_the_likelier_label(a):
    """Clean-label-dominant noise on two of the labels: the minimum stays at p = onehot of the likelier (Zhou 2021)."""
    grid = torch.linspace(0, 1, 401, dtype=torch.float64)[1:-1]
    logits = torch.stack([grid.log(), (1 - grid).log()], dim=1)
    params = {"agce": {"a": a, "q": 1.5}, "aul": {"a": a + 1, "q": 0.5}, "ael": {"a": a}}
    for name, given in params.items():
        losses = under_every_label(name, logits, **given)
        expected = 0.6 * losses[:, 0] + 0.4 * losses[:, 1]
        assert expected.argmin().item() == len(grid) - 1, name
