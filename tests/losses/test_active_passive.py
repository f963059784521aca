"""Pairs of losses, by any names and by their usual ones."""

from __future__ import annotations

import pytest
import torch

from noisybench import registry
from noisybench.errors import ParameterError
from noisybench.losses import build_loss
from noisybench.spec import canonical_json

USUAL = {
    "nce_mae": ("nce", "mae", 1.0),
    "nce_rce": ("nce", "rce", 1.0),
    "nfl_mae": ("nfl", "mae", 1.0),
    "nfl_rce": ("nfl", "rce", 1.0),
    "ngce_mae": ("ngce", "mae", 1.0),
    "ngce_rce": ("ngce", "rce", 1.0),
    "nce_agce": ("nce", {"name": "agce", "a": 6, "q": 1.5}, 4.0),
    "nce_aul": ("nce", {"name": "aul", "a": 6.3, "q": 1.5}, 4.0),
    "nce_ael": ("nce", {"name": "ael", "a": 5}, 4.0),
}


@pytest.mark.parametrize("name", USUAL)
def test_a_usual_name_is_the_pair_with_the_authors_parameters(name):
    active, passive, beta = USUAL[name]
    logits = torch.randn(9, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    labels = torch.arange(9) % 5
    pair = build_loss("active_passive", active=active, passive=passive, beta=beta)
    torch.testing.assert_close(build_loss(name)(logits, labels), pair(logits, labels), rtol=1e-14, atol=0)


def test_weights_and_sum():
    logits, labels = torch.tensor([[0.3, -1.0, 2.0]], dtype=torch.float64), torch.tensor([1])
    pair = build_loss("active_passive", active="ce", passive="mae", alpha=10.0, beta=0.1)(logits, labels)
    alone = [build_loss(name)(logits, labels).item() for name in ("ce", "mae")]
    assert pair.item() == pytest.approx(10 * alone[0] + 0.1 * alone[1], rel=1e-14)


def test_the_same_pair_is_written_the_same_way():
    component = registry.get("loss", "active_passive")
    forms = [
        {"active": {"name": "nce"}, "passive": {"name": "agce", "a": 0.6, "q": 0.6}},
        {"active": "nce", "passive": "agce"},
    ]
    first, second = (canonical_json(component.validate(form)) for form in forms)
    assert first == second


@pytest.mark.parametrize(
    ("active", "says"),
    [
        ("nec", "did you mean 'nce'"),
        ({"name": "gce", "q": 2.0}, "less than or equal to 1"),
        ({"q": 0.5}, "mapping with 'name'"),
        ({"name": "gce", "p": 1}, "no parameter 'p'"),
        ({"name": "forward", "transition": "t.csv"}, "reads a file"),
        (1.0, "valid string"),
    ],
)
def test_what_is_no_loss_is_refused_at_its_place(active, says):
    with pytest.raises(ParameterError, match="active: ") as caught:
        build_loss("active_passive", active=active, passive="mae")
    assert says in str(caught.value)
