"""`enginehouse config`: what may be set, what is set, and whether it is right.

Every command has this family in its list, so what it needs itself is imported when it runs.
"""

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enginehouse.errors import SettingsError

if TYPE_CHECKING:
    from enginehouse.settings import Settings

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="What may be set, what is set, and whether it is right.")

File = Annotated[Path | None, typer.Argument(help="Settings file; without it, the one `serve` would take.")]


@app.command()
def example() -> None:
    """Print a commented settings file that holds every key with its default."""
    from enginehouse.settings import describe

    typer.echo(describe.example(), nl=False)


@app.command()
def schema() -> None:
    """Print the JSON schema of the settings file, for editors."""
    from enginehouse.settings import describe

    typer.echo(json.dumps(describe.json_schema(), indent=2))


@app.command()
def reference() -> None:
    """Print the reference page of all settings, as Markdown."""
    from enginehouse.settings import describe

    typer.echo(describe.reference(), nl=False)


@app.command()
def check(
    file: File = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: `file`, `values_set` and `models`.")] = False,
) -> None:
    """Say whether the settings are right: exit code 0, or 2 and every mistake."""
    path, settings = _settings(file)
    if as_json:
        told = {"file": path and str(path), "values_set": len(settings.origins), "models": len(settings.models)}
        typer.echo(json.dumps(told, indent=2))
        return
    source = str(path) if path else "No settings file; the defaults and the environment"
    typer.echo(f"{source}: right, {len(settings.origins)} values set, {len(settings.models)} models.")


@app.command()
def show(
    file: File = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: `values` and `origins`.")] = False,
) -> None:
    """Print the settings in force and where each comes from; secrets are masked."""
    from enginehouse.settings import describe

    shown = describe.show(_settings(file)[1])
    if as_json:
        typer.echo(json.dumps(shown, indent=2))
    else:
        for line in _lines(shown["values"], shown["origins"], ()):
            typer.echo(line)


def _settings(file: Path | None) -> tuple[Path | None, "Settings"]:
    from enginehouse.settings import current_environ, load, locate

    environ = current_environ()
    with _mistakes_exit():
        path = locate(file, environ)
        return path, load(path, environ)


@contextmanager
def _mistakes_exit() -> Generator[None]:
    """A mistake in the settings is the operator's to mend: message on stderr, exit code 2, no stack trace."""
    try:
        yield
    except SettingsError as error:
        typer.echo(error.message, err=True)
        raise typer.Exit(2) from None


def _lines(values: Mapping[str, Any], origins: Mapping[str, str], path: tuple[str, ...]) -> Iterator[str]:
    """YAML, one value a line, with its origin behind it."""
    from enginehouse.settings import describe

    indent = "  " * len(path)
    for name, value in values.items():
        here = (*path, name)
        if isinstance(value, Mapping) and value:
            yield f"{indent}{describe.scalar(name)}:"
            yield from _lines(value, origins, here)  # pyright: ignore[reportUnknownArgumentType] - JSON
        else:
            origin = origins.get(".".join(here), "default")
            yield f"{indent}{describe.scalar(name)}: {describe.scalar(value)}  # {origin}"
