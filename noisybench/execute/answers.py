"""What stored weights answer: the networks of a finished run put back, and asked again."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from noisybench.methods.algorithm import Algorithm
from noisybench.methods.task import Task
from noisybench.methods.two_networks import answer as mean_probability
from noisybench.store import read_bytes

Answer = dict[str, Tensor]
Weights = Mapping[str, Tensor]


def best_answer(
    path: Path, task: Task, algorithm: Algorithm, images: Tensor, stored: Mapping[str, Tensor]
) -> Answer | None:
    """Classes of all training and of the test ``images`` by the weights in ``model.pt``; ValueError if it is damaged.

    A method answers with one network, with several, or with something fitted at the end, and may have made networks in
    a later phase. Each way is tried until one gives the ``stored`` predictions; else the method's own way counts.
    None where no way gives them and the method's own cannot be taken from its networks alone.
    """
    certain: Answer | None = None
    for own, predict in _ways(read_weights(path, task), task, algorithm):
        answer = {
            "train": task.evaluate(predict, task.images).argmax(dim=1),
            "test": task.evaluate(predict, images).argmax(dim=1),
        }
        if all(torch.equal(answer[part], stored[part]) for part in stored):
            return answer
        certain = answer if own and certain is None else certain
    return certain


def read_weights(path: Path, task: Task) -> list[Weights]:
    """The state of each network in ``model.pt``; ValueError where it holds something else."""
    try:
        state = torch.load(io.BytesIO(read_bytes(path)), map_location=task.device, weights_only=True)
    except Exception as error:  # what torch cannot or will not read raises nearly anything
        raise ValueError(f"model.pt cannot be read ({str(error).partition(chr(10))[0]})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError("model.pt holds something else than weights")
    if any(set(state) == set(network.state_dict()) for network in [*task.models, _spare(task)]):
        return [state]
    networks: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        number, _, name = key.partition(".")
        networks.setdefault(number, {})[name] = value
    return [networks[number] for number in sorted(networks, key=lambda n: (len(n), n))]


def _ways(
    networks: Sequence[Weights], task: Task, algorithm: Algorithm
) -> Iterator[tuple[bool, Callable[[Tensor], Tensor]]]:
    """``(certainly the method's own, images -> logits)``, that one first."""
    if len(task.models) == len(networks):
        for model, state in zip(task.models, networks, strict=True):
            _fill(model, state)
        yield algorithm.answers_with_networks, algorithm.predict
        if len(networks) == 1:
            return
    spares = [_spare(task) for _ in networks]
    for spare, state in zip(spares, networks, strict=True):
        _fill(spare, state)
    for spare in spares:
        own = len(networks) == 1 and algorithm.answers_with_networks
        yield own, lambda images, net=spare: task.forward(net, images)  # type: ignore[misc]  # net is bound, not asked for
    if len(networks) > 1:
        yield False, lambda images: mean_probability(task, spares, images, True)
        yield False, lambda images: torch.stack([task.forward(net, images) for net in spares]).mean(dim=0)


def _spare(task: Task) -> nn.Module:
    """A network of the run's architecture that the method does not know."""
    network = task.model()
    task.models.remove(network)
    return network.eval()


def _fill(network: nn.Module, state: Weights) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"model.pt is of another network ({str(error).partition(chr(10))[0]})") from error
