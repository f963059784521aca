"""The blocks of a suite as strict pydantic models, and where everything sits in a resolved spec."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field

from noisybench import registry
from noisybench.errors import ParameterError
from noisybench.registry import STRICT, Epochs
from noisybench.spec import SLOTS, Slot
from noisybench.suite.augmentations import parse_augment

MAX_RUNS = 100_000
"""A suite that asks for more is a slip of the pen."""


def _augmentations(value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError("must be a list of augmentations, e.g. [crop, flip]")
    try:
        return parse_augment(value)
    except ParameterError as error:
        raise ValueError(str(error)) from None


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise ValueError("must be 1 to 64 letters, digits, dots, dashes or underscores, the first a letter or digit")
    return name


class Header(pydantic.BaseModel):
    """What a suite says about itself."""

    model_config = STRICT
    name: Annotated[str, AfterValidator(_folder_name)]
    version: Annotated[int, Field(ge=1)] = 1
    description: str = ""
    recipe: Literal["common", "authors"] = "common"


class Report(pydantic.BaseModel):
    """How the suite's accuracy is read, which published tables stand beside it, and which method is the baseline."""

    model_config = STRICT
    accuracy: Literal["last", "last10", "validation", "best"] = "last"
    compare: list[str] = []
    baseline: str | None = None


class Training(pydantic.BaseModel):
    """The ``training`` block without its components; the defaults are the field's usual CIFAR-10 recipe."""

    model_config = STRICT
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 128
    drop_last: bool = False
    clip: Annotated[float, Field(gt=0)] | None = None
    warmup: Annotated[Epochs, Field(ge=0, le=1_000_000)] = 0
    augment: Annotated[list[Any], BeforeValidator(_augmentations)] = []
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    diagnostics: Literal["sample", "full", "off"] = "sample"
    detection: bool = False


class DatasetKeys(pydantic.BaseModel):
    """Keys that every data set takes. Subsets are class-balanced; ``imbalance`` then thins the training images to a
    long tail, its first class that many times as frequent as its last; ``validation`` is the share held out, noisy."""

    model_config = STRICT
    train_subset: Annotated[int, Field(ge=1)] | None = None
    test_subset: Annotated[int, Field(ge=1)] | None = None
    imbalance: Annotated[float, Field(ge=1)] | None = None
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    subset_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


def _open_set(value: Any) -> Any:
    """``{rate, from}`` with ``from`` a data set by name or as a mapping of its own parameters, defaults filled in."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValueError("must be a mapping such as {rate: 0.2, from: cifar100} or null")
    for key in ("rate", "from"):
        if key not in value:
            raise ValueError(f"open_set needs '{key}', as in {{rate: 0.2, from: cifar100}}")
    try:
        for key in value:
            if key not in ("rate", "from"):
                raise ParameterError(f"open_set has no key '{key}'; it takes: rate, from")
        if not OPEN_SET.fits("rate", value["rate"]):
            wrong = f"must be a number from 0 to 1, not {registry.shown(value['rate'])}"
            raise ParameterError(wrong + share_meant(OPEN_SET, "rate", value["rate"]), key="rate")
        return {"rate": value["rate"], "from": _other_dataset(value["from"])}
    except ParameterError as error:
        raise ValueError(str(error)) from None


def _other_dataset(value: Any) -> dict[str, Any]:
    named = {"name": value} if isinstance(value, str) else value
    if not isinstance(named, Mapping) or not isinstance(named.get("name"), str):
        raise ParameterError("must be a data set's name or a mapping with 'name'", key="from")
    component = registry.get("dataset", named["name"])
    try:
        params = component.validate({key: item for key, item in named.items() if key != "name"})
    except ParameterError as error:
        raise ParameterError(error.message, key=f"from.{error.key}".rstrip(".")) from None
    if "id" in params and params["id"] is None and params.get("path"):
        params["id"] = Path(str(params["path"])).stem
    return {"name": component.name, **params}


def share_meant(schema: Any, key: str, value: Any) -> str:
    """`` (40 % is 0.4)`` where ``key`` takes a share from 0 to 1 and ``value``, 40 or ``40%``, reads as a percentage;
    else an empty string. Of a list, its first entry."""
    if isinstance(value, list) and value:
        value = value[0]
    percent = _percent(value)
    if percent is None or schema.fits(key, -0.5) or schema.fits(key, 1.5):
        return ""
    return f" ({percent:g} % is {percent / 100:g})" if schema.fits(key, percent / 100) else ""


def _percent(value: Any) -> float | None:
    if isinstance(value, str) and (found := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value)):
        return float(found[1])
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 2 <= value <= 100:
        return float(value)
    return None


class OpenSetKeys(pydantic.BaseModel):
    """``noise.open_set``: the share of the training images that are replaced by images of the data set ``from``."""

    model_config = STRICT
    rate: Annotated[float, Field(ge=0, le=1)]


class NoiseKeys(pydantic.BaseModel):
    """Keys that every noise takes. ``seed``: null means the run's seed. ``open_set``: images replaced, labels kept."""

    model_config = STRICT
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    open_set: Annotated[dict[str, Any] | None, BeforeValidator(_open_set)] = None


