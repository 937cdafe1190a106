"""Slots taken and left without waiting: the same figures, and the same turns of those who wait, as by tickets."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from enginehouse.core.admission import Admission
from enginehouse.core.admission.shared import SharedGate
from enginehouse.errors import QueueFull, QueueTimeout
from enginehouse.settings.schema import AdmissionSettings
from enginehouse.testing import simulate
from enginehouse.types import Deployment, EngineName, Kind, Priority

PLACE = Deployment(id="a", model="a", kind=Kind.CHAT, engine=EngineName.OPENAI, base_url="http://there")
SETTINGS = AdmissionSettings(max_queue_size=3, queue_timeout=40, aging=7)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.sampled_from(list(Priority)), st.sampled_from(["ann", "ben"])),
        st.tuples(st.sampled_from(["end", "fail", "cancel"]), st.integers(0, 7), st.just("")),
        st.tuples(st.just("slots"), st.integers(1, 4), st.just("")),
        st.tuples(st.just("resize"), st.integers(1, 4), st.just("")),
        st.tuples(st.just("pass"), st.integers(1, 50), st.just("")),
        st.tuples(st.just("forget"), st.just(0), st.just("")),
    ),
    max_size=40,
)


def run_to(end):
    """A request runs, and this is its end."""
    if end == "fail":
        raise OSError


class Ways:
    """Requests that come to a gate, by tickets only, or without waiting wherever that is possible."""

    def __init__(self, *, at_once):
        self.admission = Admission(SETTINGS)
        self.at_once, self.slots = at_once, 2
        self.here, self.began, self.log, self.short = {}, [], [], 0

    def come(self, name, priority, tenant):
        gate = self.admission.gate_now(PLACE, self.slots) if self.at_once else None
        before = self.admission.stats("a")
        if gate is not None and gate.enter_now():
            self.short += 1
            self.began.append(name)
            self.here[name] = gate, asyncio.get_running_loop().time()
            return
        assert self.admission.stats("a") == before
        ticket = self.admission.slot(PLACE, slots=self.slots, priority=priority, tenant=tenant)
        end = asyncio.get_running_loop().create_future()
        self.here[name] = asyncio.ensure_future(self.stay(name, ticket, end)), end

    async def stay(self, name, ticket, end):
        try:
            async with ticket:
                self.began.append(name)
                run_to(await end)
        except OSError:
            pass
        except (QueueFull, QueueTimeout) as error:
            self.began.append((name, type(error)))
            self.here.pop(name, None)

    def leave(self, name, how):
        """A request ends; one that waits can only be cancelled."""
        first, second = self.here[name]
        if isinstance(second, float):
            first.leave_now(asyncio.get_running_loop().time() - second)
        elif how == "cancel":
            first.cancel()
        elif name not in self.began:
            return
        else:
            second.set_result(how)
        self.here.pop(name)

    async def run(self, steps):
        for number, (what, one, two) in enumerate(steps):
            if what == "come":
                self.come(number, one, two)
            elif what in ("end", "fail", "cancel") and one < len(self.here):
                self.leave(sorted(self.here)[one], what)
            elif what == "slots":
                self.slots = one
            elif what == "resize":
                self.admission.resize("a", one)
            elif what == "forget":
                self.admission.forget("a")
            await asyncio.sleep(one if what == "pass" else 0.125)
            self.log.append((self.admission.stats("a"), sorted(self.here), list(self.began)))
        while self.here:
            self.leave(min(self.here), "cancel")
            await asyncio.sleep(0.125)
        return self.log, self.admission.stats("a")


@given(STEPS)
def test_by_both_ways_a_gate_stands_alike(steps):
    ways = [Ways(at_once=at_once) for at_once in (True, False)]
    short, general = [simulate(way.run(steps)) for way in ways]
    assert short == general


def test_the_short_way_is_taken_where_a_slot_is_free():
    way = Ways(at_once=True)
    come = ("come", Priority.NORMAL, "ann")
    simulate(way.run([come, ("end", 0, ""), come, come, come, ("end", 0, ""), ("cancel", 0, "")]))
    assert way.short == 2, "the first one opens the gate, and the last of the three has to wait"


async def test_a_gate_tells_whether_it_is_free_and_takes_nothing_when_it_is_not():
    admission = Admission(SETTINGS)
    async with admission.slot(PLACE):
        gate = admission.gate_now(PLACE)
        before = gate.stats()
        assert not gate.free
        assert not gate.enter_now()
        assert gate.stats() == before
    assert gate.free
    assert gate.enter_now()
    assert (gate.running, gate.free) == (1, False)
    gate.leave_now(0.5)
    assert (gate.running, gate.stats().served) == (0, 2)


@pytest.mark.parametrize("together", [True, False])
def test_several_at_once_stand_as_one_after_the_other(together):
    async def main():
        admission = Admission(AdmissionSettings())
        async with admission.slot(PLACE, slots=3):
            pass
        gate = admission.gate_now(PLACE, 3)
        if together:
            assert not gate.enter_now(4)
            assert gate.running == 0
            assert gate.enter_now(3)
            gate.leave_now(0.5, 0.25)
        else:
            assert all(gate.enter_now() for _ in range(3))
            gate.leave_now(0.5)
            gate.leave_now(0.25)
        stats = gate.stats()
        assert (stats.active, stats.served, gate.free) == (1, 4, 2)
        assert (stats.wait_p95, stats.service_time) == (0.0, 0.2 * 0.5 + 0.8 * 0 + (0.25 - 0.1) * 0.2)

    simulate(main())


async def test_those_who_wait_go_on_when_several_leave_at_once():
    admission = Admission(AdmissionSettings())
    async with admission.slot(PLACE, slots=2):
        pass
    gate = admission.gate_now(PLACE, 2)
    assert gate.enter_now(2)
    came = []

    async def come(name):
        async with admission.slot(PLACE, slots=2):
            came.append(name)

    waiting = [asyncio.ensure_future(come(name)) for name in "abc"]
    await asyncio.sleep(0)
    gate.leave_now(0.5, 0.5)
    await asyncio.gather(*waiting)
    assert (came, gate.running) == (["a", "b", "c"], 0)


async def test_what_has_to_be_done_first_is_done_by_the_general_way():
    admission = Admission(SETTINGS)
    assert admission.gate_now(PLACE) is None, "there is no gate yet"
    async with admission.slot(PLACE, slots=2):
        assert admission.gate_now(PLACE) is None, "it has another number of slots"
        assert admission.gate_now(PLACE, 3) is None
        assert admission.gate_now(PLACE, 2) is not None
        admission.forget("a")
        assert admission.stats("a").slots == 1
        assert admission.gate_now(PLACE, 1) is None, "its deployment is gone"


class Shared:
    """Gates of several replicas, which nobody tends, and the store of their lines."""

    up = True

    def open(self, deployment, slots, settings):
        return SharedGate(deployment.id, slots, settings, self, lease=10.0, share=1.0)


def test_a_shared_gate_is_not_entered_here():
    admission = Admission(SETTINGS, Shared())
    admission.slot(PLACE)
    assert admission.gate_now(PLACE) is None
    here = Deployment(id="b", model="b", kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER)
    admission.slot(here)
    assert admission.gate_now(here) is not None
    assert admission.gate_now(structs.replace(here, base_url="http://there")) is None, "it has become remote"
