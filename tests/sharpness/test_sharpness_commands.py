"""The two commands on runs of a second."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from small_runs import small_spec

from noisybench.cli.sharpness import draw_landscape, print_sharpness
from noisybench.errors import InputError
from noisybench.sharpness import load_run
from noisybench.store import read_arrays, read_json
from noisybench.train.trainer import train

SHARP = {
    "rhos": [0.1, 0.5],
    "images": 0,
    "loss": "ce",
    "network": 0,
    "draws": 3,
    "probes": 3,
    "device": "cpu",
    "threads": 1,
    "plugins": [],
}
LAND = {
    "out": None,
    "data": "train-noisy",
    "images": 50,
    "loss": "ce",
    "network": 0,
    "points": 5,
    "span": 1.0,
    "ceiling": None,
    "seed": 0,
    "device": "cpu",
    "threads": 1,
    "plugins": [],
}
SAM = {"training.optimizer": {"name": "sam", "rho": 0.1, "base": {"name": "sgd", "lr": 0.1}}}


@pytest.fixture
def trained(store, folder):
    def one(changes=None):
        spec = small_spec(changes)
        return store.folder(spec.run_id), train(spec, store, folder)

    return one


def test_a_rebuilt_run_has_the_losses_of_its_record(trained, folder):
    home, record = trained({"dataset.validation": 0.1})
    run = load_run(home, folder)
    final = record["result"]["final"]
    assert run.objective("test").value() == pytest.approx(final["test_loss"], rel=1e-5)
    images, noisy = run.objective("train-noisy"), run.labels["train-noisy"]
    assert len(noisy) == record["result"]["data"]["train_size"]  # without the hold-out
    predicted = images.model(images.images).argmax(dim=1)
    assert 100 * (predicted == noisy).double().mean().item() == pytest.approx(final["noisy_accuracy"], rel=1e-5)
    clean = run.labels["train-clean"]
    assert 100 * (predicted == clean).double().mean().item() == pytest.approx(final["clean_accuracy"], rel=1e-5)
    flipped = (noisy != clean).double().mean().item()
    assert flipped == pytest.approx(record["result"]["noise"]["realised_rate"])


def test_batch_norm_networks_come_back_too(trained, folder):
    home, record = trained({"model": {"name": "small_cnn"}})
    found = load_run(home, folder).objective("test").value()
    assert found == pytest.approx(record["result"]["final"]["test_loss"], rel=1e-4)


def test_a_limit_takes_the_same_images_from_every_run(trained, folder):
    one, two = (load_run(trained(changes)[0], folder).objective("train-noisy", 20) for changes in ({}, SAM))
    assert len(one.labels) == 20
    assert torch.equal(one.images, two.images)
    assert torch.equal(one.labels, two.labels)


def test_sharpness_writes_the_same_file_twice(trained, folder, capsys):
    home, record = trained()
    data = {"data_dir": folder.path}
    print_sharpness(home, **SHARP, **data)
    path = home / "sharpness.json"
    first = path.read_bytes()
    print_sharpness(home, **SHARP, **data)
    assert path.read_bytes() == first
    text = capsys.readouterr().out
    assert "largest Hessian eigenvalue" in text
    content = read_json(path)
    assert content["result_sha256"] == record["result_sha256"]
    sets = {row["name"]: row for row in content["sets"]}
    assert list(sets) == ["train-noisy", "train-clean", "test"]
    for row in sets.values():
        assert row["rhos"] == [0.1, 0.5]
        for sam, adversarial in zip(row["sam"], row["adversarial"], strict=True):
            assert adversarial >= max(sam, 0)
        assert row["sam"][1] > row["sam"][0] > 0
    assert sets["train-noisy"]["loss"] != sets["train-clean"]["loss"]


def test_a_landscape_of_two_runs_on_one_scale(trained, folder, capsys):
    homes = [trained(changes)[0] for changes in ({}, SAM)]
    draw_landscape(homes, **LAND, data_dir=folder.path)
    out = homes[0].parent / "landscape.svg"
    first = out.read_bytes()
    arrays, _ = read_arrays(out.with_suffix(".npz"))
    assert arrays["values"].shape == (2, 5, 5)
    assert arrays["run_ids"].tolist() == [home.name for home in homes]
    assert arrays["values"][0, 2, 2] == pytest.approx(
        load_run(homes[0], folder).objective("train-noisy", 50).value(), rel=1e-12
    )
    draw_landscape(homes, **LAND, data_dir=folder.path)
    assert out.read_bytes() == first
    assert "loss at the weights" in capsys.readouterr().out


def test_a_landscape_of_one_run_lies_beside_its_record(trained, folder):
    home, _ = trained()
    draw_landscape([home], **{**LAND, "loss": "own"}, data_dir=folder.path)
    assert (home / "landscape.svg").exists()
    arrays, _ = read_arrays(home / "landscape.npz")
    assert np.isfinite(arrays["values"]).all()


def test_what_cannot_be_measured_is_said_in_one_line(trained, folder, tmp_path):
    data = {"data_dir": folder.path}
    with pytest.raises(InputError, match="no record"):
        print_sharpness(tmp_path, **SHARP, **data)
    home, _ = trained()
    with pytest.raises(InputError, match="one network"):
        print_sharpness(home, **{**SHARP, "network": 1}, **data)
    with pytest.raises(InputError, match="--rho"):
        print_sharpness(home, **{**SHARP, "rhos": [0.0]}, **data)
    with pytest.raises(InputError, match="--loss"):
        print_sharpness(home, **{**SHARP, "loss": "mse"}, **data)
    with pytest.raises(InputError, match="--data"):
        draw_landscape([home], **{**LAND, "data": "validation"}, **data)
    with pytest.raises(InputError, match="twice"):
        draw_landscape([home, home], **LAND, **data)
    with pytest.raises(InputError, match=r"\.svg"):
        draw_landscape([home], **{**LAND, "out": tmp_path / "a.png"}, **data)
    weights = home / "model.pt"
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1] + b"x")
    with pytest.raises(InputError, match="damaged"):
        print_sharpness(home, **SHARP, **data)
    weights.unlink()
    with pytest.raises(InputError, match="--keep-weights all"):
        print_sharpness(home, **SHARP, **data)
    (home / "record.json").write_text(json.dumps({}))
    with pytest.raises(InputError, match=r"record\.json"):
        print_sharpness(home, **SHARP, **data)


def test_a_diverged_run_has_nothing_to_look_at(trained, folder):
    home, record = trained({"training.optimizer": {"name": "sgd", "lr": 1e8}})
    assert record["result"]["status"] == "diverged"
    with pytest.raises(InputError, match="diverged"):
        load_run(home, folder)
