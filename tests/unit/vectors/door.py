"""The routes about vectors behind a front door, with callers of several tenants and a made-up embedding model."""

import json
from contextlib import asynccontextmanager

from enginehouse.api.dispatch import FrontDoor
from enginehouse.api.framework import framework_app
from enginehouse.api.vectors import vectors_router
from enginehouse.core.vectors.batch import Embedded
from enginehouse.core.vectors.vectors import Vectors
from enginehouse.errors import MissingCredentials, ModelNotFound
from enginehouse.settings.schema import ServerSettings
from enginehouse.testing import Caller
from enginehouse.types import Principal
from tests.vectors import edge_store

CALLERS = {
    "ann": Principal(user="ann"),
    "bob": Principal(user="bob"),
    "eve": Principal(user="eve", tenant="acme"),
    "dan": Principal(user="dan", tenant="acme"),
    "acme": Principal(user="acme"),
    "boss": Principal(user="boss", role="admin"),
}
WORDS = ("red", "green", "blue")


class Callers:
    """Stands in for the identity: the key is the caller's name."""

    open = False

    async def principal(self, authorization, api_key):
        if api_key not in CALLERS:
            raise MissingCredentials("who?")
        return CALLERS[api_key]


async def colours(model, texts, asker):
    """The vector of a text counts the colours in it."""
    if model != "colours":
        raise ModelNotFound(model)
    vectors = [[float(text.count(word)) + 0.1 for word in WORDS] for text in texts]
    return Embedded(vectors=vectors, tokens=sum(len(text.split()) for text in texts))


async def here(work, *args):
    return work(*args)


class Door:
    def __init__(self, app):
        self.app = app

    async def call(self, method, path, body=b"", who="ann", **headers):
        named = {"X-API-Key": who, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return await Caller(self.app, method, f"/v1/vector{path}", body, named).run()

    async def ok(self, method, path, body=b"", who="ann", **headers):
        answer = await self.call(method, path, body, who, **headers)
        assert answer.status in (200, 201), answer.body
        return answer.json()

    async def no(self, method, path, body=b"", who="ann", status=400, **headers):
        """The error's message."""
        answer = await self.call(method, path, body, who, **headers)
        assert answer.status == status, answer.body
        error = answer.json()["error"]
        assert error["code"] == {400: "invalid_request_error", 404: "not_found", 409: "conflict"}.get(
            status, error["code"]
        )
        return error["message"]

    async def docs(self, **more):
        return await self.ok("POST", "/collections", {"name": "docs", "vector_size": 3, **more})

    async def put(self, *points, who="ann"):
        return await self.ok("POST", "/points", {"collection_name": "docs", "points": list(points)}, who)

    async def find(self, vector=(1, 0, 0), who="ann", **more):
        body = {"collection_name": "docs", "query_vector": list(vector), **more}
        return (await self.ok("POST", "/search", body, who))["results"]

    async def count(self, who="ann"):
        return (await self.ok("POST", "/points/count", {"collection_name": "docs"}, who))["count"]


def ndjson(*lines):
    return b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)


def door_to(store, max_payload=65_536, **server):
    router = vectors_router(Vectors(store, colours, max_payload), here)
    return Door(FrontDoor({}, framework_app([router]), Callers(), ServerSettings(**server)))


@asynccontextmanager
async def open_door(folder, **options):
    async with edge_store(folder) as store:
        yield door_to(store, **options)
