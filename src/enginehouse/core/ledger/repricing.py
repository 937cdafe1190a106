"""Gives records of the past the price that counts for their day now, and keeps the sums right."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from functools import partial

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from enginehouse.core.ledger.prices import Prices
from enginehouse.core.ledger.record import UsageRecord, first_id, from_row
from enginehouse.stores.sql import Database, rollups, usage

__all__ = ["Repriced", "records", "reprice"]

_BATCH = 1000
_AFTER_ALL = "g"
"""Behind every id, whose digits end with f."""


class Repriced(Struct, frozen=True, kw_only=True):
    """How far it has got, in all."""

    seen: int
    changed: int
    difference: int
    """Picodollars by which the sum of costs has grown; what had no price counts as nothing here."""


async def reprice(database: Database, prices: Prices, since: datetime) -> AsyncGenerator[Repriced]:
    """Charge all records since then anew; tells after each batch.

    Each batch is one transaction, so that an interrupted run leaves records and sums that agree; run it again to
    go on. Meanwhile the service may write.

    Raises:
        StoreUnavailable: the database cannot be reached.
    """
    seen = changed = difference = 0
    after: str | None = first_id(since)
    while after is not None:
        after, counts = await database.write(partial(_batch, prices=prices, after=after))
        seen, changed, difference = seen + counts.seen, changed + counts.changed, difference + counts.difference
        yield Repriced(seen=seen, changed=changed, difference=difference)


async def records(
    database: Database, start: datetime, end: datetime, user: str | None = None
) -> AsyncGenerator[Sequence[usage.Row]]:
    """The records of [start, end) in the order of time, some at a time."""
    after, before = first_id(start), first_id(end)
    while True:
        rows = await database.read(partial(usage.read_records, after=after, before=before, limit=_BATCH, user=user))
        if not rows:
            return
        yield rows
        after = rows[-1]["id"]


def _batch(connection: Connection, prices: Prices, after: str) -> tuple[str | None, Repriced]:
    rows = usage.read_records(connection, after=after, before=_AFTER_ALL, limit=_BATCH, lock=True)
    pairs = [(old, old.charged(prices.money(old)), row["price_id"]) for row in rows for old in [from_row(row)]]
    changed = [(old, new) for old, new, price in pairs if _differs(old, new, price)]
    if changed:
        with rollups.recounted(connection, [new.id for _, new in changed]):
            usage.update_costs(connection, [_costs(new) for _, new in changed])
        if new_prices := {new.price.id: new.price for _, new in changed if new.price}:
            usage.insert_prices(connection, [msgspec.structs.asdict(price) for price in new_prices.values()])
    counts = Repriced(
        seen=len(rows),
        changed=len(changed),
        difference=sum((new.cost or 0) - (old.cost or 0) for old, new in changed),
    )
    return rows[-1]["id"] if len(rows) == _BATCH else None, counts


def _differs(old: UsageRecord, new: UsageRecord, price_id: str | None) -> bool:
    costs = (old.input_cost, old.output_cost, old.cost) != (new.input_cost, new.output_cost, new.cost)
    return costs or price_id != (new.price.id if new.price else None)


def _costs(record: UsageRecord) -> dict[str, object]:
    return {
        "id": record.id,
        "input_cost": record.input_cost,
        "output_cost": record.output_cost,
        "cost": record.cost,
        "price_id": record.price.id if record.price else None,
    }
