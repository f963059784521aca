"""The commands beside ``report``: compare, leaderboard and cite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from noisybench.errors import InputError


def register(app: typer.Typer) -> None:
    """Add these commands to the program's."""
    app.command()(compare)
    app.command()(leaderboard)
    app.command()(cite)


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="A suite's folder: the old version, or yours.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The new version, or mine.")],
    accuracy: Annotated[
        str | None, typer.Option(help="Selection rule: last, last10, validation or best. Default: A's.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="KEY=A|B", help="Compare these runs only; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write it too: FILE.md, FILE.csv or FILE.json.")] = None,
) -> None:
    """Compare two results folders cell by cell: differences with intervals and significance, and what else differs."""
    from noisybench.report import compare as comparing
    from noisybench.report import contrast
    from noisybench.report.merge import read_studies
    from noisybench.store import write_atomic

    if out is not None and out.suffix not in contrast.FORMS:
        raise InputError(f"--out {out}: a comparison is written as {', '.join(contrast.FORMS)}")
    studies = [read_studies([folder], only or ()) for folder in (first, second)]
    names = [study.named for study in studies]
    if names[0] == names[1]:
        names = [f"{name} in {folder}" for name, folder in zip(names, (first, second), strict=True)]
    found = comparing.contrast(studies[0], studies[1], (names[0], names[1]), accuracy)
    typer.echo(contrast.text(found), nl=False)
    if out is not None:
        write_atomic(out, contrast.FORMS[out.suffix](found).encode())
        typer.echo(f"\nWrote {out}")


def leaderboard(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Every report.json in and below it counts.")],
    out: Annotated[Path | None, typer.Option(help="FILE.html or FILE.md. Default: index.html in the folder.")] = None,
) -> None:
    """Order the methods of all reports under a folder by data set and noise, on one page with links."""
    from noisybench.report import leaderboard as boards
    from noisybench.store import write_atomic

    out = out or folder / "index.html"
    if out.suffix not in boards.FORMS:
        raise InputError(f"--out {out}: a leaderboard is written as {' or '.join(boards.FORMS)}")
    board = boards.gather(folder, out)
    write_atomic(out, boards.FORMS[out.suffix](board).encode())
    for line in board.left_out:
        typer.echo(f"Left out: {line}")
    reports = "1 report" if board.reports == 1 else f"{board.reports} reports"
    typer.echo(f"{reports}, {len(board.tables)} tables: {out}")


def cite(
    keys: Annotated[
        list[str], typer.Argument(metavar="KEY...", help="Citation keys, components (sam), or sources of scores.")
    ],
) -> None:
    """Print BibTeX entries."""
    from noisybench.cli.literature import print_bibtex

    print_bibtex(keys)
