"""The reports that are published with their records: they say what the records say, and so does the README."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from noisybench.report.check import outcomes, read_windows
from noisybench.report.document import report
from noisybench.store import Store, damage

ROOT = Path(__file__).parents[2]
PUBLISHED = sorted(path.parent for path in ROOT.glob("reports/*/runs/plan.json"))
pytestmark = pytest.mark.skipif(not (ROOT / "reports").is_dir(), reason="no checkout: reports are not installed")


@pytest.fixture(scope="module", params=PUBLISHED, ids=lambda path: path.parent.name)
def runs(request) -> Path:
    return request.param


def test_every_record_is_whole_and_names_the_commit_it_was_made_at(runs: Path) -> None:
    store = Store(runs)
    found = list(store.records())
    assert found
    for run_id, record, problem in found:
        assert problem is None, run_id
        assert not damage(store.folder(run_id), record), run_id
        assert re.fullmatch("[0-9a-f]{40}", record["provenance"]["git_commit"]), run_id
        assert record["provenance"]["device_name"], run_id


def test_the_page_beside_the_records_has_their_numbers(runs: Path) -> None:
    made = json.loads(report(runs).to_json())
    page = json.loads((runs.parent / "report.json").read_text(encoding="utf-8"))
    assert made["cells"] == page["cells"]
    assert made["counts"] == page["counts"]


def test_expectations_of_the_proof_hold() -> None:
    wanted = ROOT / "suites/proof/expect.yaml"
    proofs = [path for path in PUBLISHED if path.parent.name.startswith("proof-")]
    assert proofs
    windows = read_windows(wanted)
    found = [outcome for proof in proofs for outcome in outcomes(report(proof), windows)]
    assert not [str(outcome) for outcome in found if not outcome.holds]
    assert {outcome.window for outcome in found} == set(windows)


def test_the_readme_shows_the_table_of_real_images_as_it_was_measured() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    text = report(ROOT / "reports/proof-evening/runs").to_text()
    block = re.search(r"<!-- evening:.*?-->\n```text\n(.*?)```", readme, re.DOTALL)
    assert block is not None
    shown = [line for line in block[1].splitlines() if line.strip()]
    assert len(shown) >= 8
    assert not [line for line in shown if line not in text.splitlines()]
