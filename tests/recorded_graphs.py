"""A stand-in for CUDA graphs on the CPU: records the operations of a step and repeats them on the same memory.

As with a CUDA graph, Python does not run again at replay: plain numbers stay what they were, tensors stay where they
were, and to record changes no tensor. What a capture cannot do is refused: reading a tensor's value, shapes that depend
on values, copies of new values from the host.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

aten = torch.ops.aten
READS = (aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten._unique2, aten.lift_fresh, aten.item)


class Refused(RuntimeError):
    """What a CUDA stream under capture would refuse."""


def refuse_reads(function: Any, arguments: Any) -> None:
    """Raise Refused for an operation that waits for the device or copies from the host."""
    if function.overloadpacket in READS:
        raise Refused(f"{function} while a step is captured")
    if function.overloadpacket in (aten.index, aten.index_put_, aten.index_put):
        places = [place for place in arguments[1] if place is not None]
        if any(place.dtype in (torch.bool, torch.uint8) for place in places):
            raise Refused(f"{function} with a mask while a step is captured")


class OneHot(TorchFunctionMode):
    """``one_hot`` as it is on CUDA, where it does not look at its argument's values."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        if function is torch.nn.functional.one_hot:
            labels, classes = (*arguments, *(keywords or {}).values())
            return (labels.unsqueeze(-1) == torch.arange(classes, device=labels.device)).long()
        return function(*arguments, **(keywords or {}))


class NoReads(TorchDispatchMode):
    """Fails where a CUDA stream under capture would."""

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        refuse_reads(function, arguments)
        return function(*arguments, **(keywords or {}))


class Recorder(TorchDispatchMode):
    """Records operations, and what their inputs held before."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, list[Tensor | None]]] = []
        self.before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        keywords = keywords or {}
        refuse_reads(function, arguments)
        inputs = {_where(item) for item in tree_flatten((arguments, keywords))[0] if isinstance(item, Tensor)}
        for item in tree_flatten((arguments, keywords))[0]:
            if isinstance(item, Tensor) and item.numel() and _where(item) not in self.before:
                self.before[_where(item)] = item.untyped_storage(), item.untyped_storage().clone()
        outputs = function(*arguments, **keywords)
        made = [
            item.detach() if isinstance(item, Tensor) and item.numel() and _where(item) not in inputs else None
            for item in tree_flatten(outputs)[0]
        ]
        self.calls.append((function, _detached(arguments), _detached(keywords), made))
        return outputs

    def restore(self) -> None:
        """Put every tensor back that was there before."""
        for storage, values in self.before.values():
            storage.copy_(values)

    @torch.no_grad()
    def replay(self) -> None:
        """Do it all again."""
        for function, arguments, keywords, made in self.calls:
            outputs = tree_flatten(function(*arguments, **keywords))[0]
            for place, value in zip(made, outputs, strict=True):
                if place is not None:
                    place.copy_(value)


class Tape:
    """``noisybench.train.capture.Graphs`` on the CPU."""

    scalars = torch.float64  # so that rates are exactly those of an eager run

    def __init__(self) -> None:
        self.warmed = self.captures = self.replays = 0

    def warm(self, step: Any) -> Tensor:
        """Eagerly."""
        self.warmed += 1
        loss: Tensor = step()
        return loss

    def capture(self, step: Any) -> tuple[Any, Tensor]:
        """Record a step."""
        recorder = Recorder()
        with contextlib.ExitStack() as stack:
            stack.callback(recorder.restore)
            stack.enter_context(OneHot())
            stack.enter_context(recorder)
            loss = step()
        self.captures += 1

        def replay() -> None:
            self.replays += 1
            recorder.replay()

        return replay, loss


def _where(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _detached(items: Any) -> Any:
    return tree_map(lambda item: item.detach() if isinstance(item, Tensor) else item, items)
