"""``noisybench verify``: does what is recorded still hold?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from noisybench import registry
from noisybench.cli.interrupt import terminable

console = Console(soft_wrap=True, highlight=False, markup=False)
progress = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


@terminable()
def verify_runs(
    places: Sequence[Path], *, again: bool, device: str, data_dir: Path | None, plugins: Sequence[Path]
) -> int:
    """Verify every run that ``places`` name and say what held. 0: all hold; 1: one does not, or could not be said."""
    from noisybench.data import DataFolder, default_data_dir
    from noisybench.execute.finding import find_runs
    from noisybench.execute.retrain import retrain
    from noisybench.execute.verify import verify
    from noisybench.train.numerics import choose_device

    for plugin in plugins:
        registry.load_plugin(plugin)
    homes = list(dict.fromkeys(home.resolve() for place in places for home in find_runs(place)))
    folder = DataFolder(data_dir or default_data_dir(), Path.cwd(), download=False)
    chosen = None if device == "auto" else choose_device(device)
    found = []
    for home in homes:
        if again:
            progress.print(f"training {home.name} again ...")
        one = retrain(home, folder, device=chosen) if again else verify(home, folder, device=chosen)
        found.append(one)
        for line in lines_of(one):
            console.print(line)
    if len(found) > 1:
        console.print(summary(found))
    return 0 if all(one.holds for one in found) else 1


def lines_of(found: Any) -> list[str]:
    """What to say about one run: the verdict first, in one line; then what is wrong, open, or worth knowing."""
    if found.holds:
        head = f"holds, {found.level}: {found.run_id} ({', '.join(found.held)})"
    elif found.holds is False:
        head = f"DOES NOT HOLD: {found.run_id}: {found.wrong[0]}"
    else:
        held = f" (what holds: {', '.join(found.held)})" if found.held else ""
        head = f"not verified: {found.run_id}: {found.open[0]}{held}"
    rest = [*found.wrong[1:], *(found.open if found.wrong else found.open[1:]), *found.notes]
    return [" ".join(head.split()), *(f"  {' '.join(text.split())}" for text in rest)]


def summary(found: Sequence[Any]) -> str:
    """How many runs hold, at which level, and how many do not."""
    counts = {
        "hold bitwise": sum(bool(one.holds) and one.level == "bitwise" for one in found),
        "hold statistically": sum(bool(one.holds) and one.level != "bitwise" for one in found),
        "do not hold": sum(one.holds is False for one in found),
        "could not be verified": sum(one.holds is None for one in found),
    }
    return f"{len(found)} runs: {', '.join(f'{count} {what}' for what, count in counts.items() if count)}."
