"""Linear probing: the encoder's input, features computed once, missing packages and weights, an encoder of timm."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from resumed_runs import SAM, resumed_equals_whole
from small_runs import small_spec
from torch import nn

from noisybench.data.augment import normalise
from noisybench.errors import InputError, MissingExtra
from noisybench.methods.linear_probe import Remembered, load_encoder, prepared
from noisybench.train.trainer import train

NAME = {"name": "linear_probe", "encoder": "eight"}


class Eight(nn.Module):
    """An encoder of eight by eight pixels: three channels, random ReLU features."""

    def __init__(self) -> None:
        super().__init__()
        self.images = 0
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3 * 64, 200, generator=generator) / 14)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.images += len(x)
        assert x.shape[1:] == (3, 8, 8)
        return self.dropout(torch.relu(x.flatten(1) @ self.weight))


@pytest.fixture
def made(monkeypatch):
    """A stand-in for timm with one model; the list of what it made."""
    made: list[Eight] = []

    def create_model(name, **options):
        assert options.pop("num_classes") == 0
        assert set(options) == {"pretrained"}
        made.append(Eight())
        return made[-1]

    timm, data = types.ModuleType("timm"), types.ModuleType("timm.data")
    timm.is_model = lambda name: name in ("eight", "offline")
    timm.list_models = lambda: ["eight"]
    timm.create_model = create_model
    data.resolve_model_data_config = lambda model: {"input_size": (3, 8, 8), "mean": (0.5,) * 3, "std": (0.25,) * 3}
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setitem(sys.modules, "timm.data", data)
    return made


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtra, match=r"noisybench\[timm\]"):
        load_encoder("resnet18", None)


def test_an_unknown_encoder_and_missing_weights_are_told_in_one_line(made, monkeypatch):
    with pytest.raises(InputError, match=r"encoder: timm has no model 'eigth'; did you mean 'eight'\?"):
        load_encoder("eigth", None)

    def offline(name, **options):
        raise ConnectionError("no route\nto a host")

    monkeypatch.setattr(sys.modules["timm"], "create_model", offline)
    with pytest.raises(InputError, match=r"cache nor to be had \(ConnectionError: no route\); .*algorithm\.weights$"):
        load_encoder("offline", None)


def test_the_encoder_is_frozen_and_in_eval_mode(made):
    encoder = load_encoder("eight", None)
    assert not encoder.dropout.training
    assert not encoder.weight.requires_grad


def test_images_reach_the_encoder_normalised_its_way():
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    own, theirs = ((0.4, 0.5, 0.6), (0.2, 0.3, 0.25)), ([0.5, 0.4, 0.3], [0.25, 0.2, 0.1])
    images = normalise(pixels, own[0], own[1], torch.float32)
    expected = normalise(pixels, theirs[0], theirs[1], torch.float32)
    torch.testing.assert_close(prepared(images, own, theirs, 8), expected, rtol=1e-4, atol=1e-5)


def test_one_channel_is_repeated_and_a_plain_image_stays_plain_when_enlarged():
    images = torch.full((1, 1, 4, 4), 2.0)  # (0.7 - 0.3) / 0.2
    got = prepared(images, ((0.3,), (0.2,)), ([0.5, 0.4, 0.3], [0.1, 0.1, 0.1]), 6)
    assert got.shape == (1, 3, 6, 6)
    torch.testing.assert_close(got[0, :, 3, 3], torch.tensor([2.0, 3.0, 4.0]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(got.amax(dim=(2, 3)), got.amin(dim=(2, 3)), rtol=1e-4, atol=1e-4)


def test_an_image_is_computed_once():
    counts = []
    remembered = Remembered(lambda images: (counts.append(len(images)), images.flatten(1).sum(dim=1, keepdim=True))[1])
    images = torch.arange(2.0 * 1 * 2 * 2).view(2, 1, 2, 2)
    assert remembered(images).tolist() == [[6.0], [22.0]]
    assert remembered(torch.cat([images.flip(0), images + 1])).tolist() == [[22.0], [6.0], [10.0], [26.0]]
    assert counts == [2, 2]


def test_a_run_learns_and_encodes_every_image_once(made, store, folder):
    spec = small_spec(
        {"method.algorithm": NAME, "training.epochs": 10, "noise.rate": 0.2, "training.optimizer.lr": 1.0}
    )
    result = train(spec, store, folder)["result"]
    assert result["test_accuracy"]["last"] > 75
    assert result["details"] == {"pretrained": 1.0, "features": 200.0}
    assert result["gradient_evaluations"] == 10 * 300
    assert made[0].images <= 300 + 100  # two digits may be the same image


@pytest.mark.parametrize("changes", [{}, SAM | {"dataset.validation": 0.1}], ids=["sgd", "sam, hold-out"])
def test_resuming_changes_nothing(changes, made, tmp_path, store, folder):
    spec = small_spec({"method.algorithm": NAME | {"standardise": not changes}} | changes)
    resumed_equals_whole(spec, tmp_path, store, folder)


def test_only_the_head_is_kept(made, store, folder):
    spec = small_spec({"method.algorithm": NAME, "training.epochs": 1})
    train(spec, store, folder)
    weights = torch.load(store.folder(spec.run_id) / "model.pt", weights_only=True)
    assert {key: tuple(value.shape) for key, value in weights.items()} == {"weight": (10, 200), "bias": (10,)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training.augment": ["crop"]}, r"training\.augment: \[\]"),
        ({"method.mixup": {"alpha": 1.0}}, "cannot be combined with method.mixup"),
    ],
)
def test_what_would_need_other_features_is_refused(changes, message, made, store, folder):
    with pytest.raises(InputError, match=message):
        train(small_spec({"method.algorithm": NAME} | changes), store, folder)


def test_a_file_of_weights_is_what_a_real_encoder_gets(tmp_path):
    timm = pytest.importorskip("timm")
    file = tmp_path / "weights.pth"
    original = timm.create_model("test_resnet", pretrained=False).eval()
    torch.save(original.state_dict(), file)
    encoder = load_encoder("test_resnet", str(file))
    images = torch.randn(2, 3, 160, 160)
    expected = original.forward_head(original.forward_features(images), pre_logits=True)
    torch.testing.assert_close(encoder(images), expected.detach())
    with pytest.raises(InputError, match=r"weights: .*weights.pth does not fit 'test_vit' \(it has no 'cls_token'\)"):
        load_encoder("test_vit", str(file))
    with pytest.raises(InputError, match=r"does not fit 'resnet18' \(RuntimeError: "):
        load_encoder("resnet18", str(file))
    with pytest.raises(InputError, match=r"does not fit 'resnet18' \(FileNotFoundError"):
        load_encoder("resnet18", str(tmp_path / "none.pth"))
