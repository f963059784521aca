"""RoG: a robust generative classifier on the features of a trained network (Lee et al. 2019)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import linear

from noisybench.data import split_holdout
from noisybench.data.loader import Loader
from noisybench.methods import generative
from noisybench.methods.algorithm import Phase
from noisybench.methods.erm import EmpiricalRiskMinimisation
from noisybench.methods.hidden_features import hidden_features
from noisybench.methods.task import Task
from noisybench.registry import algorithm


@algorithm("rog", cite="lee2019rog", uses_holdout=True)  # its noisy labels steer the weights of the layers
class RobustGenerativeClassifier(EmpiricalRiskMinimisation):
    """Generative classifiers on hidden layers in place of the softmax layer  (Lee et al. 2019, RoG).

    Training is that of ``erm`` with the suite's loss, optimiser and mixup. After the last epoch (``finish``), for each
    hidden layer (the blocks of the last stage of a residual network, see ``hidden_features``): class means and one
    tied covariance of a random 70 % of each class; one MCD step (the 70 % of each class closest to its mean, and their
    mean and covariance); linear discriminant analysis with a uniform prior. The layers' probabilities are averaged
    with convex weights, fitted by Adam to the log likelihood of the noisy labels of held-out images, of which the half
    closest to their own label's class in the last layer is kept. No gradient reaches the network. Predictions before
    the last epoch's are those of the softmax layer, so the selection rule ``last`` is the one that shows RoG.

    ``fraction``: the share kept by start and MCD step. ``validation``: the share of the training part that the method
    holds out for the weights, stratified by noisy labels and never trained on, where the suite has no
    ``dataset.validation``; with one, that hold-out serves, and nothing else is taken away.

    Authors' training: ResNet-34, SGD lr 0.1, momentum 0.9, weight decay 5e-4, batch 128, 120 epochs:
    ``schedule: {name: multistep, milestones: [40, 80], gamma: 0.1}``.

    Differs from the authors' code, which fits the weights on 50 images a class of the *test* set; whose first
    covariance is that of the last class (see ``generative.initial_gaussians``); and whose statistics are float32: they
    are float64 here, with float32's cut for small eigenvalues. Memory: the features of the training set in float64
    on the CPU, N times the sum of the layers' widths.
    """

    answers_with_networks = False
    state = ("weights", "means", "precisions", "head_weights", "head_biases", "fitted_on")

    def __init__(
        self,
        task: Task,
        *,
        fraction: Annotated[float, Field(gt=0, le=1)] = 0.7,
        validation: Annotated[float, Field(gt=0, le=0.5)] = 0.05,
    ) -> None:
        super().__init__(task)
        self.fraction = fraction
        self.fit_index, self.validation_index = task.index, task.holdout
        if len(task.holdout) == 0:
            kept, out = split_holdout(task.labels[task.index].cpu().numpy(), validation, task.seed)
            self.fit_index = task.index[torch.from_numpy(kept).to(task.device)]
            self.validation_index = task.index[torch.from_numpy(out).to(task.device)]
        self.weights: Tensor | None = None
        self.means: list[Tensor] = []
        self.precisions: list[Tensor] = []
        self.head_weights: list[Tensor] = []
        self.head_biases: list[Tensor] = []
        self.fitted_on = 0
        task.evaluate(self._features, task.images[:2])  # a network without hidden layers is refused now

    def loader(self, phase: Phase) -> Loader:
        """The training part without what the method holds out."""
        return self.task.loader(index=self.fit_index)

    def finish(self) -> None:
        """Fit the classifiers and their weights; a moment beside training."""
        generator, num_classes = self.task.generator("rog"), self.task.num_classes
        labels = self.task.labels[self.fit_index].cpu()
        held_labels = self.task.labels[self.validation_index].cpu()
        train, held = self._layers(self.fit_index), self._layers(self.validation_index)
        self.means, self.precisions, heads = [], [], []
        for features in train:
            means, precision = generative.initial_gaussians(features, labels, num_classes, self.fraction, generator)
            means, tied = generative.robust_gaussians(features, labels, means, precision, self.fraction)
            self.means.append(means)
            self.precisions.append(generative.inverse_covariance(tied))
            heads.append(generative.linear_head(self.means[-1], self.precisions[-1]))
        near = generative.nearest_half(held[-1], held_labels, self.means[-1], self.precisions[-1])
        probabilities = torch.stack(
            [linear(features[near], *head).softmax(dim=1) for features, head in zip(held, heads, strict=True)]
        )
        weights = generative.ensemble_weights(probabilities, held_labels[near], generator)
        self.fitted_on = len(near)
        self.weights = weights.float().to(self.task.device)
        self.head_weights = [weight.float().to(self.task.device) for weight, _ in heads]
        self.head_biases = [bias.float().to(self.task.device) for _, bias in heads]

    def predict(self, images: Tensor) -> Tensor:
        """Log of the averaged probabilities ``[B, K]``; before ``finish`` the network's logits."""
        if self.weights is None:
            return super().predict(images)
        with self.task.autocast():
            layers = hidden_features(self.model, images)
        heads = zip(layers, self.head_weights, self.head_biases, strict=True)
        probabilities = torch.stack([linear(layer, weight, bias).softmax(dim=1) for layer, weight, bias in heads])
        return generative.mixture(probabilities, self.weights)

    def details(self) -> dict[str, float]:
        """Weight of each layer, first to last, and how many held-out images they were fitted on."""
        weights = [] if self.weights is None else self.weights.tolist()
        return {f"layer_weight_{n}": weight for n, weight in enumerate(weights)} | {"fitted_on": float(self.fitted_on)}

    def _features(self, images: Tensor) -> Tensor:
        with self.task.autocast():
            layers = hidden_features(self.model, images)
        self._widths = [layer.shape[1] for layer in layers]
        return torch.cat(layers, dim=1)

    def _layers(self, index: Tensor) -> list[Tensor]:
        """Features float64 ``[n, d]`` on the CPU, one tensor a layer, of training images without augmentation."""
        features = self.task.evaluate(self._features, self.task.images[index])
        return list(torch.split(features.cpu().double(), self._widths, dim=1))
