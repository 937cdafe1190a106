"""Writes records into the database: records, prices and freed reservations in one transaction, sums in another."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

import msgspec
from sqlalchemy import Connection

from enginehouse.core.ledger.record import PriceRow, UsageRecord, columns_of
from enginehouse.stores.sql import Database, budgets, rollups, usage

__all__ = ["Books", "SqlBooks", "nothing_ahead"]

_AT_ONCE = 500


class Books(Protocol):
    """Where records are kept for good."""

    async def write(self, records: Sequence[UsageRecord]) -> None:
        """Keep records; one whose id is there already is left as it is. Without any: see whether it would work.

        Raises:
            StoreUnavailable: not now; perhaps it counted, so write it again.
            StoreError: never in this form.
        """
        ...

    async def sum_up(self) -> bool:
        """Count some of the records that are kept and not summed up yet; whether more may be left.

        Raises:
            StoreUnavailable: not now.
        """
        ...


async def nothing_ahead() -> None:
    """Let who reads the books read at once: for books that have no journal ahead of them."""


class SqlBooks:
    """The books in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known_prices: set[str] = set()

    async def write(self, records: Sequence[UsageRecord]) -> None:
        """Keep records and their prices."""
        prices = self._new_prices(records)
        await self._database.write(partial(_keep, records, prices))
        self._known_prices.update(prices)

    async def sum_up(self) -> bool:
        """Count those that wait longest; few enough for who wants to write meanwhile."""
        return await self._database.write(partial(rollups.sum_up, most=_AT_ONCE)) == _AT_ONCE

    def _new_prices(self, records: Sequence[UsageRecord]) -> dict[str, PriceRow]:
        return {r.price.id: r.price for r in records if r.price and r.price.id not in self._known_prices}


def _keep(records: Sequence[UsageRecord], prices: Mapping[str, PriceRow], connection: Connection) -> None:
    if records:
        rollups.keep(connection, columns_of(records))
    if held := [record.id for record in records if record.reserved]:
        budgets.release(connection, held)
    if prices:
        usage.insert_prices(connection, [msgspec.structs.asdict(price) for price in prices.values()])
