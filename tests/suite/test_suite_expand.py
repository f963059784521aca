"""A suite becomes an ordered list of unique runs, teachers first, each with an id that holds what matters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from suite_cases import EXAMPLE, cell_of, variants_of

from noisybench.errors import SuiteError
from noisybench.spec import RunSpec
from noisybench.suite import Suite, load_suite
from noisybench.suite.grammar import DEFAULTS


def test_the_example_counts_up(load: Callable[..., Suite]) -> None:
    expansion = load(EXAMPLE).expand()
    assert len(expansion.cells) == 2 * 5  # two rates, five variants
    assert len(expansion.runs) == 2 * 5 * 2  # two seeds
    assert set(expansion.specs) == {run_id for cell in expansion.cells for run_id in cell["runs"].values()}
    assert list(expansion.cells[0]["runs"]) == ["0", "1"]


def test_expansion_is_pure(load: Callable[..., Suite], tmp_path: Path) -> None:
    first, again = load(EXAMPLE).expand(), load_suite(tmp_path / "s.yaml").expand()
    assert [spec.run_id for spec in first.runs] == [spec.run_id for spec in again.runs]
    assert first.cells == again.cells


def test_a_spec_has_the_shape_every_part_relies_on(load: Callable[..., Suite]) -> None:
    spec = next(s for s in load(EXAMPLE).expand().runs if "sam" in s.run_id)
    data = spec.data
    assert list(data) == ["dataset", "noise", "model", "training", "method", "seed"]
    assert data["dataset"] == {
        "name": "digits",
        "train_subset": None,
        "test_subset": None,
        "imbalance": None,
        "validation": 0.0,
        "subset_seed": 0,
    }
    assert (data["noise"]["kind"], data["noise"]["seed"], data["noise"]["rate"]) == ("symmetric", None, 0.2)
    assert set(data["training"]) == {
        *("epochs", "batch_size", "drop_last", "clip", "warmup", "augment", "precision", "compile"),
        *("diagnostics", "detection"),
        *("optimizer", "schedule"),
    }
    assert data["training"]["optimizer"]["base"]["name"] == "sgd"
    nothing = {"mixup": None, "averaging": None, "relabel": None}
    assert data["method"] == {"algorithm": {"name": "erm"}, "loss": {"name": "ce"}, **nothing}
    assert RunSpec.of(json.loads(json.dumps(data)), defaults=DEFAULTS).run_id == spec.run_id


def test_a_map_with_numbers_for_keys_survives_json(load: Callable[..., Suite]) -> None:
    noise = "noise: {kind: asymmetric, rate: 0.4, mapping: {9: 1, 3: 5}}"
    spec = load(f"name: t\ndataset: digits\nmodel: mlp\n{noise}\nmethods: {{A: {{}}}}\n").expand().runs[0]
    assert RunSpec.of(json.loads(json.dumps(spec.data)), defaults=DEFAULTS).run_id == spec.run_id


def test_what_is_stated_at_its_default_changes_no_id(methods: Callable[..., Suite]) -> None:
    suite = methods(
        "  A: {}\n"
        "  B: {warmup: 0, clip: null, mixup: null, relabel: null, algorithm: erm, precision: auto, optimizer: sgd}\n"
        "  C: {epochs: 200, batch_size: 128, schedule: {name: cosine}, loss: {name: ce}, augment: []}\n"
        "  D: {mixup: {}}\n"
        "  E: {mixup: {alpha: 1}}\n"
        "  F: {epochs: 199}\n"
    )
    ids = [cell_of(suite, name)["runs"]["0"] for name in "ABCDEF"]
    assert ids[0] == ids[1] == ids[2]
    assert ids[3] == ids[4]
    assert len(set(ids)) == 3


def test_averaging_is_off_unless_asked_for_and_its_defaults_are_no_identity(methods: Callable[..., Suite]) -> None:
    suite = methods(
        "  A: {}\n"
        "  B: {averaging: null}\n"
        "  C: {averaging: {}}\n"
        "  D: {averaging: {kind: ema, decay: 0.999, start: 0}}\n"
        "  E: {averaging.kind: swa}\n"
        "  F: {averaging: {kind: swa, start: 0.75}}\n"
    )
    cells = [cell_of(suite, name) for name in "ABCDEF"]
    ids = [cell["runs"]["0"] for cell in cells]
    assert (ids[0], ids[2], ids[4]) == (ids[1], ids[3], ids[5])
    assert len(set(ids)) == 3
    assert "-ema-" in ids[2]
    assert cells[2]["settings"]["method"]["averaging"] == {"kind": "ema", "decay": 0.999, "start": 0.0}
    assert cells[4]["settings"]["method"]["averaging"] == {"kind": "swa", "decay": None, "start": 0.75}


def test_names_versions_and_places_are_no_identity(load: Callable[..., Suite], tmp_path: Path) -> None:
    text = "name: {}\nversion: {}\ndataset: {{name: npz, path: {}}}\nmodel: mlp\nmethods: {{{}: {{}}}}\n"
    one = load(text.format("a", 1, "here/x.npz", "A")).expand().runs[0]
    two = load(text.format("b", 2, "/there/x.npz", "B")).expand().runs[0]
    three = load(text.format("b", 2, "/there/y.npz", "B")).expand().runs[0]
    assert one.run_id == two.run_id
    assert one.data["dataset"]["path"] == "here/x.npz"
    assert one.data["dataset"]["id"] == "x"
    assert three.run_id != two.run_id


def test_two_paths_under_one_id_are_an_error(load: Callable[..., Suite]) -> None:
    text = "name: t\ndataset:\n  - {name: npz, path: a/x.npz}\n  - {name: npz, path: b/x.npz%s}\n"
    text += "model: mlp\nmethods: {A: {}}\n"
    with pytest.raises(SuiteError, match=r"s\.yaml:4: .*two paths under one id 'x': a/x.npz and b/x.npz"):
        load(text % "")
    assert len(load(text % ", id: other").expand().runs) == 2


@pytest.mark.parametrize(("seeds", "found"), [("3", [0, 1, 2]), ("[7, 3]", [7, 3]), ("[0]", [0])])
def test_seeds(load: Callable[..., Suite], seeds: str, found: list[int]) -> None:
    expansion = load(EXAMPLE.replace("seeds: 2", f"seeds: {seeds}")).expand()
    assert list(expansion.cells[0]["runs"]) == [str(seed) for seed in found]
    assert expansion.header["seeds"] == found
    assert [spec.seed for spec in expansion.runs[: len(found)]] == found


# -- relabel ----------------------------------------------------------------------------------------------------------


def test_a_student_is_trained_on_the_run_of_its_teacher_in_the_same_cell(load: Callable[..., Suite]) -> None:
    suite = load(EXAMPLE)
    for noise in ("symmetric 0.2", "symmetric 0.8"):
        student, teacher = cell_of(suite, "Bootstrap + SAM", noise=noise), cell_of(suite, "SAM", noise=noise)
        assert student["settings"]["method"]["relabel"] == "SAM"
        for seed in ("0", "1"):
            assert suite.expand().specs[student["runs"][seed]].teacher == teacher["runs"][seed]


def test_teachers_stand_before_students_whatever_the_order(methods: Callable[..., Suite]) -> None:
    suite = methods("  C: {relabel: B}\n  B: {relabel: A}\n  A: {loss: gce}\nseeds: 2\n")
    seen: set[str] = set()
    for spec in suite.expand().runs:
        assert spec.teacher is None or spec.teacher in seen
        seen.add(spec.run_id)
    assert len(seen) == 6
    assert variants_of(suite) == ["C", "B", "A"]


def test_one_student_a_teacher_variant(methods: Callable[..., Suite]) -> None:
    suite = methods("  T: {mixup: {alpha: [1, 8]}}\n  S: {relabel: T}\n  SS: {relabel: S}\n")
    assert variants_of(suite)[2:] == [
        "S[teacher.alpha=1]",
        "S[teacher.alpha=8]",
        "SS[teacher.teacher.alpha=1]",
        "SS[teacher.teacher.alpha=8]",
    ]
    student = cell_of(suite, "S[teacher.alpha=8]")
    assert student["settings"]["method"]["mixup"] is None
    assert suite.expand().specs[student["runs"]["0"]].teacher == cell_of(suite, "T[alpha=8]")["runs"]["0"]


def test_a_student_that_states_the_axis_is_paired_by_value(methods: Callable[..., Suite]) -> None:
    suite = methods(
        "  T: {mixup: {alpha: [1, 8, 16]}}\n"
        "  S: {relabel: T, mixup: {alpha: [16, 1.0]}, loss: {name: gce, q: [0.5, 1]}}\n"
    )
    specs = suite.expand().specs
    assert {name for name in variants_of(suite) if name.startswith("S")} == {
        "S[q=0.5, alpha=16]",
        "S[q=0.5, alpha=1]",
        "S[q=1, alpha=16]",
        "S[q=1, alpha=1]",
    }
    for cell in suite.expand().cells:
        if cell["method"] == "S":
            alpha = cell["settings"]["method"]["mixup"]["alpha"]
            assert specs[cell["runs"]["0"]].teacher == cell_of(suite, f"T[alpha={alpha:g}]")["runs"]["0"]


def test_a_learning_rate_is_the_same_axis_inside_and_outside_a_wrapper(methods: Callable[..., Suite]) -> None:
    suite = methods("  T: {optimizer: {name: sam, lr: [0.1, 0.2]}}\n  S: {relabel: T, optimizer: {lr: [0.1, 0.2]}}\n")
    assert variants_of(suite)[2:] == ["S[lr=0.1]", "S[lr=0.2]"]


def test_a_student_may_name_one_variant_or_several_teachers(methods: Callable[..., Suite]) -> None:
    suite = methods("  T: {mixup: {alpha: [1, 8]}}\n  S: {relabel: 'T[alpha=8]'}\n  U: {relabel: [S, T]}\n")
    assert variants_of(suite)[2:] == [
        "S",
        "U[relabel=S]",
        "U[relabel=T, teacher.alpha=1]",
        "U[relabel=T, teacher.alpha=8]",
    ]
    teacher = suite.expand().specs[cell_of(suite, "S")["runs"]["0"]].teacher
    assert teacher == cell_of(suite, "T[alpha=8]")["runs"]["0"]


def test_the_teacher_run_is_shared(methods: Callable[..., Suite]) -> None:
    suite = methods("  T: {loss: gce}\n  A: {relabel: T}\n  B: {relabel: T, loss: gce}\n")
    assert len(suite.expand().runs) == 3


def test_a_student_differs_from_its_teacher_by_its_labels_alone(methods: Callable[..., Suite]) -> None:
    suite = methods("  T: {}\n  S: {relabel: T}\n")
    assert cell_of(suite, "T")["runs"] != cell_of(suite, "S")["runs"]


# -- files and marks --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("toys")
def test_the_content_of_a_named_file_is_identity_its_place_is_not(load: Callable[..., Suite], tmp_path: Path) -> None:
    text = "name: t\ndataset: digits\nmodel: mlp\nmethods:\n  A: {loss: {name: toy, table: %s}}\n"
    (tmp_path / "x.csv").write_text("1,2\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "y.csv").write_text("1,2\n")
    first, moved = load(text % "x.csv").expand().runs[0], load(text % "sub/y.csv").expand().runs[0]
    assert first.data["files"] == {"method.loss.table": hashlib.sha256(b"1,2\n").hexdigest()}
    assert first.run_id == moved.run_id
    (tmp_path / "x.csv").write_text("1,3\n")
    assert load(text % "x.csv").expand().runs[0].run_id != first.run_id
    with pytest.raises(SuiteError, match=r"s\.yaml:5: methods.A.loss.table: .*none.csv: No such file"):
        load(text % "none.csv")


@pytest.mark.usefixtures("toys")
def test_what_sees_clean_labels_is_marked_and_its_students_too(methods: Callable[..., Suite]) -> None:
    suite = methods("  A: {algorithm: {name: toy, oracle: true}}\n  B: {algorithm: toy}\n  S: {relabel: A}\n")
    assert [cell["marks"] for cell in suite.expand().cells] == [["oracle"], [], ["oracle"]]


def test_networks_that_answer_together_are_marked_and_their_students_are_not(methods: Callable[..., Suite]) -> None:
    suite = methods(
        "  D: {algorithm: dividemix}\n  S: {relabel: D}\n"
        "  One: {algorithm: coteaching}\n  Both: {algorithm: {name: coteaching, ensemble: true}}\n"
    )
    assert [cell["marks"] for cell in suite.expand().cells] == [["ensemble"], [], [], ["ensemble"]]


def test_a_method_that_chooses_on_a_hold_out_needs_one(methods: Callable[..., Suite]) -> None:
    says = (
        r"s\.yaml:\d+: methods.B.algorithm: algorithm 'early_stopping' needs a hold-out, and data set 'digits' has none"
    )
    with pytest.raises(SuiteError, match=says):
        methods("  A: {}\n  B: {algorithm: early_stopping}\n")
    methods("  B: {algorithm: early_stopping}\n", "dataset={name: digits, validation: 0.1}")


def test_rate_aware_teachers_mark_their_students(load: Callable[..., Suite]) -> None:
    text = EXAMPLE.replace("method: [SAM, Bootstrap + SAM]", "method: SAM")
    marks = {(c["noise"], c["variant"]): c["marks"] for c in load(text).expand().cells if c["marks"]}
    assert marks == {
        ("symmetric 0.8", "SAM"): ["rate-aware"],
        ("symmetric 0.8", "Bootstrap + SAM"): ["rate-aware"],
    }


def test_validation_rules_are_allowed_with_a_hold_out(load: Callable[..., Suite]) -> None:
    text = EXAMPLE.replace("dataset: digits", "dataset: {name: digits, validation: 0.1}")
    text = text.replace("choose: best", "choose: validation").replace("accuracy: last", "accuracy: validation")
    assert load(text).expand().header["report"]["accuracy"] == "validation"


def test_the_baseline_is_a_row_of_the_table(load: Callable[..., Suite]) -> None:
    text = EXAMPLE.replace("accuracy: last", "accuracy: last, baseline: Mixup")
    assert load(text).expand().header["report"] == {"accuracy": "last", "compare": [], "baseline": "Mixup"}
    with pytest.raises(SuiteError, match=r"s.yaml:\d+: report.baseline: no method 'Mixpu' in the table; did you mean"):
        load(text.replace("baseline: Mixup", "baseline: Mixpu"))


def test_importing_suites_imports_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, noisybench.suite; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
