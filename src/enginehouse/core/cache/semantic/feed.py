"""Questions of all replicas: what one has stored the others store too, within a second.

A row goes by Redis as it is, and nobody embeds it again. It names its entry; the store of answers is asked whether
that is still to be had, as for a replica's own questions.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from enginehouse.core.cache.semantic.index import Index
from enginehouse.errors import StoreUnavailable
from enginehouse.stores.kv import Chronicle, Line
from enginehouse.stores.vectors.rows import Row

__all__ = ["shared_with"]

log = structlog.get_logger()

_PAUSE = 1.0
"""Seconds between two looks whether the store is there again."""
_KEPT = 2000
"""Questions that wait for the store, the newest."""
_AT_A_TIME = 200


class _Told(Struct, frozen=True, array_like=True):
    """One question on its way."""

    replica: str
    row: Row


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Told).decode


@asynccontextmanager
async def shared_with(index: Index, chronicle: Chronicle) -> AsyncGenerator[None]:
    """While the context lasts, what is stored here is told to others, and what others store is stored here."""
    feed = _Feed(index, chronicle)
    index.listen(feed.tell)
    async with asyncio.TaskGroup() as group:
        works = {"questions told": feed.write, "questions heard": feed.read}
        tasks = [group.create_task(_kept_up(work), name=name) for name, work in works.items()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _kept_up(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    while True:
        try:
            await work()
        except StoreUnavailable:
            pass  # who holds the connection says so
        except Exception:
            log.exception("questions_not_shared", again_in=_PAUSE)
        await asyncio.sleep(_PAUSE)


class _Feed:
    """Both directions."""

    def __init__(self, index: Index, chronicle: Chronicle) -> None:
        self._index, self._chronicle = index, chronicle
        self._fresh: deque[Row] = deque(maxlen=_KEPT)
        self._bell = asyncio.Event()
        self._reached: tuple[int, int] | None = None

    def tell(self, row: Row) -> None:
        """Others are to have it, when the store is there."""
        self._fresh.append(row)
        self._bell.set()

    async def write(self) -> None:
        """For as long as the store is there."""
        while True:
            while self._fresh:
                rows = list(self._fresh)[:_AT_A_TIME]
                await self._chronicle.append([_encode(_Told(self._chronicle.name, row)) for row in rows])
                for row in rows:
                    if self._fresh and self._fresh[0] is row:
                        self._fresh.popleft()
            self._bell.clear()
            await self._bell.wait()

    async def read(self) -> None:
        """For as long as the store is there."""
        while True:
            lines = await self._chronicle.read(self._reached)
            for at in range(0, len(lines), _AT_A_TIME):
                await self._index.take(self._others(lines[at : at + _AT_A_TIME]))
            self._reached = lines[-1].mark if lines else self._reached or (0, 0)

    def _others(self, lines: Sequence[Line]) -> list[Row]:
        return [told.row for line in lines if (told := _told(line)) and told.replica != self._chronicle.name]


def _told(line: Line) -> _Told | None:
    try:
        return _decode(line.text)
    except msgspec.MsgspecError:  # of another version
        return None
