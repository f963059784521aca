"""The report for other programs: CSV with one row a cell; JSON with a list of cells and a list of runs, all flat."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from noisybench.literature import Score
from noisybench.report import remarks, rows
from noisybench.report.baseline import against_baseline, control, wilcoxon
from noisybench.report.grid import Column, Entry, Grid, mean_of
from noisybench.report.overall import overall
from noisybench.report.pair import NOT_STATED
from noisybench.report.published import Partner
from noisybench.report.results import RULES, STATUSES, Cell, finite
from noisybench.report.rules import Order
from noisybench.report.spreadsheet import csv_of
from noisybench.report.statistics import summarise
from noisybench.report.testset import Place, TestSet

if TYPE_CHECKING:
    from noisybench.report.document import Report


def json_text(report: Report) -> str:
    """The whole report as JSON, keys in a fixed order."""
    study = report.study
    data = {
        "schema": 2,
        "suite": study.suite,
        "version": study.version,
        "description": study.description,
        "recipe": study.recipe,
        "smoke": study.smoke,
        "synthetic": study.synthetic,
        "accuracy": report.rule,
        "accuracy_meaning": RULES[report.rule],
        "counts": study.counts,
        "damaged": [{"run_id": run_id, "why": why} for run_id, why in study.damaged],
        "left_out": [{"run_id": run_id, "why": why} for run_id, why in study.left_out],
        "unplanned": list(study.unplanned),
        "warnings": [*study.absent, *remarks.warnings(report)],
        "sentences": remarks.sentences(report),
        "alone": [
            {"dataset": grid.dataset, "model": grid.model, "source": c.source.name, **_score(score)}
            for grid, comparisons in zip(report.grids, report.comparisons, strict=True)
            for c in comparisons
            for score in c.alone
        ],
        "overall": _overall(report),
        "cells": list(_cells(report)),
        "runs": rows.rows(report),
    }
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _overall(report: Report) -> dict[str, Any] | None:
    """Mean ranks over ten or more data sets and what a critical-difference diagram needs; None below."""
    ranking = overall(report.grids)
    if ranking is None:
        return None
    return {
        "blocks": ranking.blocks,
        "ranks": dict(ranking.ranks),
        "f": finite(ranking.statistic),
        "p": ranking.p,
        "critical_difference": ranking.critical,
        "groups": [list(group) for group in ranking.groups],
    }


def csv_text(report: Report) -> str:
    """One row for each cell and variant; text that a spreadsheet would run as a formula is quoted with ``'``."""
    return csv_of(list(_cells(report)))


def _cells(report: Report) -> Iterator[dict[str, Any]]:
    for grid, comparisons, orders, images in zip(
        report.grids, report.comparisons, report.orders, report.testsets, strict=True
    ):
        for column in grid.columns:
            for row, entry in grid.column(column).items():
                for cell in entry.variants:
                    out = _row(report, grid, column, row, entry, cell)
                    out |= _images(report, grid, images, (row, column.label) if cell is entry.cell else None)
                    out |= _ranks(orders, column, row if cell is entry.cell else None)
                    for comparison in comparisons:
                        partner = comparison.partners.get((row, column.label)) if cell is entry.cell else None
                        out |= _published(comparison.source.name, partner)
                    yield out


def _row(report: Report, grid: Grid, column: Column, row: str, entry: Entry, cell: Cell) -> dict[str, Any]:
    shown = cell is entry.cell
    summary = entry.summary if shown else mean_of(cell, report.rule)
    out: dict[str, Any] = {
        "dataset": grid.dataset,
        "model": grid.model,
        "noise": column.label,
        "kind": column.kind,
        "rate": column.rate,
        "method": row,
        "variant": cell.variant,
        "shown": shown,
        "accuracy": report.rule,
        "mean": summary.mean if summary else None,
        "half_width": summary.half_width if summary else None,
        "std": summary.std if summary else None,
        "own_spread": shown and summary is not None and summary.own,
        "n": summary.n if summary else 0,
        "planned": len(cell.runs),
        **{status: cell.count(status) for status in STATUSES},
        "best": shown and entry.best,
        "tied": shown and entry.tied,
        **_compared(report, grid, column, row if shown else None),
        "notes": remarks.entry_notes(entry) if shown else [],
    }
    for rule in RULES:
        of_rule = summarise(list(cell.values(f"test_accuracy.{rule}").values()))
        out[f"mean_{rule}"] = of_rule.mean if of_rule else None
    for key, path in (
        ("memorised", "final.memorised"),
        ("corrected", "final.corrected"),
        ("realised_rate", "noise.realised_rate"),
        ("gradient_evaluations", "gradient_evaluations"),
    ):
        values = summarise(list(cell.values(path).values()))
        out[key] = values.mean if values else None
    return out


def _compared(report: Report, grid: Grid, column: Column, row: str | None) -> dict[str, Any]:
    """Against the best of the others (Hsu) and the baseline (Dunnett); None where there is no comparison."""
    order = grid.standings.get(column.label)
    best = order.behind.get(row) if order and row else None
    dunnett = against_baseline(grid, column, report.baseline).get(row) if row else None
    test = wilcoxon(grid, column, row, report.baseline) if row else None
    return {
        "to_best": best.difference if best else None,
        "to_best_half_width": best.half_width if best else None,
        "baseline": control(grid, report.baseline),
        "to_baseline": dunnett.difference if dunnett else None,
        "to_baseline_half_width": dunnett.half_width if dunnett else None,
        "wilcoxon_p": test,
        "smallest_visible": order.visible if order else None,
    }


def _images(report: Report, grid: Grid, found: TestSet | None, place: Place | None) -> dict[str, Any]:
    """Half widths from other test images, and other seeds as well, of the mean and its difference to the baseline."""
    baseline = control(grid, report.baseline)
    part = found.parts.get(place) if found and place else None
    versus = (
        found.difference(place, (baseline, place[1])) if found and place and baseline not in (None, place[0]) else None
    )
    return {
        "images_half_width": part.images if part else None,
        "seeds_images_half_width": part.both if part else None,
        "to_baseline_images_half_width": versus.images if versus else None,
        "to_baseline_seeds_images_half_width": versus.both if versus else None,
    }


def _ranks(orders: Sequence[Order], column: Column, row: str | None) -> dict[str, Any]:
    """Place in the column under each rule; None where it is not ranked."""
    found = {order.rule: order.places.get(column.label, {}).get(row) if row else None for order in orders}
    return {f"rank_{rule}": found.get(rule) for rule in RULES}


def _score(score: Score) -> dict[str, Any]:
    return {
        "method": score.method,
        "noise": score.noise,
        "rate": score.rate,
        "published": score.acc,
        "table": score.table,
    }


def _published(name: str, partner: Partner | None) -> dict[str, Any]:
    """Published score, difference, verdict and every reason; None where there is no partner."""
    score = partner.score if partner else None
    return {
        f"published:{name}": score.acc if score else None,
        f"difference:{name}": partner.difference if partner else None,
        f"difference_half_width:{name}": partner.half_width if partner else None,
        f"verdict:{name}": partner.verdict if partner else None,
        f"reasons:{name}": [
            f"not stated: {reason.text}" if reason.kind == NOT_STATED else reason.text
            for reason in (partner.reasons if partner else ())
        ],
    }
