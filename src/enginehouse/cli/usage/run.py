"""`enginehouse usage`: what was used and what it cost, asked of the database itself."""

import asyncio
import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import typer
from rich.table import Table

from enginehouse.cli.console import for_terminal, remarks, results
from enginehouse.cli.database import usable, with_database
from enginehouse.core.ledger.prices import Prices
from enginehouse.core.ledger.record import dollars
from enginehouse.core.ledger.repricing import Repriced, records, reprice
from enginehouse.core.ledger.sheets import cell
from enginehouse.core.ledger.usage import GROUPS, Question, UsageReports, bounds, encode
from enginehouse.settings.schema import Settings
from enginehouse.stores.sql import Database
from enginehouse.stores.sql.usage import RECORDS

__all__ = ["GROUPS", "Range", "prices_of", "run_export", "run_reprice", "run_summary"]

_COLUMNS: Mapping[str, str] = {
    "Requests": "requests",
    "Failed": "failed_requests",
    "Input": "input_tokens",
    "Cached": "cached_input_tokens",
    "Output": "output_tokens",
    "Reasoning": "reasoning_tokens",
    "Cost": "cost",
}
_MONEY = ("input_cost", "output_cost", "cost")


class Range(NamedTuple):
    """Of when, and of whom."""

    start: str | None
    end: str | None
    user: str | None

    def question(self, group_by: str | None = None) -> Question:
        """The same as the service's API asks.

        Raises:
            InvalidRequest: no such date.
        """
        start, end = bounds(self.start, self.end, datetime.now(UTC), ("--start", "--end"))
        return Question(start=start, end=end, user=self.user, group_by=group_by)


def prices_of(settings: Settings) -> Prices:
    """What things cost, as configured."""
    return Prices({name: model.price for name, model in settings.models.items()}, settings.prices)


def run_summary(settings: Settings, of: Range, *, group_by: str, as_json: bool) -> None:
    """Print a table, or the API's own JSON.

    Raises:
        StoreUnavailable, SettingsError: the database cannot be asked.
    """
    question = of.question(group_by)
    answer = asyncio.run(with_database(settings, lambda database: _summary(database, question)))
    if as_json:
        typer.echo(encode(answer))
        return
    if answer["groups"]:
        results().print(_table(group_by, answer["groups"]))
    total = _amount(answer["total_cost"])
    remarks().print(
        f"{answer['start'][:10]} to {answer['end'][:10]}: {answer['total_requests']} requests, "
        f"{answer['total_tokens']} tokens, {total}."
    )
    if unpriced := answer["unpriced_requests"]:
        remarks().print(f"{unpriced} requests have no known price; see models.<id>.price and `usage reprice`.")


def run_reprice(settings: Settings, since: str, *, as_json: bool) -> None:
    """Charge the records since a day anew.

    Raises:
        StoreUnavailable, SettingsError: the database cannot be asked.
        InvalidRequest: no such date.
    """
    start, _ = bounds(since, None, datetime.now(UTC), ("DATE", "today"))
    done = asyncio.run(
        with_database(settings, lambda db: _reprice(db, prices_of(settings), datetime.fromtimestamp(start, UTC)))
    )
    if as_json:
        difference = str(dollars(done.difference))
        typer.echo(json.dumps({"seen": done.seen, "changed": done.changed, "difference": difference}))
        return
    grown = _amount(dollars(done.difference))
    typer.echo(f"{done.seen} records looked at, {done.changed} changed; costs grew by {grown}.")


def run_export(settings: Settings, of: Range, output: Path | None, *, as_json: bool = False) -> None:
    """Write every record as CSV, or as one JSON object a line; times in UTC, costs in dollars.

    Raises:
        StoreUnavailable, SettingsError: the database cannot be asked.
    """
    with ExitStack() as stack:
        file = sys.stdout
        if output is not None:
            file = stack.enter_context(output.open("w", encoding="utf-8", newline=""))
        writing = partial(_json_lines if as_json else _csv, file)
        asyncio.run(with_database(settings, lambda database: _export(database, of, writing)))


async def _summary(database: Database, question: Question) -> dict[str, Any]:
    await usable(database)
    return await UsageReports(database).summary(question)


async def _reprice(database: Database, prices: Prices, since: datetime) -> Repriced:
    await usable(database)
    done = Repriced(seen=0, changed=0, difference=0)
    with remarks().status("looking at records") as status:
        async for done in reprice(database, prices, since):
            status.update(f"{done.seen:,} records, {done.changed:,} changed")
    return done


async def _export(database: Database, of: Range, writing: Callable[[], Callable[[dict[str, Any]], object]]) -> None:
    await usable(database)
    write = writing()
    question = of.question()
    start, end = (datetime.fromtimestamp(seconds, UTC) for seconds in (question.start, question.end))
    with remarks().status("0 records") as status:
        count = 0
        async for rows in records(database, start, end, of.user):
            for row in map(_exported, rows):
                write(row)
            count += len(rows)
            status.update(f"{count:,} records")


def _csv(file: TextIO) -> Callable[[dict[str, Any]], None]:
    """Writes rows; the names of the columns stand before them, also when there are none."""
    writer: csv.DictWriter[str] = csv.DictWriter(file, fieldnames=RECORDS.columns.keys())
    writer.writeheader()
    return lambda row: writer.writerow({name: cell(value) for name, value in row.items()})


def _json_lines(file: TextIO) -> Callable[[dict[str, Any]], None]:
    """Writes rows, each as an object on a line."""
    return lambda row: print(json.dumps(row, default=str), file=file)


def _exported(row: Mapping[str, Any]) -> dict[str, Any]:
    when = datetime.fromtimestamp(row["time"] / 1_000_000, UTC).isoformat()
    money = {name: "" if row[name] is None else format(dollars(row[name]) or 0, "f") for name in _MONEY}
    return {**row, "time": when, **money}


def _table(group_by: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(group_by.capitalize())
    for title in _COLUMNS:
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(for_terminal(str(row[group_by])), *(_shown(row, field) for field in _COLUMNS.values()))
    return table


def _shown(row: Mapping[str, Any], field: str) -> str:
    return _amount(row["cost"]) if field == "cost" else f"{row[field]:,}"


def _amount(amount: Decimal | None) -> str:
    return "unknown" if amount is None else f"${amount:,.4f}"
