"""Questions by their scope: rows on disk, blocks in memory, always in step.

A row is written first and then added to the block of its scope, if that is in memory; a block that is not is read
from the rows when it is needed. So there is nothing to rebuild at a start, and nothing to reconcile after a kill.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import Struct

from enginehouse.core.cache.semantic.blocks import Blocks
from enginehouse.core.cache.semantic.signature import Signature
from enginehouse.stores.vectors.rows import Row, Rows

if TYPE_CHECKING:
    from enginehouse.core.cache.semantic.block import Block, Floats, Near

__all__ = ["Index", "Stored", "open_index", "own_scope"]

R = TypeVar("R")

_REMEMBERED = 4096
"""Signatures that are kept decoded."""


class Stored(Struct, frozen=True, array_like=True):
    """What is known of a stored question."""

    signature: Signature
    answer: frozenset[str] | None = None
    """Stems of its answer's content, where that is known."""


def own_scope(scope: bytes, embedder: str) -> bytes:
    """A scope with its embedder's name in it: vectors of two embedders never meet."""
    return hashlib.blake2b(scope, digest_size=16, key=embedder.encode()[:64]).digest()


class Index:
    """All stored questions.

    Args:
        rows: the table.
        thread: the one thread in which the table is used, and large blocks are searched.
        max_bytes: most that blocks in memory take.
    """

    def __init__(self, rows: Rows, thread: ThreadPoolExecutor, max_bytes: int) -> None:
        self._rows, self._thread = rows, thread
        self._blocks = Blocks(max_bytes)
        self._notes: OrderedDict[int, tuple[str, Stored]] = OrderedDict()
        self._tell: Callable[[Row], None] = lambda _: None

    @property
    def size(self) -> int:
        """Bytes of vectors in memory."""
        return self._blocks.size

    async def count(self) -> int:
        """Questions that are stored."""
        return await self._run(self._rows.count)

    async def put(self, scope: bytes, entry: str, vector: "Floats", stored: Stored) -> None:
        """Store a question; when this returns it is found, also after a kill."""
        from enginehouse.core.cache.semantic.block import quantised  # with numpy, which the vector has brought in

        numbers, scale = quantised(vector)
        row = Row(scope, entry, numbers, scale, msgspec.msgpack.encode(stored))
        await self._put([row])
        self._tell(row)

    def listen(self, tell: Callable[[Row], None]) -> None:
        """From now on this one is told of every question that is stored here."""
        self._tell = tell

    async def take(self, rows: Sequence[Row]) -> None:
        """Store questions as another index had them; those that this version does not understand are left."""
        known = [row for row in rows if _is_known(row)]
        newest = {row.entry: row for row in known}
        await self._put(list(newest.values()))

    async def _put(self, rows: Sequence[Row]) -> None:
        await self.forget([row.entry for row in rows])
        numbers = await self._run(lambda: self._rows.put(rows))
        for number, row in zip(numbers, rows, strict=True):
            self._blocks.put(row.scope, number, row.vector, row.scale)

    async def forget(self, entries: Sequence[str]) -> None:
        """Take questions out by their entries."""
        for scope, number in await self._run(lambda: self._rows.drop(entries)):
            self._blocks.drop(scope, number)
            self._notes.pop(number, None)

    async def empty(self, scope: bytes) -> bool:
        """Whether nothing is stored in a scope."""
        return len(await self._block(scope)) == 0

    async def nearest(self, scope: bytes, query: "Floats", limit: int) -> list[tuple[str, float, Stored]]:
        """The nearest questions of a scope, best first: entry, cosine and what is known of it."""
        block = await self._block(scope)
        view = block.view()
        near = await self._run(lambda: view.nearest(query, limit)) if block.large else view.nearest(query, limit)
        notes = await self._known(near)
        return [(notes[one.number][0], one.cosine, notes[one.number][1]) for one in near if one.number in notes]

    async def _block(self, scope: bytes) -> "Block":
        block = self._blocks.get(scope)
        if block is None:
            block = await self._run(lambda: self._read(scope))
            # Who was first has it; what came meanwhile is in that one.
            known = self._blocks.get(scope)
            if known is not None:
                return known
            self._blocks.keep(scope, block)
        return block

    def _read(self, scope: bytes) -> "Block":
        """In the thread, where numpy may take its time to come in."""
        from enginehouse.core.cache.semantic.block import Block

        return Block(self._rows.scope(scope))

    async def _known(self, near: "Sequence[Near]") -> dict[int, tuple[str, Stored]]:
        missing = [one.number for one in near if one.number not in self._notes]
        if missing:
            for number, (entry, note) in (await self._run(lambda: self._rows.notes(missing))).items():
                self._notes[number] = entry, _decode(note)
        found = {one.number: self._notes[one.number] for one in near if one.number in self._notes}
        for number in found:
            self._notes.move_to_end(number)
        while len(self._notes) > _REMEMBERED:
            self._notes.popitem(last=False)
        return found

    async def _run(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


_decode = msgspec.msgpack.Decoder(Stored).decode


def _is_known(row: Row) -> bool:
    try:
        _decode(row.note)
    except msgspec.MsgspecError:
        return False
    return True


@asynccontextmanager
async def open_index(file: Path, *, lasting: bool, max_bytes: int) -> AsyncGenerator[Index]:
    """The index, while the context lasts.

    Args:
        file: where its rows are.
        lasting: whether entries outlive this process, and their questions with them.
        max_bytes: most that vectors in memory take.
    """
    with ThreadPoolExecutor(1, "semantic-index") as thread:
        rows = await asyncio.get_running_loop().run_in_executor(thread, lambda: Rows(file, lasting=lasting))
        try:
            yield Index(rows, thread, max_bytes)
        finally:
            await asyncio.get_running_loop().run_in_executor(thread, rows.close)
