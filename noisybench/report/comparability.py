"""May a published score and a measured one be compared? Every reason against it, one by one.

Three kinds of reason: something *differs*, the source does *not state* it, or it is *unsure*. A pair is ``comparable``
only when there is none. A *note* says what a reader of the two numbers should know and is no reason against them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from noisybench.report.knowledge_reasons import (
    averaging,
    ensemble,
    oracle,
    parameters,
    pixels,
    precision,
    pretraining,
    quoted,
    seeds,
    validation,
    verified,
)
from noisybench.report.label_reasons import (
    count,
    flip,
    label_file,
    long_tail,
    mapping,
    open_set,
    wrong_share,
)
from noisybench.report.pair import (
    DIFFERS,
    NOTE,
    Pair,
    Reason,
)
from noisybench.report.training_reasons import (
    architecture,
    augmentation,
    batch_size,
    clip,
    epochs,
    metric,
    micro_batch,
    optimizer,
    schedule,
    selection,
    test_size,
    train_size,
)


def reasons(pair: Pair) -> tuple[Reason, ...]:
    """All reasons, in a fixed order."""
    return tuple(reason for check in CHECKS for reason in check(pair))


def verdict(found: tuple[Reason, ...]) -> str:
    """``differs``, ``unknown`` (nothing differs as far as the source says) or ``comparable``."""
    kinds = {reason.kind for reason in found} - {NOTE}
    return "differs" if DIFFERS in kinds else "unknown" if kinds else "comparable"


CHECKS: tuple[Callable[[Pair], Iterator[Reason]], ...] = (
    architecture,
    flip,
    count,
    mapping,
    wrong_share,
    label_file,
    open_set,
    long_tail,
    selection,
    metric,
    epochs,
    train_size,
    test_size,
    batch_size,
    optimizer,
    micro_batch,
    schedule,
    clip,
    augmentation,
    validation,
    averaging,
    ensemble,
    pretraining,
    oracle,
    parameters,
    pixels,
    precision,
    seeds,
    quoted,
    verified,
)
