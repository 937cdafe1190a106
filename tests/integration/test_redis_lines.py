"""The steps in Lua do what the same steps in Python do, and what the policy itself says, whatever comes when."""

import asyncio
import random
from importlib.resources import files

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.core.admission.policy import Line
from enginehouse.stores.kv import End, Join, Moves, RedisLines
from enginehouse.testing import SharedMemory, simulate
from enginehouse.types import Priority
from tests.integration.redis_server import RedisServer

AGING, LEASE = 10, 30
REPLICAS = "xy"

joins = st.tuples(
    st.just("join"), st.integers(0, 2), st.sampled_from("abc"), st.booleans(), st.sampled_from([None, 2])
)
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
                level, tenant, again, limit = given_
                moves.joins.append(
                    Join(id=f"t{self.number}", level=level, tenant=tenant, waited=0, again=again, limit=limit)
                )
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

    assert [told(one) for one in in_redis(server, said)] == [plain(one) for one in in_python(said)]


def in_python(said):
    """The outcomes of these (time, replica, moves) in one process."""
    memory = SharedMemory()

    async def main():
        outcomes = []
        for now, replica, moves in said:
            await asyncio.sleep(now - asyncio.get_running_loop().time())
            outcomes.append(memory.step("line", replica, moves))
        return outcomes

    return simulate(main())


def in_redis(server, said):
    """The same in Redis."""
    server.client.flushall()
    clock = [0]
    lines = {replica: RedisLines(Direct(server.client, replica), clock=clock) for replica in REPLICAS}

    async def main():
        outcomes = []
        for now, replica, moves in said:
            clock.append(now * 1_000_000)
            outcomes.append(await lines[replica].step("line", moves))
        return outcomes

    return asyncio.run(main())


class Oracle:
    """Slots and the pure policy, and nothing else: who starts, and where those who wait stand."""

    def __init__(self):
        self.line, self.waiting, self.running = Line(AGING), {}, set()

    def step(self, now, moves):
        for end in moves.ends:
            if self.waiting.pop(end.id, None):
                self.line.leave(end.id)
            self.running.discard(end.id)
        started = self._admit(now, moves.slots)
        for join in moves.joins:
            self.waiting[join.id] = (now - join.waited, join)
            self._stand_anew() if join.waited else self._stand(join.id)
            started += self._admit(now, moves.slots)
        return started, [self.line.ahead(ticket, now) + 1 for ticket in moves.waiting]

    def _stand(self, ticket):
        came, join = self.waiting[ticket]
        self.line.join(ticket, list(Priority)[join.level], join.tenant, came)

    def _stand_anew(self):
        self.line = Line(AGING)
        for ticket in sorted(self.waiting, key=lambda ticket: self.waiting[ticket][0]):
            self._stand(ticket)

    def _admit(self, now, slots):
        started = []
        while (ticket := self.line.head(now)) is not None and len(self.running) < slots:
            self.line.serve(ticket)
            del self.waiting[ticket]
            self.running.add(ticket)
            started.append(ticket)
        return started


def random_day(dice, steps, tenants, most_waited):
    """What one replica says, and what the policy makes of it."""
    oracle, now, number, said, expected = Oracle(), 1000, 0, [], []
    for _ in range(steps):
        now += dice.choice([0, 0, 1, 3, AGING])
        moves = Moves(slots=dice.choice([2, 2, 2, 3]), aging=AGING, lease=1e6, limit=1000)
        gone = dice.sample(sorted(oracle.running), min(len(oracle.running), dice.choice([0, 1, 1, 2])))
        gone += dice.sample(sorted(oracle.waiting), min(len(oracle.waiting), dice.choice([0, 0, 0, 1])))
        moves.ends = [End(id=ticket, how="served", seconds=1) for ticket in gone]
        moves.joins = []
        for _ in range(dice.choice([0, 1, 1, 2, 3])):
            number += 1
            waited = most_waited and dice.randint(0, most_waited) + number / 1000  # no two rise at one instant
            moves.joins.append(
                Join(id=f"t{number}", level=dice.randrange(3), tenant=dice.choice(tenants), waited=waited)
            )
        said.append((now, "x", moves))
        started, _ = oracle.step(now, moves)
        asked = dice.sample(sorted(oracle.waiting), min(len(oracle.waiting), dice.choice([0, 1, 20])))
        said.append((now, "x", Moves(slots=moves.slots, aging=AGING, lease=1e6, limit=1000, waiting=asked)))
        expected += [(started, []), oracle.step(now, said[-1][2])]
    return said, expected


def starts_and_places(said, outcomes):
    for (_, _, moves), outcome in zip(said, outcomes, strict=True):
        at_once = [join.id for join, place in zip(moves.joins, outcome.joined, strict=True) if place == 0]
        yield outcome.turns + [ticket for ticket in at_once if ticket not in outcome.turns], outcome.waiting


@pytest.mark.parametrize(("tenants", "most_waited"), [("abc", 0), ("a", 3 * AGING)])
def test_the_policy_itself_starts_the_same_in_the_same_order(server, tenants, most_waited):
    """Who came earlier than others that are here already stands among them by its time; with several tenants it may
    have the turn in Lua a little sooner or later than in a ring begun anew.
    """
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    said, expected = random_day(random.Random(seed), 400, tenants, most_waited)
    assert sum(len(started) for started, _ in expected) > 150
    assert max((len(places) for _, places in expected), default=0) > 8
    for outcomes in (in_python(said), in_redis(server, said)):
        assert list(starts_and_places(said, outcomes)) == expected
