"""`enginehouse vectors`: what there is to say on the command line about collections."""

from pathlib import Path
from typing import Annotated

import typer

from enginehouse.cli.options import Config, Json, Key, Output, Url

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Collections of vectors of a running service.")

Collection = Annotated[str, typer.Argument(metavar="COLLECTION", help="The collection's name.")]


@app.command("list")
def list_command(file: Config = None, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """List your collections."""
    from enginehouse.cli.vectors.run import run_list

    run_list(config=file, url=url, key=key, as_json=as_json)


@app.command("export")
def export_command(
    name: Collection,
    file: Config = None,
    url: Url = None,
    key: Key = None,
    output: Output = None,
) -> None:
    """Write a collection with all its points as NDJSON."""
    from enginehouse.cli.vectors.run import run_export

    run_export(name, output, config=file, url=url, key=key)


@app.command("import")
def import_command(
    source: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="An export; else standard input.")] = None,
    file: Config = None,
    url: Url = None,
    key: Key = None,
    name: Annotated[str | None, typer.Option(metavar="COLLECTION", help="Its name here, if another.")] = None,
    as_json: Json = False,
) -> None:
    """Make a collection out of an export, whichever store that came from."""
    from enginehouse.cli.vectors.run import run_import

    run_import(source, name, config=file, url=url, key=key, as_json=as_json)
