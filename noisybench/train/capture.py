"""Whole training steps captured as CUDA graphs, so that a step costs one launch. Not measured on a GPU yet.

A step is captured where it is the same sequence of kernels every time: its tensors stay where they are, plain numbers
in it do not change. What does change from step to step comes in through static buffers (the batch and
``Algorithm.step_inputs``) and scalars on the device (learning rates, scheduled radii of SAM).

Capturing needs warm-up. The first steps of a kind are taken eagerly, on real batches, so there is nothing to undo; to
capture runs no kernel, so what has to be undone is only what Python remembers (counters). A step that cannot be
captured goes on eagerly, with one line in the log.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.algorithm import Algorithm
from noisybench.methods.task import Numerics, Task
from noisybench.optim import Wrapper
from noisybench.train.numerics import may_capture

WARM_UP = 3
"""Eager steps of a kind before it is captured: libraries choose their kernels, optimisers make their state."""

Step = Callable[[Batch], Tensor]


class Graphs(Protocol):
    """What captures: CUDA, or a stand-in for it in tests."""

    scalars: torch.dtype
    """Type of learning rates on the device."""

    def warm(self, step: Callable[[], Tensor]) -> Tensor:
        """Take a step eagerly, as a warm-up."""

    def capture(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Record a step without taking it: what takes it again and again, and the tensor that its loss comes in."""


class CudaGraphs:
    """CUDA graphs on one device. Those that are alive share a memory pool, since one runs at a time."""

    scalars = torch.float32  # fused optimisers read no other

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's own
        self.last: weakref.ref[Any] | None = None

    def warm(self, step: Callable[[], Tensor]) -> Tensor:
        """On the stream that captures, as torch asks for."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        try:
            with torch.cuda.stream(self.stream):
                return step()
        finally:
            current.wait_stream(self.stream)

    def capture(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Other threads may use CUDA meanwhile."""
        graph, last = torch.cuda.CUDAGraph(), self.last() if self.last is not None else None
        pool = None if last is None else last.pool()  # a pool goes with the last of its graphs
        with (  # the outer context goes back to this stream also where the capture fails
            torch.cuda.stream(torch.cuda.current_stream(self.device)),
            torch.cuda.graph(graph, pool=pool, stream=self.stream, capture_error_mode="thread_local"),
        ):
            loss = step()
        self.last = weakref.ref(graph)
        return graph.replay, loss


def graphs_for(numerics: Numerics) -> Graphs | None:
    """What captures the steps of a run; None where they are taken eagerly."""
    if not numerics.capture or not may_capture(numerics.device):
        return None
    return CudaGraphs(torch.device(numerics.device))


class CannotCapture(Exception):
    """A step that a graph would not repeat faithfully."""


@dataclass
class _Captured:
    """A graph with its static batch, and what Python has to do for each replay."""

    replay: Callable[[], None]
    loss: Tensor
    batch: Batch
    gradients: int
    counts: list[tuple[Wrapper, int, int]]  # steps and passes
    moved: list[Any]

    def __call__(self, task: Task, batch: Batch) -> Tensor:
        for static, new in zip(_tensors(self.batch), _tensors(batch), strict=True):
            static.copy_(new)
        self.replay()
        task.gradient_evaluations += self.gradients
        for optimizer, steps, passes in self.counts:
            optimizer.count += steps
            optimizer.gradient_passes = passes
        for models in self.moved:
            task.moved(models)
        return self.loss


