"""Tallies on a real Redis: the contract, agreement with memory, two processes, and a Redis that goes away."""

import asyncio
import json
import subprocess
import sys
import time
from importlib.resources import files

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.core.limits import Limits
from enginehouse.errors import RateLimitExceeded, StoreUnavailable
from enginehouse.settings.schema import LimitSettings
from enginehouse.stores.kv import Asked, MemoryTallies, RedisStore, RedisTallies, Seats, Spent, Window
from enginehouse.types import Principal
from tests.integration.redis_server import RedisServer
from tests.tallies_contract import *  # noqa: F403 - the tests themselves
from tests.tallies_contract import BEGIN, asked, new_id

ANN = Principal(user="ann", tier="gold")
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


class Direct:
    """What `RedisTallies` needs of a `RedisStore`, without the tasks of a connection."""

    up = True

    def __init__(self, client, name="here"):
        self._client, self.name = client, name
        self.fails = 0

    def script(self, *names):
        folder = files("enginehouse.stores.kv") / "lua"
        return self._client.register_script("\n".join((folder / name).read_text() for name in names))

    async def run(self, script, keys, args):
        answer = script(keys, args)
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable("nobody knows whether it ran")
        return answer


@pytest.fixture
def clock():
    return [BEGIN]


@pytest.fixture
def tallies(server, clock):
    server.client.flushall()
    return RedisTallies(Direct(server.client), clock=clock)


windows = st.builds(
    Window,
    key=st.sampled_from(["a", "b"]),
    seconds=st.sampled_from([1, 60, 3600]),
    limit=st.integers(1, 9),
    need=st.integers(0, 9),
    take=st.integers(0, 9),
)
seats = st.builds(Seats, key=st.sampled_from("st"), limit=st.integers(1, 3))
steps = st.one_of(
    st.tuples(st.just("take"), st.lists(windows, max_size=3, unique_by=lambda w: (w.key, w.seconds)),
              st.lists(seats, max_size=2, unique_by=lambda s: s.key)),
    st.tuples(st.just("settle"), st.integers(0, 20), st.integers(0, 9)),
    st.tuples(st.just("pause"), st.integers(0, 90_000_000), st.none()),
)  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(st.lists(steps, max_size=25))
def test_lua_and_python_agree(server, drawn):
    server.client.flushall()
    now = [BEGIN]
    pair = (MemoryTallies(lambda: now[-1]), RedisTallies(Direct(server.client), clock=now))

    async def both(call):
        first, second = [await call(tallies) for tallies in pair]
        assert first == second
        return first

    async def run():
        running = []
        for what, one, two in drawn:
            if what == "pause":
                now.append(now[-1] + one)
            elif what == "take":
                named = tuple(msgspec.structs.replace(w, key=f"{w.key}:{w.seconds}") for w in one)
                ask = Asked(id=new_id(), windows=named, seats=tuple(two))
                taken = await both(lambda tallies, ask=ask: tallies.take(ask))
                if taken.admitted:
                    running.append((ask, taken))
            elif running:
                ask, taken = running.pop(one % len(running))
                ends = [(w.key, w.seconds, taken.at, w.take, two) for w in ask.windows]
                spent = Spent(id=ask.id, windows=ends, seats=tuple(seat.key for seat in ask.seats))
                await both(lambda tallies, spent=spent: tallies.settle(spent))

    asyncio.run(run())


async def test_a_step_that_is_said_twice_happens_once(tallies):
    """The connection's driver says a step again when it broke before the answer."""
    once = asked(window(limit=5), seats=(Seats(key="s", limit=9),))  # noqa: F405
    assert await tallies.take(once) == await tallies.take(once)
    spent = Spent(id=once.id, windows=[("w", 60, BEGIN, 1, 3)], seats=("s",))
    await tallies.settle(spent)
    await tallies.settle(spent)
    after = await tallies.take(asked(window(limit=5, take=0), seats=(Seats(key="s", limit=9),)))  # noqa: F405
    assert (after.windows[0].used, after.seats) == (3, (1,))


