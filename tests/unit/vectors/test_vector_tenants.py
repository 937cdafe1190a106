"""Two tenants with the same collection names never see each other's points, whatever they do on whichever route."""

import asyncio
import contextlib
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from enginehouse.core.vectors.vectors import scope_of
from enginehouse.types import Principal
from tests.unit.vectors.door import Door, door_to, ndjson
from tests.vectors import edge_store, server_store

WHO = st.sampled_from(["ann", "bob", "eve", "dan", "acme", "boss"])
OWNER = {"ann": "ann", "bob": "bob", "eve": "acme!", "dan": "acme!", "acme": "acme", "boss": "boss"}
"""Whose collections each caller sees: two of one tenant the same, and no user those of a tenant of its name."""
NAME = st.sampled_from(["docs", "Docs"])
ID = st.sampled_from([1, "1", "a", "6b29fc40-ca47-1067-b31d-00dd010662da"])
STEP = st.one_of(
    st.tuples(st.just("create"), WHO, NAME),
    st.tuples(st.just("drop"), WHO, NAME),
    st.tuples(st.just("put"), WHO, NAME, ID, st.booleans()),
    st.tuples(st.just("delete"), WHO, NAME, ID),
    st.tuples(st.just("delete where"), WHO, NAME, WHO),
)
JSON = {"content_type": "application/json"}
LINES = {"content_type": "application/x-ndjson"}


class Worlds:
    """What each owner should see: collection → id → who wrote it."""

    def __init__(self, door: Door):
        self.door = door
        self.of: dict[str, dict[str, dict]] = {}

    async def step(self, step):
        kind, who, name, *rest = step
        mine = self.of.setdefault(OWNER[who], {})
        there = name in mine
        match kind, rest:
            case "create", _:
                answer = await self.door.call("POST", "/collections", {"name": name, "vector_size": 3}, who)
                assert answer.status == (409 if there else 201)
                mine.setdefault(name, {})
            case "drop", _:
                answer = await self.door.call("DELETE", f"/collections/{name}", b"", who)
                assert answer.status == (200 if there else 404)
                mine.pop(name, None)
            case "put", (id_, as_lines):
                point = {"id": id_, "vector": [1, 2, 3], "payload": {"by": who}}
                if as_lines:
                    path, body, how = f"/points?collection_name={name}", ndjson(point), LINES
                else:
                    path, body, how = "/points", {"collection_name": name, "points": [point]}, JSON
                answer = await self.door.call("POST", path, body, who, **how)
                assert answer.status == (200 if there else 404)
                if there:
                    mine[name][id_] = who
            case "delete", (id_,):
                answer = await self.door.call("DELETE", "/points", {"collection_name": name, "ids": [id_]}, who)
                if there:
                    assert answer.json()["deleted"] == (mine[name].pop(id_, None) is not None)
            case "delete where", (by,):
                where = {"must": [{"key": "by", "match": {"value": by}}]}
                answer = await self.door.call("DELETE", "/points", {"name": name, "filter": where}, who)
                if there:
                    gone = [id_ for id_, writer in mine[name].items() if writer == by]
                    assert answer.json()["deleted"] == len(gone)
                    for id_ in gone:
                        del mine[name][id_]

    async def look(self):
        """Every caller, on every route that reads."""
        for who, owner in OWNER.items():
            mine = self.of.get(owner, {})
            listed = (await self.door.ok("GET", "/collections", b"", who))["collections"]
            assert {item["name"]: item["points_count"] for item in listed} == {n: len(p) for n, p in mine.items()}
            for name in ("docs", "Docs"):
                await self.read(who, name, mine.get(name))

    async def read(self, who, name, points):
        asked = {"collection_name": name}
        answers = [
            await self.door.call("GET", f"/collections/{name}", b"", who),
            await self.door.call("POST", "/search", {**asked, "query_vector": [1, 2, 3], "limit": 100}, who),
            await self.door.call("POST", "/points/scroll", asked, who),
            await self.door.call("POST", "/points/scroll", asked, who, accept="application/x-ndjson"),
            await self.door.call("POST", "/points/count", asked, who),
        ]
        if points is None:
            assert {answer.status for answer in answers} == {404}
            return
        state, found, page, stream, count = answers
        assert state.json()["points_count"] == count.json()["count"] == len(points)
        for seen in (found.json()["results"], page.json()["points"], map(json.loads, stream.body.splitlines())):
            assert sorted((str(type(p["id"])), str(p["id"]), p["payload"]["by"]) for p in seen) == sorted(
                (str(type(id_)), str(id_), by) for id_, by in points.items()
            )


async def play(open_store, steps):
    with tempfile.TemporaryDirectory() as folder:
        async with open_store(Path(folder)) as store, contextlib.AsyncExitStack() as stack:
            worlds = Worlds(door_to(store))
            stack.push_async_callback(sweep, worlds)
            for step in steps:
                await worlds.step(step)
            await worlds.look()


async def sweep(worlds):
    """A server keeps what a memory forgets."""
    for who in OWNER:
        for item in (await worlds.door.ok("GET", "/collections", b"", who))["collections"]:
            await worlds.door.call("DELETE", f"/collections/{item['name']}", b"", who)


SLOW = settings(
    suppress_health_check=list(HealthCheck), max_examples=6, phases=(Phase.explicit, Phase.reuse, Phase.generate)
)


@SLOW
@given(st.lists(STEP, min_size=4, max_size=12))
def test_owners_are_strangers_in_the_embedded_index(steps):
    asyncio.run(play(edge_store, steps))


@settings(SLOW, max_examples=25)
@given(st.lists(STEP, min_size=4, max_size=20))
def test_owners_are_strangers_on_a_server(steps):
    asyncio.run(play(server_store, steps))


@pytest.mark.parametrize("store", [edge_store, server_store])
async def test_all_of_them_with_one_name(store):
    steps = [("create", who, "docs") for who in ("ann", "bob", "eve", "acme", "boss")]
    steps += [("put", who, "docs", id_, True) for who in OWNER for id_ in (1, "1")]
    await play(store, [*steps, ("drop", "bob", "docs"), ("delete where", "eve", "docs", "dan")])


@given(st.text(), st.text(), st.text(), st.text())
def test_scopes_are_one_only_for_one_owner(user, tenant, other_user, other_tenant):
    one, other = Principal(user=user, tenant=tenant), Principal(user=other_user, tenant=other_tenant)
    same = tenant == other_tenant if tenant or other_tenant else user == other_user
    assert (scope_of(one) == scope_of(other)) == same
