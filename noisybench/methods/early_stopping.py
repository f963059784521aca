"""Early stopping on a noisy hold-out."""

from __future__ import annotations

import functools

from torch import Tensor

from noisybench.data.loader import Loader
from noisybench.errors import InputError
from noisybench.methods.erm import EmpiricalRiskMinimisation
from noisybench.methods.task import Task
from noisybench.registry import algorithm


@algorithm("early_stopping", needs_holdout=True, uses_holdout=True)  # its noisy labels choose the epoch
class EarlyStopping(EmpiricalRiskMinimisation):
    """Plain training that answers with the weights of its best epoch on the noisy hold-out, the earliest of equals.

    Trains for all epochs, as ``erm`` does (loss x optimiser x mixup); after each, accuracy on ``dataset.validation``'s
    images against their noisy labels (a teacher's predictions under ``relabel``) decides whether its weights replace
    those that answer. So ``last`` is the accuracy of the chosen weights, and the curve that of the best so far.
    InputError without a hold-out, and with ``averaging``, whose averages nobody would see. Memory: the
    network twice, its optimiser once.
    """

    state = ("best_accuracy", "best_epoch")

    def __init__(self, task: Task) -> None:
        if not len(task.holdout):
            raise InputError("algorithm 'early_stopping' needs a hold-out; set dataset.validation above 0, e.g. 0.1")
        if task.spec["method"].get("averaging") is not None:
            raise InputError("algorithm 'early_stopping' answers with the weights of one epoch; remove averaging")
        super().__init__(task)
        self.best = task.model()
        self.best_accuracy, self.best_epoch = -1.0, 0

    def train_epoch(self, epoch: int, loader: Loader) -> Tensor:
        """One pass, then a look at the hold-out."""
        mean = super().train_epoch(epoch, loader)
        task = self.task
        predicted = task.evaluate(functools.partial(task.forward, self.model), task.images[task.holdout]).argmax(dim=1)
        accuracy = float((predicted == task.labels[task.holdout]).double().mean())
        if accuracy > self.best_accuracy:
            self.best_accuracy, self.best_epoch = accuracy, epoch + 1
            self.best.load_state_dict(self.model.state_dict())
        return mean

    def predict(self, images: Tensor) -> Tensor:
        """Logits of the weights that did best so far."""
        return self.task.forward(self.best, images)

    def details(self) -> dict[str, float]:
        """The epoch (1-based) whose weights answer, and its accuracy in percent against the hold-out's noisy labels."""
        return {"stopped_at": float(self.best_epoch), "holdout_accuracy": 100.0 * self.best_accuracy}
