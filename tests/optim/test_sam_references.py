"""SAM, ASAM and plain SGD against five steps of published code (float64)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from noisybench.optim.sam import SAM

REFERENCE = Path(__file__).parents[1] / "reference"


def load(file: str) -> dict:
    return json.loads((REFERENCE / file).read_text())


PLAIN, NORMED = load("sam_trajectories.json"), load("sam_batchnorm_trajectories.json")


def network(reference: dict) -> nn.Sequential:
    middle = [nn.BatchNorm1d(7)] if reference is NORMED else []
    model = nn.Sequential(nn.Linear(5, 7), *middle, nn.Tanh(), nn.Linear(7, 4)).double()
    model.load_state_dict(
        {name: torch.tensor(value, dtype=torch.float64) for name, value in reference["init"].items()}, strict=False
    )
    return model


def optimizer_of(model: nn.Module, hyper: dict) -> SAM:
    base = {"lr": hyper["lr"], "momentum": hyper["momentum"], "nesterov": hyper.get("nesterov", False)}
    special = {}
    if hyper.get("adaptive"):  # davda54/sam
        special = {"adaptive": True, "eta": 0.0, "biases": "abs"}
    elif "eta" in hyper:  # SamsungLabs/ASAM
        special = {"adaptive": True, "eta": hyper["eta"], "biases": "one"}
    elif hyper.get("weight_decay_inside_loss"):  # google-research/sam
        special = {"convention": "jax", "max_grad_norm": hyper["gradient_clipping"]}
    return SAM(
        model.parameters(),
        torch.optim.SGD,
        rho=hyper.get("rho", 0.0),
        weight_decay=hyper["weight_decay"],
        model=model,
        **base,
        **special,
    )


CASES = [pytest.param(r, c, id=c["name"]) for r in (PLAIN, NORMED) for c in r["cases"]]


@pytest.mark.parametrize(("reference", "case"), CASES)
def test_five_steps_are_those_of_the_published_code(reference, case):
    model, hyper = network(reference), case["hyper"]
    for name in hyper.get("frozen", []):
        model.get_parameter(name).requires_grad_(False)
    optimizer = optimizer_of(model, hyper)

    def near(value, expected):
        torch.testing.assert_close(value.detach(), torch.tensor(expected, dtype=value.dtype), rtol=1e-10, atol=1e-12)

    for x, y, step in zip(reference["x"], reference["y"], case["steps"], strict=True):
        inputs, labels = torch.tensor(x, dtype=torch.float64), torch.tensor(y)
        at: list[dict[str, torch.Tensor]] = []

        def closure(inputs=inputs, labels=labels, at=at):
            optimizer.zero_grad()
            at.append({name: weight.detach().clone() for name, weight in model.named_parameters()})
            loss = cross_entropy(model(inputs), labels)
            loss.backward()
            return loss.detach()

        loss = optimizer.step(closure)
        if not hyper.get("weight_decay_inside_loss"):
            near(loss, step["loss"])
        for name, expected in step.get("perturbation", {}).items():
            near(at[1][name] - at[0][name], expected)
        for name, expected in step["params_after"].items():
            near(model.get_parameter(name), expected)
        for name, expected in step.get("momentum_buffer_after", {}).items():
            near(optimizer.state[model.get_parameter(name)]["momentum_buffer"], expected)
        if reference is NORMED:
            near(model[1].running_mean, step["running_mean_after"])
            near(model[1].running_var, step["running_var_after"])


def test_statistics_are_counted_once_a_step():
    """The published helper counts both passes (its counter reads 2 after one step); here the second leaves no trace."""
    model = network(NORMED)
    case = next(case for case in NORMED["cases"] if "sam" in case["name"])
    assert case["steps"][0]["num_batches_tracked_after"] == 2
    optimizer = optimizer_of(model, case["hyper"])

    def closure():
        optimizer.zero_grad()
        loss = cross_entropy(model(torch.tensor(NORMED["x"][0]).double()), torch.tensor(NORMED["y"][0]))
        loss.backward()
        return loss.detach()

    optimizer.step(closure)
    assert model[1].num_batches_tracked.item() == 1
