"""What stands beside the numbers: footnotes of the main table, warnings about the records, closing sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noisybench.report import words
from noisybench.report.comparisons import against
from noisybench.report.grid import Column, Entry, Grid
from noisybench.report.results import Cell
from noisybench.spec import at

if TYPE_CHECKING:
    from noisybench.report.document import Report

MARKS = {
    "rate-aware": "rate-aware: a hyperparameter was set by the true noise rate or kind",
    "oracle": "oracle: the method was given something that no one has in practice",
    "ensemble": "ensemble: two networks answer together",
}


WORDED = ("flip", "count", "mapping", "variant", "type", "labels", "targets")
"""Noise parameters that are conventions: a table names them."""
UNKNOWN = "not known yet"
OWN_SPREAD = (
    "its spread over seeds is more than three times the column's median: not pooled, its interval and differences are "
    "its own (Student, Welch)"
)


def entry_notes(entry: Entry) -> list[str]:
    """Footnotes of one place of the main table."""
    notes = [MARKS.get(mark, mark) for mark in entry.cell.marks]
    if entry.cell.choose == "best" and len(entry.variants) > 1:
        notes.append("an oracle: the variant was chosen by its accuracy on the test set")
    if entry.cell.choose == "validation" and len(entry.variants) > 1:
        notes.append("the variant was chosen by its accuracy on the noisy hold-out")
    if entry.summary is not None and entry.summary.own and entry.ranked:
        notes.append(OWN_SPREAD)
    if len(entry.variants) > 1 and entry.cell.choose and not entry.settled:
        notes.append("chosen while runs of its variants are without a result")
    return notes


def chosen(grid: Grid) -> list[str]:
    """For each method whose variants were collapsed: which one each column shows."""
    lines = []
    for row in grid.rows:
        parts = []
        for column in grid.columns:
            entry = grid.entry(row, column)
            if entry and entry.cell.choose and len(entry.variants) > 1 and entry.summary:
                parts.append(f"{column.short}: {variant_of(entry.cell)}")
        if parts:
            lines.append(f"{row} shows {'; '.join(parts)}")
    return lines


def variant_of(cell: Cell) -> str:
    """``alpha=8`` of ``Mixup[alpha=8]``."""
    rest = cell.variant.removeprefix(cell.method)
    return rest[1:-1] if rest.startswith("[") and rest.endswith("]") else cell.variant


def legend(grid: Grid, best: str, tied: str) -> list[str]:
    """What the marks in a table mean; only those that occur."""
    entries = list(grid.entries.values())
    out = [_seeds(entries)] if any(e.summary for e in entries) else []
    if any(e.summary and e.summary.half_width is not None for e in entries):
        rounded = any(block.rounded for block in grid.blocks.values())
        out.append(
            "± is the half width of the 95 % interval over seeds; their spread is pooled over a column's methods"
            + (", and no smaller than that of rounding to whole test images." if rounded else ".")
        )
    if any(e.best for e in entries):
        out.append(f"{best}: highest mean of its column.")
    if any(e.tied for e in entries):
        alone = all(e.summary is None or e.summary.n < 2 for e in entries)
        out.append(
            f"{tied}: not told apart from it"
            + (
                "; with one seed nothing can be."
                if alone
                else " (Hsu's comparisons with the best on the same seeds, 95 % for all of a column together)."
            )
        )
    if any(not e.settled for e in entries):
        out.append("No best is marked in a column where a run is without a result.")
    if any(e.diverged for e in entries):
        out.append("A method with a diverged run is not ranked.")
    return out


def _seeds(entries: list[Entry]) -> str:
    """How many seeds a mean rests on."""
    planned = sorted({e.planned for e in entries if e.summary})
    told = words.listing([str(n) for n in planned]).replace(" and ", " or ")
    seeds = "seed" if planned == [1] else "seeds"
    short = any(e.summary and e.ranked and e.summary.n < e.planned for e in entries)
    return f"Means over {told} {seeds}" + (", fewer where n says so." if short else ".")


def visible(grid: Grid) -> str | None:
    """The smallest difference that could be seen in each column; None where one seed shows none."""
    found = [order.visible if (order := grid.standings.get(c.label)) else None for c in grid.columns]
    if all(width is None for width in found):
        return None
    told = ", ".join("–" if width is None else f"{width:.1f}" if width >= 0.05 else "< 0.1" for width in found)
    return f"Smallest difference to the best that could be seen, column by column: {told} points."


def conventions(grid: Grid) -> str:
    """How the labels were corrupted: each kind's parameters, and the share that really is wrong in each column."""
    kinds: dict[str, list[str]] = {}
    for column in grid.columns:
        cells = [entry.cell for entry in grid.column(column).values()]
        noise = cells[0].settings["noise"]
        stated = [noise[key] for key in WORDED if isinstance(noise.get(key), str) and noise[key] != "uniform"]
        kind = f"{column.kind} ({', '.join(stated)})" if stated else column.kind
        shares = [share for cell in cells for share in cell.values("noise.realised_rate").values()]
        told = f"{100 * min(shares):.1f}" if shares else UNKNOWN
        if shares and f"{100 * max(shares):.1f}" != told:
            told += f" to {100 * max(shares):.1f}"
        kinds.setdefault(kind, []).append(told)
    parts = [f"{kind}: {', '.join(told)}{' %' if told[-1] != UNKNOWN else ''}" for kind, told in kinds.items()]
    return f"Share of training labels that is wrong, as measured, column by column: {'; '.join(parts)}."