class Mixup(pydantic.BaseModel):
    """``mixup``: the weight of a batch is drawn from Beta(alpha, alpha); 1 is the authors' default."""

    model_config = STRICT
    alpha: Annotated[float, Field(gt=0)] = 1.0


class Averaging(pydantic.BaseModel):
    """``averaging``: the run is evaluated with averages of its weights; see ``train.averaging``.

    ``kind``: ``ema`` (exponential, at every step) or ``swa`` (plain, at every epoch end). ``decay``: of ema; null means
    0.999. ``start``: share of the last phase's epochs that pass before averaging begins; null means 0 for ema and 0.75
    for swa.
    """

    model_config = STRICT
    kind: Literal["ema", "swa"] = "ema"
    decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    start: Annotated[float, Field(ge=0, lt=1)] | None = None

    @pydantic.field_validator("decay")
    @classmethod
    def _of_ema(cls, decay: float | None, info: pydantic.ValidationInfo) -> float | None:
        if decay is not None and info.data.get("kind") == "swa":
            raise ValueError("must be null with kind: swa")
        return decay

    @pydantic.model_validator(mode="after")
    def _filled_in(self) -> Averaging:
        if self.kind == "ema" and self.decay is None:
            self.decay = 0.999
        if self.start is None:
            self.start = 0.0 if self.kind == "ema" else 0.75
        return self


class Block:
    """A pydantic model seen as a registry component is: keys, defaults, ``fits`` and ``validate``."""

    def __init__(self, title: str, model: type[pydantic.BaseModel]) -> None:
        self.title, self.model = title, model
        self.keys = tuple(model.model_fields)
        self.defaults: dict[str, Any] = {
            key: info.default for key, info in model.model_fields.items() if not info.is_required()
        }

    def fits(self, key: str, value: Any) -> bool:
        """True when ``value`` as it stands is valid for ``key``."""
        if key not in self.keys:
            return False
        try:
            self._adapter(key).validate_python(value)
        except pydantic.ValidationError:
            return False
        return True

    @functools.cache  # noqa: B019  # blocks live as long as the process
    def _adapter(self, key: str) -> pydantic.TypeAdapter[Any]:
        info = self.model.model_fields[key]
        annotation: Any = info.annotation
        for item in info.metadata:
            annotation = Annotated[annotation, item]
        return pydantic.TypeAdapter(annotation, config=pydantic.ConfigDict(strict=True, allow_inf_nan=False))

    def validate(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """All keys with their values or defaults; ParameterError with the key otherwise."""
        if isinstance(values.get("augment"), list) and "augment" in self.keys:
            try:
                parse_augment(values["augment"])
            except ParameterError as error:
                raise ParameterError(error.message, key=f"augment.{error.key}".rstrip(".")) from None
        return registry.validate_model(self.model, values, owner=self.title)


HEADER = Block("a suite", Header)
REPORT = Block("report", Report)
TRAINING = Block("training", Training)
MIXUP = Block("mixup", Mixup)
AVERAGING = Block("averaging", Averaging)
OPEN_SET = Block("open_set", OpenSetKeys)
COMMON: dict[str, Block] = {"dataset": Block("a data set", DatasetKeys), "noise": Block("noise", NoiseKeys)}
DEFAULTS: dict[str, dict[str, Any]] = {
    "training": TRAINING.defaults,
    "dataset": COMMON["dataset"].defaults,
    "noise": COMMON["noise"].defaults,
    "method": {"mixup": None, "averaging": None, "relabel": None},
    "method.mixup": MIXUP.defaults,
    "method.averaging": AVERAGING.defaults,
}
"""Defaults of the keys that belong to no component, by the path of their mapping: left out of a run's identity."""

SLOT: dict[str, Slot] = {slot.path: slot for slot in SLOTS}
DEFAULT_NAME = {
    "noise": "clean",
    "training.optimizer": "sgd",
    "training.schedule": "cosine",
    "method.algorithm": "erm",
    "method.loss": "ce",
}
"""What stands where a suite names nothing."""

ROOT_KEYS = (
    "name",
    "version",
    "description",
    "dataset",
    "noise",
    "model",
    "training",
    "seeds",
    "recipe",
    "methods",
    "overrides",
    "report",
)
TRAINING_KEYS = (*TRAINING.keys, "optimizer", "schedule")
METHOD_KEYS = ("algorithm", "loss", "mixup", "averaging", "relabel")
METHOD_BLOCKS: dict[str, Block] = {"mixup": MIXUP, "averaging": AVERAGING}
"""Parts of a method that are a mapping or null."""
VARIANT_KEYS = ("choose", "published")
"""Keys of an entry of ``methods`` that say how it is reported, not how it is trained."""


def slot_at(path: str) -> Slot | None:
    """The component slot at a spec path; ``training.optimizer.base`` and deeper are slots too."""
    while path.endswith(".base"):
        path = path.removesuffix(".base")
    return SLOT.get(path)


def whole_path(parts: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Put back the prefix that a key of ``training`` or ``method`` may be written without."""
    if parts and parts[0] in TRAINING_KEYS:
        return ("training", *parts)
    if parts and parts[0] in METHOD_KEYS:
        return ("method", *parts)
    return parts
