"""Polynomial margin diminishing noise: labels are wrong where a network hesitates."""

from __future__ import annotations

import zipfile
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from noisybench.errors import DataError, ParameterError
from noisybench.noise.source import Corrupted, Source
from noisybench.registry import FILE, noise
from noisybench.seeding import Draws

FACTOR = 1.2


def _wrong(sizes: np.ndarray, *, path: str, type_: str, rate: float | None, factor: float | None) -> float | None:
    return rate  # tuned to it; otherwise known only after looking at the posterior


@noise("pmd", cite="zhang2021plc", wrong=_wrong)
def pmd(
    clean: np.ndarray,
    num_classes: int,
    draws: Draws,
    source: Source,
    *,
    path: Annotated[str, FILE],
    type_: Literal["I", "II", "III"] = "I",
    rate: Annotated[float, Field(ge=0, le=1)] | None = None,
    factor: Annotated[float, Field(gt=0)] | None = None,
) -> Corrupted:
    """Every label is replaced by one of the two likeliest classes u and s of a posterior eta (Zhang et al. 2021).

    With d = eta_u - eta_s the label becomes u with probability k / factor (at most 1), otherwise s:

    - type I: k = 1/2 + d^2 / 2; type II: k = d^3; type III: k = (d + d^2 + d^3) / 3.

    u need not be the true class. ``path`` is an ``.npz`` whose ``eta`` ``[N, K]`` has a row for each image of the
    training set (or of this subset). ``factor`` (the authors' default is 1.2) is given, or tuned until a share ``rate``
    of the labels is wrong (the authors aim at 0.35 and 0.70); ``details`` hold the ``factor`` used and the
    ``mean_margin`` d.
    """
    if rate is not None and factor is not None:
        raise ParameterError("give either 'rate' or 'factor'", key="factor")
    eta = source.rows(_read(source.find(path)), len(clean), f"{path}: 'eta'")
    if eta.shape[1] != num_classes:
        raise DataError(f"{path}: 'eta' has {eta.shape[1]} classes, the data {num_classes}")
    order = np.argsort(-eta, axis=1, kind="stable")[:, :2]
    first, second = order[:, 0], order[:, 1]
    margin = np.take_along_axis(eta, order, axis=1) @ np.array([1.0, -1.0])
    keep = kept_share(margin, type_)
    uniforms = draws.uniforms(len(clean))
    if rate is not None:
        factor = _tuned(rate, keep, uniforms, first != clean, second != clean)
    used = FACTOR if factor is None else factor
    return Corrupted(
        np.where(uniforms * used < keep, first, second), {"factor": used, "mean_margin": float(margin.mean())}
    )


def kept_share(margin: np.ndarray, type_: str) -> np.ndarray:
    """k of the docstring above, before the factor, for margins d in [0, 1]."""
    if type_ == "I":
        return 0.5 + 0.5 * margin**2
    shares: np.ndarray = margin**3 if type_ == "II" else (margin + margin**2 + margin**3) / 3
    return shares


def _tuned(
    rate: float, keep: np.ndarray, uniforms: np.ndarray, first_wrong: np.ndarray, second_wrong: np.ndarray
) -> float:
    """The factor at which ``rate`` of these labels, with these draws, is wrong; bisection on its logarithm."""

    def wrong(logarithm: float) -> float:
        return float(np.where(uniforms * np.exp(logarithm) < keep, first_wrong, second_wrong).mean())

    low, high = -12.0, 40.0
    least, most = wrong(low), wrong(high)
    if not least <= rate <= most:
        raise ParameterError(f"{rate} cannot be reached; this posterior gives {least:.4f} .. {most:.4f}", key="rate")
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if wrong(middle) < rate else (low, middle)
    return float(np.exp(low if abs(wrong(low) - rate) < abs(wrong(high) - rate) else high))


def _read(path: object) -> np.ndarray:
    try:
        with np.load(str(path), allow_pickle=False) as archive:
            eta = np.asarray(archive["eta"])
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"posterior {path}: must be an .npz file with an array 'eta': {error}") from error
    if eta.ndim != 2 or not np.issubdtype(eta.dtype, np.floating) or eta.shape[1] < 2:
        raise DataError(f"posterior {path}: 'eta' must be floats [N, K], not {eta.dtype} {list(eta.shape)}")
    eta = eta.astype(np.float64)
    if not (eta >= 0).all() or not np.allclose(eta.sum(axis=1), 1, atol=1e-3):
        raise DataError(f"posterior {path}: the rows of 'eta' must be probabilities that sum to 1")
    return eta
