"""Text as LaTeX shows it, in plain ASCII: nothing in a name acts as a command, an argument or a comment."""

from __future__ import annotations

import unicodedata

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\textbraceleft{}",  # BibTeX counts braces, escaped ones too
    "}": r"\textbraceright{}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': "{''}",
    "[": "{[}",  # after a row's end it would begin an argument, and so would a star
    "]": "{]}",
    "*": "{*}",
    "ß": r"{\ss}",
    "ø": r"{\o}",
    "Ø": r"{\O}",
    "æ": r"{\ae}",
    "Æ": r"{\AE}",
    "œ": r"{\oe}",
    "Œ": r"{\OE}",
    "ł": r"{\l}",
    "Ł": r"{\L}",
    "ı": r"{\i}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "\N{NO-BREAK SPACE}": "~",
    "\N{NON-BREAKING HYPHEN}": "-",
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "−": r"\ensuremath{-}",
    "≤": r"\ensuremath{\le}",
    "≥": r"\ensuremath{\ge}",
    "≈": r"\ensuremath{\approx}",
    "→": r"\ensuremath{\to}",
    "∞": r"\ensuremath{\infty}",
    "·": r"\ensuremath{\cdot}",
    "°": r"\ensuremath{^\circ}",
    "§": r"\S{}",
    "ϵ": r"\ensuremath{\epsilon}",
    "ε": r"\ensuremath{\varepsilon}",
    "ϕ": r"\ensuremath{\phi}",
    "φ": r"\ensuremath{\varphi}",
}
GREEK = " alpha beta gamma delta zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon chi psi omega "
ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0323": "d",
    "\u0327": "c",
    "\u0328": "k",
    "\u0331": "b",
}


def escape(text: str) -> str:
    r"""One line of ASCII that LaTeX and BibTeX print as ``text``; a character they lack becomes its code, ``U+4E2D``.

    >>> escape("50 % of Žiga's a_b")
    "50 \\% of {\\v{Z}}iga's a\\_b"
    """
    return "".join(_character(c) for c in unicodedata.normalize("NFC", " ".join(text.split())))


def _character(c: str) -> str:
    if c in SPECIAL:
        return SPECIAL[c]
    if " " <= c <= "~":
        return c
    base, *marks = list(unicodedata.normalize("NFD", c))
    if len(marks) == 1 and marks[0] in ACCENTS and base.isascii() and base.isalpha():
        dotless = {"i": r"\i", "j": r"\j"}.get(base, base) if marks[0] not in ("\u0323", "\u0327", "\u0328") else base
        return "{\\" + ACCENTS[marks[0]] + "{" + dotless + "}}"
    name = unicodedata.name(c, "")
    letter = name.rpartition(" ")[2].lower().replace("lamda", "lambda")
    if name.startswith("GREEK SMALL LETTER") and f" {letter} " in GREEK:
        return rf"\ensuremath{{\{letter}}}"
    if unicodedata.category(c) in ("Cc", "Cf", "Mn"):  # controls, marks on their own
        return ""
    return f"{{[}}U+{ord(c):04X}{{]}}"
