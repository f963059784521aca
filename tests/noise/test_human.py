"""CIFAR-10N and CIFAR-100N."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from noisybench.errors import DataError
from noisybench.noise import expected_rate, human, inject
from noisybench.noise.pickles import dump_pt

CLEAN = np.repeat(np.arange(10), 100)
REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "cifar_n_human_noise.json").read_text())
PUBLISHED = {
    "aggre": REFERENCE["cifar10n"]["aggre_label"],
    "rand1": REFERENCE["cifar10n"]["random_label1"],
    "rand2": REFERENCE["cifar10n"]["random_label2"],
    "rand3": REFERENCE["cifar10n"]["random_label3"],
    "worst": REFERENCE["cifar10n"]["worse_label"],
    "fine": REFERENCE["cifar100n_fine"],
    "coarse": REFERENCE["cifar100n_fine"]["coarse"],
}


def real_columns(name: str) -> dict[str, np.ndarray]:
    folder = Path(os.environ.get("NOISYBENCH_DATA", ""))
    file = human.LABEL_SETS[name].file
    if not (folder / file.name).is_file():
        pytest.skip(f"{file.name} is not in NOISYBENCH_DATA")
    return human.read_human(folder / file.name, file)


@pytest.mark.data
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_authors_labels(name):
    wanted, published = human.LABEL_SETS[name], PUBLISHED[name]
    columns = real_columns(name)
    clean = columns[wanted.clean]
    arguments = {"num_classes": wanted.num_classes, "seed": 0, "labels": name}
    noisy = inject(clean, "human", folder=os.environ["NOISYBENCH_DATA"], **arguments)
    assert noisy.realised_rate == published["noise_rate"]
    assert noisy.flipped.sum() == round(50_000 * published["noise_rate"])
    if "T" in published:
        assert noisy.transition == pytest.approx(np.array(published["T"]), abs=1e-12)
    else:
        assert np.diag(noisy.transition) == pytest.approx(np.array(published["diagonal_T"]), abs=1e-12)
        assert noisy.labels[:20].tolist() == published["first_20_noisy"]
    if "first_20" in published:
        assert noisy.labels[:20].tolist() == published["first_20"]
    index = np.arange(3, 50_000, 11)
    part = inject(clean[index], "human", folder=os.environ["NOISYBENCH_DATA"], index=index, **arguments)
    assert (part.labels == noisy.labels[index]).all()


@pytest.mark.data
def test_the_authors_labels_as_npz(tmp_path):
    columns = real_columns("worst")
    np.savez(tmp_path / "made.npz", **columns)
    noisy = inject(
        columns["clean_label"], "human", num_classes=10, seed=0, labels="worst", path=str(tmp_path / "made.npz")
    )
    assert noisy.realised_rate == 0.40208


@pytest.mark.parametrize("name", PUBLISHED)
def test_shares_that_are_wrong(name):
    assert expected_rate("human", {"labels": name}, 10) == PUBLISHED[name]["noise_rate"]


def test_labels_of_a_made_up_file(made_human, label_folder):
    noisy = inject(CLEAN, "human", num_classes=10, seed=5, labels="aggre", folder=label_folder)
    assert noisy.realised_rate == 0.25
    given = inject(CLEAN, "human", num_classes=10, seed=5, labels="aggre", path=str(label_folder / "human.npz"))
    assert given.sha256 == noisy.sha256


def test_another_order_is_refused(made_human, label_folder):
    with pytest.raises(DataError, match="clean labels differ from the data set's at 1,000 of 1,000"):
        inject(CLEAN[::-1], "human", num_classes=10, seed=0, labels="aggre", folder=label_folder)


def test_a_subset_needs_its_index(made_human, label_folder):
    index = np.arange(0, 1000, 3)
    noisy = inject(CLEAN[index], "human", num_classes=10, seed=0, labels="aggre", folder=label_folder, index=index)
    assert noisy.flipped.tolist() == (index % 4 == 0).tolist()
    with pytest.raises(DataError, match="has 1000 entries, the data 334"):
        inject(CLEAN[index], "human", num_classes=10, seed=0, labels="aggre", folder=label_folder)


def test_changed_content_is_refused(made_human, label_folder, tmp_path):
    with np.load(label_folder / "human.npz") as archive:
        columns = dict(archive)
    columns["aggre_label"] = columns["aggre_label"].copy()
    columns["aggre_label"][0] = 9
    np.savez(tmp_path / "human.npz", **columns)
    with pytest.raises(DataError, match="'aggre_label' is not that of human"):
        inject(CLEAN, "human", num_classes=10, seed=0, labels="aggre", folder=tmp_path)
    for content in (b"", b"PK"):
        (tmp_path / "human.npz").write_bytes(content)
        with pytest.raises(DataError, match="cannot be read"):
            inject(CLEAN, "human", num_classes=10, seed=0, labels="aggre", folder=tmp_path)


def test_nothing_is_unpickled_before_the_hash_matches(tmp_path, monkeypatch):
    file = tmp_path / "CIFAR-10_human.pt"
    with file.open("wb") as handle:
        dump_pt({"clean_label": CLEAN}, handle)
    monkeypatch.setattr(human, "load_pt", lambda *_: pytest.fail("was unpickled"))
    with pytest.raises(DataError, match="damaged or another file, SHA-256"):
        inject(CLEAN, "human", num_classes=10, seed=0, labels="worst", folder=tmp_path)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.undo()
    known = human.HumanFile(file.name, digest, {"clean_label": "0"})
    with pytest.raises(DataError, match="'clean_label' is not that of"):
        human.read_human(file, known)
    shutil.rmtree(tmp_path)
    with pytest.raises(DataError, match=r"No such file.*published at https://github.com/UCSC-REAL/cifar-10-100n"):
        inject(CLEAN, "human", num_classes=10, seed=0, labels="worst", folder=tmp_path)


def test_a_data_set_with_other_classes():
    with pytest.raises(DataError, match="human labels 'fine' have 100 classes, the data 10"):
        inject(CLEAN, "human", num_classes=10, seed=0, labels="fine")
