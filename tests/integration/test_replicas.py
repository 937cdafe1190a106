"""Three replicas are one service: what they count, in which order, what they know of each other, what they survive.

REPLICAS in the environment says for how many seconds each part of the last test runs; `make replicas` gives it 20,
and prints the table of `docs/operations/replicas.md`.
"""

import asyncio
import json
import os
import time
from collections import Counter
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.integration.balancer import Balancer
from tests.integration.replicas import BOSS, CAPPED, CHAT, LEASE, Asked, open_house

PART = float(os.environ.get("REPLICAS", "2"))
USERS = ("ann", "bob", "carl", "dora")
SLACK = 1.5
"""Seconds that a busy machine may take until a thing that has happened is seen."""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with open_house(tmp_path_factory.mktemp("replicas")) as running:
        running.replicas[0].wait_until(running.well, 20)
        yield running


def everywhere(house, told, *, but=()):
    """Seconds until it is so at every replica."""
    began = time.monotonic()
    for at in {0, 1, 2} - set(but):
        house.replicas[at].wait_until(lambda at=at: told(at), 5)
    return time.monotonic() - began


async def test_limits_are_exact_over_all_of_them(house):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        asking = [
            house.ask(client, house.replicas[number % 3].url, "capped", "1 0.01", tier="capped")
            for number in range(CAPPED + 20)
        ]
        saw = Counter(said[:5] for said in await asyncio.gather(*asking))
    assert saw == {"whole": CAPPED, "429 b": 20}


async def test_requests_run_in_the_order_in_which_they_came_to_any_of_them(house):
    house.book.order.clear()
    async with aiohttp.ClientSession() as client, asyncio.TaskGroup() as group:
        for number in range(10):
            url, crowd = house.replicas[number % 3].url, _crowd(house, "one")
            words = "40 0.05" if number == 0 else "1 0.02"
            group.create_task(house.ask(client, url, f"fifo{number}", words, model="one"))
            await _until(lambda crowd=crowd: _crowd(house, "one") > crowd)
    assert [name.partition("-")[0] for name in house.book.order] == [f"fifo{number}" for number in range(10)]
    assert house.book.most["one"] == 1


def test_a_key_is_known_and_revoked_everywhere_within_a_second(house):
    def status(at, key):
        return house.replicas[at].call("/v1/models", headers={"X-API-Key": key})[0]

    made = house.boss(0, "/v1/keys", {"user_id": "eve"})[1]
    assert everywhere(house, lambda at: status(at, made["key"]) == 200) <= 1
    assert house.boss(1, f"/v1/keys/{made['id']}", method="DELETE")[0] == 200
    assert everywhere(house, lambda at: status(at, made["key"]) == 401) <= 1


def test_a_kept_answer_is_everybodys_and_a_purge_is_heard_within_a_second(house):
    body = {"model": "many", "messages": [{"role": "user", "content": "kept 2 0"}]}

    def cache(at):
        return house.replicas[at].call(CHAT, body, house.as_user("fred"))[2]["X-Enginehouse-Cache"]

    assert cache(0) == "miss"
    assert [cache(at) for at in range(3)] == ["exact"] * 3
    assert house.boss(2, "/v1/cache/clear", {})[0] == 200
    assert everywhere(house, lambda at: cache(at) in {"miss", "exact"}) <= 1
    time.sleep(1)
    asked = len(house.book.said)
    assert house.boss(1, "/v1/cache/clear", {})[0] == 200
    time.sleep(1)
    assert cache(0) == "miss"
    assert len(house.book.said) == asked + 1


def test_a_model_is_registered_and_deleted_everywhere_within_a_second(house):
    def known(at):
        return house.replicas[at].call("/v1/models/new", headers=house.as_user("eve"))[0] == 200

    entry = {"id": "new", "base_url": house.book.url, "kind": "chat"}
    assert house.boss(1, "/v1/models", entry)[0] == 201
    assert everywhere(house, known) <= 1
    assert house.boss(2, "/v1/models/new", method="DELETE")[0] == 200
    assert everywhere(house, lambda at: not known(at)) <= 1


def test_each_says_which_it_is_and_knows_of_all(house):
    told = [house.boss(at, "/v1/status")[1] for at in range(3)]
    mine = {one["replica"] for one in told}
    assert len(mine) == 3
    for one in told:
        assert {other["id"] for other in one["replicas"]} == mine
        assert [other["id"] for other in one["replicas"] if other["this"]] == [one["replica"]]
        assert {other["pid"] for other in one["replicas"]} == {replica.process.pid for replica in house.replicas}
    assert "replicas" not in house.replicas[0].call("/v1/status", headers=house.as_user("ann"))[1]


