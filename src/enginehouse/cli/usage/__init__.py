"""`enginehouse usage`: what there is to say on the command line about what was used and what it cost."""

from typing import Annotated

import typer

from enginehouse.cli.options import Config, Json, Output

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="What was used and what it cost.")

Start = Annotated[
    str | None, typer.Option(metavar="DATE", help="First day (UTC) or full hour; else 30 days before the end.")
]
End = Annotated[str | None, typer.Option(metavar="DATE", help="Last day (UTC), or hour of the end; else today.")]
User = Annotated[str | None, typer.Option(metavar="ID", help="Only this user's.")]


@app.command("summary")
def summary_command(
    file: Config = None,
    start: Start = None,
    end: End = None,
    user: User = None,
    by: Annotated[str, typer.Option(metavar="WHAT", help="user, model, key, tenant, tag, day or hour.")] = "model",
    as_json: Json = False,
) -> None:
    """Show requests, tokens and cost."""
    from enginehouse.cli.effective import effective
    from enginehouse.cli.usage.run import GROUPS, Range, run_summary
    from enginehouse.telemetry.logs import configure_logs

    if by not in GROUPS:
        raise typer.BadParameter(f"{by!r} is none of {', '.join(GROUPS)}.", param_hint="--by")
    configure_logs("warning", "auto")
    run_summary(effective(file).settings, Range(start, end, user), group_by=by, as_json=as_json)


@app.command("savings")
def savings_command(
    file: Config = None,
    start: Start = None,
    end: End = None,
    user: User = None,
    batch_discount: Annotated[
        float | None,
        typer.Option(min=0, max=1, metavar="SHARE", help="Assumed where no batch price is known, such as 0.5."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a cache, cheaper models or batches would have saved, with the arithmetic."""
    from enginehouse.cli.effective import effective
    from enginehouse.cli.usage.run import Range
    from enginehouse.cli.usage.savings import run_savings
    from enginehouse.telemetry.logs import configure_logs

    configure_logs("warning", "auto")
    run_savings(effective(file).settings, Range(start, end, user), batch_discount=batch_discount, as_json=as_json)


@app.command("reprice")
def reprice_command(
    since: Annotated[str, typer.Argument(metavar="DATE", help="First day (UTC) or full hour.")],
    file: Config = None,
    as_json: Json = False,
) -> None:
    """Charge the records since a day anew, with the prices that count now; sums follow."""
    from enginehouse.cli.effective import effective
    from enginehouse.cli.usage.run import run_reprice
    from enginehouse.telemetry.logs import configure_logs

    configure_logs("warning", "auto")
    run_reprice(effective(file).settings, since, as_json=as_json)


@app.command("export")
def export_command(
    file: Config = None,
    start: Start = None,
    end: End = None,
    user: User = None,
    output: Output = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object a line.")] = False,
) -> None:
    """Write every record as CSV."""
    from enginehouse.cli.effective import effective
    from enginehouse.cli.usage.run import Range, run_export
    from enginehouse.telemetry.logs import configure_logs

    configure_logs("warning", "auto")
    run_export(effective(file).settings, Range(start, end, user), output, as_json=as_json)
