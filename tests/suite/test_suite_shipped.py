"""The suites that ship: found, valid, and with the run ids they were released with.

The golden ids change only on purpose: when a suite, a component's version or the protocol does. Then run

    python tests/suite/test_suite_shipped.py

which writes ``golden_ids.json`` anew, and say in the CHANGELOG that earlier results do not carry over.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from suite_cases import cell_of, variants_of

from noisybench import registry
from noisybench.errors import SuiteError
from noisybench.literature import load_source
from noisybench.suite import describe, load_suite, render, shipped_suites

GOLDEN = Path(__file__).with_name("golden_ids.json")
NAMES = [suite.name for suite in shipped_suites()]


def fingerprint(name: str) -> dict[str, Any]:
    """How many runs, the first of each method, and a SHA-256 over all ids in order."""
    expansion = load_suite(name).expand()
    ids = [spec.run_id for spec in expansion.runs]
    first: dict[str, str] = {}
    for cell in expansion.cells:
        first.setdefault(cell["variant"], next(iter(cell["runs"].values())))
    return {"runs": len(ids), "sha256": hashlib.sha256("\n".join(ids).encode()).hexdigest(), "first": first}


def test_the_suites_ship() -> None:
    assert NAMES == [
        "cifar10-tiny",
        "methods-cifar10",
        "methods-digits",
        "quickstart",
        "robust-losses",
        "sam-table4",
        "proof/detectors",
        "proof/evening",
        "proof/human-labels",
        "proof/robust-losses",
        "proof/sam-under-noise",
    ]
    assert all(suite.description for suite in shipped_suites())


@pytest.mark.parametrize("name", NAMES)
def test_golden_ids(name: str) -> None:
    assert fingerprint(name) == json.loads(GOLDEN.read_text())[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_suite_is_called_as_its_file(name: str) -> None:
    assert load_suite(name).name == name.replace("/", "-")


@pytest.mark.parametrize("name", NAMES)
def test_what_it_is_compared_with_has_its_rows(name: str) -> None:
    suite = load_suite(name)
    for source in suite.compare:
        published = {score.method for score in load_source(source).scores}
        rows = {cell["published"] or cell["method"] for cell in suite.expand().cells}
        assert rows & published


def test_quickstart() -> None:
    suite = load_suite("quickstart")
    assert len(suite.expand().runs) == 72
    assert variants_of(suite) == ["SGD", "SAM", "Mixup", "GCE", "SCE", "Bootstrap + SAM"]
    assert {cell["noise"] for cell in suite.expand().cells} == {
        f"symmetric {rate}" for rate in ("0", "0.2", "0.4", "0.6")
    }


TABLE4 = [
    "Arazo et al. (printed as Sanchez et al.)",
    "Zhang & Sabuncu",
    "Lee et al.",
    "Chen et al.",
    "Huang et al.",
    "MentorNet",
    "Mixup (literature)",
    "MentorMix",
    "SGD",
    "Mixup",
    "Bootstrap + Mixup",
    "SAM",
    "Bootstrap + SAM",
]


def test_sam_table4_has_every_row_of_the_table() -> None:
    suite = load_suite("sam-table4")
    assert suite.compare == ("foret2021_table4",)
    published = list(dict.fromkeys(score.method for score in load_source("foret2021_table4").scores))
    rows = list(dict.fromkeys(cell["published"] or cell["method"] for cell in suite.expand().cells))
    assert rows == TABLE4
    assert sorted(published) == sorted(TABLE4)
    for rate in ("0.2", "0.4", "0.6", "0.8"):
        assert {cell["method"] for cell in suite.expand().cells if cell["noise"] == f"symmetric {rate}"} == {
            *(TABLE4[1:]),
            "Arazo et al.",
            "SGD, 400 epochs",
            "SAM, m = 32",
            "MentorNet, data-driven",
        }


def test_methods_digits_has_every_algorithm() -> None:
    used = {cell["settings"]["method"]["algorithm"]["name"] for cell in load_suite("methods-digits").expand().cells}
    elsewhere = {"linear_probe"}  # an encoder of photographs says nothing about 8x8 digits
    assert used == {*registry.names("algorithm")} - elsewhere


def test_sam_table4_knows_the_rate_where_the_authors_did() -> None:
    suite = load_suite("sam-table4")
    for rate, rho, marks in (("0.2", 0.1, []), ("0.4", 0.1, []), ("0.6", 0.1, []), ("0.8", 0.05, ["rate-aware"])):
        for variant in ("SAM", "Bootstrap + SAM", "SAM, m = 32"):
            cell = cell_of(suite, variant, noise=f"symmetric {rate}")
            assert cell["settings"]["training"]["optimizer"]["rho"] == rho
            assert cell["marks"] == marks
    mentormix = {"0.2": (0.8, 2, False), "0.4": (0.6, 8, False), "0.6": (0.6, 8, True), "0.8": (0.2, 4, True)}
    for rate, expected in mentormix.items():
        algorithm = cell_of(suite, "MentorMix", noise=f"symmetric {rate}")["settings"]["method"]["algorithm"]
        assert tuple(algorithm[key] for key in ("percentile", "alpha", "second_reweight")) == expected


def test_sam_table4_bootstraps_each_variant_on_its_own_teacher() -> None:
    suite = load_suite("sam-table4")
    for alpha in (1, 8, 16, 32):
        student = cell_of(suite, f"Bootstrap + Mixup[alpha={alpha}]", noise="symmetric 0.4")
        teacher = cell_of(suite, f"Mixup[alpha={alpha}]", noise="symmetric 0.4")
        assert (student["choose"], teacher["choose"]) == ("best", "best")
        assert all(suite.expand().specs[run].teacher == teacher["runs"][seed] for seed, run in student["runs"].items())


def test_sam_table4_is_one_protocol() -> None:
    for cell in load_suite("sam-table4").expand().cells:
        settings = cell["settings"]
        assert (settings["model"]["name"], settings["noise"]["flip"]) == ("resnet32_wide", "exclusive")
        assert settings["training"]["epochs"] == (400 if cell["method"] == "SGD, 400 epochs" else 200)


def test_robust_losses_is_the_protocol_of_the_papers() -> None:
    suite = load_suite("robust-losses")
    training = suite.expand().cells[0]["settings"]["training"]
    assert (training["epochs"], training["batch_size"], training["clip"]) == (120, 128, 5.0)
    assert (training["optimizer"]["lr"], training["optimizer"]["weight_decay"]) == (0.01, 1e-4)
    assert training["schedule"]["name"] == "cosine"
    assert [step["name"] for step in training["augment"]] == ["crop", "flip"]
    noises = list(dict.fromkeys(cell["noise"] for cell in suite.expand().cells))
    assert noises == [f"symmetric {r}" for r in (0.2, 0.4, 0.6, 0.8)] + [
        f"asymmetric {r}" for r in (0.1, 0.2, 0.3, 0.4)
    ]


def test_cifar10_tiny_also_runs_from_a_file() -> None:
    edit = "dataset={name: npz, path: cifar10.npz, as: cifar10, train_subset: 5000, test_subset: 2000}"
    suite = load_suite("cifar10-tiny", sets=[edit])
    assert {cell["settings"]["dataset"]["as"] for cell in suite.expand().cells} == {"cifar10"}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("quikstart", "no suite 'quikstart'; did you mean 'quickstart'?; shipped suites: cifar10-tiny, "),
        ("quickstart.yml", "no such file; did you mean 'quickstart'?"),
        ("nowhere/my.yaml", "nowhere/my.yaml: no such file"),
        (Path("none.yaml"), "none.yaml: no such file"),
        ("x" * 5000, "cannot be read"),
        ("a\0b", "no suite"),
        ("", "is a folder"),
        ("a\nb", "no suite"),
        (str(Path(__file__).parent), "is a folder, not a suite file"),
    ],
)
def test_an_unknown_suite_says_what_there_is(source: str | Path, says: str) -> None:
    with pytest.raises(SuiteError) as caught:
        load_suite(source)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_name_is_refused() -> None:
    with pytest.raises(SuiteError, match="--name: must be 1 to 64 letters"):
        load_suite("quickstart", name="a/b")


@pytest.mark.parametrize("name", NAMES)
def test_show_states_every_cell_and_every_run(name: str) -> None:
    expansion = load_suite(name).expand()
    text = render(expansion)
    assert all(spec.run_id in text for spec in expansion.runs)
    assert all(f"| {cell['variant']}" in text for cell in expansion.cells)
    assert describe(expansion)["runs"] == len(expansion.runs)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: fingerprint(name) for name in NAMES}, indent=1) + "\n")
