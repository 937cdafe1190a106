"""`enginehouse sessions`: what there is to say on the command line about one's conversations."""

from typing import Annotated, Literal

import typer

from enginehouse.cli.options import Config, Json, Key, Output, Url

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Your conversations with a running service.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The session's id, as `sessions list` shows it.")]


@app.command("list")
def list_command(
    file: Config = None,
    url: Url = None,
    key: Key = None,
    most: Annotated[int, typer.Option("--limit", min=1, help="How many, the last changed first.")] = 50,
    as_json: Json = False,
) -> None:
    """List your sessions."""
    from enginehouse.cli.sessions.run import run_list

    run_list(most, config=file, url=url, key=key, as_json=as_json)


@app.command("show")
def show_command(
    session_id: Id, file: Config = None, url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """Show what was said in a session, on the branch that is gone on with."""
    from enginehouse.cli.sessions.run import run_show

    run_show(session_id, config=file, url=url, key=key, as_json=as_json)


@app.command("export")
def export_command(
    session_id: Id,
    file: Config = None,
    url: Url = None,
    key: Key = None,
    output: Output = None,
    form: Annotated[
        Literal["json", "markdown"], typer.Option("--format", help="`json` has every branch.")
    ] = "json",
) -> None:
    """Write a session to a file."""
    from enginehouse.cli.sessions.run import run_export

    run_export(session_id, form, output, config=file, url=url, key=key)


@app.command("delete")
def delete_command(
    session_id: Id, file: Config = None, url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """Delete a session with all that was said in it."""
    from enginehouse.cli.sessions.run import run_delete

    run_delete(session_id, config=file, url=url, key=key, as_json=as_json)
