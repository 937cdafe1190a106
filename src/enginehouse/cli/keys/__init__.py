"""`enginehouse keys`: what there is to say on the command line about API keys."""

from pathlib import Path
from typing import Annotated

import typer

from enginehouse.cli.options import Config, Json

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="API keys, kept in the database; a running service follows in a second."
)

Id = Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `keys list` shows it.")]


@app.command("create")
def create_command(
    file: Config = None,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="A name for people.")] = None,
    user: Annotated[str | None, typer.Option(metavar="ID", help="Whose usage it is; else the key's own.")] = None,
    tenant: Annotated[str | None, typer.Option(metavar="ID", help="To which tenant it belongs.")] = None,
    role: Annotated[str | None, typer.Option(metavar="ROLE", help="`admin` may manage; else `user`.")] = None,
    tier: Annotated[str | None, typer.Option(metavar="TIER", help="Which limits count; else `standard`.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A model it may use, `*` for any ending; else all.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="A label under which its usage is also summed up.")
    ] = None,
    requests: Annotated[str | None, typer.Option(metavar="RATE", help="Its own limit, such as 100/hour.")] = None,
    tokens: Annotated[str | None, typer.Option(metavar="RATE", help="Its own limit, such as 50000/day.")] = None,
    concurrent: Annotated[int | None, typer.Option(min=1, help="Requests at the same time.")] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="DOLLARS/PERIOD", help="Such as 10/month, 2.50/day or 100/total.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="WHEN", help="A date, or a time from now such as 30d, 12h.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, this once."""
    from enginehouse.cli.keys.run import run_create

    fields = {
        "name": name,
        "user_id": user,
        "tenant": tenant,
        "role": role,
        "tier": tier,
        "models": model,
        "tags": tag,
        "limits": {"requests": requests, "tokens": tokens, "concurrent": concurrent},
    }
    run_create(_settings(file), fields, budget=budget, expires=expires, as_json=as_json)


@app.command("list")
def list_command(
    file: Config = None,
    user: Annotated[str | None, typer.Option(metavar="ID", help="Only this user's.")] = None,
    as_json: Json = False,
) -> None:
    """List every key, also those that have ended; none is told."""
    from enginehouse.cli.keys.run import run_list

    run_list(_settings(file), user, as_json=as_json)


@app.command("revoke")
def revoke_command(key: Id, file: Config = None, as_json: Json = False) -> None:
    """End a key for good."""
    from enginehouse.cli.keys.run import run_revoke

    run_revoke(_settings(file), key, as_json=as_json)


@app.command("rotate")
def rotate_command(
    key: Id,
    file: Config = None,
    grace: Annotated[str, typer.Option(metavar="TIME", help="How long the old one still counts.")] = "1d",
    as_json: Json = False,
) -> None:
    """Give a key a new text and show it, this once."""
    from enginehouse.cli.keys.run import run_rotate

    run_rotate(_settings(file), key, grace, as_json=as_json)


def _settings(file: Path | None):  # noqa: ANN202 - its type would be imported for every command
    from enginehouse.cli.effective import effective
    from enginehouse.telemetry.logs import configure_logs

    configure_logs("warning", "auto")
    return effective(file).settings
