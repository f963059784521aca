"""``list literature``, ``show KEY``, ``cite``: published scores and what to cite for them."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from tabulate import tabulate

from noisybench import literature
from noisybench.errors import InputError
from noisybench.literature import Citation, Score, bibtex
from noisybench.literature.words import DATASETS, FLIPS, KINDS
from noisybench.registry import did_you_mean

console = Console(soft_wrap=True, highlight=False, markup=False)
UNVERIFIED = "unverified"


@dataclass(frozen=True)
class Filters:
    """Which published scores to list; None is no filter. ``rate`` is in 0 to 1, ``method`` any case."""

    dataset: str | None = None
    noise: str | None = None
    rate: float | None = None
    method: str | None = None
    verified: bool | None = None

    @property
    def any(self) -> bool:
        """At least one is set."""
        return any(value is not None for value in vars(self).values())

    def check(self) -> None:
        """InputError for a data set, noise or method of which nothing was published, and for a rate beyond 0 to 1."""
        methods = {score.method.casefold(): score.method for score in literature.scores()}
        for what, value, known in (
            ("data set", self.dataset, list(DATASETS)),
            ("noise", self.noise, list(KINDS)),
            ("method", self.method and self.method.casefold(), methods),
        ):
            if value is not None and value not in known:
                names = list(known.values()) if isinstance(known, Mapping) else known
                there: str = (
                    f"; there are: {', '.join(names)}" if len(names) < 10 else " (see: noisybench list literature)"
                )
                given = str(self.method if what == "method" else value)
                raise InputError(f"no published score of {what} '{given}'{did_you_mean(str(given), names)}{there}")
        if self.rate is not None and not 0 <= self.rate <= 1:
            raise InputError(rate_error(self.rate))

    def scores(self) -> tuple[Score, ...]:
        """The scores that fit, in the library's order. InputError when there is none."""
        self.check()
        found = literature.scores(**vars(self))
        if not found:
            raise InputError(f"no published score fits {self}; leave one of the filters out")
        return found

    def __str__(self) -> str:
        """The options as they were given."""
        flags = {True: "--verified", False: "--unverified"}
        given = [f"--{name} {value}" for name, value in vars(self).items() if value is not None and name != "verified"]
        return " ".join([*given, *([flags[self.verified]] if self.verified is not None else [])])


def rate_error(rate: float) -> str:
    """What to say of a rate beyond 0 to 1; one that looks like percent is said as a share."""
    meant = f"; {rate:g} % is --rate {rate / 100:g}" if 1 < rate <= 100 else ", as in --rate 0.4"
    return f"--rate {rate:g}: a noise rate lies in 0 to 1{meant}"


def print_literature(filters: Filters, as_bibtex: bool) -> None:
    """Without a filter one line a source; with filters one line a score. Or the BibTeX entries of either."""
    if as_bibtex:
        found = filters.scores()
        console.print(bibtex.bibliography(key for s in found for key in (s.cite, s.method_cite) if key), end="")
    elif filters.any:
        found = filters.scores()
        console.print(tabulate([row(s) for s in found], headers=HEAD, disable_numparse=True))
        doubtful = sum(not s.verified for s in found)
        said = f", {doubtful} of them {UNVERIFIED} (--verified leaves them out)" if doubtful else ""
        said = f", all {UNVERIFIED}" if filters.verified is False else said
        console.print(f"\n{_many(len(found), 'score')}{said}. What to cite: add --bibtex.")
    else:
        rows = []
        for source in literature.sources():
            doubtful = sum(not s.verified for s in source.scores)
            count = _many(len(source.scores), "score") + (f", {doubtful} {UNVERIFIED}" if doubtful else "")
            rows.append([source.name, count, source.title])
        console.print("literature:")
        console.print(_indented(tabulate(rows, tablefmt="plain", disable_numparse=True)))


HEAD = ["method", "data", "network", "noise", "rate", "epoch", "accuracy", "seeds", "source", "remarks"]


def row(score: Score) -> list[str]:
    """One published score under HEAD."""
    return [
        score.method,
        score.dataset,
        score.arch or "",
        " ".join(part for part in (score.noise, score.split, FLIPS.get(score.flip or "")) if part),
        f"{score.rate:g}",
        EPOCHS.get(score.epoch or "", "not stated"),
        _accuracy(score),
        str(score.seeds or ""),
        f"{score.source}: {score.table}",
        _remarks(score),
    ]


EPOCHS = {"last": "last", "last10_mean": "mean of last 10", "best": "best", "noisy_val": "by noisy hold-out"}
"""Which epoch's accuracy a source reports, in our words."""


def _remarks(score: Score) -> str:
    """What else tells a row from others: unverified, measured elsewhere, the source's block of rows, its note."""
    parts = [
        "" if score.verified else UNVERIFIED,
        "" if score.metric == "test_acc" else "on clean held-out training images",
        {"own": "run by the authors", "literature": "quoted by the authors"}.get(score.group or "", score.group or ""),
        textwrap.shorten(score.note or "", LONGEST_NOTE, placeholder=" ..."),
    ]
    return "; ".join(part for part in parts if part)


LONGEST_NOTE = 70


def _accuracy(score: Score) -> str:
    spread = next((f" ± {value:g}" for value in (score.std, score.ci95) if value is not None), "")
    return f"{score.acc:g}{spread}"


def print_citation(key: str) -> None:
    """A citation, its BibTeX entry, which components propose it, and the published scores that rest on it."""
    from noisybench import registry

    cited: Citation = literature.citation(key)
    console.print(f"{cited}\n")
    console.print(bibtex.entry(cited))
    named = [
        f"{c.family} '{c.name}'" for family in registry.FAMILIES for c in registry.components(family) if c.cite == key
    ]
    if named:
        console.print(f"Here as: {', '.join(named)}")
    printed = Counter(s.source for s in literature.scores() if s.cite == key)
    reported = Counter(s.source for s in literature.scores() if s.method_cite == key)
    for what, counts in (("Scores printed in it", printed), ("Scores of its method", reported)):
        if counts:
            console.print(f"{what}: {', '.join(f'{number} in {source}' for source, number in sorted(counts.items()))}")
    if printed or reported:
        console.print("See them with: noisybench show SOURCE, or: noisybench list literature --method NAME")


def print_bibtex(keys: Sequence[str]) -> None:
    """BibTeX entries of citation keys, of components (``sam``) and of sources of scores (``foret2021_table4``)."""
    console.print(bibtex.bibliography(key for name in keys for key in cited_by(name)), end="")


def cited_by(name: str) -> list[str]:
    """The citation keys behind a key, a component's name, or a source of scores. InputError for any other."""
    from noisybench import registry

    if name in literature.citations():
        return [name]
    if name in literature.source_names():
        return sorted({s.cite for s in literature.load_source(name).scores})
    families = [family for family in registry.FAMILIES if name in registry.names(family)]
    cites = [c for family in families if (c := registry.get(family, name).cite)]
    if families and not cites:
        raise InputError(f"the {' and '.join(families)} '{name}' names no paper to cite")
    if not cites:
        components = [n for family in registry.FAMILIES for n in registry.names(family)]
        known = [*literature.citations(), *literature.source_names(), *components]
        raise InputError(
            f"nothing to cite is called '{name}'{did_you_mean(name, known)} (see: noisybench list literature)"
        )
    return cites


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _indented(text: Any) -> str:
    return "\n".join(f"  {line}" for line in str(text).split("\n"))
