"""The sources' words and ours."""

from __future__ import annotations

from noisybench import registry
from noisybench.literature.words import ARCHITECTURES, FLIPS, RULES


def test_conventions_map_to_the_words_of_a_suite() -> None:
    assert FLIPS == {"excl": "exclusive", "incl": "inclusive"}
    assert RULES == {"last": "last", "last10_mean": "last10", "best": "best", "noisy_val": "validation"}


def test_the_published_resnet32_may_be_either_of_ours_and_is_neither_for_sure() -> None:
    """Its width is not stated; that it is the wide one is an inference (protocols.md)."""
    assert ARCHITECTURES["resnet32"].models == ("resnet32", "resnet32_wide")
    assert ARCHITECTURES["resnet32"].unsure
    assert ARCHITECTURES["resnet32-wide (64; 128/256/512)"].models == ("resnet32_wide",)


def test_every_model_named_is_one_of_ours() -> None:
    ours = set(registry.names("model"))
    for architecture in ARCHITECTURES.values():
        assert set(architecture.models) <= ours
        for name in architecture.models:
            assert set(architecture.params) <= set(registry.get("model", name).keys)