async def test_a_seat_of_which_nobody_knows_is_given_back(server, clock):
    server.client.flushall()
    direct = Direct(server.client)
    tallies, seat = RedisTallies(direct, clock=clock), Seats(key="s", limit=1)
    direct.fails = 1
    with pytest.raises(StoreUnavailable):
        await tallies.take(asked(seats=(seat,)))
    held = asked(seats=(seat,))
    assert (await tallies.take(held)).admitted
    direct.fails = 1
    await tallies.settle(Spent(id=held.id, seats=("s",)))
    assert (await tallies.take(asked(seats=(seat,)))).admitted


async def test_seats_of_a_replica_that_died_are_free(server, clock):
    server.client.flushall()
    here, there = (RedisTallies(Direct(server.client, name), clock=clock) for name in ("here", "there"))
    server.client.set("enginehouse:replica:there", "", px=60_000)
    seat = Seats(key="s", limit=1)
    assert (await there.take(asked(seats=(seat,)))).admitted
    assert not (await here.take(asked(seats=(seat,)))).admitted
    server.client.delete("enginehouse:replica:there")
    assert (await here.take(asked(seats=(seat,)))).admitted


async def test_nothing_stays_in_redis_for_ever(server, tallies):
    await tallies.take(asked(window(), seats=(Seats(key="s", limit=1),)))  # noqa: F405
    keys = server.client.keys("enginehouse:limit:*")
    assert len(keys) == 3
    assert all(0 < server.client.pttl(key) <= 86_400_000 for key in keys)


CALLERS = """
import asyncio, json, sys
from enginehouse.core.limits import Limits
from enginehouse.errors import RateLimitExceeded
from enginehouse.settings.schema import LimitSettings
from enginehouse.stores.kv import MemoryTallies, RedisStore, RedisTallies
from enginehouse.telemetry.logs import configure_logs
from enginehouse.types import Principal

async def main(url, name):
    async with RedisStore(url, name) as store:
        settings = LimitSettings.model_validate({"tiers": {"gold": "100/hour, 150 at once"}})
        limits = Limits(settings, MemoryTallies(), RedisTallies(store), store)
        async def call():
            try:
                async with limits.admit(Principal(user="ann", tier="gold"), "/v1/chat/completions"):
                    await asyncio.sleep(0.01)
                    return 1
            except RateLimitExceeded as error:
                assert error.retry_after > 3000
                return 0
        print("ready", flush=True)
        sys.stdin.readline()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call()) for _ in range(100)]
        print(json.dumps(sum(task.result() for task in tasks)), flush=True)

configure_logs("error", "json")
asyncio.run(main(*sys.argv[1:]))
"""


def test_of_two_hundred_in_two_processes_a_hundred_pass(server):
    server.client.flushall()
    command = [sys.executable, "-c", CALLERS, server.url]
    children = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in "ab"
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    passed = [json.loads(child.communicate(timeout=30)[0]) for child in children]
    assert sum(passed) == 100
    assert all(passed)


@pytest.mark.parametrize("mode", ["local", "deny"])
async def test_redis_goes_and_comes_back(tmp_path, mode):
    rates = {"gold": "3/hour, 2 at once"}
    with RedisServer(tmp_path) as own:
        async with RedisStore(own.url, "here") as store:
            limits = Limits(
                LimitSettings.model_validate({"tiers": rates, "on_store_failure": mode}),
                MemoryTallies(),
                RedisTallies(store),
                store,
            )
            async with limits.admit(ANN, CHAT):
                await limits.ask()
                own.stop()
                if mode == "local":
                    async with limits.admit(ANN, CHAT):
                        pass
                else:
                    with pytest.raises(StoreUnavailable):
                        async with limits.admit(ANN, CHAT):
                            pass
                with pytest.raises(StoreUnavailable, match=r"limits\.on_store_failure"):
                    await limits.ask()
            own.start()
            deadline = time.monotonic() + 10
            while not store.up:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            for _ in range(3):  # it has forgotten everything, also who sat where
                async with limits.admit(ANN, CHAT):
                    pass
            with pytest.raises(RateLimitExceeded):
                async with limits.admit(ANN, CHAT):
                    pass
