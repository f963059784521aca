"""One row a run: what every planned run was and what came of it, for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from noisybench.report.results import RULES, Cell, Run, Study
from noisybench.report.spreadsheet import csv_of
from noisybench.spec import at

if TYPE_CHECKING:
    from noisybench.report.document import Report


def runs_csv(report: Report) -> str:
    """The runs in the plan's order; a run that two cells share stands under both."""
    return csv_of(rows(report))


def rows(report: Report) -> list[dict[str, Any]]:
    """One mapping a run, all with the same keys."""
    return [_row(report.study, cell, run) for cell in report.study.cells for run in cell.runs]


def _row(study: Study, cell: Cell, run: Run) -> dict[str, Any]:
    provenance = run.provenance or {}
    return {
        "suite": cell.suite or study.suite,
        "dataset": cell.dataset,
        "model": cell.model,
        "noise": cell.noise,
        "kind": at(cell.settings, "noise.kind"),
        "rate": at(cell.settings, "noise.rate"),
        "method": cell.method,
        "variant": cell.variant,
        "seed": run.seed,
        "run_id": run.run_id,
        "status": run.status,
        **{f"accuracy_{rule}": run.number(f"test_accuracy.{rule}") for rule in RULES},
        "best_epoch": run.number("test_accuracy.best_epoch"),
        "memorised": run.number("final.memorised"),
        "corrected": run.number("final.corrected"),
        "realised_rate": run.number("noise.realised_rate"),
        "epochs": at(cell.settings, "training.epochs"),
        "train_size": run.number("data.train_size"),
        "test_size": run.number("data.test_size"),
        "gradient_evaluations": run.number("gradient_evaluations"),
        "seconds": at(provenance, "seconds.total"),
        "device": provenance.get("device"),
        "precision": run.precision,
        "data_sha256": at(run.result or {}, "data.fingerprint"),
        "labels_sha256": at(run.result or {}, "noise.sha256"),
        "marks": list(cell.marks),
    }