async def test_all_tell_the_same_events_in_the_same_order(house):
    names = {house.boss(at, "/v1/status")[1]["replica"] for at in range(3)}
    async with aiohttp.ClientSession() as client, Readers(house, client) as readers:
        for number in range(6):
            assert await house.ask(client, house.replicas[number % 3].url, "ann", "1 0") == "whole"
        for at in (0, 1):
            await asyncio.to_thread(house.boss, at, "/v1/models/four/load", {})
            await asyncio.to_thread(house.boss, at, "/v1/models/four/unload", {})
        await _until(lambda: all(len(reader.told("figures")) >= 4 for reader in readers.all), 20)
    events = [reader.common(readers.all) for reader in readers.all]
    assert events[0] == events[1] == events[2]
    assert {"requests", "model_update", "figures"} <= {name for _, name, _ in events[0]}
    assert {data["replica"] for _, _, data in events[0]} == names
    asked = [one["request_id"] for data in readers.all[2].told("requests") for one in data["requests"]]
    assert [len({id_ for id_ in asked if id_ == one.id}) for one in house.asked[-6:]] == [1] * 6
    for at in range(3):
        metrics = house.boss(at, "/api/v1/metrics")[1]
        assert set(metrics["replicas"]) == names
        assert metrics["totals"]["requests"] >= 6
    figures = readers.all[1].told("figures")[-1]
    assert set(figures["replicas"]) == names
    sums = sum(one["totals"]["requests"] for one in figures["replicas"].values())
    assert figures["totals"]["requests"] == sums >= 6


async def test_who_comes_back_to_another_replica_goes_on_where_the_stream_broke_off(house):
    async with aiohttp.ClientSession() as client:
        async with Readers(house, client) as readers:
            await _until(lambda: all(len(reader.told("figures")) >= 1 for reader in readers.all), 10)
        last = readers.all[0].last
        assert await house.ask(client, house.replicas[1].url, "bob", "1 0") == "whole"
        missed = house.asked[-1].id
        await asyncio.sleep(1.5)
        async with Readers(house, client, last) as again:
            await _until(lambda: all(len(reader.told("figures")) >= 3 for reader in again.all), 10)
    for reader in again.all:
        assert not reader.told("full_status")
        assert [one["request_id"] for data in reader.told("requests") for one in data["requests"]] == [missed]
    events = [reader.common(again.all) for reader in again.all]
    assert events[0] == events[1] == events[2]


def test_how_models_stand_is_told_of_all_and_of_one(house):
    first, other = house.boss(0, "/v1/status")[1]["replica"], house.boss(1, "/v1/status")[1]["replica"]
    assert house.boss(1, "/v1/models/many/load", {})[0] == 200

    def told(at, query=""):
        return house.boss(at, f"/v1/models/status{query}")[1]

    def stands(at):
        return {id_: one["status"] for id_, one in told(at)["models"]["many"]["replicas"].items()}.get(other)

    assert everywhere(house, lambda at: stands(at) == "ready") <= 1
    for at in range(3):
        body = told(at)
        assert (body["scope"], body["models"]["many"]["status"]) == ("shared", "ready")
        assert len(body["models"]["many"]["replicas"]) == 3
        status = house.boss(at, "/v1/status")[1]
        assert status["models"]["many"]["replicas"][other]["status"] == "ready"
        assert all(one["figures"]["uptime_seconds"] > 0 for one in status["replicas"])
        assert told(at, f"?replica={other}")["models"]["many"]["status"] == "ready"
        assert "replicas" not in told(at, f"?replica={other}")["models"]["many"]
    assert told(0, "?replica=self")["summary"] == told(2, f"?replica={first}")["summary"]
    assert house.boss(0, "/v1/models/status?replica=nobody")[0] == 404
    assert house.boss(1, "/v1/models/many/unload", {})[0] == 200
    assert everywhere(house, lambda at: stands(at) == "off") <= 1


