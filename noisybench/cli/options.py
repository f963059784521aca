"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Edit the suite first; repeatable.")
]
Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", metavar="FILE.py", help="Register a file's components.")
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where data lies. Default: $NOISYBENCH_DATA, else a user cache.")
]
