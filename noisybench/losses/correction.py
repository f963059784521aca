"""Forward and backward correction with a known transition matrix (Patrini et al. 2017)."""

from __future__ import annotations

import functools
import math
import os
import zipfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import AfterValidator
from torch import Tensor
from torch.nn.functional import log_softmax

from noisybench.errors import DataError, ParameterError
from noisybench.registry import FILE, loss

TOLERANCE = 1e-6
WORST_CONDITION = 1e12
Rows = tuple[tuple[float, ...], ...]


def check_transition(value: list[list[float]] | str | dict[str, Any]) -> list[list[float]] | str | dict[str, Any]:
    """ValueError unless square with rows of probabilities, a file's name, or a rate with or without a mapping."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        _check_rows(value)
        return value
    rate, mapping = value.get("rate"), value.get("mapping")
    if set(value) - {"rate", "mapping"} or isinstance(rate, bool) or not isinstance(rate, (int, float)):
        raise ValueError("a mapping takes 'rate' (a number) and, for asymmetric noise, 'mapping'")
    if not 0 <= rate <= 1:
        raise ValueError("'rate' must be in 0 .. 1")
    if mapping is None:
        return {"rate": float(rate)}
    if not isinstance(mapping, list) or not all(type(j) is int and 0 <= j < len(mapping) for j in mapping):
        raise ValueError("'mapping' must list, for every class, the class it is mistaken for (itself: none)")
    return {"rate": float(rate), "mapping": mapping}


def _check_rows(rows: list[list[float]]) -> None:
    for i, row in enumerate(rows):
        if len(row) != len(rows):
            raise ValueError(f"must be square: row {i} has {len(row)} entries, there are {len(rows)} rows")
        if not all(0 <= p <= 1 for p in row):
            raise ValueError(f"must hold probabilities: row {i} has an entry outside 0 .. 1")
        if abs(math.fsum(row) - 1) > TOLERANCE:
            raise ValueError(f"rows must sum to 1: row {i} sums to {math.fsum(row):.10g}")


Transition = Annotated[list[list[float]] | Annotated[str, FILE] | dict[str, Any], AfterValidator(check_transition)]
"""P(noisy j | true i) in row i, column j: a list of rows, a ``.npy`` or comma-separated file, ``{rate: 0.4}`` for
exclusive symmetric noise, or ``{rate: 0.4, mapping: [0, 2, 1]}`` where class i is mistaken for class mapping[i]."""


@loss("forward", cite="patrini2017")
def forward_correction(logits: Tensor, labels: Tensor, *, transition: Transition) -> Tensor:
    """Forward correction, -log sum_i p_i T[i][y]  (Patrini et al. 2017).

    T[i][j] = P(noisy j | true i), ``transition``: rows, a file, or ``{rate: 0.4}`` (exclusive symmetric noise). The
    identity is cross entropy. Differs from the authors' code, which clips p at 1e-7. A T that was estimated makes an
    algorithm; the true one is knowledge that a user of noisy labels does not have.
    ParameterError where T does not fit the classes or never gives some label. logits [B, K], labels [B] -> [B].
    """
    log_t = _matrix("log", transition, logits)
    return -torch.logsumexp(log_softmax(logits, dim=1) + log_t.T[labels], dim=1)


@loss("backward", cite="patrini2017", signed=True)
def backward_correction(logits: Tensor, labels: Tensor, *, transition: Transition) -> Tensor:
    """Backward correction, -sum_j Tinv[y][j] log p_j  (Patrini et al. 2017).

    Its mean over noisy labels is cross entropy on the true one; single values can be negative and are unbounded below.
    ``transition`` as in ``forward``. Differs from the authors' code, which clips p at 1e-7.
    ParameterError where T does not fit the classes or has no inverse. logits [B, K], labels [B] -> [B].
    """
    inverse = _matrix("inverse", transition, logits)
    return -(inverse[labels] * log_softmax(logits, dim=1)).sum(dim=1)


def _matrix(what: str, transition: list[list[float]] | str | dict[str, Any], logits: Tensor) -> Tensor:
    """Log or inverse of T as a tensor beside the logits, made once."""
    classes = logits.shape[1]
    if isinstance(transition, str):
        state = os.stat(transition) if os.path.exists(transition) else None
        rows = _read(transition, state.st_mtime_ns if state else 0)
    elif isinstance(transition, dict):
        mapping = transition.get("mapping")
        rows = _from_rate(float(transition["rate"]), None if mapping is None else tuple(mapping), classes)
    else:
        rows = tuple(map(tuple, transition))
    if len(rows) != classes:
        raise ParameterError(f"it is {len(rows)} x {len(rows)}, the data has {classes} classes", key="transition")
    return _tensor(what, rows, logits.dtype, logits.device)


@functools.lru_cache(maxsize=64)
def _tensor(what: str, rows: Rows, dtype: torch.dtype, device: torch.device) -> Tensor:
    matrix = np.array(rows, dtype=np.float64)
    if what == "inverse":
        if not np.linalg.cond(matrix) < WORST_CONDITION:
            raise ParameterError("it has no inverse, which backward correction needs", key="transition")
        table = np.linalg.inv(matrix)
    else:
        if not matrix.any(axis=0).all():
            never = int(np.flatnonzero(~matrix.any(axis=0))[0])
            raise ParameterError(f"label {never} can never be observed: column {never} is zero", key="transition")
        with np.errstate(divide="ignore"):
            table = np.log(matrix)
    return torch.as_tensor(table, dtype=dtype, device=device)


@functools.lru_cache(maxsize=64)
def _from_rate(rate: float, mapping: tuple[int, ...] | None, classes: int) -> Rows:
    if mapping is None:
        table = np.full((classes, classes), rate / (classes - 1))
        np.fill_diagonal(table, 1 - rate)
    else:
        table = np.eye(len(mapping))
        for i, j in enumerate(mapping):
            if i != j:
                table[i, i], table[i, j] = 1 - rate, rate
    return tuple(map(tuple, table.tolist()))


@functools.lru_cache(maxsize=64)
def _read(path: str, modified: int) -> Rows:
    try:
        if Path(path).suffix == ".npy":
            table = np.load(path, allow_pickle=False)
        else:
            table = np.loadtxt(path, delimiter=",", ndmin=2, dtype=np.float64)
        rows = [[float(p) for p in row] for row in table]
        _check_rows(rows)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"transition matrix {path}: {error}") from error
    return tuple(map(tuple, rows))