@pytest.mark.timeout(120 + PART * 12)
async def test_whatever_goes_down_no_record_is_lost_and_no_slot_is_stuck(house):
    """Mixed users ask without a pause while a replica is killed, Redis is killed and PostgreSQL is stopped."""
    table, chaos = [], len(house.asked)
    balancer = Balancer(*(replica.url for replica in house.replicas))
    async with balancer.serve() as url, _load(house, url):
        await _until(lambda: len(balancer.ready) == 3)
        table.append(await _part(house, "nothing", _nothing))
        table.append(await _part(house, "`kill -9` of a replica, which starts again", _killed(house)))
        table.append(await _part(house, "Redis is killed, and starts again", _without_redis(house)))
        table.append(await _part(house, "PostgreSQL is stopped, and starts again", _without_postgres(house)))
    await _until(house.well, 20)
    _print(table)
    await asyncio.to_thread(_check_books, house, house.asked[chaos:], table)
    await _check_slots(house)
    rates = {row.what.split()[0]: row.failed / row.requests for row in table}
    assert rates["nothing"] == 0
    assert rates["Redis"] == rates["PostgreSQL"] == 0
    assert rates["`kill"] < 0.5
    for replica in house.replicas:
        assert "Traceback" not in replica.log_file.read_text()


class Readers:
    """Follows the stream of events of every replica while the context lasts."""

    def __init__(self, house, client, last=None):
        self.all = [Reader(house, client, replica.url, last) for replica in house.replicas]

    async def __aenter__(self):
        self._tasks = [asyncio.create_task(reader.follow()) for reader in self.all]
        await _until(lambda: all(reader.events for reader in self.all))
        return self

    async def __aexit__(self, *_):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Reader:
    """What one replica tells: id, name and data of every event."""

    def __init__(self, house, client, url, last):
        self.events = []
        headers = {"X-API-Key": BOSS} | ({"Last-Event-ID": last} if last else {})
        self._stream = client.get(f"{url}/v1/events", headers=headers)

    async def follow(self):
        async with self._stream as answer:
            event = {}
            async for line in answer.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if value:
                    event[name] = value
                elif event:
                    self.events.append((event["id"], event["event"], json.loads(event["data"])))
                    event = {}

    def told(self, name):
        return [data for _, called, data in self.events if called == name]

    @property
    def scope(self):
        """Whose events these are, as it was last told."""
        return self.told("full_status")[-1]["scope"]

    @property
    def last(self):
        return self.events[-1][0]

    def common(self, readers):
        """What all of them have heard, but how everything stood, which each says of the moment it was asked."""
        marks = [[id_ for id_, name, _ in reader.events if name != "full_status"] for reader in readers]
        known = set(marks[0]).intersection(*marks[1:])
        return [one for one in self.events if one[1] != "full_status" and one[0] in known]


class Row:
    """One line of the table."""

    def __init__(self, what, requests, failed, erring, away, recovery):
        self.what, self.requests, self.failed = what, requests, failed
        self.erring, self.away, self.recovery = erring, away, recovery


async def _part(house, what, happens):
    """Let it happen in the middle of a stretch of load."""
    first = len(house.asked)
    await asyncio.sleep(PART / 2)
    went, back = await happens()
    recovery = await _until(house.well, 30)
    await asyncio.sleep(PART / 2)
    asked = house.asked[first:]
    failures = [one for one in asked if not one.whole]
    erring = max((one.ended - went for one in failures), default=0.0)
    return Row(what, len(asked), len(failures), erring, back - went, recovery)


async def _nothing():
    """When it went, and when it was there again."""
    return time.monotonic(), time.monotonic()


def _killed(house):
    """The one that dies runs a request that holds the only slot of a model, and a seat of its user's two."""

    async def happens():
        async with aiohttp.ClientSession() as client, asyncio.TaskGroup() as group:
            victim, gone = house.replicas[1], house.boss(1, "/v1/status")[1]["replica"]
            long = house.ask(client, victim.url, "pair", "400 0.05", model="one", tier="pair", stream=True)
            group.create_task(long)
            await _until(lambda: house.book.running["one"] == 1)
            await asyncio.sleep(PART / 2)  # it is renewed meanwhile
            went = time.monotonic()
            victim.process.kill()
            await asyncio.to_thread(victim.process.wait)
            waits = group.create_task(house.ask(client, house.replicas[0].url, "next", "1 0", model="one"))
            assert await waits == "whole"
            assert time.monotonic() - went <= LEASE + SLACK
            await asyncio.sleep(PART / 2)
            await _until(lambda: gone not in house.boss(0, "/api/v1/metrics")[1]["replicas"], 6)
            await asyncio.to_thread(victim.start)
            await _until(lambda: len(house.boss(0, "/api/v1/metrics")[1]["replicas"]) == 3, 6)
        return went, time.monotonic()

    return happens


