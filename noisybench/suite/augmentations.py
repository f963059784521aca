"""What a suite may say under ``augment``: names, parameters, ranges. What they do to images is in ``data.augment``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from noisybench.errors import ParameterError
from noisybench.registry import STRICT, did_you_mean, shown, validate_model


class Crop(pydantic.BaseModel):
    """Pad each side, then cut the original size at a random place (He et al. 2016, section 4.2: padding 4, zeros)."""

    model_config = STRICT
    padding: Annotated[int, Field(ge=1)] = 4
    mode: Literal["zero", "reflect"] = "zero"


class Flip(pydantic.BaseModel):
    """Mirror left and right with probability 1/2."""

    model_config = STRICT


class Cutout(pydantic.BaseModel):
    """Erase a square around a random pixel, cut off at the border (DeVries & Taylor 2017: size 16 on CIFAR-10).

    Whatever its place in the list it comes last, after normalisation: what is erased becomes the mean.
    """

    model_config = STRICT
    size: Annotated[int, Field(ge=1)] = 16


class ResizedCrop(pydantic.BaseModel):
    """Cut a random window and enlarge it to the original size, bilinearly (Szegedy et al. 2015, with scale 0.08).

    The window's share of the area is uniform in [``scale``, 1], the logarithm of width / height uniform between those
    of 1 / ``ratio`` and ``ratio``; of ten draws the first that fits inside is taken, as in torchvision.
    """

    model_config = STRICT
    scale: Annotated[float, Field(gt=0, le=1)] = 0.2
    ratio: Annotated[float, Field(ge=1)] = 4 / 3


class ColorJitter(pydantic.BaseModel):
    """With ``probability``: brightness, contrast, saturation and hue by random amounts, in random order.

    The first three by a factor in [1 - strength, 1 + strength], the hue by a share of the circle in [-``hue``,
    ``hue``] (Chen et al. 2020, SimCLR: strengths 0.4, 0.4, 0.4, 0.1 on CIFAR-10). Grey images have neither saturation
    nor hue.
    """

    model_config = STRICT
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.4
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.4
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.4
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    probability: Annotated[float, Field(ge=0, le=1)] = 0.8


class Grayscale(pydantic.BaseModel):
    """With ``probability``: every channel becomes the grey value 0.299 red + 0.587 green + 0.114 blue."""

    model_config = STRICT
    probability: Annotated[float, Field(ge=0, le=1)] = 0.2


class RandAugment(pydantic.BaseModel):
    """Random operations on form and colour, each applied with probability 1/2 (Cubuk et al. 2020, as in FixMatch).

    ``operations`` are drawn for each image from the fourteen of ``rand_augment``, each with a level from 1 to
    ``levels`` - 1 of ten. Whatever its place in the list it comes after crop and flip, before normalisation.
    """

    model_config = STRICT
    operations: Annotated[int, Field(ge=1)] = 2
    levels: Annotated[int, Field(ge=2, le=10)] = 10


STEPS: dict[str, type[pydantic.BaseModel]] = {
    "crop": Crop,
    "flip": Flip,
    "cutout": Cutout,
    "resized_crop": ResizedCrop,
    "color_jitter": ColorJitter,
    "grayscale": Grayscale,
    "randaugment": RandAugment,
}


def parse_augment(augment: Sequence[Any]) -> list[dict[str, Any]]:
    """Check a suite's ``augment`` list and write it out.

    Each entry is a name (``crop``), a mapping of one name to its parameters (``{crop: {padding: 4}}``), or an entry
    that was written out before: ``{"name": "crop", "padding": 4, "mode": "zero"}``. ParameterError otherwise.
    """
    if isinstance(augment, (str, Mapping)) or not isinstance(augment, Sequence):
        raise ParameterError(f"must be a list such as [crop, flip], not {shown(augment)}")
    out: list[dict[str, Any]] = []
    for place, entry in enumerate(augment):
        name, params = _name_and_params(entry, place)
        if name not in STEPS:
            raise ParameterError(
                f"no augmentation '{name}'{did_you_mean(name, STEPS)}; there are: {', '.join(STEPS)}", key=str(place)
            )
        if any(step["name"] == name for step in out):
            raise ParameterError(f"'{name}' is listed twice", key=str(place))
        try:
            checked = validate_model(STEPS[name], params, owner=f"augmentation '{name}'")
        except ParameterError as error:
            raise ParameterError(error.message, key=f"{place}.{error.key}" if error.key else str(place)) from None
        out.append({"name": name, **checked})
    return out


def _name_and_params(entry: Any, place: int) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
        return entry["name"], {key: value for key, value in entry.items() if key != "name"}
    if isinstance(entry, Mapping) and len(entry) == 1:
        name, params = next(iter(entry.items()))
        if isinstance(name, str) and (params is None or isinstance(params, Mapping)):
            return name, dict(params or {})
    raise ParameterError(f"must be a name or {{name: {{parameter: value}}}}, not {shown(entry)}", key=str(place))
