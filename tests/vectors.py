"""Stores of vectors for tests: the embedded index without its process, and Qdrant's client without a server."""

import os
import warnings
from contextlib import asynccontextmanager

import msgspec
from qdrant_client import AsyncQdrantClient

from enginehouse.stores.vectors.base import Distance, Key, Point, Shape, packed
from enginehouse.stores.vectors.edge.shelf import Shelf
from enginehouse.stores.vectors.edge.store import EdgeStore
from enginehouse.stores.vectors.edge.tuning import Tuning
from enginehouse.stores.vectors.server import ServerStore

KEY = Key("scope", "docs")
SHAPE = Shape(size=4, distance=Distance.COSINE)


class Here:
    """The embedded index in this process; what it is asked passes through the same bytes as to the child."""

    def __init__(self, folder, tuning=None):
        self.shelf = Shelf(folder, tuning or Tuning(threads=1))

    async def ask(self, question):
        return msgspec.msgpack.encode(self.shelf.answer(question))


@asynccontextmanager
async def edge_store(folder):
    index = Here(folder)
    try:
        yield EdgeStore(index)
    finally:
        index.shelf.close()


@asynccontextmanager
async def server_store(_):
    """The server at QDRANT_URL, or the client's own local mode."""
    url = os.environ.get("QDRANT_URL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Ll]ocal.*")
        client = AsyncQdrantClient(url=url) if url else AsyncQdrantClient(location=":memory:")
        async with ServerStore(client) as store:
            yield store
            for state in await store.states(KEY.scope):
                await store.drop(Key(KEY.scope, state.name))


def point(number, vector=None, **payload):
    return Point(number, packed(vector or [1.0, 0.0, 0.0, float(number)]), payload)
