"""Options that many commands have."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Config", "Json", "Key", "Output", "Url"]

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file; else CONFIG_PATH, else enginehouse.yaml here."),
]
Url = Annotated[str | None, typer.Option(metavar="URL", help="A running service; else the one in the settings.")]
Key = Annotated[str | None, typer.Option(metavar="KEY", help="Key for that service; else the one in the settings.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Output = Annotated[Path | None, typer.Option(metavar="FILE", help="Write here; else to standard output.")]
