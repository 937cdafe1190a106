"""Books and a spool in memory, which survive the ledger's death and fail as they are told."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from enginehouse.core.ledger.record import UsageRecord
from enginehouse.errors import StoreUnavailable
from enginehouse.stores.spool import Part

__all__ = ["FakeBooks", "FakeSpool"]


class FakeBooks:
    """Keeps records by id.

    Args:
        fate: asked at each write: `ok`, `away` (nothing is kept), `unknown` (it is kept, and the writer hears that
            it is not).
    """

    def __init__(self, fate: Callable[[], str] = lambda: "ok") -> None:
        self.fate = fate
        self.kept: dict[str, UsageRecord] = {}
        self.transactions = 0

    async def write(self, records: Sequence[UsageRecord]) -> None:
        """Keep records; each is kept once."""
        await asyncio.sleep(0)
        fate = self._keep(records)
        await asyncio.sleep(0)
        _tell(fate)

    async def sum_up(self) -> bool:
        """Nothing waits for it."""
        return False

    def _keep(self, records: Sequence[UsageRecord]) -> str:
        """What the writer is to hear."""
        fate = self.fate()
        if fate != "away":
            self.transactions += 1
            for record in records:
                self.kept.setdefault(record.id, record)
        return fate


def _tell(fate: str) -> None:
    if fate == "away":
        raise StoreUnavailable("away")
    if fate == "unknown":
        raise StoreUnavailable("the connection broke in the commit")


class FakeSpool:
    """Parts of lines by number; `broken` makes appending fail, `slow` keeps the loop from it."""

    def __init__(self, limit: int = 10**6) -> None:
        self.parts: dict[int, list[bytes]] = {}
        self.rejected: list[bytes] = []
        self.limit = limit
        self.broken = self.slow = False
        self._next = 0

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(len(line) for lines in self.parts.values() for line in lines)

    @property
    def backlog(self) -> int:
        """Lines."""
        return sum(map(len, self.parts.values()))

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return self.size >= self.limit

    async def append(self, lines: Sequence[bytes], /) -> None:
        """Keep lines."""
        await asyncio.sleep(0)
        self._append(lines)
        await asyncio.sleep(0)

    def append_now(self, lines: Sequence[bytes], meant: Sequence[UsageRecord] | None = None, /) -> bool:
        """Keep lines, which are read again."""
        del meant
        if not self.slow:
            self._append(lines)
        return not self.slow

    async def oldest(self) -> Part[UsageRecord] | None:
        """The first part."""
        await asyncio.sleep(0)
        for number, lines in self.parts.items():
            return Part(lines, Path("spool"), number, len(lines))
        return None

    async def drop(self, part: Part[UsageRecord], /) -> None:
        """Forget a part."""
        await asyncio.sleep(0)
        self.parts.pop(part.end, None)

    async def reject(self, lines: Sequence[bytes], /) -> Path:
        """Set lines aside."""
        self.rejected += lines
        return Path("rejected")

    def _append(self, lines: Sequence[bytes]) -> None:
        if self.broken:
            raise OSError("no space")
        self._next += 1
        self.parts[self._next] = list(lines)
