"""Writes records into the database: records, prices, sums and freed reservations in one transaction."""

from collections.abc import Sequence
from typing import Protocol

import msgspec
from sqlalchemy import Connection

from enginehouse.core.ledger.record import UsageRecord, row_of
from enginehouse.core.ledger.rollups import Cells
from enginehouse.stores.sql import Database, budgets, usage

__all__ = ["Books", "SqlBooks"]


class Books(Protocol):
    """Where records are kept for good."""

    async def write(self, records: Sequence[UsageRecord]) -> None:
        """Keep records; one whose id is there already is left as it is. Without any: see whether it would work.

        Raises:
            StoreUnavailable: not now; perhaps it counted, so write it again.
            StoreError: never in this form.
        """
        ...


class SqlBooks:
    """The books in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known_prices: set[str] = set()

    async def write(self, records: Sequence[UsageRecord]) -> None:
        """Keep records, their prices and their sums."""
        prices = {r.price.id: r.price for r in records if r.price and r.price.id not in self._known_prices}

        def work(connection: Connection) -> None:
            if records:
                _keep(connection, records)
            if prices:
                usage.insert_prices(connection, [msgspec.structs.asdict(price) for price in prices.values()])

        await self._database.write(work)
        self._known_prices.update(prices)


def _keep(connection: Connection, records: Sequence[UsageRecord]) -> None:
    once = {record.id: record for record in records}
    new = usage.insert_records(connection, [row_of(record) for record in once.values()])
    if cells := Cells().add(once[id_] for id_ in new).rows():
        usage.add_cells(connection, cells)
    if held := [record.id for record in records if record.reserved]:
        budgets.release(connection, held)
