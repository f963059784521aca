"""Every reason against a comparison, one at a time: full agreement is comparable, one change makes one reason."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from studies import cell, record

from noisybench.literature import Origin, Protocol, Score
from noisybench.report.comparability import reasons, verdict
from noisybench.report.label_reasons import expected_wrong_share
from noisybench.report.pair import Pair, Reason
from noisybench.report.results import Cell, Run

SCORE = Score(
    method="SGD",
    dataset="cifar10",
    noise="symmetric",
    rate=0.4,
    acc=80.0,
    metric="test_acc",
    cite="zhang2018gce",
    table="Table 1",
    verified=True,
    arch="resnet34",
    flip="excl",
    std=0.5,
    epoch="last",
    seeds=1,
    seen_in="text",
)
PROTOCOL = Protocol(
    epochs=120,
    batch_size=128,
    optimizer="sgd",
    lr=0.1,
    momentum=0.9,
    weight_decay=5e-4,
    schedule={"name": "cosine"},
    clip=5.0,
    augment=("flip", "crop"),
    train_size=50_000,
    count="exact",
    validation="none",
    averaging="none",
    ensemble=1,
    pretraining="none",
    precision="fp32",
    oracle=(),
    parameters={},
    m=128,
)
ORIGIN = Origin("primary_text", "url", "text")


def pair(
    *,
    score: dict[str, Any] | None = None,
    protocol: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    result: dict[str, Any] | None = None,
    origin: Origin | None = ORIGIN,
    precision: str = "fp32",
    rate: float = 0.4,
    **more: Any,
) -> Pair:
    """The pair that agrees in everything, with changes."""
    cell_keys = {key: more.pop(key) for key in ("marks", "choose") if key in more}
    planned = cell("SGD", rate, settings=settings or {}, seeds=(0,), **cell_keys)
    run = Run("id", "0", "finished", record(planned, 0, 80.0, **(result or {}))["result"], precision)
    measured = Cell(
        **{
            k: planned[k] for k in ("dataset", "noise", "model", "method", "variant", "choose", "published", "settings")
        },
        marks=tuple(planned["marks"]),
        runs=(run,),
    )
    return Pair(
        measured,
        dataclasses.replace(SCORE, **(score or {})),
        dataclasses.replace(PROTOCOL, **(protocol or {})),
        origin,
        "last",
        **more,
    )


def test_a_pair_that_agrees_in_everything_is_comparable() -> None:
    assert reasons(pair()) == ()
    assert verdict(reasons(pair())) == "comparable"


def sam(**changes: Any) -> dict[str, Any]:
    """Settings with SAM around the same SGD."""
    base = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, **changes}
    return {"training__optimizer": {"name": "sam", "rho": 0.1, "base": base}}


ASYMMETRIC: dict[str, Any] = {
    "score": {"noise": "asymmetric", "flip": None},
    "settings": {"noise__kind": "asymmetric", "noise__mapping": None},
    "result": {"noise__realised_rate": 0.2},
}

DIFFERENT: list[tuple[str, dict[str, Any], str]] = [
    ("architecture", {"settings": {"model__name": "mlp"}}, "architecture: ResNet-34 published, mlp here"),
    (
        "architecture",
        {"score": {"arch": "WRN-28-10 (200 epochs)"}, "settings": {"model": {"name": "wrn", "depth": 16, "widen": 8}}},
        "architecture: WRN-28-10 published, wrn, depth 16, widen 8 here",
    ),
    (
        "flip",
        {"score": {"flip": "incl"}, "result": {"noise__realised_rate": 0.36}},
        "flip convention: inclusive published, exclusive here",
    ),
    ("count", {"protocol": {"count": "independent"}}, "count of flips: independent published, exact here"),
    (
        "mapping",
        {**ASYMMETRIC, "protocol": {"mapping": "other"}},
        "asymmetric class mapping: other published, standard here",
    ),
    ("wrong_share", {"result": {"noise__realised_rate": 0.36}}, "wrong labels: 40 % published, 36 % here"),
    (
        "label_file",
        {
            "score": {"noise": "human", "split": "worst", "flip": None},
            "protocol": {"labels_sha256": "a" * 64},
            "settings": {"noise": {"kind": "human", "labels": "worst", "rate": 0.4}},
            "result": {"noise__sha256": "b" * 64},
        },
        "version of the label file: aaaaaaaaaaaa... published, bbbbbbbbbbbb... here",
    ),
    (
        "micro_batch",
        {"protocol": {"m": 32}, "settings": sam()},
        "images a perturbation (m): 32 published, 128 here",
    ),
    (
        "micro_batch",
        {"settings": {"training__optimizer": {**sam()["training__optimizer"], "m": 16}}},
        "images a perturbation (m): 128 published, 16 here",
    ),
    ("selection", {"score": {"epoch": "best"}}, "selection rule: best published, last here"),
    ("selection", {"score": {"epoch": "last10_mean"}}, "selection rule: last10 published, last here"),
    (
        "metric",
        {"score": {"metric": "clean_val_acc"}},
        "measured on clean held-out training images there, on the test set here",
    ),
    ("epochs", {"settings": {"training__epochs": 3}}, "epochs: 120 published, 3 here"),
    ("train_size", {"result": {"data__train_size": 5000}}, "training images: 50,000 published, 5000 here"),
    ("test_size", {"result": {"data__test_size": 2000}}, "test images: 10,000 published, 2000 here"),
    ("test_size", {"protocol": {"test_size": 5000}}, "test images: 5000 published, 10,000 here"),
    ("batch_size", {"settings": {"training__batch_size": 256}}, "batch size: 128 published, 256 here"),
    ("optimizer", {"protocol": {"optimizer": "adam"}}, "optimiser: adam published, sgd here"),
    ("lr", {"settings": sam(lr=0.05)}, "learning rate: 0.1 published, 0.05 here"),
    ("momentum", {"settings": sam(momentum=0.0)}, "momentum: 0.9 published, 0 here"),
    ("weight_decay", {"protocol": {"weight_decay": 1e-4}}, "weight decay: 0.0001 published, 0.0005 here"),
    (
        "schedule",
        {"protocol": {"schedule": {"name": "multistep", "milestones": [60]}}},
        "schedule: multistep (milestones [60]) published, cosine here",
    ),
    (
        "schedule",
        {
            "protocol": {"schedule": {"name": "multistep", "milestones": [60]}},
            "settings": {"training__schedule": {"name": "multistep", "milestones": [50], "gamma": 0.1}},
        },
        "schedule: multistep (milestones [60]) published, multistep (milestones [50]) here",
    ),
    ("clip", {"settings": {"training__clip": None}}, "gradient clipping: 5 published, none here"),
    ("clip", {"protocol": {"clip": None}}, "gradient clipping: none stated, 5 here"),
    ("augmentation", {"protocol": {"augment": ()}}, "augmentation: none published, crop, flip here"),
    (
        "augmentation",
        {"settings": {"training__augment": [{"name": "crop", "padding": 2, "mode": "zero"}, {"name": "flip"}]}},
        "augmentation: crop, flip published, crop (padding 2), flip here",
    ),
    ("validation", {"protocol": {"validation": "clean"}}, "held-out data for choices: clean published, none here"),
    ("validation", {"settings": {"dataset__validation": 0.1}}, "held-out data for choices: none published, noisy here"),
    ("averaging", {"protocol": {"averaging": "ema 0.9999"}}, "weight averaging: ema 0.9999 published, none here"),
    (
        "averaging",
        {"settings": {"method__averaging": {"kind": "ema", "decay": 0.999, "start": 0.0}}},
        "weight averaging: none published, ema 0.999 here",
    ),
    (
        "averaging",
        {"settings": {"method__averaging": {"kind": "swa", "decay": None, "start": 0.75}}},
        "weight averaging: none published, swa here",
    ),
    ("ensemble", {"protocol": {"ensemble": 2}}, "networks that answer: 2 published, 1 here"),
    ("ensemble", {"marks": ["ensemble"]}, "networks that answer: 1 published, 2 here"),
    ("pretraining", {"protocol": {"pretraining": "SimCLR"}}, "pretraining: SimCLR published, none here"),
    ("oracle", {"protocol": {"oracle": ("noise_rate",)}}, "the true noise rate was given to the method there"),
    ("oracle", {"protocol": {"oracle": ("clean_validation",)}}, "choices were made on clean held-out labels there"),
    ("oracle", {"marks": ["rate-aware"]}, "hyperparameters were set by the true noise rate or kind here"),
    ("oracle", {"marks": ["oracle"]}, "the method was given oracle knowledge here"),
    ("oracle", {"choose": "best", "chosen": True}, "the variant was chosen on the test set here"),
    (
        "parameters",
        {"protocol": {"parameters": {"training.optimizer.rho": 0.05}}, "settings": sam()},
        "rho: 0.05 published, 0.1 here",
    ),
    (
        "pixels",
        {"result": {"data__original_pixels": False}},
        "the images here are not the data set's original pixels",
    ),
    ("precision", {"precision": "bf16"}, "precision: fp32 published, bf16 here"),
    (
        "quoted",
        {"protocol": {"quoted_from": "Jiang et al. 2019"}},
        "quoted by the source from Jiang et al. 2019",
    ),
]


@pytest.mark.parametrize(("key", "changes", "text"), DIFFERENT, ids=[f"{k}-{i}" for i, (k, *_) in enumerate(DIFFERENT)])
def test_one_difference_gives_its_one_reason(key: str, changes: dict[str, Any], text: str) -> None:
    found = reasons(pair(**changes))
    if changes.get("score", {}).get("flip") == "incl":  # 0.9 x 40 % wrong there too: only the convention differs
        assert found[0] == Reason(key, "differs", text)
    elif "noise" in changes.get("score", {}):
        assert Reason(key, "differs", text) in found
    else:
        assert found == (Reason(key, "differs", text),)
    assert verdict(found) == "differs"


STATED: list[tuple[str, dict[str, Any], str]] = [
    ("architecture", {"score": {"arch": None}}, "architecture"),
    ("flip", {"score": {"flip": None}}, "flip convention"),
    ("count", {"protocol": {"count": None}}, "count of flips"),
    ("mapping", {**ASYMMETRIC}, "asymmetric class mapping"),
    ("selection", {"score": {"epoch": None}}, "selection rule"),
    ("epochs", {"protocol": {"epochs": None}}, "epochs"),
    ("train_size", {"protocol": {"train_size": None}}, "training images"),
    ("batch_size", {"protocol": {"batch_size": None}}, "batch size"),
    ("optimizer", {"protocol": {"optimizer": None}}, "optimiser"),
    ("lr", {"protocol": {"lr": None}}, "learning rate"),
    ("momentum", {"protocol": {"momentum": None}}, "momentum"),
    ("weight_decay", {"protocol": {"weight_decay": None}}, "weight decay"),
    ("schedule", {"protocol": {"schedule": None}}, "schedule"),
    ("augmentation", {"protocol": {"augment": None}}, "augmentation"),
    ("validation", {"protocol": {"validation": None}}, "held-out data for choices"),
    ("averaging", {"protocol": {"averaging": None}}, "weight averaging"),
    ("ensemble", {"protocol": {"ensemble": None}}, "networks that answer"),
    ("pretraining", {"protocol": {"pretraining": None}}, "pretraining"),
    ("oracle", {"protocol": {"oracle": None}}, "oracle knowledge"),
    ("parameters", {"protocol": {"parameters": None}}, "the method's hyperparameters"),
    ("precision", {"protocol": {"precision": None}}, "precision"),
    ("seeds", {"score": {"seeds": None}}, "number of seeds"),
    ("spread", {"score": {"std": None}}, "spread over seeds"),
    ("micro_batch", {"protocol": {"m": None}, "settings": sam()}, "images a perturbation (m)"),
]


@pytest.mark.parametrize(("key", "changes", "text"), STATED, ids=[key for key, *_ in STATED])
def test_what_is_not_stated_is_never_comparable(key: str, changes: dict[str, Any], text: str) -> None:
    found = reasons(pair(**changes))
    assert found == (Reason(key, "not stated", text),)
    assert verdict(found) == "unknown"


def test_labels_from_a_file_need_their_version_stated() -> None:
    human = {"noise": "human", "rate": 0.4021, "split": "worst", "flip": None}
    found = reasons(pair(score=human, settings={"noise": {"kind": "human", "labels": "worst", "rate": 0.4}}))
    assert Reason("label_file", "not stated", "version of the label file") in found


def test_other_numbers_of_seeds_and_other_kinds_of_spread_are_noted_and_no_reason() -> None:
    found = reasons(pair(score={"seeds": 5, "std": None, "ci95": 0.3}))
    assert found == (
        Reason("seeds", "note", "seeds: 5 published, 1 here"),
        Reason("spread", "note", "spread over seeds: published as a 95 % interval, not as a standard deviation"),
    )
    assert verdict(found) == "comparable"


def test_doubts() -> None:
    unsure = reasons(pair(score={"arch": "resnet32"}, settings={"model__name": "resnet32_wide"}))
    assert [(r.key, r.kind) for r in unsure] == [("architecture", "unsure")]
    assert "width of the published ResNet-32 is not stated" in unsure[0].text
    assert "inference (resnet32_wide here)" in unsure[0].text
    assert reasons(pair(score={"verified": False})) == (
        Reason("unverified", "unsure", "the published score is unverified"),
    )
    second = reasons(pair(origin=Origin("secondary_table", "url", "text")))
    assert second == (
        Reason("second_hand", "unsure", "read in another paper or page that quotes it, not in the paper"),
    )
    note = reasons(pair(origin=Origin("secondary_note", "url", "text")))
    assert [(r.key, r.text) for r in note] == [("second_hand", "read in a note about the paper, not in the paper")]
    assert {verdict(found) for found in (unsure, second, note)} == {"unknown"}


def test_the_same_oracle_on_both_sides_is_no_difference() -> None:
    assert reasons(pair(protocol={"oracle": ("per_rate",)}, marks=["rate-aware"])) == ()
    assert reasons(pair(protocol={"oracle": ("test_set",)}, choose="best", chosen=True)) == ()
    assert reasons(pair(protocol={"oracle": ("noise_rate",)}, marks=["oracle"])) == ()


def test_a_single_variant_was_not_chosen() -> None:
    assert reasons(pair(choose="best", chosen=False)) == ()


def test_a_wrapped_optimiser_is_compared_by_its_base() -> None:
    assert reasons(pair(settings=sam(), protocol={"parameters": {"training.optimizer.rho": 0.1}})) == ()


def test_the_stated_parts_of_a_schedule_decide() -> None:
    ours = {"training__schedule": {"name": "multistep", "milestones": [60], "gamma": 0.1}}
    assert reasons(pair(settings=ours, protocol={"schedule": {"name": "multistep"}})) == ()


def test_wide_networks_are_compared_with_their_parameters() -> None:
    wrn = {"model": {"name": "wrn", "depth": 28, "widen": 10}}
    found = reasons(pair(score={"arch": "WRN-28-10 (200 epochs)"}, settings=wrn))
    assert [(r.key, r.kind) for r in found] == [("architecture", "unsure")]
    assert "has no 1x1 shortcuts" in found[0].text


def test_a_network_that_cannot_be_the_published_one_differs_even_if_that_is_unsure() -> None:
    for name in ("resnet32", "resnet32_wide"):
        assert [r.kind for r in reasons(pair(score={"arch": "resnet32"}, settings={"model__name": name}))] == ["unsure"]
    assert [r.kind for r in reasons(pair(score={"arch": "resnet32"}, settings={"model__name": "mlp"}))] == ["differs"]


@pytest.mark.parametrize(("ours", "text"), [("cifar10", None), ({3: 5}, "other"), ("cifar100", "other")])
def test_a_named_standard_mapping_is_the_standard_one(ours: Any, text: str | None) -> None:
    changes = {**ASYMMETRIC, "settings": {"noise__kind": "asymmetric", "noise__mapping": ours}}
    found = [r.text for r in reasons(pair(**changes, protocol={"mapping": "standard"})) if r.key == "mapping"]
    assert found == ([f"asymmetric class mapping: standard published, {text} here"] if text else [])


def test_at_rate_zero_no_noise_convention_matters() -> None:
    clean = {"noise": "clean", "rate": 0.0, "flip": None}
    assert reasons(pair(rate=0.0, score=clean, protocol={"count": None})) == ()


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({"flip": "excl"}, 0.4),
        ({"flip": "incl"}, 0.36),
        ({"flip": "incl", "dataset": "cifar100"}, 0.396),
        ({"flip": None}, None),
        ({"noise": "human", "rate": 0.0903}, 0.0903),
        ({"noise": "pairflip", "flip": None}, 0.4),
        ({"noise": "asymmetric", "flip": None}, None),
        ({"noise": "clean", "rate": 0.0, "flip": None}, 0.0),
    ],
)
def test_expected_share_of_wrong_labels(changes: dict[str, Any], share: float | None) -> None:
    found = expected_wrong_share(dataclasses.replace(SCORE, **changes))
    assert found == (None if share is None else pytest.approx(share))


def test_nominal_and_realised_rate_may_differ_by_sampling() -> None:
    assert reasons(pair(result={"noise__realised_rate": 0.4049})) == ()
    assert [r.key for r in reasons(pair(result={"noise__realised_rate": 0.406}))] == ["wrong_share"]
