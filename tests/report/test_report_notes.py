"""Footnotes are lettered in the order of their first use."""

from __future__ import annotations

from noisybench.report.notes import Footnotes


def test_equal_texts_share_a_letter() -> None:
    notes = Footnotes()
    assert notes.mark(["one", "two"]) == " [a, b]"
    assert notes.mark(["three", "one", "one"]) == " [a, c]"
    assert notes.mark([]) == ""
    assert list(notes) == [("a", "one"), ("b", "two"), ("c", "three")]


def test_letters_go_on_after_z() -> None:
    notes = Footnotes()
    letters = [notes.letter(str(i)) for i in range(54)]
    assert letters[:2] + letters[25:28] + letters[51:54] == ["a", "b", "z", "aa", "ab", "az", "ba", "bb"]
    assert notes.mark(["26", "25"]) == " [z, aa]"
