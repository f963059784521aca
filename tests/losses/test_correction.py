"""Forward and backward correction: what a transition may be, and what it may not."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
import torch

from noisybench.errors import DataError, ParameterError
from noisybench.losses import build_loss
from noisybench.suite import load_suite

HALVES = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)  # p = 1/4, 3/4
ROWS = [[0.8, 0.2], [0.4, 0.6]]
BOTH = pytest.mark.parametrize("name", ["forward", "backward"])


def value(name: str, label: int, transition: object) -> float:
    return build_loss(name, transition=transition)(HALVES, torch.tensor([label])).item()


def test_forward_by_hand():
    assert value("forward", 0, ROWS) == pytest.approx(-math.log(0.25 * 0.8 + 0.75 * 0.4), rel=1e-14)
    assert value("forward", 1, ROWS) == pytest.approx(-math.log(0.25 * 0.2 + 0.75 * 0.6), rel=1e-14)


def test_backward_by_hand():
    """The inverse of [[.8, .2], [.4, .6]] is [[1.5, -.5], [-1, 2]]."""
    first, second = math.log(4), math.log(4 / 3)
    assert value("backward", 0, ROWS) == pytest.approx(1.5 * first - 0.5 * second, rel=1e-13)
    assert value("backward", 1, ROWS) == pytest.approx(-first + 2 * second, rel=1e-13)


@BOTH
def test_rows_a_file_and_a_rate_are_the_same_matrix(name, tmp_path):
    rows = [[0.7, 0.15, 0.15], [0.15, 0.7, 0.15], [0.15, 0.15, 0.7]]
    np.save(tmp_path / "t.npy", np.array(rows))
    (tmp_path / "t.csv").write_text("\n".join(",".join(map(str, row)) for row in rows))
    logits = torch.tensor([[0.3, -1.0, 2.0]], dtype=torch.float64)
    label = torch.tensor([1])
    expected = build_loss(name, transition=rows)(logits, label).item()
    for same in (str(tmp_path / "t.npy"), str(tmp_path / "t.csv"), {"rate": 0.3}):
        assert build_loss(name, transition=same)(logits, label).item() == pytest.approx(expected, rel=1e-14)


@BOTH
def test_a_rate_with_a_mapping_is_asymmetric_noise(name):
    rows = [[0.6, 0.0, 0.4], [0.0, 1.0, 0.0], [0.0, 0.4, 0.6]]
    logits, labels = torch.tensor([[0.3, -1.0, 2.0]] * 3, dtype=torch.float64), torch.tensor([0, 1, 2])
    mapped = build_loss(name, transition={"rate": 0.4, "mapping": [2, 1, 1]})(logits, labels)
    assert mapped.tolist() == pytest.approx(build_loss(name, transition=rows)(logits, labels).tolist(), rel=1e-14)


def test_a_file_is_read_again_when_it_changed(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("1,0\n0,1\n")
    assert value("forward", 0, str(path)) == pytest.approx(math.log(4))
    path.write_text("0.5,0.5\n0.5,0.5\n")
    os.utime(path, ns=(1, 1))
    assert value("forward", 0, str(path)) == pytest.approx(math.log(2))


@BOTH
@pytest.mark.parametrize(
    ("transition", "says"),
    [
        ([[0.5, 0.5]], "square"),
        ([[0.5, 0.4], [0.0, 1.0]], "row 0 sums to 0.9"),
        ([[1.5, -0.5], [0.0, 1.0]], "outside 0 .. 1"),
        ({"rate": 1.5}, "'rate' must be in 0 .. 1"),
        ({"rate": True}, "takes 'rate'"),
        ({"share": 0.5}, "takes 'rate'"),
        ({"rate": 0.5, "mapping": [0, 3]}, "'mapping' must list"),
        (3, "valid list or"),
    ],
)
def test_what_is_no_transition_is_refused(name, transition, says):
    with pytest.raises(ParameterError, match="transition") as caught:
        build_loss(name, transition=transition)
    assert says in str(caught.value)


@BOTH
def test_a_transition_is_needed(name):
    with pytest.raises(ParameterError, match="needs 'transition'"):
        build_loss(name)


@BOTH
def test_of_other_classes_than_the_data_is_refused(name):
    with pytest.raises(ParameterError, match="transition: it is 3 x 3, the data has 2 classes"):
        value(name, 0, np.eye(3).tolist())
    with pytest.raises(ParameterError, match="3 x 3"):
        value(name, 0, {"rate": 0.1, "mapping": [1, 2, 0]})


def test_without_an_inverse_there_is_no_backward_correction():
    with pytest.raises(ParameterError, match="no inverse"):
        value("backward", 0, {"rate": 0.5})
    assert value("forward", 0, {"rate": 0.5}) == pytest.approx(math.log(2))


def test_a_label_that_cannot_be_observed_is_refused():
    with pytest.raises(ParameterError, match="label 1 can never be observed"):
        value("forward", 0, [[1.0, 0.0], [1.0, 0.0]])


@pytest.mark.parametrize("content", [None, "a,b\nc,d\n", "1,0\n", "0.5,0.6\n0,1\n"])
def test_a_file_that_is_no_transition_is_named(tmp_path, content):
    path = tmp_path / "t.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match="transition matrix"):
        value("forward", 0, str(path))


def test_zeros_of_the_matrix_leave_value_and_gradient_finite():
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = build_loss("forward", transition=[[1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])
    losses = loss(logits, torch.tensor([1]))
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert losses.item() == pytest.approx(2e4, rel=1e-4)
    assert gradient.tolist() == [[1.0, -1.0, 0.0]]


SUITE = """\
name: t
dataset: digits
model: mlp
noise: {kind: symmetric, rate: 0.2}
methods:
  Forward: {loss: {name: forward, transition: %s}}
"""


def run_id(folder, transition: str) -> str:
    (folder / "t.yaml").write_text(SUITE % transition)
    (run,) = load_suite(str(folder / "t.yaml"), sets=["seeds=1"]).expand().runs
    return run.run_id


def test_what_the_matrix_holds_belongs_to_the_run_and_where_it_lies_does_not(tmp_path):
    identity, noisy = np.eye(10).tolist(), (0.9 * np.eye(10) + 0.01).tolist()
    assert run_id(tmp_path, str(identity)) != run_id(tmp_path, str(noisy))
    assert run_id(tmp_path, "{rate: 0.1}") != run_id(tmp_path, "{rate: 0.2}")
    np.savetxt(tmp_path / "a.csv", identity, delimiter=",")
    np.savetxt(tmp_path / "b.csv", identity, delimiter=",")
    first = run_id(tmp_path, "a.csv")
    assert run_id(tmp_path, "b.csv") == first
    np.savetxt(tmp_path / "a.csv", noisy, delimiter=",")
    assert run_id(tmp_path, "a.csv") != first