def warnings(report: Report) -> list[str]:
    """Records that are not used: damaged, not in the plan, or not made from the data and labels of the others; and
    the study's notes, but for those that stand under the title."""
    study, out = report.study, []
    if study.damaged:
        names = ", ".join(f"{run_id} ({why})" for run_id, why in study.damaged)
        out.append(f"{_records(len(study.damaged))} damaged and not used: {names}.")
    if study.unplanned:
        out.append(f"{_records(len(study.unplanned))} not in the plan and not used: {', '.join(study.unplanned)}.")
    if study.left_out:
        names = "; ".join(f"{run_id}: {why}" for run_id, why in study.left_out)
        out.append(f"{_records(len(study.left_out))} left out and must not be mixed with the others: {names}.")
    return [*out, *(note for note in study.notes if note not in study.absent)]


def _records(n: int) -> str:
    return f"{n} record is" if n == 1 else f"{n} records are"


def is_plain(cell: Cell) -> bool:
    """Plain training: cross entropy, no mixup, averaging or relabelling, an optimiser that wraps no other."""
    settings = cell.settings
    return (
        at(settings, "method.algorithm.name") in (None, "erm")
        and at(settings, "method.loss.name") in (None, "ce")
        and not at(settings, "method.mixup")
        and not at(settings, "method.averaging")
        and not at(settings, "method.relabel")
        and at(settings, "training.optimizer.base") is None
    )


def sentences(report: Report) -> list[str]:
    """One or two sentences that the data support, on the first table that has something to say."""
    if report.study.smoke:
        return ["A smoke run shows that everything works; its numbers mean nothing."]
    for grid in report.grids:
        found = [s for s in (_memorising(report, grid), _ranking(grid)) if s]
        if found:
            return found
    return []


def _memorising(report: Report, grid: Grid) -> str | None:
    """What plain training loses where it loses most, beside the best method there."""
    plain = next(
        (row for row in grid.rows if any(is_plain(e.cell) for (r, _), e in grid.entries.items() if r == row)), None
    )
    if plain is None:
        return None
    worst: tuple[float, Column, Entry, str | None] | None = None
    for column in grid.columns:
        entries = grid.column(column)
        entry = entries.get(plain)
        if entry is None or entry.summary is None or not entry.ranked or not entry.cell.values("final.memorised"):
            continue
        best = next((row for row, e in entries.items() if e.best and row != plain), None)
        other = entries[best].summary if best else None
        gap = other.mean - entry.summary.mean if other else 0.0
        if worst is None or gap > worst[0]:
            worst = (gap, column, entry, best)
    if worst is None:
        return None
    _, column, entry, best = worst
    assert entry.summary is not None  # entries without one were skipped above
    memorised = entry.cell.values("final.memorised")
    share = sum(memorised[seed] for seed in sorted(memorised)) / len(memorised)
    verb = "ends at" if report.rule == "last" else "scores"
    text = f"At {column.short}, {plain} {verb} {entry.summary.mean:.1f} % "
    text += f"and has memorised {share:.0f} % of the wrong labels"
    if best is None:
        return text + "."
    rival = grid.entries[best, column.label]
    assert rival.summary is not None  # best entries have a mean
    found = against(grid.blocks[column.label], plain)[best]
    if found.half_width is None:
        return f"{text}; {best} has {rival.summary.mean:.1f} % (one seed: no interval)."
    doubt = "" if found.apart else ", not told apart"
    told = f"{words.signed(found.difference)} ± {found.half_width:.1f} points{doubt}"
    return f"{text}; {best} has {rival.summary.mean:.1f} %, {told}."


def _ranking(grid: Grid) -> str | None:
    """Where the best method is ahead of every other beyond the seeds' scatter."""
    ahead: dict[str, list[str]] = {}
    seeds: list[int] = []
    shared = False
    for column in grid.columns:
        entries = grid.column(column)
        best = {row: entry.summary.n for row, entry in entries.items() if entry.best and entry.summary}
        seeds += best.values()
        if len(best) == 1 and not any(entry.tied for entry in entries.values()):
            ahead.setdefault(next(iter(best)), []).append(column.short)
        else:
            shared = shared or bool(best)
    if not seeds:
        return None
    if not ahead:
        n = f"{min(seeds)} {'seed' if min(seeds) == 1 else 'seeds'}"
        return f"With {n} the best method is nowhere told apart from all others."
    parts = [f"{row} is ahead of every other method at {words.listing(where)}" for row, where in ahead.items()]
    rest = "; elsewhere the best is not told apart from all others" if shared else ""
    return f"{'; '.join(parts)}{rest}."
