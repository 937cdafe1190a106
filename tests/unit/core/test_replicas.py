"""Replicas as one service: one order, one set of figures, and each for itself while nobody can be heard."""

import asyncio
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
from msgspec import structs

from enginehouse.core.listing import Listed
from enginehouse.core.replicas import Anew, Replicas, Views, apart
from enginehouse.core.replicas.told import decode, encode
from enginehouse.core.traces.pulse import Ended, Measured, Queues, Window
from enginehouse.core.traces.tally import Overall, Tally
from enginehouse.core.traces.trace import Trace
from enginehouse.errors import NotFound, StoreUnavailable
from enginehouse.residency.manager import ResidentStatus
from enginehouse.telemetry.events import EventStream
from enginehouse.testing import simulate
from enginehouse.testing.chronicle import MemoryChronicle, Shelf
from enginehouse.types import EngineName, ResidentState

MINUTE = Window(requests=6, failed=1, hits=1, misses=3, requests_per_second=0.1, tokens_per_second=2.5, ttft=[1, 2])


def status(state="ready", model="tiny", **more):
    return ResidentStatus(id=model, model=model, engine=EngineName.LLAMA_SERVER, state=ResidentState(state), **more)


def line(scope="replica", **more):
    known = {"active": 0, "slots": 2, "served": 0, "rejected": 0, "timed_out": 0, "left": 0, **more}
    waits = {"wait_p50_ms": more.get("wait_p50_ms"), "wait_p95_ms": None}
    return {"scope": scope, "queued": {"high": 0, "normal": 0, "low": 0}, "total": 0, **known, **waits}


def figures(**more):
    return {
        "timestamp": "2026-11-22T05:00:00.000+00:00",
        "uptime_seconds": 5.0,
        "requests_per_second": 1.5,
        "tokens_per_second": 10.0,
        "active": 1,
        "queued": 0,
        "on_the_way": 2,
        "last_minute": MINUTE.told(),
        "totals": {"requests": 10, "completed": 9, "cost": Decimal("0.000000000001")},
        "cost_today": Decimal("2.5"),
        "models": {"ready": 1, "off": 2},
        "memory": {"ram": {"total": 100, "used": 50, "budget": 80, "models": 30}},
        "sockets": 1,
        "sessions": 4,
        "ledger_backlog": 0,
        **more,
    }


class Member:
    """A replica of a test: what happens there is said, and `beat` once a second tells the figures."""

    def __init__(self, shelf, name, started, host=None):
        self.name, self.source = name, EventStream()
        self.standing, self.tally = {}, Tally(outcomes={"completed": 2}, cache={"exact": 1, "miss": 1}, cost=5)
        self.chronicle = MemoryChronicle(shelf, name)
        self.replicas = Replicas(
            name, host or name, self.source, self.standing.values, self.count, self.chronicle, lambda: started
        )
        self.views = Views(self.replicas)

    def count(self):
        return Overall(all=self.tally, errors={"queue_full": 1}, models={"tiny": self.tally})

    @asynccontextmanager
    async def running(self):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work()) for work in (self.replicas.tell, self.replicas.hear)]
            await asyncio.sleep(0.01)
            yield self
            for task in tasks:
                task.cancel()

    def beat(self, **more):
        self.source.publish(Measured(figures(**more), MINUTE))

    def becomes(self, state, **more):
        now = status(state, **more)
        self.standing[now.model] = now
        self.source.publish(now)

    @property
    def heard(self):
        return [entry.event for entry in self.replicas.events.recent()]

    def of(self, kind):
        return [one for one in self.heard if isinstance(one.event, kind)]


def together(*names, host=None):
    """A test of so many replicas in simulated time."""

    def wrap(test):
        def run():
            async def main():
                shelf = Shelf()
                members = [Member(shelf, name, at, host) for at, name in enumerate(names)]
                async with members[0].running():
                    if len(members) == 1:
                        await test(*members)
                    else:
                        async with members[1].running():
                            await asyncio.sleep(1)
                            await test(*members)

            simulate(main())

        run.__name__ = test.__name__
        return run

    return wrap


async def beats(*members, count=1, **more):
    for _ in range(count):
        await asyncio.sleep(0.9)
        for member in members:
            member.beat(**more)
            await asyncio.sleep(0.1 / len(members))


def marked(member):
    """What it told on, by name, with ids; what it told itself alone is left out."""
    events = member.replicas.events
    return [(events.token(entry.number), entry.event) for entry in events.recent() if entry.event.parts]


@together("a", "b")
async def test_all_tell_the_same_in_the_same_order(a, b):
    await beats(a, b)
    for state in ("loading", "ready", "draining", "off"):
        a.becomes(state)
        b.becomes(state, model="other")
    await beats(a, b, count=3)
    assert marked(a) == marked(b)
    told = [(one.replica, one.event.model) for _, one in marked(a) if isinstance(one.event, ResidentStatus)]
    assert told.count(("a", "tiny")) == told.count(("b", "other")) == 4


