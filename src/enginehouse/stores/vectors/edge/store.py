"""The embedded index as a store: every call is a question to the process that has it."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import msgspec

from enginehouse.stores.vectors.base import Filter, Find, Found, Key, NativeId, Page, Point, Shape, State
from enginehouse.stores.vectors.edge import messages as m

__all__ = ["EdgeStore", "Index"]

T = TypeVar("T")


class Index(Protocol):
    """Who answers."""

    async def ask(self, question: m.Question) -> bytes:
        """The answer, still packed; raises what the index raises, or StoreUnavailable."""
        ...


class EdgeStore:
    """Collections in the embedded index.

    Args:
        index: the process, or what stands in for it.
    """

    def __init__(self, index: Index) -> None:
        self._index = index

    async def create(self, key: Key, shape: Shape) -> None:
        """A new, empty one."""
        await self.ask(m.Create(key, shape), type(None))

    async def drop(self, key: Key) -> None:
        """Delete one with all its points, damaged or not."""
        await self.ask(m.Drop(key), type(None))

    async def shape(self, key: Key) -> Shape:
        """What one was made as."""
        return await self.ask(m.Describe(key), Shape)

    async def state(self, key: Key) -> State:
        """How one is."""
        return await self.ask(m.Look(key), State)

    async def states(self, scope: str) -> list[State]:
        """How all of one scope are, by name."""
        return await self.ask(m.LookAll(Key(scope, "")), list[State])

    def collection(self, key: Key) -> "_Collection":
        """What is done with the points of one."""
        return _Collection(self, key)

    async def ping(self) -> None:
        """Ask whether the child answers."""
        await self.states("")

    async def ask(self, question: m.Question, answer: type[T]) -> T:
        """The answer to a question, as what it is."""
        return msgspec.msgpack.decode(await self._index.ask(question), type=answer)


class _Collection:
    """The points of one collection, over there."""

    def __init__(self, store: EdgeStore, key: Key) -> None:
        self._store, self._key = store, key

    async def upsert(self, points: Sequence[Point]) -> None:
        await self._store.ask(m.Upsert(self._key, list(points)), type(None))

    async def search(self, find: Find) -> list[Found]:
        return await self._store.ask(m.Search(self._key, find), list[Found])

    async def page(self, page: Page) -> tuple[list[Found], NativeId | None]:
        return await self._store.ask(m.Read(self._key, page), tuple[list[Found], NativeId | None])

    async def count(self, filter: Filter | None) -> int:  # noqa: A002 - Qdrant's own word
        return await self._store.ask(m.Count(self._key, filter), int)

    async def delete(self, which: Sequence[NativeId] | Filter) -> int:
        ids, where = (None, which) if isinstance(which, dict) else (list(which), None)
        return await self._store.ask(m.Delete(self._key, ids, where), int)
