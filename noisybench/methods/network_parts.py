"""The former layers of any network, its last stage and its head, found by watching one forward pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from noisybench.methods.hidden_features import is_block


@dataclass(frozen=True)
class Parts:
    """Names of the modules that own parameters, in the order of the forward pass."""

    former: list[str]
    stage: list[str]
    head: list[str]


def parts_of(network: nn.Module, images: Tensor) -> Parts:
    """Former layers, last stage and head of ``network``, from a forward pass of ``images`` ``[B, C, H, W]``.

    The head is the last convolution or linear layer and what follows it. The stage before it is, in a network with
    residual blocks, the blocks whose output is as large as the last one's and what comes after them (a final batch
    norm); in any other, the last hidden layer with weights and its norm. A stage with nothing before it counts as
    ``former`` and ``stage`` is empty then; a network of one layer has a head alone.
    """
    called: list[nn.Module] = []
    blocks: list[tuple[nn.Module, torch.Size]] = []

    def keep(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if all(module is not other for other in called):
            called.append(module)

    def keep_block(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        blocks.append((module, output.shape))

    handles = []
    for module in network.modules():
        if next(module.parameters(recurse=False), None) is not None:
            handles.append(module.register_forward_pre_hook(keep))
        if module is not network and is_block(module):
            handles.append(module.register_forward_hook(keep_block))
    try:
        network.forward(images)  # not a call: a compiled network would not run hooks that came later
    finally:
        for handle in handles:
            handle.remove()
    layers = [n for n, module in enumerate(called) if isinstance(module, (nn.Conv2d, nn.Linear))]
    head = layers[-1]
    if blocks:
        last = {id(part) for block, size in _trailing(blocks) for part in block.modules()}
        stage = min(n for n, module in enumerate(called) if id(module) in last)
    else:
        stage = layers[-2] if len(layers) > 1 else 0
    if stage == 0:
        stage = head
    name_of = {id(module): name for name, module in network.named_modules()}
    names = [name_of[id(module)] for module in called]
    return Parts(names[:stage], names[stage:head], names[head:])


def _trailing(blocks: list[tuple[nn.Module, torch.Size]]) -> list[tuple[nn.Module, torch.Size]]:
    size = blocks[-1][1]
    first = next((n for n in range(len(blocks), 0, -1) if blocks[n - 1][1] != size), 0)
    return blocks[first:]