@together("a", "b")
async def test_a_second_is_closed_once_and_by_the_first_of_them(a, b):
    await beats(a, b, count=5)
    assert [one.replica for one in b.of(Measured)] == ["a"] * 5
    assert len(b.replicas.history) == 5


@together("a", "b")
async def test_figures_are_those_of_all(a, b):
    await beats(a, b)
    a.beat(cost_today=Decimal(3))
    await asyncio.sleep(0.01)
    told = b.of(Measured)[-1].event.figures
    assert (told["requests_per_second"], told["on_the_way"], told["sockets"], told["sessions"]) == (3.0, 4, 2, 4)
    assert told["totals"] == {"requests": 20, "completed": 18, "cost": Decimal("0.000000000002")}
    assert told["cost_today"] == 3
    minute = told["last_minute"]
    assert (minute["requests"], minute["errors"], minute["error_rate"]) == (12, 2, 0.1667)
    assert minute["cache_hit_rate"] == 0.25
    assert minute["ttft_ms"] == MINUTE.told()["ttft_ms"]
    assert told["memory"]["ram"] == {"total": 200, "used": 100, "budget": 160, "models": 60}
    assert told["models"] == {"off": 3}
    assert set(b.of(Measured)[-1].parts) == {"a", "b"}


@together("a", "b")
async def test_what_there_was_since_the_start_is_added(a, b):
    await beats(a, b)
    b.tally = Tally(outcomes={"completed": 3, "failed": 1}, cache={"exact": 1, "miss": 1}, total=[1, 0, 3])
    await beats(a, b, count=2)
    a.beat()
    await asyncio.sleep(0.01)
    told = a.replicas.overall()
    assert told["cache"] == {"l1_hits": 2, "l2_hits": 0, "misses": 2, "bypassed": 0, "hit_rate": 0.5}
    assert told["errors"] == {"queue_full": 2}
    tiny = told["by_model"]["tiny"]
    assert (tiny["requests"], tiny["failed"], tiny["cost"]) == (6, 1, Decimal("0.000000000005"))
    assert tiny["latency_ms"] == told["latency_ms"] != {"p50": None, "p95": None, "p99": None}
    assert b.replicas.overall("b")["by_model"]["tiny"]["requests"] == 4
    sent = [decode(one.text).counted.models for one in a.chronicle.shelf.lines]
    assert [bool(models) for models in sent] == [True, True, False, True, False, False, False]


@together("a", "b", host="same")
async def test_replicas_of_one_machine_share_its_memory(a, b):
    await beats(a, b, count=2)
    assert a.of(Measured)[-1].event.figures["memory"]["ram"] == {
        "total": 100,
        "used": 50,
        "budget": 160,
        "models": 60,
    }


@together("a", "b")
async def test_a_model_stands_as_the_best_of_them_with_the_requests_of_all(a, b):
    await beats(a, b)
    b.becomes("ready", leases=2, waiting=1, ram=10, pid=7)
    await asyncio.sleep(0.01)
    whole, parts = a.views.model(status("off"), None)
    assert (whole.state, whole.leases, whole.waiting, whole.ram, whole.pid) == ("ready", 2, 1, 10, 7)
    assert {id_: one.state.value for id_, one in parts.items()} == {"a": "off", "b": "ready"}
    assert a.views.model(status("off"), "a") == (status("off"), {})
    assert a.views.model(status("off"), "b")[0].leases == 2
    (told,) = a.of(ResidentStatus)
    assert (told.replica, told.event.state, told.parts["a"].state) == ("b", "ready", "off")
    b.becomes("off")
    await beats(a, b)
    assert a.views.model(status("off"), None)[0].state == "off"


@together("a", "b")
async def test_requests_that_run_are_known_within_a_second(a, b):
    b.becomes("ready")
    await beats(a, b, count=2)
    b.standing["tiny"] = status("ready", leases=3)
    await beats(a, b)
    assert a.views.model(status("off"), None)[0].leases == 3


@together("a", "b")
async def test_what_is_the_same_is_not_told_again_each_second(a, b):
    a.becomes("ready", idle_seconds=1.0)
    a.source.publish(Queues({"tiny": line()}))
    await beats(a, b, count=9)
    told = [decode(one.text) for one in a.chronicle.shelf.lines]
    mine = [one for one in told if one.replica == "a" and hasattr(one, "models")]
    assert [one.models is not None for one in mine] == [True] + [False] * 8
    assert [bool(one.lines) for one in mine] == [True] + [False] * 8
    await beats(a, b, count=2)
    told = [decode(one.text) for one in a.chronicle.shelf.lines]
    mine = [one for one in told if one.replica == "a" and hasattr(one, "models")][9:]
    assert [(one.models is not None, bool(one.lines)) for one in mine] == [(False, False), (True, True)]


