"""`enginehouse usage savings`: what would have cost less, asked of the database itself."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

import typer
from rich.table import Table

from enginehouse.cli.catalogue import configured
from enginehouse.cli.console import for_terminal, remarks, results
from enginehouse.cli.database import usable, with_database
from enginehouse.cli.usage.run import Range, prices_of
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.ledger.reckoning import Line
from enginehouse.core.ledger.savings import Savings, SavingsReport
from enginehouse.core.ledger.usage import encode
from enginehouse.settings.schema import Settings
from enginehouse.stores.sql import Database

__all__ = ["run_savings"]

_NUMBERS = ("Requests", "Cost", "Would cost", "Saved")


def run_savings(settings: Settings, of: Range, *, batch_discount: float | None, as_json: bool) -> None:
    """Print a table with the arithmetic of each line, or the API's own JSON.

    Args:
        settings: whose database, models and prices.
        of: when and whose.
        batch_discount: assumed where no batch price is known, 0 to 1; None assumes nothing.
        as_json: the API's own JSON.

    Raises:
        StoreUnavailable, SettingsError: the database cannot be asked.
        InvalidRequest: no such date.
    """
    catalogue = configured(settings)
    discount = None if batch_discount is None else Decimal(str(batch_discount))
    report = asyncio.run(with_database(settings, lambda db: _report(db, settings, catalogue, of, discount)))
    if as_json:
        typer.echo(encode(report))
        return
    caching = report.caching
    lines = [*caching.lines, *report.cheaper_models.lines, *report.batching.lines]
    results().print(_table(lines))
    for line in lines:
        results().print(for_terminal(f"{line.model} -> {_instead(line)}: {line.arithmetic}"), soft_wrap=True)
    remarks().print(_told(report))


async def _report(
    database: Database, settings: Settings, catalogue: Catalogue, of: Range, discount: Decimal | None
) -> SavingsReport:
    await usable(database)
    savings = Savings(database, catalogue.models, lambda: prices_of(settings), lambda: settings.cache.exact_ttl)
    return await savings.report(of.question(), datetime.now(UTC), batch_discount=discount)


def _table(lines: Iterable[Line]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Model")
    table.add_column("Instead")
    for title in _NUMBERS:
        table.add_column(title, justify="right")
    for line in lines:
        amounts = map(_amount, (line.cost, line.would_cost, line.saved))
        table.add_row(for_terminal(line.model), for_terminal(_instead(line)), f"{line.requests:,}", *amounts)
    return table


def _instead(line: Line) -> str:
    within = "" if line.scope is None else f" of a {line.scope}"
    return f"{line.instead}{within}{' (assumed)' if line.basis == 'assumed' else ''}"


def _told(report: SavingsReport) -> str:
    recorded, caching = report.recorded, report.caching
    cost = _amount(recorded.cost)
    words = [
        f"{report.start[:10]} to {report.end[:10]}: {recorded.requests} requests cost {cost}.",
        f"Without a known price: {recorded.unpriced_requests}.",
        f"Looked at for repeats: {caching.examined_requests}, without a digest {caching.requests_without_digest}.",
        *report.assumptions,
        *(f"Unknown: {what}" for what in report.unknown),
    ]
    return "\n".join(words)


def _amount(amount: Decimal | None) -> str:
    return "unknown" if amount is None else f"${amount:,.4f}"