class CapturedSteps:
    """Turns the steps of a task's algorithm into graphs, one for each kind of step; ``task.capture`` is one of these.

    A kind is given by the shapes of the batch, what the optimisers do in this step (``Wrapper.kind``) and, unless the
    algorithm says that its step is ``steady``, the epoch: whatever ``begin_epoch`` chooses is captured anew.
    """

    def __init__(self, task: Task, graphs: Graphs) -> None:
        self.task, self.graphs = task, graphs
        self.warmed: dict[Hashable, int] = {}
        self.captured: dict[tuple[int | None, Hashable], _Captured] = {}
        self.given_up = False
        self.places: list[int] = []  # where networks and optimisers lay at the end of the last epoch

    @contextlib.contextmanager
    def __call__(self, algorithm: Algorithm, batch_size: int) -> Iterator[Step]:
        """The step of an epoch's full batches, captured; others, and steps that refuse, are taken eagerly."""
        wrappers = [optimizer for optimizer in self.task.optimizers if isinstance(optimizer, Wrapper)]
        if self.given_up or not algorithm.capturable or not all(w.capturable for w in wrappers):
            yield algorithm.step
            return
        epoch = None if algorithm.steady else self.task.epoch
        for wrapper in wrappers:
            wrapper.hold(self.graphs.scalars)
        if self.places != self._places():  # another phase: other networks, or an optimiser that starts anew
            self.captured, self.warmed = {}, {}
        self.captured = {key: captured for key, captured in self.captured.items() if key[0] == epoch}
        try:
            yield lambda batch: self._step(algorithm, wrappers, batch, epoch, batch_size)
        finally:
            self.places = self._places()
            for wrapper in wrappers:
                wrapper.release()

    def _step(
        self, algorithm: Algorithm, wrappers: list[Wrapper], batch: Batch, epoch: int | None, batch_size: int
    ) -> Tensor:
        if self.given_up or len(batch.index) != batch_size:
            return algorithm.step(batch)
        shapes = tuple(tuple(tensor.shape) for tensor in _tensors(batch))
        kind = shapes, tuple(wrapper.kind() for wrapper in wrappers)
        if (epoch, kind) in self.captured:
            return self.captured[epoch, kind](self.task, batch)
        if self.warmed.get(kind, 0) < WARM_UP:
            self.warmed[kind] = self.warmed.get(kind, 0) + 1
            return self._warm_up(algorithm, batch)
        try:
            captured = self.captured[epoch, kind] = self._capture(algorithm, wrappers, batch)
        except Exception as error:  # CUDA, its libraries and methods may raise anything here
            self._give_up(f"{type(error).__name__}: {error}")
            return algorithm.step(batch)
        return captured(self.task, batch)

    def _places(self) -> list[int]:
        tensors = [t for model in self.task.models for t in (*model.parameters(), *model.buffers())]
        wrappers = [optimizer for optimizer in self.task.optimizers if isinstance(optimizer, Wrapper)]
        return [tensor.data_ptr() for tensor in tensors] + [place for wrapper in wrappers for place in wrapper.places()]

    def _warm_up(self, algorithm: Algorithm, batch: Batch) -> Tensor:
        before = self._draws()
        loss = self.graphs.warm(lambda: algorithm.step(batch))
        if any(not torch.equal(one, two) for one, two in zip(before, self._draws(), strict=True)):
            self._give_up("the step draws random numbers")
        return loss

    def _draws(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        return [*states, torch.cuda.get_rng_state(self.task.device)] if self.task.device.type == "cuda" else states

    def _capture(self, algorithm: Algorithm, wrappers: list[Wrapper], batch: Batch) -> _Captured:
        """Record a step. What Python remembers of it is taken back, also where it fails."""
        task, static, places = self.task, _copied(batch), self._places()
        attributes, gradients = dict(vars(algorithm)), task.gradient_evaluations
        counts = [(wrapper, wrapper.count, wrapper.gradient_passes) for wrapper in wrappers]
        moves: list[Any] = []
        task.moves = moves
        try:
            with contextlib.ExitStack() as stack:
                for wrapper in wrappers:
                    stack.enter_context(wrapper.capturing())
                replay, loss = self.graphs.capture(lambda: algorithm.step(static))
            changed = [key for key, value in vars(algorithm).items() if value is not attributes.get(key)]
            if changed:
                raise CannotCapture(f"the step gives '{changed[0]}' a new value")
            if self._places() != places:
                raise CannotCapture("the step puts what it remembers in a new place")
            return _Captured(
                replay,
                loss,
                static,
                task.gradient_evaluations - gradients,
                [(w, w.count - count, w.gradient_passes) for w, count, _ in counts],
                moves,
            )
        finally:
            task.moves = None
            task.gradient_evaluations = gradients
            vars(algorithm).update(attributes)
            for wrapper, count, passes in counts:
                wrapper.count, wrapper.gradient_passes = count, passes
            for model in task.models:
                model.zero_grad(set_to_none=True)

    def _give_up(self, reason: str) -> None:
        told = reason.splitlines()[0]
        self.given_up = True
        self.captured.clear()
        for optimizer in self.task.optimizers:
            if isinstance(optimizer, Wrapper):
                optimizer.release()
        self.task.numerics = replace(self.task.numerics, capture=False, capture_error=told)
        self.task.log(f"steps are not captured as CUDA graphs ({told}); the run takes them one by one")


def _tensors(batch: Batch) -> list[Tensor]:
    images = batch.images if isinstance(batch.images, list) else [batch.images]
    return [batch.index, *images, batch.labels, *batch.inputs]


def _copied(batch: Batch) -> Batch:
    images = [i.clone() for i in batch.images] if isinstance(batch.images, list) else batch.images.clone()
    return Batch(batch.index.clone(), images, batch.labels.clone(), tuple(item.clone() for item in batch.inputs))