@together("a", "b")
async def test_own_lines_are_added_and_shared_ones_are_not(a, b):
    shared = line("shared", active=3, slots=4)
    a.source.publish(Queues({"local": line(active=1, wait_p50_ms=2.0), "remote": shared}))
    b.source.publish(Queues({"local": line(active=2, wait_p50_ms=5.0), "remote": shared}))
    await beats(a, b)
    a.beat()
    await asyncio.sleep(0.01)
    lines = b.of(Queues)[-1].event.by_model
    assert (lines["remote"]["active"], lines["remote"]["scope"]) == (3, "shared")
    local = lines["local"]
    assert (local["scope"], local["active"], local["slots"], local["wait_p50_ms"]) == ("added", 3, 4, 5.0)
    figures = b.of(Measured)[-1].event.figures
    assert figures["active"] == 6
    now, parts = b.views.line("local", line(active=0), None)
    assert (now["active"], parts["a"]["active"], parts["b"]["active"]) == (1, 1, 0)
    assert b.views.line("remote", shared, None) == (shared, {})
    assert b.views.line("local", line(), "a")[0]["active"] == 1


@together("a", "b")
async def test_an_old_picture_of_a_shared_line_does_not_count(a, b):
    b.source.publish(Queues({"remote": line("shared", served=5)}))
    await beats(b, a)
    a.source.publish(Queues({"remote": line("shared", served=4, active=1)}))
    await beats(a, b)
    a.beat()
    await asyncio.sleep(0.01)
    assert b.of(Queues)[-1].event.by_model["remote"]["served"] == 5


@together("a", "b")
async def test_what_one_replica_tells_can_be_had_alone(a, b):
    await beats(a, b)
    a.becomes("loading")
    b.becomes("ready")
    b.source.publish(Ended((Trace(id="1", time=1, request_id="r"),), 3))
    await beats(b, a)
    assert {one.replica for one in a.of(Ended)} == {"b"}
    of_a = [apart(one, "a")[0] for one in a.heard]
    of_b = [apart(one, "b")[0] for one in a.heard]
    assert [one.state.value for one in of_a if isinstance(one, ResidentStatus)] == ["loading"]
    assert [one.state.value for one in of_b if isinstance(one, ResidentStatus)] == ["ready"]
    assert [one.skipped for one in of_b if isinstance(one, Ended)] == [3]
    assert not [one for one in of_a if isinstance(one, Ended)]
    assert b'"on_the_way":2' in bytes([one for one in of_b if isinstance(one, Measured)][-1].figures)


@together("a", "b")
async def test_one_that_is_silent_is_gone_and_everything_is_told_anew(a, b):
    await beats(a, b)
    b.becomes("ready")
    await beats(a, count=3)
    assert a.replicas.roster.living == ["a", "b"]
    before = len(a.of(Anew))
    await beats(a, count=3)
    assert a.replicas.roster.living == ["a"]
    assert len(a.of(Anew)) == before + 1
    assert a.views.model(status("off"), None)[0].state == "off"
    with pytest.raises(NotFound):
        a.views.chosen("b")
    await beats(a, b)
    assert a.replicas.roster.living == ["a", "b"]


@together("a", "b")
async def test_when_the_first_falls_silent_another_closes_the_second(a, b):
    await beats(a, b, count=2)
    before = len(b.replicas.history)
    await beats(b, count=6)
    assert [one.replica for one in b.of(Measured)[before:]] == ["b"] * 4


@together("a", "b")
async def test_one_that_stops_says_so(a, b):
    await beats(a, b)
    await b.replicas.part()
    await asyncio.sleep(0.01)
    assert a.replicas.roster.living == ["a"]
    assert isinstance(a.heard[-1].event, Anew)


@together("a", "b")
async def test_without_the_chronicle_each_tells_its_own_and_then_all_are_heard_again(a, b):
    await beats(a, b, count=2)
    b.becomes("ready")
    await asyncio.sleep(0.01)
    for one in (a, b):
        one.chronicle.up = False
    await asyncio.sleep(1)
    assert (a.replicas.scope, a.views.model(status("off"), None)[0].state) == ("alone", "off")
    with pytest.raises(StoreUnavailable):
        await a.replicas.ask()
    seen = len(a.heard)
    a.becomes("ready", model="mine")
    await beats(a, b, count=2)
    news = a.heard[seen:]
    assert [type(one.event).__name__ for one in news] == ["ResidentStatus", "Measured", "Measured"]
    assert news[-1].event.figures["totals"]["requests"] == 10
    for one in (a, b):
        one.chronicle.up = True
    await asyncio.sleep(1)
    await a.replicas.ask()
    assert (a.replicas.scope, type(a.heard[-1].event)) == ("shared", Anew)
    await beats(a, b, count=2)
    assert a.replicas.roster.living == ["a", "b"]
    assert a.views.model(status("off"), None)[0].state == "ready"
    assert b.views.model(status("off", "mine"), None)[0].state == "ready"
    assert [one.replica for one in b.of(Measured)][-1] == "a"


