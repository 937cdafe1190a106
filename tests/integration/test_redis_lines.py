"""The steps in Lua do what the same steps in Python do, whatever is said in whatever order."""

import asyncio
from importlib.resources import files

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.stores.kv import End, Join, Moves, RedisLines
from enginehouse.testing import SharedMemory, simulate
from tests.integration.redis_server import RedisServer

AGING, LEASE = 10, 30
REPLICAS = "xy"

joins = st.tuples(st.just("join"), st.integers(0, 2), st.sampled_from("abc"), st.booleans())
ends = st.tuples(st.just("end"), st.integers(0, 30), st.sampled_from(["served", "left", "timed_out"]))
renewals = st.just(("renew",))
pauses = st.tuples(st.just("pause"), st.integers(1, 25))
returns = st.just(("return",))
events = st.lists(st.one_of(joins, joins, joins, ends, ends, renewals, pauses, returns), max_size=40)
days = st.lists(st.tuples(st.sampled_from(REPLICAS), st.integers(1, 3), events), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


class Direct:
    """What `RedisLines` needs of a `RedisStore`, without the tasks of a connection."""

    up, channel = True, "test:"

    def __init__(self, client, name):
        self._client, self.name = client, name

    def script(self, *names):
        folder = files("enginehouse.stores.kv") / "lua"
        return self._client.register_script("\n".join((folder / name).read_text() for name in names))

    async def run(self, script, keys, args):
        return script(keys, args)


class Book:
    """What two replicas say of one line, made of drawn events; tickets are numbered as they come."""

    def __init__(self):
        self.now, self.number, self.mine = 1000, 0, {replica: {} for replica in REPLICAS}

    def moves(self, replica, slots, drawn):
        moves = Moves(slots=slots, aging=AGING, lease=LEASE, limit=6, figures=True)
        mine = self.mine[replica]
        moves.ends, moves.joins = [], []
        for name, *given_ in drawn:
            if name == "join":
                self.number += 1
                level, tenant, again = given_
                moves.joins.append(Join(id=f"t{self.number}", level=level, tenant=tenant, waited=0, again=again))
                mine[f"t{self.number}"] = None
            elif name == "end" and mine:
                ticket = list(mine)[given_[0] % len(mine)]
                if ticket not in [join.id for join in moves.joins]:
                    del mine[ticket]
                    moves.ends.append(End(id=ticket, how=given_[1], seconds=given_[0]))
            elif name == "pause":
                self.now += given_[0]
            elif name == "return":
                moves.settle = 2.0
        if any(name == "renew" for name, *_ in drawn):
            fresh = {join.id for join in moves.joins}
            known = [ticket for ticket in mine if ticket not in fresh]
            moves.running, moves.waiting = known[:1], known[1:]
        return moves


def plain(outcome):
    raw = msgspec.to_builtins(outcome)
    raw["next"] = None if raw["next"] is None else pytest.approx(raw["next"], abs=1e-5)
    raw["service"] = None if raw["service"] is None else pytest.approx(raw["service"])
    raw["figures"]["waits"] = pytest.approx(sorted(raw["figures"]["waits"]))
    return raw


def told(outcome):
    raw = msgspec.to_builtins(outcome)
    raw["figures"]["waits"] = sorted(raw["figures"]["waits"])
    return raw


@settings(max_examples=150, deadline=None)
@given(days)
def test_lua_and_python_agree(server, days):
    """The time is handed in here, so that hours cost nothing and both see the same instant."""
    book = Book()
    said = []
    for replica, slots, drawn in days:
        moves = book.moves(replica, slots, drawn)
        said.append((book.now, replica, moves))

    memory = SharedMemory()

    async def in_python():
        outcomes = []
        loop = asyncio.get_running_loop()
        for now, replica, moves in said:
            await asyncio.sleep(now - loop.time())
            outcomes.append(memory.step("line", replica, moves))
        return outcomes

    async def in_redis():
        outcomes, clock = [], [0]
        lines = {replica: RedisLines(Direct(server.client, replica), clock=clock) for replica in REPLICAS}
        for now, replica, moves in said:
            clock.append(now * 1_000_000)
            outcomes.append(await lines[replica].step("line", moves))
        return outcomes

    server.client.flushall()
    expected = simulate(in_python())
    assert [told(one) for one in asyncio.run(in_redis())] == [plain(one) for one in expected]
