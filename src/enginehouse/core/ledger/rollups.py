"""What a record adds to the hourly and daily sums, so that a question about usage never reads records.

Each record counts in a few cells: everybody's and its user's, by each dimension that it has. To take something
back, add its negative.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from enginehouse.core.ledger.record import UsageRecord
from enginehouse.stores.sql.usage import CELL_KEY, MEASURES

__all__ = ["DIMENSIONS", "PERIODS", "Cells"]

PERIODS = {"hour": 3600, "day": 86_400}
"""Name → seconds; both begin with the UTC day."""
DIMENSIONS = ("total", "model", "user", "key", "tenant", "tag")

Key = tuple[Any, ...]


class Cells:
    """Sums that are being collected before they are added to the database's."""

    def __init__(self) -> None:
        self._sums: dict[Key, list[int]] = {}

    def add(self, records: Iterable[UsageRecord], sign: int = 1) -> "Cells":
        """Count records, or with sign -1 take them back."""
        for record in records:
            measures = [sign * number for number in _measures(record)]
            for key in _keys(record):
                held = self._sums.get(key)
                self._sums[key] = measures if held is None else [a + b for a, b in zip(held, measures, strict=True)]
        return self

    def rows(self) -> list[dict[str, Any]]:
        """One row a cell that is not nothing."""
        return [
            {**dict(zip(CELL_KEY, key, strict=True)), **dict(zip(MEASURES, sums, strict=True))}
            for key, sums in self._sums.items()
            if any(sums)
        ]


def _keys(record: UsageRecord) -> Iterator[Key]:
    seconds = record.time // 1_000_000
    for period, length in PERIODS.items():
        start = seconds - seconds % length
        for user, dimension, value in _places(record):
            yield period, user, dimension, start, value, record.operation


def _places(record: UsageRecord) -> Iterator[tuple[str, str, str]]:
    yield "", "user", record.user_id
    for user in dict.fromkeys(("", record.user_id)):
        yield user, "total", ""
        if record.model:
            yield user, "model", record.model
        if record.key_id:
            yield user, "key", record.key_id
        if record.tenant:
            yield user, "tenant", record.tenant
        for tag in record.tags:
            yield user, "tag", tag


def _measures(record: UsageRecord) -> tuple[int, ...]:
    """In the order of `MEASURES`."""
    return (
        1,
        record.outcome == "failed",
        record.outcome == "cancelled",
        record.cache != "",
        record.input_tokens,
        record.cached_input_tokens,
        record.output_tokens,
        record.reasoning_tokens,
        record.cost or 0,
        record.cost is None,
    )
