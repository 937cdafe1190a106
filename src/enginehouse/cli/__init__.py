"""The `enginehouse` command: one module a family of subcommands."""

import typer

from enginehouse.cli import config

__all__ = ["main"]

app = typer.Typer(no_args_is_help=True, help="One self-hosted service for every model a team uses.")
app.add_typer(config.app, name="config")


@app.callback()
def root() -> None:
    """One self-hosted service for every model a team uses."""


def main() -> None:
    """Run the command line."""
    app()
