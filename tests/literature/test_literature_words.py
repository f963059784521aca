"""The sources' words and ours."""

from __future__ import annotations

from noisybench.literature.words import ARCHITECTURES, FLIPS, RULES


def test_conventions_map_to_the_words_of_a_suite() -> None:
    assert FLIPS == {"excl": "exclusive", "incl": "inclusive"}
    assert RULES == {"last": "last", "last10_mean": "last10", "best": "best", "noisy_val": "validation"}


def test_the_published_resnet32_equals_none_of_our_networks() -> None:
    """Its width is not stated; that it is the wide one is an inference (protocols.md)."""
    assert ARCHITECTURES["resnet32"].model is None
    assert ARCHITECTURES["resnet32"].unsure
    assert ARCHITECTURES["resnet32-wide (64; 128/256/512)"].model == "resnet32_wide"
