"""`enginehouse cache`: what there is to say on the command line about kept answers."""

from typing import Annotated

import typer

from enginehouse.cli.options import Config, Json, Key, Url

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="The cache of a running service.")


@app.command("stats")
def stats_command(file: Config = None, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Say how it does: hits by tier, what is kept, what was saved."""
    from enginehouse.cli.cache.run import run_stats

    run_stats(config=file, url=url, key=key, as_json=as_json)


@app.command("clear")
def clear_command(
    file: Config = None,
    url: Url = None,
    key: Key = None,
    tier: Annotated[str | None, typer.Option(metavar="exact|semantic", help="Only of this cache.")] = None,
    model: Annotated[str | None, typer.Option(metavar="ID", help="Only this model's answers.")] = None,
    user: Annotated[str | None, typer.Option(metavar="ID", help="Only what was kept for this user.")] = None,
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="Only what was kept under this tag.")] = None,
    older_than: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Only what is older.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Let go of kept answers; they are not served any more from now on, by no replica."""
    from enginehouse.cli.cache.run import run_clear

    said = {"tier": tier, "model": model, "user": user, "tag": tag}
    which = {name: value for name, value in said.items() if value is not None} | {"older_than": older_than}
    run_clear(which, config=file, url=url, key=key, as_json=as_json)
