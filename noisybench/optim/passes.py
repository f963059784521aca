"""What a repeated pass over the same batch must leave as it was: running statistics, random draws, the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from noisybench.errors import InputError


def copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies of tensors, with their strides, in few kernels."""
    result = [torch.empty_like(tensor) for tensor in tensors]
    if result:
        torch._foreach_copy_(result, list(tensors))
    return result


@contextlib.contextmanager
def restored(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Put the values of tensors back at the end, exactly and in place, also when the body raises."""
    tensors = list(tensors)
    with torch.no_grad():
        saved = copies(tensors)
    try:
        yield
    finally:
        if tensors:
            with torch.no_grad():
                torch._foreach_copy_(tensors, saved)


def norms_with_statistics(models: Iterable[nn.Module]) -> list[_NormBase]:
    """Batch (and instance) norm layers that keep running statistics."""
    modules = dict.fromkeys(module for model in models for module in model.modules())
    return [m for m in modules if isinstance(m, _NormBase) and m.running_mean is not None]


@contextlib.contextmanager
def still_statistics(norms: Iterable[_NormBase]) -> Iterator[None]:
    """Batch norm uses the batch's statistics as usual, but running mean, variance and counter come out as they were.

    The buffers are put back rather than frozen: that also serves ``momentum=None``, non-finite batches and compiled or
    captured networks.
    """
    buffers = [buffer for norm in norms for buffer in norm.buffers(recurse=False)]
    with contextlib.ExitStack() as stack:
        for dtype in dict.fromkeys(buffer.dtype for buffer in buffers):  # one kernel per list of one dtype
            stack.enter_context(restored([buffer for buffer in buffers if buffer.dtype == dtype]))
        yield


class Draws:
    """The state of torch's global generators (CPU and the CUDA devices of ``tensors``) when this was made."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        devices = {tensor.device for tensor in tensors if tensor.device.type == "cuda"}
        self.captured = bool(devices) and torch.cuda.is_current_stream_capturing()
        self.states: list[tuple[torch.device | None, Tensor]] = []
        if not self.captured:  # generators cannot be read inside a CUDA graph; what is captured there draws nothing
            self.states = [(None, torch.get_rng_state())]
            self.states += [(device, torch.cuda.get_rng_state(device)) for device in sorted(devices, key=str)]

    @contextlib.contextmanager
    def repeated(self) -> Iterator[None]:
        """Draw the same numbers again (dropout masks); afterwards the generators stand where they stood before."""
        after = [(device, _state(device)) for device, _ in self.states]
        for device, state in self.states:
            _set_state(device, state)
        try:
            yield
        finally:
            for device, state in after:
                _set_state(device, state)


def _state(device: torch.device | None) -> Tensor:
    return torch.get_rng_state() if device is None else torch.cuda.get_rng_state(device)


def _set_state(device: torch.device | None, state: Tensor) -> None:
    if device is None:
        torch.set_rng_state(state)
    else:
        torch.cuda.set_rng_state(state, device)


@contextlib.contextmanager
def refuse_single_images(norms: Iterable[_NormBase]) -> Iterator[None]:
    """InputError if a training-mode batch norm gets a micro-batch of one image, which it would normalise by itself.

    The check is a hook on the layers, so a network that was compiled before its first such step may pass unseen.
    """

    def check(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if module.training and inputs[0].shape[0] == 1:
            raise InputError(
                "m-sharpness with m = 1 cannot be used with batch norm, which would normalise each image by itself; "
                "use larger micro-batches or a network without batch norm"
            )

    handles = [norm.register_forward_pre_hook(check) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
