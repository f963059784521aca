"""Lettered footnotes: equal texts share a letter, letters follow first use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class Footnotes:
    """Texts by letter (a, ..., z, aa, ab, ...)."""

    def __init__(self) -> None:
        self._letters: dict[str, str] = {}

    def letter(self, text: str) -> str:
        """The letter of ``text``, a new one when it is used for the first time."""
        return self._letters.setdefault(text, _letter(len(self._letters)))

    def mark(self, texts: Iterable[str]) -> str:
        """`` [a, b]`` for these texts, an empty string for none."""
        letters = sorted((self.letter(text) for text in dict.fromkeys(texts)), key=lambda letter: (len(letter), letter))
        return f" [{', '.join(letters)}]" if letters else ""

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """(letter, text) in order."""
        return iter((letter, text) for text, letter in self._letters.items())

    def __len__(self) -> int:
        return len(self._letters)


def _letter(index: int) -> str:
    out = ""
    index += 1
    while index:
        index, digit = divmod(index - 1, 26)
        out = chr(ord("a") + digit) + out
    return out
