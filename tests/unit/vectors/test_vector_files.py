"""Exports: what one store wrote another reads, and what was cut off is known."""

import json
from contextlib import asynccontextmanager

import pytest

from enginehouse.cli.vectors.run import export, restore
from enginehouse.errors import InvalidRequest
from tests.unit.vectors.door import door_to
from tests.vectors import edge_store, server_store


class Service:
    """A service as the command line sees it, without a socket."""

    def __init__(self, store):
        self.door = door_to(store)

    async def change(self, method, path, body):
        return await self.door.ok(method, path.removeprefix("/v1/vector"), b"" if body is None else body)

    @asynccontextmanager
    async def lines(self, path, body):
        how = {"accept": "application/x-ndjson"}
        answer = await self.door.call("POST", path.removeprefix("/v1/vector"), body, **how)

        async def lines():
            for line in answer.body.splitlines():
                yield line

        yield lines()

    async def send_lines(self, path, lines):
        how = {"content_type": "application/x-ndjson"}
        return await self.door.ok("POST", path.removeprefix("/v1/vector"), lines, **how)


async def filled(service, count=2345):
    await service.door.docs(distance="euclid", payload_indexes={"n": "integer"})
    lines = [json.dumps({"id": f"p{n}", "vector": [n, 1, 2], "payload": {"n": n}}).encode() for n in range(count)]
    await service.send_lines("/v1/vector/points?collection_name=docs", b"\n".join(lines))


async def everything(door, name="docs"):
    body = {"collection_name": name, "with_vector": True, "limit": 10_000}
    points = (await door.ok("POST", "/points/scroll", body))["points"]
    return sorted(points, key=lambda point: point["id"])


@pytest.mark.parametrize(("source", "target"), [(edge_store, server_store), (server_store, edge_store)])
async def test_a_collection_moves_from_store_to_store(tmp_path, source, target):
    written = []
    async with source(tmp_path / "a") as one, target(tmp_path / "b") as two:
        here, there = Service(one), Service(two)
        await filled(here)
        assert await export(here, "docs", written.append) == 2345
        lines = b"".join(written).splitlines()
        assert await restore(there, iter(lines), None) == ("docs", 2345)
        assert await everything(there.door) == await everything(here.door)
        made, came = [await door.ok("GET", "/collections/docs") for door in (here.door, there.door)]
        for field in ("vector_size", "distance", "payload_indexes", "points_count"):
            assert made[field] == came[field]
        assert await restore(there, iter(lines), "again") == ("again", 2345)


async def test_what_was_cut_off_is_known(tmp_path):
    async with edge_store(tmp_path) as store:
        service, written = Service(store), []
        await filled(service, 10)
        await export(service, "docs", written.append)
        lines = b"".join(written).splitlines()
        assert len(lines) == 12
        with pytest.raises(InvalidRequest, match="not complete: 10 points came, more were"):
            await restore(service, iter(lines[:-1]), "half")
        with pytest.raises(InvalidRequest, match="not complete: 8 points came, 10 were"):
            await restore(service, iter([*lines[:9], lines[-1]]), "gap")
        for nothing in ([], lines[1:], [b"{"]):
            with pytest.raises(InvalidRequest, match="no export"):
                await restore(service, iter(nothing), "none")


async def test_an_empty_collection_moves_too(tmp_path):
    async with edge_store(tmp_path) as store:
        service, written = Service(store), []
        await service.door.docs()
        assert await export(service, "docs", written.append) == 0
        assert await restore(service, iter(b"".join(written).splitlines()), "other") == ("other", 0)