@together("a", "b")
async def test_nothing_is_lost_or_told_twice_when_the_chronicle_goes_while_it_is_written(a, b):
    await beats(a, b, count=2)
    a.becomes("loading")
    await asyncio.sleep(0)
    a.chronicle.up = False
    await asyncio.sleep(0.5)
    a.chronicle.up = True
    await asyncio.sleep(1)
    a.becomes("ready")
    await beats(a, b, count=2)
    assert [one.event.state.value for one in a.of(ResidentStatus)] == ["loading", "ready"]


class CutOff(Shelf):
    """A shelf that cannot be reached any more once something was written."""

    members = ()

    def write(self, text, milliseconds):
        super().write(text, milliseconds)
        for member in self.members:
            member.chronicle.up = False


def test_what_was_written_but_not_read_back_is_told_once():
    async def main():
        shelf = CutOff()
        a = Member(shelf, "a", 0)
        async with a.running():
            a.beat()
            await asyncio.sleep(0.1)
            shelf.members = (a,)
            a.becomes("ready")
            await asyncio.sleep(0.1)
            assert (a.replicas.scope, len(a.of(ResidentStatus))) == ("alone", 1)
            shelf.members, a.chronicle.up = (), True
            await asyncio.sleep(1)
            assert (a.replicas.scope, len(a.of(ResidentStatus))) == ("shared", 1)
            assert len(shelf.lines) == 2

    simulate(main())


@together("a", "b")
async def test_shared_lines_that_were_lost_begin_anew(a, b):
    a.source.publish(Queues({"remote": line("shared", served=5)}))
    await beats(a, b)
    a.chronicle.up = False
    await asyncio.sleep(1)
    a.chronicle.up = True
    await asyncio.sleep(1)
    a.source.publish(Queues({"remote": line("shared", served=1)}))
    await beats(a, b)
    assert a.of(Queues)[-1].event.by_model["remote"]["served"] == 1


@together("a", "b")
async def test_a_chronicle_that_was_lost_begins_anew(a, b):
    await beats(a, b, count=2)
    a.chronicle.shelf.lines.clear()
    await beats(a, b, count=2)
    assert a.replicas.scope == "shared"
    assert len(a.replicas.history) == 4


def test_one_that_comes_later_knows_what_was_told_before():
    async def main():
        shelf = Shelf()
        a, late = Member(shelf, "a", 0), Member(shelf, "late", 1)
        async with a.running():
            a.becomes("ready")
            await beats(a, count=12)
            async with late.running():
                assert late.replicas.roster.living == ["a"]
                assert late.views.model(status("off"), None)[0].state == "ready"
                assert len(late.replicas.history) == 12
                late.beat()
                await asyncio.sleep(0.01)
                assert a.replicas.roster.living == ["a", "late"]
                token = a.replicas.events.token(a.replicas.events.last)
                assert late.replicas.events.place(token) is not None

    simulate(main())


@together("a")
async def test_of_other_versions_only_what_is_understood_is_heard(a):
    await a.chronicle.append([b"nonsense", b"\x81\xa4type\xa6future"])
    await beats(a)
    assert len(a.of(Measured)) == 1


@together("a", "b")
async def test_a_model_that_leaves_the_list_is_forgotten(a, b):
    await beats(a, b)
    b.becomes("ready")
    b.source.publish(Listed(change="removed", status=status("draining", leases=1)))
    await asyncio.sleep(0.01)
    assert a.views.model(status("off"), None)[0].state == "off"
    (told,) = a.of(Listed)
    assert (told.event.change, told.replica) == ("removed", "b")


def test_a_service_that_is_one_process_tells_its_own():
    views = Views()
    own = status("ready")
    assert views.model(own, None) == (own, {})
    assert views.line("tiny", line(), None) == (line(), {})
    assert (views.chosen(None), views.chosen("self")) == (None, None)
    with pytest.raises(NotFound):
        views.chosen("x")


@together("a")
async def test_money_stays_exact(a):
    a.beat()
    await asyncio.sleep(0.01)
    (written,) = a.chronicle.shelf.lines
    said = decode(written.text)
    assert said.figures["totals"]["cost"] == Decimal("0.000000000001")
    assert decode(encode(structs.replace(said, number=9))).figures["cost_today"] == Decimal("2.5")
