"""The mentor: a small network from (loss, difference to the threshold, percent of training) to a weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Mentor(nn.Module):
    """MentorNet (Jiang et al. 2018): label embedding of 2, frozen embedding of 5 for the percent of training (0..99), a
    bidirectional LSTM of one unit that reads (loss, difference) as a single step, 20 tanh units, a logit.

    All labels are embedded as label 0, as the authors' code has it. Weights are drawn from ``generator``: standard
    normal for the last two layers and the LSTM's biases at 0, uniform (Glorot) elsewhere. Differs from the authors'
    code, whose last bias is added to the last layer's weights instead of its output.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.label_embedding = nn.Embedding(2, 2)
        self.percent_embedding = nn.Embedding(100, 5)
        self.forward_cell, self.backward_cell = nn.LSTMCell(2, 1), nn.LSTMCell(2, 1)
        self.hidden, self.last = nn.Linear(9, 20), nn.Linear(20, 1)
        for name, parameter in self.named_parameters():
            if name.startswith(("hidden", "last")):
                nn.init.normal_(parameter, generator=generator)
            elif parameter.ndim == 1:
                nn.init.zeros_(parameter)
            else:
                nn.init.xavier_uniform_(parameter, generator=generator)
        self.percent_embedding.requires_grad_(False)

    def forward(self, losses: Tensor, differences: Tensor, percents: Tensor) -> Tensor:
        """Logits ``[B]`` from losses, differences ``[B]`` and percents int64 ``[B]``; their sigmoid is the weight."""
        step = torch.stack([losses, differences], dim=1)
        parts = [self.label_embedding(torch.zeros_like(percents)), self.percent_embedding(percents.clamp(0, 99))]
        parts += [self.forward_cell(step)[0], self.backward_cell(step)[0]]
        logits: Tensor = self.last(torch.tanh(self.hidden(torch.cat(parts, dim=1))))
        return logits.squeeze(1)


def fit_mentor(
    mentor: Mentor,
    rows: Tensor,
    *,
    steps: int,
    generator: torch.Generator,
    batch_size: int = 256,
    learning_rate: float = 0.1,
) -> float:
    """Fit to a dump float32 ``[n, 4]`` of loss, difference, percent and target (1: the noisy label is right).

    Binary cross entropy, Adam, learning rate times 0.9 after each thirtieth of the steps, gradient norm at most 5: the
    authors' way, except that they take 30,000 steps with batches of 32. Returns the last cross entropy on all rows. On
    the CPU.
    """
    losses, differences, percents, targets = rows.unbind(dim=1)
    percents = percents.long()
    learnt = [parameter for parameter in mentor.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learnt, lr=learning_rate)
    every = max(1, steps // 30)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * 0.9 ** (step // every)
        chosen = torch.randint(len(rows), (min(batch_size, len(rows)),), generator=generator)
        logits = mentor(losses[chosen], differences[chosen], percents[chosen])
        optimizer.zero_grad()
        functional.binary_cross_entropy_with_logits(logits, targets[chosen]).backward()  # type: ignore[no-untyped-call]  # torch's own
        nn.utils.clip_grad_norm_(learnt, 5.0)
        optimizer.step()
    with torch.no_grad():
        return float(functional.binary_cross_entropy_with_logits(mentor(losses, differences, percents), targets))
