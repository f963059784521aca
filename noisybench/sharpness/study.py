"""All measures of a run on all its sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from noisybench.optim.gradients import norm
from noisybench.seeding import torch_generator
from noisybench.sharpness import measures
from noisybench.sharpness.measures import Eigenvalue, Estimate
from noisybench.sharpness.trained import SETS, TrainedRun


@dataclass(frozen=True)
class Measured:
    """One set's figures. The increases are per radius, in the order of ``rhos``."""

    name: str
    images: int
    loss: float
    gradient_norm: float
    rhos: tuple[float, ...]
    sam: tuple[float, ...]
    random: tuple[Estimate, ...]
    adversarial: tuple[float, ...]
    eigenvalue: Eigenvalue
    trace: Estimate

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def measure(
    run: TrainedRun,
    *,
    rhos: Sequence[float] = (0.05, 0.1, 0.5),
    images: int = 2000,
    loss: str = "ce",
    draws: int = 20,
    steps: int = 20,
    probes: int = 50,
    products: int = 200,
    observe: Callable[[str], None] = lambda text: None,
) -> list[Measured]:
    """Measure ``run`` on each of ``SETS``, on at most ``images`` images of each (0: all). Deterministic: all draws come
    from one fixed seed, the same for every run."""
    rows = []
    for name in SETS:
        observe(name)
        objective = run.objective(name, images, loss)
        rows.append(
            Measured(
                name=name,
                images=len(objective.labels),
                loss=objective.value(),
                gradient_norm=float(norm(objective.gradient())),
                rhos=tuple(rhos),
                sam=tuple(measures.sam_increase(objective, rho) for rho in rhos),
                random=tuple(
                    measures.random_increase(objective, rho, torch_generator(0, "sharpness", "sphere"), draws)
                    for rho in rhos
                ),
                adversarial=tuple(measures.adversarial_increase(objective, rho, steps) for rho in rhos),
                eigenvalue=measures.largest_eigenvalue(
                    objective, torch_generator(0, "sharpness", "power"), products=products
                ),
                trace=measures.trace(objective, torch_generator(0, "sharpness", "probes"), probes),
            )
        )
    return rows
