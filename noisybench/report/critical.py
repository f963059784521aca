"""Critical values of several comparisons with one control: Dunnett's equicoordinate quantile of the multivariate t.

All comparisons share the control, so that their t statistics are correlated (1/2 where every method has the same
seeds) and a comparison costs less than Bonferroni's bound says.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln, ndtr

from noisybench.report.statistics import CONFIDENCE, student_quantile

NODES = 128
"""Gauss-Legendre points in each direction: the integrals below are right to 1e-7."""


@functools.lru_cache(maxsize=4096)
def dunnett_quantile(
    comparisons: int, degrees: float, correlation: float = 0.5, confidence: float = CONFIDENCE
) -> float:
    """c with P(max_i |T_i| <= c) = confidence: k t statistics with one correlation >= 0 and one estimate of the
    residual (Dunnett 1955, 1964).

    ``degrees`` may be infinite. For other correlations the smallest of them gives a value that is not too low
    (Slepian's inequality).

    >>> round(dunnett_quantile(5, 10), 2)
    2.99
    """
    low = student_quantile(degrees, confidence)
    if comparisons == 1:
        return low
    high = student_quantile(degrees, 1 - (1 - confidence) / comparisons)
    return float(
        brentq(
            lambda c: _probability(c, comparisons, degrees, correlation) - confidence,
            0.9 * low,
            1.1 * high,
            xtol=1e-9,
        )
    )


def _probability(c: float, k: int, degrees: float, correlation: float) -> float:
    """Given the residual's error s and the control's error z, the k comparisons are independent normals."""
    z, z_weight = _normal_nodes()
    s, s_weight = _chi_nodes(degrees)
    shift, scale = math.sqrt(correlation) * z, math.sqrt(1 - correlation)
    inside = ndtr((shift[:, None] + c * s) / scale) - ndtr((shift[:, None] - c * s) / scale)
    return float(z_weight @ inside**k @ s_weight)


@functools.lru_cache(maxsize=1)
def _normal_nodes() -> tuple[np.ndarray, np.ndarray]:
    x, weight = np.polynomial.legendre.leggauss(NODES)
    z = 9 * x
    return z, 9 * weight * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


@functools.lru_cache(maxsize=256)
def _chi_nodes(degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of s = sqrt(chi^2 / degrees); nodes lie closer near zero, where few degrees need them."""
    if math.isinf(degrees):
        return np.ones(1), np.ones(1)
    x, weight = np.polynomial.legendre.leggauss(NODES)
    width = 9 / math.sqrt(2 * degrees)
    low, high = max(0.0, 1 - width), 1 + width
    s = low + (high - low) * ((1 + x) / 2) ** 2
    weight = weight * (high - low) * (1 + x) / 2
    constant = math.log(2) + degrees / 2 * math.log(degrees / 2) - gammaln(degrees / 2)
    return s, weight * np.exp(constant + (degrees - 1) * np.log(s) - degrees * s**2 / 2)
