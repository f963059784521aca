"""Features of the hidden layers of any network, found by watching one forward pass."""

from __future__ import annotations

from torch import Tensor, nn

from noisybench.errors import InputError
from noisybench.models.layers import global_average

PLAIN_LAYERS = 3
"""Hidden layers taken from a network without residual blocks, counted from the end; the authors of RoG take three."""


def hidden_features(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Float32 features ``[B, d]`` of the last hidden layers, first to last; maps are averaged over their pixels.

    A network with residual blocks (modules with two or more convolutions of their own) gives the outputs of the
    blocks of its last stage, those as large as the last one's. Any other gives what its last layers with weights
    take as input, after activation and pooling, at most three and never the image; a flattened map counts as the map.
    The last layer is always what the classifier takes: after a final batch norm, where there is one.
    Raises InputError for a network without hidden layers.
    """
    blocks: list[Tensor] = []
    inputs: list[Tensor] = []
    seen = [images]

    def keep_input(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if not any(arguments[0] is other for other in seen):
            inputs.append(arguments[0])
            seen.append(arguments[0])

    def keep_flat(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        keep_input(module, arguments)
        seen.append(output)

    def keep_block(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        blocks.append(output)

    handles = []
    for module in network.modules():
        if isinstance(module, nn.Flatten):
            handles.append(module.register_forward_hook(keep_flat))
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            handles.append(module.register_forward_pre_hook(keep_input))
        elif module is not network and is_block(module):
            handles.append(module.register_forward_hook(keep_block))
    try:
        network.forward(images)  # not a call: a compiled network would not run hooks that came later
    finally:
        for handle in handles:
            handle.remove()
    if not inputs:
        raise InputError("the network has no hidden layer (a generative classifier needs features)")
    return [_pooled(layer) for layer in (_last_stage(blocks, inputs[-1]) if blocks else inputs[-PLAIN_LAYERS:])]


def is_block(module: nn.Module) -> bool:
    """A residual block: a module, no mere sequence, with two or more convolutions of its own."""
    if isinstance(module, (nn.Sequential, nn.ModuleList)):
        return False
    return sum(isinstance(child, nn.Conv2d) for child in module.children()) >= 2


def _last_stage(blocks: list[Tensor], classified: Tensor) -> list[Tensor]:
    size = blocks[-1].shape
    first = next((i for i in range(len(blocks), 0, -1) if blocks[i - 1].shape != size), 0)
    return [*blocks[first:-1], classified]


def _pooled(layer: Tensor) -> Tensor:
    return (global_average(layer) if layer.ndim == 4 else layer.flatten(1)).float()
