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

PURPOSES = (
    "subset",
    "split",
    "noise",
    "init",
    "order",
    "augment",
    "method",
    "dropout",
    "mixup",
    "diagnostics",
    "data",
    "bootstrap",
)


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
        self._name = (seed, purpose, index)
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
        drawn: np.ndarray = self.uniforms(n)
        drawn *= high
        whole: np.ndarray = drawn.astype(np.int64)
        np.minimum(whole, np.asarray(high) - 1, out=whole)
        return whole

    def normals(self, n: int) -> np.ndarray:
        """``n`` standard normal float64: the inverse distribution function at the middle of each of 2^53 intervals.

        The words never change; the last bits of the inverse are those of the installed scipy.
        """
        from scipy.special import ndtri

        middle = self.uniforms(n)
        middle += 2.0**-54
        normals: np.ndarray = ndtri(middle, out=middle)
        return normals

    def permutation(self, n: int) -> np.ndarray:
        """A permutation of 0 .. n-1: positions in the order of their random keys, ties by index."""
        return np.argsort(self.words(n), kind="stable")

    def choose(self, n: int, k: int) -> np.ndarray:
        """``k`` of 0 .. n-1 without replacement, ascending: those with the k smallest keys, ties by index."""
        k = min(max(k, 0), n)
        keys = self.words(n)
        if k in (0, n):
            return np.arange(k)
        last = np.partition(keys, k - 1)[k - 1]
        chosen = keys < last
        ties = np.flatnonzero(keys == last)
        chosen[ties[: k - np.count_nonzero(chosen)]] = True
        return np.flatnonzero(chosen)

    def choose_within(self, groups: np.ndarray, quotas: np.ndarray) -> np.ndarray:
        """Of the members of each group g, ``quotas[g]`` without replacement, ascending: smallest keys, ties by index.

        ``groups`` int64 ``[N]`` with values 0 .. len(quotas)-1. A smaller quota chooses a subset of a larger one's.
        """
        sizes = np.bincount(groups, minlength=len(quotas))
        taken = np.clip(quotas, 0, sizes)
        counts = np.stack([taken, sizes - taken], axis=1)
        return np.flatnonzero(self.assign_within(groups, counts, np.array([True, False])))

    def assign_within(self, groups: np.ndarray, counts: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
        """Give ``counts[g][j]`` members of each group g ``outcomes[j]``, in the order of their keys, ties by index.

        ``groups`` int64 ``[N]``; ``counts`` int64 ``[G, J]``, whose row g sums to the size of group g; ``outcomes``
        ``[J]``. Returns ``[N]`` of the outcomes' type. Linear in N: members are sorted by group and the first bits of
        their keys, and by whole keys only where one outcome ends and the next begins.
        """
        keys = self.words(len(groups))
        bits = max(0, 16 - (len(counts) - 1).bit_length())
        buckets = groups << bits
        buckets += (keys >> np.uint64(64 - bits)).astype(np.int64) if bits else 0
        if len(counts) << bits <= 1 << 16:
            buckets = buckets.astype(np.uint16)  # a radix sort, where numpy has one
        order = np.argsort(buckets, kind="stable")
        ends = np.cumsum(np.bincount(buckets, minlength=len(counts) << bits))
        cuts = np.unique(np.cumsum(counts))
        cuts = cuts[(cuts > 0) & (cuts < len(groups))]
        cut = np.searchsorted(ends, cuts, side="left")  # the bucket that holds the last member before the cut
        split = np.unique(cut[ends[cut] > cuts])
        places = _ranges(np.concatenate([[0], ends])[split], ends[split])
        members = order[places]
        order[places] = members[np.lexsort((keys[members], buckets[members]))]
        assigned = np.empty(len(groups), outcomes.dtype)
        assigned[order] = np.repeat(np.broadcast_to(outcomes, counts.shape).ravel(), counts.ravel())
        return assigned

    def child(self, *index: int | str) -> Draws:
        """A stream of its own, named by this one's name and ``index``; does not advance this one."""
        seed, purpose, own = self._name
        return Draws(seed, purpose, *own, *index)

    def generator(self) -> np.random.Generator:
        """A numpy generator on this stream, for distributions (beta) where a stable stream is not promised."""
        return np.random.Generator(self._bits)


def _ranges(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """starts[0] .. ends[0]-1, starts[1] .. ends[1]-1, ... as one array."""
    sizes = ends - starts
    places: np.ndarray = np.arange(int(sizes.sum())) + np.repeat(starts - (np.cumsum(sizes) - sizes), sizes)
    return places


def torch_generator(seed: int, purpose: str, *index: int | str) -> torch.Generator:
    """A CPU ``torch.Generator`` seeded with ``derive(seed, purpose, index...)``."""
    import torch

    return torch.Generator().manual_seed(derive(seed, purpose, *index))
