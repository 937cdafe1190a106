"""`enginehouse models`: what there is to say on the command line about models."""

from typing import Annotated

import typer

from enginehouse.cli.options import Config, Json, Key, Url

__all__ = ["app"]

app = typer.Typer(invoke_without_command=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The model's id.")]
Set = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Its settings, as below `models` in the file.")
]


@app.callback()
def models_command(
    context: typer.Context, file: Config = None, url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """List the models of a running service, or those that are configured; add, edit or remove one."""
    if context.invoked_subcommand is None:
        from enginehouse.cli.models.run import show_models

        show_models(config=file, url=url, key=key, as_json=as_json)


@app.command("add")
def add_command(
    name: Id,
    settings: Set = None,
    file: Config = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Register a model on a running service, such as: add bert@2 source=hf:org/repo/file.gguf alias=prod."""
    from enginehouse.cli.registration import change, fields_of

    body = {**fields_of(settings or ()), "id": name}
    change("POST", None, body, config=file, url=url, key=key, as_json=as_json)


@app.command("edit")
def edit_command(
    name: Id,
    settings: Set = None,
    unset: Annotated[list[str] | None, typer.Option(metavar="KEY", help="Take this key away.")] = None,
    file: Config = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Change a registered model, such as: edit bert@2 ttl=600 move_aliases=true aliases='["prod"]'."""
    from enginehouse.cli.registration import change, fields_of

    body = fields_of(settings or (), unset or ())
    change("PATCH", name, body, config=file, url=url, key=key, as_json=as_json)


@app.command("remove")
def remove_command(name: Id, file: Config = None, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Delete a registered model; requests that run on it end first."""
    from enginehouse.cli.registration import change

    change("DELETE", name, None, config=file, url=url, key=key, as_json=as_json)
