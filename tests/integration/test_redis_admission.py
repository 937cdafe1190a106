"""Admission over a real Redis: the contract of all gates, and what happens when Redis or a replica goes.

Where leases end, short real times are used; the order with all its ages and turns is held against the policy itself
in `test_redis_lines`, with the time handed in.
"""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic

import pytest
import structlog

from enginehouse.core.admission import Admission, SharedGates
from enginehouse.errors import SettingsError, StoreUnavailable
from enginehouse.settings.schema import AdmissionSettings
from enginehouse.stores.kv import RedisLines, RedisStore
from tests.admission_contract import SCENES, Crowd, upstream
from tests.integration.redis_server import RedisServer

UNIT = 0.25
TIMES = {"aging", "queue_timeout"}
"""Settings that are times."""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis"), "--databases", str(1 + len(SCENES))) as server:
        yield server


@pytest.fixture
def server(running):
    """An empty Redis that answers."""
    running.client.flushall()
    return running


@pytest.fixture
def own_server(tmp_path):
    """A Redis that the test may stop."""
    with RedisServer(tmp_path) as server:
        yield server


@asynccontextmanager
async def replicas(server, count=2, *, lease=2.0, share=1.0, unit=UNIT, database=0, **settings):
    async with AsyncExitStack() as stack:
        admissions = []
        for number in range(count):
            url = f"redis://127.0.0.1:{server.port}/{database}"
            store = await stack.enter_async_context(RedisStore(url, f"r{number} of {database}"))
            shared = await stack.enter_async_context(SharedGates(RedisLines(store), lease=lease, share=share))
            scaled = {name: value * unit if name in TIMES else value for name, value in settings.items()}
            admissions.append(Admission(AdmissionSettings(**scaled), shared))
        crowd = Crowd(*admissions, unit=unit)
        crowd.stores = [admission._shared._lines._store for admission in admissions]
        yield crowd


async def until(condition, seconds=10):
    began = monotonic()
    while not condition():
        assert monotonic() - began < seconds
        await asyncio.sleep(0.01)
    return monotonic() - began


@pytest.fixture(scope="module")
def played(running):
    """How all scenes went: they mostly wait, and so are played side by side, each in a database of its own."""
    begin = asyncio.Barrier(len(SCENES))

    async def one(database, settings, play):
        async with replicas(running, 1, database=database, unit=0.4, **settings) as crowd:
            async with crowd.admission.slot(upstream(name="connects")):
                await begin.wait()
            await asyncio.sleep(database / 10)  # not all in the same instant
            await play(crowd)

    async def all_of_them():
        plays = (one(number, *scene) for number, scene in enumerate(SCENES.values(), start=1))
        return await asyncio.gather(*plays, return_exceptions=True)

    return dict(zip(SCENES, asyncio.run(all_of_them()), strict=True))


@pytest.mark.parametrize("name", SCENES)
def test_contract(played, name):
    if played[name] is not None:
        raise played[name]


@pytest.mark.parametrize("slots", [1, 3])
async def test_two_replicas_have_one_line(server, slots):
    """Turns that come in the same instant may be seen in either order on two replicas."""
    async with replicas(server) as crowd:
        calls = [await crowd.come(number, 0.2, at=number % 2, slots=slots) for number in range(40)]
        await asyncio.gather(*calls)
        assert all(abs(place - number) < slots for place, number in enumerate(crowd.order))
        assert crowd.most == slots
        assert (await crowd.stats(0)).served == (await crowd.stats(1)).served == 40


async def test_what_a_silent_replica_held_is_free_within_the_lease(server):
    lease = 1.0
    async with replicas(server, lease=lease) as crowd:
        dead = [await crowd.come(f"dead {number}", 100, at=0) for number in range(3)]
        living = await crowd.come("living", 0.1, at=1)
        for tended in crowd.admissions[0]._shared._gates.values():
            tended.task.cancel()
        assert await until(lambda: "living" in crowd.order) < lease + 0.15
        for call in dead:
            call.cancel()
        await asyncio.wait([*dead, living])


async def test_nothing_stays_in_redis_when_all_have_gone(server):
    async with replicas(server) as crowd:
        calls = [await crowd.come(number, 0.3, at=number % 2, tenant=str(number)) for number in range(8)]
        for call in calls[::2]:
            call.cancel()
        await asyncio.wait(calls)
    left = {key.decode().rpartition(":")[2] for key in server.client.keys("enginehouse:line:*")}
    assert left <= {"meta", "waits", "stated"}
    assert all(server.client.pttl(key) > 0 for key in server.client.keys("*"))
    assert b"tenant" not in b"".join(server.client.keys("*"))


