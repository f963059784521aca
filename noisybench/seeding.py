"""One seed per purpose, and streams that stay the same for ever.

Every random decision of a run draws from a generator named by ``(seed, purpose, index...)``; two purposes never share
a stream, so changing how batches are ordered cannot change which labels are flipped.

numpy promises that a bit generator's raw words never change, but not the distributions built on them. ``Draws``
therefore takes raw words of Philox-4x64 (Salmon et al. 2011), keyed directly by SHA-256 without numpy's SeedSequence,
and makes uniforms, integers, selections and permutations itself.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

PURPOSES = ("subset", "split", "noise", "init", "order", "augment", "method", "dropout", "mixup", "diagnostics", "data")


def _digest(seed: int, purpose: str, index: tuple[int | str, ...]) -> bytes:
    text = "/".join(["noisybench", str(int(seed)), purpose, *(str(part) for part in index)])
    return hashlib.sha256(text.encode()).digest()


def derive(seed: int, purpose: str, *index: int | str) -> int:
    """A 63-bit seed for ``(seed, purpose, index...)``: the first 8 bytes of a SHA-256, top bit cleared."""
    return int.from_bytes(_digest(seed, purpose, index)[:8], "big") >> 1


class Draws:
    """Random numbers from raw Philox words: the same on every platform and numpy version.

    ``Draws(seed, "noise", 0)`` is a pure function of its arguments; calls advance the stream.
    """

    def __init__(self, seed: int, purpose: str, *index: int | str) -> None:
        digest = _digest(seed, purpose, index)
        key = np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)
        self._bits = np.random.Philox(key=key)

    def words(self, n: int) -> np.ndarray:
        """``n`` raw 64-bit words, uint64 ``[n]``."""
        words: np.ndarray = self._bits.random_raw(n)
        return words

    def uniforms(self, n: int) -> np.ndarray:
        """``n`` float64 in [0, 1): the top 53 bits of a word times 2^-53."""
        uniforms: np.ndarray = (self.words(n) >> np.uint64(11)) * (2.0**-53)
        return uniforms

    def integers(self, n: int, high: int | np.ndarray) -> np.ndarray:
        """``n`` int64, uniform on 0 .. high-1 (bias below 2^-53 high); ``high`` may be an array ``[n]``."""
        drawn: np.ndarray = np.minimum((self.uniforms(n) * high).astype(np.int64), np.asarray(high) - 1)
        return drawn

    def permutation(self, n: int) -> np.ndarray:
        """A permutation of 0 .. n-1: positions in the order of their random keys, ties by index."""
        return np.argsort(self.words(n), kind="stable")

    def choose(self, n: int, k: int) -> np.ndarray:
        """``k`` of 0 .. n-1 without replacement, ascending: those with the k smallest keys, ties by index."""
        return np.sort(self.permutation(n)[:k])

    def choose_within(self, groups: np.ndarray, quotas: np.ndarray) -> np.ndarray:
        """Of the members of each group g, ``quotas[g]`` without replacement, ascending: smallest keys, ties by index.

        ``groups`` int64 ``[N]`` with values 0 .. len(quotas)-1. A smaller quota chooses a subset of a larger one's.
        """
        order = np.lexsort((self.words(len(groups)), groups))
        sizes = np.bincount(groups, minlength=len(quotas))
        rank = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return np.sort(order[rank < np.repeat(quotas, sizes)])

    def generator(self) -> np.random.Generator:
        """A numpy generator on this stream, for distributions (beta) where a stable stream is not promised."""
        return np.random.Generator(self._bits)


def torch_generator(seed: int, purpose: str, *index: int | str) -> torch.Generator:
    """A CPU ``torch.Generator`` seeded with ``derive(seed, purpose, index...)``."""
    import torch

    return torch.Generator().manual_seed(derive(seed, purpose, *index))
