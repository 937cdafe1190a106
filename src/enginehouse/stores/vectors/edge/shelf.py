"""The collections under one folder: found by scope and name, opened when they are used, mended or refused.

A folder is made under another name and gets its own in one step, and loses it in one step before it is deleted, so
that a half-made or half-deleted collection is known by its name and swept away. One that cannot be read is left as
it is and refused.
"""

import shutil
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from enginehouse.errors import Conflict, EnginehouseError, NotFound, StoreError
from enginehouse.stores.vectors.base import Key, Shape, State
from enginehouse.stores.vectors.edge import messages as m
from enginehouse.stores.vectors.edge.collection import EdgeCollection, write_durably
from enginehouse.stores.vectors.edge.tuning import Tuning

__all__ = ["Shelf", "is_panic"]

_CARD = "collection.json"


class Shelf:
    """The owner of everything below a folder; no other process may use it meanwhile.

    Args:
        root: the folder; a folder a scope, in it a folder a collection.
        tuning: how the collections work.
        most_open: collections that are held open at a time.
    """

    def __init__(self, root: Path, tuning: Tuning, most_open: int = 64) -> None:
        self._root, self._tuning, self._most_open = root, tuning, most_open
        self._open: OrderedDict[Key, EdgeCollection] = OrderedDict()
        root.mkdir(parents=True, exist_ok=True)
        for leftover in (*root.glob("*/.new-*"), *root.glob("*/.gone-*")):
            shutil.rmtree(leftover)

    def answer(self, question: m.Question) -> Any:
        """Do what is asked.

        Raises:
            EnginehouseError: it cannot be done.
        """
        match question:
            case m.Create(key, shape):
                return self._create(key, shape)
            case m.Drop(key):
                return self._drop(key)
            case m.Describe(key):
                return self.collection(key).shape
            case m.Look(key):
                return self._state(key)
            case m.LookAll(key):
                return self._states(key.scope)
            case _:
                return self._on(self.collection(question.key), question)

    def _on(self, collection: EdgeCollection, question: m.Question) -> Any:
        try:
            return _done(collection, question)
        except EnginehouseError:
            raise
        except Exception as error:
            raise StoreError(f"The embedded index failed on collection {question.key.name!r}: {error}") from error

    def collection(self, key: Key) -> EdgeCollection:
        """An open one.

        Raises:
            NotFound: there is none.
            StoreError: it is damaged.
        """
        if key not in self._open:
            self._open[key] = self._opened(key)
            if len(self._open) > self._most_open:
                self._close_one()
        self._open.move_to_end(key)
        return self._open[key]

    def copying(self, key: Key) -> bool:
        """Whether changes of this one have to wait."""
        return key in self._open and self._open[key].copying

    def tend(self) -> None:
        """Do what is due in the background."""
        for collection in self._open.values():
            collection.tend(may_build=not any(other.building for other in self._open.values()))

    @property
    def idle(self) -> bool:
        """Whether nothing is due."""
        return all(collection.idle for collection in self._open.values())

    def close(self) -> None:
        """Let go of all of them."""
        while self._open:
            self._open.popitem()[1].close()

    def _folder(self, key: Key) -> Path:
        return self._root / key.scope / key.name

    def _create(self, key: Key, shape: Shape) -> None:
        folder = self._folder(key)
        if folder.exists():
            raise Conflict(f"The collection {key.name!r} exists already.", param="name")
        scratch = folder.with_name(f".new-{uuid4().hex}")
        scratch.mkdir(parents=True)
        try:
            EdgeCollection.make(scratch, shape, self._tuning)
            write_durably(scratch / _CARD, msgspec.json.encode(shape))
            scratch.rename(folder)
        except Exception as error:
            shutil.rmtree(scratch, ignore_errors=True)
            raise StoreError(f"The collection {key.name!r} cannot be made: {error}") from error

    def _drop(self, key: Key) -> None:
        folder = self._folder(key)
        if not folder.exists():
            raise _unknown(key)
        if (collection := self._open.pop(key, None)) is not None:
            collection.close()
        gone = folder.with_name(f".gone-{uuid4().hex}")
        folder.rename(gone)
        shutil.rmtree(gone)

    def _state(self, key: Key) -> State:
        shape: Shape | None = None
        try:
            shape = self._shape(key)
            collection = self.collection(key)
            status = "indexing" if collection.building else "ready"
            return State(
                name=key.name, status=status, shape=shape, points=collection.points, indexed=collection.indexed
            )
        except NotFound:
            raise
        except StoreError as error:
            return State(name=key.name, status="damaged", shape=shape, detail=error.message)

    def _states(self, scope: str) -> list[State]:
        return [self._state(Key(scope, name)) for name in self._names(scope)]

    def _names(self, scope: str) -> Iterator[str]:
        folder = self._root / scope
        if folder.exists():
            yield from sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))

    def _opened(self, key: Key) -> EdgeCollection:
        shape = self._shape(key)
        try:
            return EdgeCollection(self._folder(key), shape, self._tuning)
        except BaseException as error:
            # Panics of the index are no `Exception`; one that is met here is about this collection only.
            if not isinstance(error, Exception) and not is_panic(error):
                raise
            raise _damaged(key, str(error).replace(f"{self._root}/", "")) from error

    def _shape(self, key: Key) -> Shape:
        if not self._folder(key).exists():
            raise _unknown(key)
        try:
            return msgspec.json.decode((self._folder(key) / _CARD).read_bytes(), type=Shape)
        except (OSError, msgspec.MsgspecError) as error:
            raise _damaged(key, f"its {_CARD} cannot be read ({type(error).__name__})") from error

    def _close_one(self) -> None:
        """The one that was used least lately and has nothing going on."""
        for key, collection in list(self._open.items())[:-1]:
            if not collection.building:
                del self._open[key]
                collection.close()
                return


def is_panic(error: BaseException) -> bool:
    """Whether it is a panic of the index; its class has no name that could be imported."""
    return type(error).__name__ == "PanicException"


def _done(collection: EdgeCollection, question: m.Question) -> Any:
    match question:
        case m.Upsert(_, points):
            return collection.upsert(points)
        case m.Search(_, find):
            return collection.search(find)
        case m.Read(_, page):
            return collection.page(page)
        case m.Count(_, filter_):
            return collection.count(filter_)
        case m.Delete(_, ids, filter_):
            return collection.delete(ids or ()) if filter_ is None else collection.delete_where(filter_)
        case _:
            raise AssertionError(question)


def _unknown(key: Key) -> NotFound:
    return NotFound(f"There is no collection {key.name!r}.", param="collection_name")


def _damaged(key: Key, why: str) -> StoreError:
    return StoreError(
        f"The collection {key.name!r} is damaged: {why}. Nothing was changed; delete it and import a backup."
    )
