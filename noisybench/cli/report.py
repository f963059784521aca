"""``noisybench report``: write the pages and print the main table; again while a study runs; or hold it to windows."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from noisybench.errors import InputError, StoreError
from noisybench.report import Report, report
from noisybench.report.document import TEXTS, check_forms

PAGES = ("html", *TEXTS)
"""What is written where nobody said what."""

console = Console(soft_wrap=True, highlight=False, markup=False)


@dataclass(frozen=True)
class Options:
    """What a report is to show, and as what it is written."""

    accuracy: str | None = None
    compare: Sequence[str] | None = None
    verified_only: bool = False
    baseline: str | None = None
    only: Sequence[str] = ()
    forms: Sequence[str] = PAGES

    def report(self, folders: Sequence[Path]) -> Report:
        """The report on these folders."""
        return report(
            *folders,
            accuracy=self.accuracy,
            compare=self.compare,
            baseline=self.baseline,
            only=self.only,
            verified_only=self.verified_only,
        )


def report_on(
    folders: Sequence[Path],
    options: Options,
    out: Path | None,
    *,
    check: Path | None = None,
    every: float | None = None,
) -> int:
    """Write and print; with ``every`` (seconds) again until the study is complete.

    Returns the exit code: 1 when ``check`` names a file with a window that a cell has left.
    """
    from noisybench.report.check import outcomes, read_windows

    check_forms(options.forms)
    if out is None and len(folders) > 1:
        raise InputError("several folders make one report that belongs to none of them: say where with --out DIR")
    windows = [] if check is None else read_windows(check)
    made = None
    if check is not None:
        made = options.report(folders)
        outcomes(made, windows)  # a window for no cell is refused before anything is written
    if every is not None:
        _watch(folders, options, out or folders[0], every)
        made = None
    made = print_report(folders, options, out, made)
    if check is None:
        return 0
    found = outcomes(made, windows)
    for outcome in found:
        console.print(str(outcome))
    bad = sum(not outcome.holds for outcome in found)
    console.print(
        f"{check}: {len(found)} cells, {bad or 'none'} outside {'their windows' if bad != 1 else 'its window'}."
    )
    return 1 if bad else 0


def print_report(
    folders: Sequence[Path],
    options: Options | None = None,
    out: Path | None = None,
    made: Report | None = None,
    shown: Report | None = None,
) -> Report:
    """Write the report beside the records, or into ``out``, and print the main table. ``made``: where it is at hand;
    ``shown``: another one to print."""
    options = options or Options()
    check_forms(options.forms)
    made = made or options.report(folders)
    gc.freeze()  # records stay: looking through thousands of them for garbage again and again takes seconds
    console.print((shown or made).to_text())
    for line in _written(made.write(out or folders[0], options.forms)):
        console.print(line)
    return made


def _written(paths: Sequence[Path]) -> list[str]:
    """``Full report: OUT/report.html (also .md, .csv and .json)`` and where the pictures are."""
    texts = [path for path in paths if path.parent.name != "figures"]
    drawn = [path for path in paths if path.parent.name == "figures"]
    lines = []
    if texts:
        others = [p.suffix if p.stem == texts[0].stem else p.name for p in texts[1:]]
        also = " and ".join([", ".join(others[:-1]), others[-1]] if len(others) > 1 else others)
        lines.append(f"Full report: {texts[0]}" + (f" (also {also})" if also else ""))
    if drawn:
        lines.append(f"Pictures: {len(drawn)} in {drawn[0].parent}")
    return lines


def _watch(folders: Sequence[Path], options: Options, out: Path, every: float) -> None:
    """Write the report whenever a record has come or gone, until every planned run has one or Ctrl-C."""
    seen = None
    try:
        while True:
            now = _state(folders)
            if now != seen:
                made = options.report(folders)
                counts = made.study.counts
                left = counts["missing"]
                if not left:
                    return
                made.write(out, options.forms, refresh=max(1.0, every))
                done = counts["planned"] - left
                console.print(f"{done} of {counts['planned']} runs have a result; wrote {out}. Ctrl-C ends.")
                seen = now
            time.sleep(every)
    except KeyboardInterrupt:
        console.print("No longer watching; what there is:")


def _state(folders: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Plans and records by name, size and time. A folder that went away is a StoreError."""
    found = []
    for folder in folders:
        for path in [folder / "plan.json", *sorted(folder.glob("*/record.json"))]:
            try:
                about = path.stat()
            except FileNotFoundError:
                if path.name == "plan.json" and not folder.is_dir():
                    raise StoreError(f"{folder} is gone") from None
                continue
            found.append((str(path), about.st_size, about.st_mtime_ns))
    return found
