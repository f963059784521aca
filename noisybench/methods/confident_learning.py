"""Confident learning: find wrong labels from out-of-fold predictions, leave them out, train anew."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import warnings
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from noisybench.data.loader import Loader
from noisybench.errors import MissingExtra
from noisybench.methods.algorithm import Phase, Suspicion
from noisybench.methods.erm import EmpiricalRiskMinimisation
from noisybench.methods.task import Task
from noisybench.registry import Epochs, algorithm
from noisybench.seeding import Draws

FilterBy = Literal["prune_by_noise_rate", "prune_by_class", "both", "confident_learning", "predicted_neq_given"]
"""cleanlab's names of its rules."""


def stratified_folds(labels: np.ndarray, folds: int, draws: Draws) -> np.ndarray:
    """The fold 0 .. ``folds`` - 1 of each sample ``[n]``: every class is dealt out in random order, and the next class
    goes on where it ended, so that folds and their shares of a class differ by at most one sample."""
    order = draws.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    assigned = np.empty(len(labels), np.int64)
    assigned[order] = np.arange(len(labels)) % folds
    return assigned


def label_issues(labels: np.ndarray, probabilities: np.ndarray, filter_by: FilterBy) -> np.ndarray:
    """True ``[n]`` where cleanlab calls the label wrong, from out-of-sample ``probabilities [n, K]``.

    Raises MissingExtra without cleanlab.
    """
    _require_cleanlab()
    find_label_issues = importlib.import_module("cleanlab.filter").find_label_issues
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="May not flag all label issues", category=UserWarning)
        issues: np.ndarray = find_label_issues(labels, probabilities, filter_by=filter_by, n_jobs=1)
    return issues


def _require_cleanlab() -> None:
    if importlib.util.find_spec("cleanlab") is None:
        raise MissingExtra("cleanlab", "cleanlab", "algorithm 'confident_learning'")


@algorithm("confident_learning", cite="northcutt2021confident", extra="cleanlab")
class ConfidentLearning(EmpiricalRiskMinimisation):
    """Cross-validate, prune the labels that cleanlab calls wrong, train on the rest  (Northcutt et al. 2021).

    ``folds`` phases: a fresh network is trained for ``fold_epochs`` (null: ``training.epochs``) on the training part
    without one fold, stratified by noisy label, and predicts it (last weights, eval mode, no augmentation). From these
    out-of-sample probabilities cleanlab (extra ``cleanlab``) estimates the joint distribution of noisy and true labels
    and with it which labels are wrong; ``filter_by`` is its rule: ``prune_by_noise_rate`` (for each off-diagonal cell
    of the joint, as many samples as it says, by margin), ``prune_by_class``, ``both``, ``confident_learning`` (the
    off-diagonal of the confident joint) or ``predicted_neq_given``. Phase ``train``: a fresh network on what is left,
    for ``training.epochs``. Loss, optimiser, schedule and mixup are the suite's in every phase.

    Nothing is known about the noise: ``estimated_noise_rate`` is the pruned share. A class is never pruned away as a
    whole; where fewer than two images are left, all stay. Differs from cleanlab's ``CleanLearning`` in that the
    classes are not weighed anew after pruning. Results depend on cleanlab's version. Cost: ``folds`` (1 - 1 / folds)
    times plain training on top. Memory: one network at a time, N x K probabilities.
    """

    state = ("probabilities", "kept")
    in_memory = ("probabilities",)

    def __init__(
        self,
        task: Task,
        *,
        folds: Annotated[int, Field(ge=2)] = 4,
        fold_epochs: Annotated[Epochs, Field(ge=1)] | None = None,
        filter_by: FilterBy = "prune_by_noise_rate",
    ) -> None:
        _require_cleanlab()
        super().__init__(task)
        self.fold_epochs, self.filter_by = fold_epochs, filter_by
        labels = task.labels[task.index].cpu().numpy()
        self.folds = min(folds, len(labels))
        assigned = stratified_folds(labels, self.folds, Draws(task.seed, "method", "folds"))
        self.assigned = torch.from_numpy(assigned).to(task.device)
        self.probabilities = torch.zeros(len(task.index), task.num_classes, dtype=torch.float64)
        self.kept = torch.ones(len(task.index), dtype=torch.bool, device=task.device)

    def phases(self, training: Mapping[str, Any]) -> list[Phase]:
        """``fold 1`` and so on, then ``train``."""
        epochs = int(training["epochs"])
        folds = [Phase(f"fold {number + 1}", self.fold_epochs or epochs) for number in range(self.folds)]
        return [*folds, Phase("train", epochs)]

    def begin_phase(self, number: int, phase: Phase) -> None:
        """The network of the fold before predicts it and goes; after the last fold labels are pruned."""
        if number == 0:
            return
        self._predict_fold(number - 1)
        if number == self.folds:
            self._prune()
        self.task.release([self.model], [self.optimizer])
        self.model = self.task.model()
        self.optimizer = self.task.optimizer(self.model)

    def loader(self, phase: Phase) -> Loader:
        """Everything but the fold, or what was kept."""
        fold = self._fold_of(phase)
        index = self.task.index[self.kept if fold is None else self.assigned != fold]
        return self.task.loader(index, batch_size=min(self.task.training["batch_size"], len(index)))

    def suspicion(self) -> dict[str, Suspicion]:
        """1 - p of the given label, out of fold, those that cleanlab calls wrong before all others."""
        labels = self.task.labels[self.task.index].cpu()
        doubt = 1 - self.probabilities.gather(1, labels[:, None]).flatten()
        pruned = ~self.kept.cpu()
        return {"confident_learning": Suspicion(doubt + pruned.double(), float(pruned.double().mean()))}

    def details(self) -> dict[str, float]:
        """``kept_share`` of the training part and ``estimated_noise_rate``, the rest."""
        share = float(self.kept.double().mean())
        return {"kept_share": share, "estimated_noise_rate": 1 - share}

    def _fold_of(self, phase: Phase) -> int | None:
        return None if phase.name == "train" else int(phase.name.removeprefix("fold ")) - 1

    def _predict_fold(self, fold: int) -> None:
        rows = self.assigned == fold
        images = self.task.images[self.task.index[rows]]
        logits: Tensor = self.task.evaluate(functools.partial(self.task.forward, self.model), images)
        self.probabilities[rows.cpu()] = logits.cpu().double().softmax(dim=1)

    def _prune(self) -> None:
        labels = self.task.labels[self.task.index].cpu().numpy()
        issues = label_issues(labels, self.probabilities.numpy(), self.filter_by)
        kept = torch.from_numpy(~issues)
        self.kept = (kept if int(kept.sum()) >= 2 else torch.ones_like(kept)).to(self.task.device)
