"""The commands beside ``report``: cite."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add these commands to the program's."""
    app.command()(cite)


def cite(
    keys: Annotated[
        list[str], typer.Argument(metavar="KEY...", help="Citation keys, components (sam), or sources of scores.")
    ],
) -> None:
    """Print BibTeX entries."""
    from noisybench.cli.literature import print_bibtex

    print_bibtex(keys)
