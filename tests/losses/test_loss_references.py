"""The losses against numbers from published implementations, values and gradients."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from noisybench import registry
from noisybench.losses import build_loss

REFERENCE = Path(__file__).parents[1] / "reference"
WEIGHTS = ("alpha", "beta")


def floats(*keys, **renamed):
    """Hyperparameters under our names: as they are called there, or renamed (theirs -> ours)."""
    names = {key: key for key in keys} | renamed
    return lambda h: {ours: float(h[theirs]) for theirs, ours in names.items() if theirs in h}


def pair(active, passive):
    return lambda h: {**floats(*WEIGHTS)(h), "active": active, "passive": passive}


def clipped(h):
    return {"tau": 1 / h["temp"], "p": float(h["lp"])}


def jensen_shannon(scaled):
    return lambda h: {"pi": h["weights"][0], "scaled": scaled}


RATES = floats(*WEIGHTS, "gamma", "q", "a", "m", "min_prob", eps="floor")
# reference name -> our name and how its hyperparameters translate
OURS = {
    "CE": ("ce", lambda h: {}),
    "SCE": ("sce", RATES),
    "RCE": ("rce", lambda h: {}),
    "NCE": ("nce", lambda h: {}),
    "GCE": ("gce", RATES),
    "NGCE": ("ngce", RATES),
    "MAE": ("mae", floats("scale")),
    "NMAE": ("nmae", lambda h: {"scale": 1.0 if "note" in h else 0.5}),  # Ma et al. divide by twice the sum
    "NRCE": ("nrce", lambda h: {}),
    "Focal": ("focal", RATES),
    "Focal-full-gradient": ("focal", lambda h: {"gamma": h["gamma"], "detached": False}),
    "NFL": ("nfl", RATES),
    "NCE+MAE": ("nce_mae", RATES),
    "NCE+RCE": ("nce_rce", RATES),
    "NFL+MAE": ("nfl_mae", RATES),
    "NFL+RCE": ("nfl_rce", RATES),
    "NFL+NCE": ("active_passive", pair("nfl", "nce")),
    "NGCE+MAE": ("ngce_mae", RATES),
    "NGCE+RCE": ("ngce_rce", RATES),
    "NGCE+NCE": ("active_passive", pair("ngce", "nce")),
    "GCE+MAE": ("active_passive", pair("gce", "mae")),
    "GCE+RCE": ("active_passive", pair("gce", "rce")),
    "MAE+RCE": ("active_passive", pair("mae", "rce")),
    "AGCE": ("agce", RATES),
    "AUL": ("aul", RATES),
    "AEL": ("ael", RATES),
    "NCE+AGCE": ("nce_agce", RATES),
    "NCE+AUL": ("nce_aul", RATES),
    "NCE+AEL": ("nce_ael", RATES),
    "Unhinged": ("unhinged", lambda h: {}),
    "PHuber-CE": ("phuber_ce", floats("tau")),
    "PHuber-GCE": ("phuber_gce", floats("tau", "q")),
    "LabelSmoothing-torch": ("label_smoothing", floats(label_smoothing="smoothing")),
    "LabelSmoothing-uniform-KL": ("label_smoothing", lambda h: {"smoothing": h["t"], "form": "kl"}),
    "LabelSmoothing-offclass-KL": ("label_smoothing", lambda h: {"smoothing": h["smoothing"], "form": "offclass"}),
    "Bootstrap-soft": ("bootstrap_soft", floats("beta")),
    "Bootstrap-soft-GJS": ("bootstrap_soft", lambda h: {"beta": 1 - h["t"]}),
    "Bootstrap-soft-detached": ("bootstrap_soft", lambda h: {"beta": h["beta"], "detached": True}),
    "Bootstrap-hard": ("bootstrap_hard", floats("beta")),
    "boot_soft": ("bootstrap_soft", floats("beta")),
    "Taylor-CE": ("taylor_ce", lambda h: {"t": h["t"]}),
    "JS": ("js", jensen_shannon(scaled=False)),
    "JS-scaled": ("js", jensen_shannon(scaled=True)),
    "forward-correction": ("forward", lambda h: {"transition": h["T"]}),
    "backward-correction": ("backward", lambda h: {"transition": h["T"]}),
    "ECE": ("eps_ce", RATES),
    "EFL": ("eps_focal", RATES),
    "ECE+MAE": ("eps_ce_mae", RATES),
    "EFL+MAE": ("eps_focal_mae", RATES),
    "NNCE": ("nnce", RATES),
    "NNFL": ("nnfl", RATES),
    "ANL-CE": ("anl_ce", RATES),
    "ANL-FL": ("anl_fl", RATES),
    "LDR-KL": ("ldr_kl", floats("margin", "lambda")),
    "LogitClip+CE": ("logit_clip", clipped),
    "NL-expected": ("negative_learning", lambda h: {}),
}
# They differ in: the log of a float32 1e-4 or 1e-7; 1e-9 added to p_y; a float32 target or scale; 1e-7 added to a norm.
TOLERANCE = {
    "GCE": 1e-8,
    "PHuber-GCE": 1e-8,
    "LabelSmoothing-uniform-KL": 1e-6,
    "NNCE": 1e-7,
    "NNFL": 1e-7,
    "ANL-CE": 1e-7,
    "ANL-FL": 1e-7,
    "LogitClip+CE": 1e-6,
    "Bootstrap-soft-GJS": 1e-7,
    "JS-scaled": 1e-7,
} | dict.fromkeys(("SCE", "RCE", "NRCE", "NCE+RCE", "NFL+RCE", "NGCE+RCE", "GCE+RCE", "MAE+RCE"), 1e-7)
NOT_HERE = {
    "DMI": "needs the whole batch",
    "ANorm": "no loss of the suite",
    "GJS": "two views",
    "GJS-scaled": "two views",
    "GJS-no-consistency": "two views",
}
SLIP = -(3**2) * math.log(1e-4) / 4  # what NRCE's factor (K - 1) / 4 is, over the right one, at K = 4


def every_case():
    for file in ("apl", "misc", "asymmetric", "gjs", "correction", "by_hand", "recent"):
        reference = json.loads((REFERENCE / f"losses_{file}.json").read_text())
        for number, case in enumerate(reference["cases"]):
            yield pytest.param(reference["batches"][case["batch"]], case, id=f"{file}-{number}-{case['loss']}")


def cases():
    return [case for case in every_case() if case.values[1]["loss"] in OURS and case.values[1]["batch"] != "extreme"]


@pytest.mark.parametrize(("batch", "case"), cases())
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_values_and_gradients_are_those_of_the_published_code(batch, case, dtype):
    name, translate = OURS[case["loss"]]
    factor = SLIP if case["loss"] == "NRCE" else 1.0
    expected = case[dtype]
    kind = getattr(torch, dtype)
    logits = torch.tensor(batch["logits"], dtype=kind, requires_grad=True)
    losses = factor * build_loss(name, **translate(case["hyper"]))(logits, torch.tensor(batch["labels"]))
    (gradient,) = torch.autograd.grad(losses.mean(), logits)
    rtol = TOLERANCE.get(case["loss"], 1e-9) if dtype == "float64" else 1e-5
    atol = rtol if dtype == "float64" else 4e-6  # a few roundings of logits up to 10, as processors differ in them

    def near(value, reference, atol):
        torch.testing.assert_close(value.detach(), torch.tensor(reference, dtype=kind), rtol=rtol, atol=atol)

    near(losses.mean(), expected["mean_loss"], 0.0)
    near(gradient, expected["grad_logits"], atol)
    if "per_sample_loss" in expected:
        near(losses, expected["per_sample_loss"], atol)


def test_corrections_are_those_of_the_formula_without_clipping():
    for case in every_case():
        batch, case = case.values
        if "hand_float64_unclipped_per_sample" in case:
            name, translate = OURS[case["loss"]]
            logits = torch.tensor(batch["logits"], dtype=torch.float64)
            losses = build_loss(name, **translate(case["hyper"]))(logits, torch.tensor(batch["labels"]))
            assert losses.tolist() == pytest.approx(case["hand_float64_unclipped_per_sample"], rel=1e-9)


def test_jensen_shannon_at_extreme_logits_differs_by_the_published_clamp_only():
    found = [case.values for case in every_case() if case.values[1]["loss"] == "JS-scaled"]
    for batch, case in found:
        logits = torch.tensor(batch["logits"], dtype=torch.float64)
        losses = build_loss("js", pi=case["hyper"]["weights"][0])(logits, torch.tensor(batch["labels"]))
        assert losses.tolist() == pytest.approx(case["float64"]["per_sample_loss"], rel=1e-5, abs=2e-5)


def test_the_references_cover_every_loss():
    found = {OURS[case.values[1]["loss"]][0] for case in cases()}
    assert found == set(registry.names("loss"))
    assert {case.values[1]["loss"] for case in every_case()} == set(OURS) | set(NOT_HERE)