async def test_who_waits_in_redis_when_it_goes_runs_here_and_comes_back(own_server):
    async with replicas(own_server, share=0.5) as crowd:
        with structlog.testing.capture_logs() as logs:
            calls = [await crowd.come(number, 2, at=number % 2, slots=4) for number in range(28)]
            own_server.stop()
            await until(lambda: not any(store.up for store in crowd.stores))
            calls += [crowd.start(f"alone {number}", 2, at=number % 2, slots=4) for number in range(4)]
            await crowd.pause(3)
            assert 1 <= crowd.running <= 4
            own_server.start()
            await until(lambda: all(store.up for store in crowd.stores))
            crowd.most = 0
            await asyncio.gather(*calls)
        assert set(crowd.ends.values()) == {"ran"}
        assert crowd.most <= 4
        assert (await crowd.stats()).active == 0
    changes = [line["event"] for line in logs if line["event"] in {"redis_lost", "redis_connected"}]
    assert sorted(changes) == ["redis_connected"] * 2 + ["redis_lost"] * 2


async def test_a_redis_that_hangs_is_one_that_is_gone(own_server):
    async with replicas(own_server, 1) as crowd:
        await crowd.work("before", 0.1)
        own_server.freeze()
        await asyncio.wait_for(crowd.work("meanwhile", 0.1), 8)
        with pytest.raises(StoreUnavailable):
            await crowd.stores[0].ping()
        own_server.thaw()
        await until(lambda: crowd.stores[0].up)
        await crowd.work("after", 0.1)
        assert crowd.order == ["before", "meanwhile", "after"]


async def test_a_redis_that_takes_no_writes_is_one_that_is_gone(own_server):
    async with replicas(own_server, 1) as crowd:
        own_server.client.config_set("min-replicas-to-write", 1)
        await crowd.work("meanwhile", 0.1)
        assert not crowd.stores[0].up
        with pytest.raises(StoreUnavailable, match=r"NOREPLICAS|replicas"):
            await crowd.stores[0].ping()
        own_server.client.config_set("min-replicas-to-write", 0)
        await until(lambda: crowd.stores[0].up)
        await crowd.work("after", 0.1)
        assert crowd.order == ["meanwhile", "after"]


async def test_scripts_that_redis_has_forgotten_are_sent_again(server):
    async with replicas(server, 1) as crowd:
        await crowd.work("before", 0.1)
        server.client.script_flush()
        await crowd.work("after", 0.1)
        assert crowd.stores[0].up


async def test_a_redis_that_is_not_there_yet_is_found_later(tmp_path):
    server = RedisServer(tmp_path)
    async with replicas(server, 1) as crowd:
        assert not crowd.stores[0].up
        await crowd.work("alone", 0.1)
        with server:
            await until(lambda: crowd.stores[0].up)
            await crowd.work("shared", 0.1)
            assert (await crowd.stats()).served == 1


async def test_a_wrong_password_is_told_without_it(tmp_path):
    with RedisServer(tmp_path, "--requirepass", "open-sesame") as server:
        url = server.url.replace("redis://", "redis://:hush-hush@")
        with structlog.testing.capture_logs() as logs:
            async with RedisStore(url, "r") as store:
                with pytest.raises(StoreUnavailable, match="password") as told:
                    await store.ping()
                await asyncio.sleep(1.2)
        assert [line["event"] for line in logs] == ["redis_lost"]
        assert "hush-hush" not in f"{logs}{told.value.message}"
        async with RedisStore(server.url.replace("redis://", "redis://:open-sesame@"), "r") as store:
            await store.ping()


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "http://:hush-hush@localhost",
        "redis://:hush-hush@localhost:port",
        "redis://:hush-hush@localhost/first",
        "redis://:hush-hush@localhost?colour=blue",
        "redis://:hush-hush@localhost?socket_timeout=long",
    ],
)
async def test_a_wrong_url_is_told_at_once_without_its_password(url):
    with pytest.raises(SettingsError, match=r"stores\.redis_url") as refused:
        RedisStore(url, "r")
    assert "hush-hush" not in refused.value.message


async def test_a_long_line_is_carried_in_few_steps(server):
    """What comes or ends while a step is on its way goes together with the next one."""
    async with replicas(server, max_queue_size=10_000, queue_timeout=1e6) as crowd:
        server.client.config_resetstat()
        await asyncio.gather(*(crowd.work(n, 0, at=n % 2, slots=8, tenant=str(n % 50)) for n in range(2000)))
        assert set(crowd.ends.values()) == {"ran"}
        assert crowd.most <= 8
        assert server.client.info("commandstats")["cmdstat_evalsha"]["calls"] < 2000