def _without_redis(house):
    async def happens():
        went = time.monotonic()
        async with aiohttp.ClientSession() as client, Readers(house, client) as readers:
            await asyncio.to_thread(house.redis.stop)
            await _until(lambda: _told(house, "redis") == _told(house, "replicas") == {"down"})
            await _until(lambda: all(reader.scope == "alone" for reader in readers.all))
            own = [len(reader.told("figures")) for reader in readers.all]
            await asyncio.sleep(PART / 2)
            assert all(
                len(reader.told("figures")) > before for reader, before in zip(readers.all, own, strict=True)
            )
            assert all(len(reader.told("figures")[-1]["replicas"]) == 1 for reader in readers.all)
            await asyncio.to_thread(house.redis.start)
            back = time.monotonic()
            await _until(lambda: all(reader.scope == "shared" for reader in readers.all))
            await _until(lambda: all(len(reader.told("figures")[-1]["replicas"]) == 3 for reader in readers.all))
        return went, back

    return happens


def _without_postgres(house):
    async def happens():
        went = time.monotonic()
        await asyncio.to_thread(house.postgres.stop, "immediate")
        await _until(lambda: _told(house, "database") == _told(house, "ledger") == {"down"})
        await asyncio.sleep(PART / 2)
        await asyncio.to_thread(house.postgres.start)
        return went, time.monotonic()

    return happens


def _told(house, dependency):
    """What the replicas say of something they depend on; each says it, and that it goes on all the same."""
    bodies = [house.boss(at, "/health")[1] for at in range(3)]
    return {body["dependencies"][dependency]["status"] for body in bodies if body["status"] == "degraded"}


@asynccontextmanager
async def _load(house, url, callers=2):
    """So many callers of every user ask while the context lasts."""
    stop = asyncio.Event()

    async def call(client, user, number):
        while not stop.is_set():
            model = ("many", "four")[number % 2]
            await house.ask(client, url, user, f"{1 + number % 7} 0.005", model=model, stream=number % 3 == 0)
            number += 1
            await asyncio.sleep(0.02)

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as client, asyncio.TaskGroup() as group:
        for at, user in enumerate(USERS * callers):
            group.create_task(call(client, user, at))
        yield
        stop.set()


def _check_books(house, asked: list[Asked], table):
    """What every caller heard whole is recorded once, with the tokens that the upstream said."""
    house.replicas[0].wait_until(lambda: not house.records()[1], 20)
    records, _ = house.records()
    of = {}
    for id_, user, outcome, read, written, cache in records:
        if cache not in {"exact", "semantic"} and not id_.startswith(("capped", "fifo")):
            assert id_ not in of, f"recorded twice: {id_}"
            of[id_] = (user, outcome, read, written)
    heard = {one.id for one in asked if one.whole}
    assert not heard - of.keys(), "answers that nobody recorded"
    for id_ in heard:
        (said,) = house.book.said[id_]
        assert of[id_] == (id_.rpartition("-")[0], "completed", said.input, said.output)
    said = {id_: one for one in asked if (id_ := one.id) in house.book.said}
    unrecorded = said.keys() - of.keys()
    failed = {one.id for one in asked if not one.whole}
    assert unrecorded <= failed
    assert len(unrecorded) <= table[1].failed, "only those that ran at the killed replica"
    for user in USERS:
        mine = [(read, written) for name, _, read, written in of.values() if name == user]
        sums = [house.boss(at, f"/v1/llm/usage?user_id={user}")[1] for at in range(3)]
        assert {(one["total_requests"], one["total_tokens"]) for one in sums} == {(len(mine), sum(map(sum, mine)))}


async def _check_slots(house):
    """Every line is empty, and whoever comes runs at once; both seats of the one who was cut off are free."""
    for at in range(3):
        for model in ("one", "four", "many"):
            await _until(lambda at=at, model=model: not _crowd_at(house, at, model), LEASE + SLACK)
    async with aiohttp.ClientSession() as client:
        for at in range(3):
            assert await house.ask(client, house.replicas[at].url, "late", "1 0", model="one") == "whole"
        pair = [house.ask(client, house.replicas[at].url, "pair", "4 0.05", tier="pair") for at in (0, 2)]
        assert await asyncio.gather(*pair) == ["whole", "whole"]


def _crowd(house, model):
    return _crowd_at(house, 0, model)


def _crowd_at(house, at, model):
    line = house.line(at, model)
    return line["active"] + line["total"]


async def _until(condition, seconds=10):
    """How long it took."""
    began = time.monotonic()
    while not await asyncio.to_thread(condition):
        assert time.monotonic() - began < seconds, "not in time"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


def _print(table):
    print("\n| under load | requests | failed | error rate | last error after | away | all well after |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in table:
        rate = f"{row.failed / row.requests:.2%}"
        seconds = " | ".join(f"{value:.1f} s" for value in (row.erring, row.away, row.recovery))
        print(f"| {row.what} | {row.requests:,} | {row.failed} | {rate} | {seconds} |")
