"""The losses against numbers from published implementations, values and gradients."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from noisybench.losses import build_loss

REFERENCE = Path(__file__).parents[1] / "reference"
# reference name -> our name and how its hyperparameters translate
OURS = {
    "CE": ("ce", lambda h: {}),
    "SCE": ("sce", lambda h: {"alpha": float(h["alpha"]), "beta": float(h["beta"])}),
    "GCE": ("gce", lambda h: {"q": h["q"]}),
    "MAE": ("mae", lambda h: {"scale": float(h["scale"])}),
    "Unhinged": ("mae", lambda h: {}),
    "LabelSmoothing-torch": ("label_smoothing", lambda h: {"smoothing": h["label_smoothing"]}),
    "LabelSmoothing-uniform-KL": ("label_smoothing", lambda h: {"smoothing": h["t"], "form": "kl"}),
    "LabelSmoothing-offclass-KL": ("label_smoothing", lambda h: {"smoothing": h["smoothing"], "form": "offclass"}),
}
# They differ in: the log of a float32 1e-4; 1e-9 added to p_y; a float32 target.
TOLERANCE = {"SCE": 1e-7, "GCE": 1e-8, "LabelSmoothing-uniform-KL": 1e-6}


def cases():
    for file in ("losses_apl", "losses_misc", "losses_asymmetric"):
        reference = json.loads((REFERENCE / f"{file}.json").read_text())
        for number, case in enumerate(reference["cases"]):
            if case["loss"] in OURS:
                yield pytest.param(reference["batches"][case["batch"]], case, id=f"{file}-{number}-{case['loss']}")


@pytest.mark.parametrize(("batch", "case"), list(cases()))
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_values_and_gradients_are_those_of_the_published_code(batch, case, dtype):
    name, translate = OURS[case["loss"]]
    expected = case[dtype]
    kind = getattr(torch, dtype)
    logits = torch.tensor(batch["logits"], dtype=kind, requires_grad=True)
    losses = build_loss(name, **translate(case["hyper"]))(logits, torch.tensor(batch["labels"]))
    (gradient,) = torch.autograd.grad(losses.mean(), logits)
    rtol = TOLERANCE.get(case["loss"], 1e-9) if dtype == "float64" else 1e-5
    atol = rtol if dtype == "float64" else 1e-6

    def near(value, reference, atol):
        torch.testing.assert_close(value.detach(), torch.tensor(reference, dtype=kind), rtol=rtol, atol=atol)

    near(losses.mean(), expected["mean_loss"], 0.0)
    near(gradient, expected["grad_logits"], atol)
    if "per_sample_loss" in expected:
        near(losses, expected["per_sample_loss"], atol)


def test_the_references_cover_every_loss():
    found = {OURS[case.values[1]["loss"]][0] for case in cases()}
    assert found == {"ce", "sce", "gce", "mae", "label_smoothing"}
