"""Records that must not stand in one table: made from other data, from other labels, or under another convention.

What most records say stays; where as many say one thing as another, what finished last. The others are left out, each
with its reason. A plan with ids says what was wanted; this is about what was found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from noisybench.spec import at, canonical_json

CONVENTION = ("kind", "rate", "flip", "count")
Record = Mapping[str, Any]


def left_out(cells: Sequence[Mapping[str, Any]], records: Mapping[str, Record]) -> dict[str, str]:
    """Run id -> why its record is not used. ``cells`` are the plan's, ``records`` the sound ones by run id.

    Runs of one data set must share its fingerprint; runs of one data set, noise and seed their noisy labels and
    open-set images; and every run the plan's kind of noise, rate, flip convention and count.
    """
    out: dict[str, str] = {}
    by_data: dict[str, dict[str, str]] = defaultdict(dict)
    by_labels: dict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)
    for cell in cells:
        for seed, run_id in cell["runs"].items():
            record = records.get(run_id)
            if record is None:
                continue
            other = _other_convention(cell["settings"].get("noise"), at(record, "result.spec.noise"))
            if other is not None:
                out[run_id] = other
            elif at(record, "result.data") is not None:
                by_data[str(cell["dataset"])][run_id] = str(at(record, "result.data.fingerprint"))
                labels = (at(record, "result.noise.sha256"), at(record, "result.noise.open_set_sha256"))
                place = (str(cell["dataset"]), str(cell["noise"]), str(seed))
                by_labels[place][run_id] = " ".join(str(part) for part in labels)
    for found in by_data.values():
        for run_id, others in _minority(found, records).items():
            out[run_id] = f"made from other data (fingerprint {found[run_id][:12]}) than {others}"
    for found in by_labels.values():
        same_data = {run_id: labels for run_id, labels in found.items() if run_id not in out}
        for run_id, others in _minority(same_data, records).items():
            out[run_id] = f"made with other noisy labels (hash {found[run_id][:12]}) than {others}"
    return out


def _other_convention(planned: Any, made: Any) -> str | None:
    for key in CONVENTION:
        wanted, found = at(planned or {}, key), at(made or {}, key)
        if wanted is None or found is None or (type(wanted) is type(found) and wanted == found):
            continue
        if canonical_json(wanted) != canonical_json(found):
            return f"noise.{key} is {found}, the plan says {wanted}"
    return None


def _minority(found: Mapping[str, str], records: Mapping[str, Record]) -> dict[str, str]:
    """Run ids that say something else than most, with who says what stays."""
    groups: dict[str, list[str]] = defaultdict(list)
    for run_id, what in found.items():
        groups[what].append(run_id)
    if len(groups) < 2:
        return {}

    def weight(what: str) -> tuple[int, str, str]:
        finished = [str(at(records[run_id], "provenance.finished") or "") for run_id in groups[what]]
        return len(groups[what]), max(finished), what

    stays = max(groups, key=weight)
    number = len(groups[stays])
    others = f"{number} other{'s' if number > 1 else ''}"
    return {run_id: others for what, runs in groups.items() if what != stays for run_id in runs}
