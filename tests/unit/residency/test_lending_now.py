"""Leases given without waiting: a resident and its figures stand as they do by the general way."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.errors import Conflict, EnginehouseError
from enginehouse.residency.base import USUAL, Terms
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import ResidencySettings
from enginehouse.testing import FakeLauncher, simulate
from enginehouse.types import Deployment, EngineName, Kind, Priority


def deployment(name="a", **changes):
    return Deployment(id=name, model=name, kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER, **changes)


PLACES = [deployment(), deployment(flags=("-c", "1")), deployment("b")]
TERMS = [USUAL, Terms(ttl=20.0, priority=Priority.HIGH), Terms(ttl=0.0, pinned=True)]
STEP = 0.27
"""Seconds. So nobody comes in the very instant in which a load (one second) or an idle time ends: there either may
be first."""
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.integers(0, 2), st.integers(0, 2), st.booleans()),
        st.tuples(st.sampled_from(["end", "fail", "cancel"]), st.integers(0, 5), st.just(0), st.just(0)),
        st.tuples(st.sampled_from(["crash", "unload", "replace"]), st.integers(0, 2), st.just(0), st.just(0)),
        st.tuples(st.just("pass"), st.integers(1, 60), st.just(0), st.just(0)),
    ),
    max_size=30,
)


def run_to(end):
    """A request runs, and this is its end."""
    if end == "fail":
        raise OSError


class Ways:
    """Requests that come to residents, by leases only, or without waiting wherever that is possible."""

    def __init__(self, *, at_once):
        self.at_once = at_once
        self.launcher = FakeLauncher(weights={"a": 60, "b": 60})
        self.settings = ResidencySettings(idle_timeout=30, min_residency=0)
        self.here, self.ends, self.log, self.short = {}, [], [], 0

    async def run(self, steps):
        async with Residency({EngineName.LLAMA_SERVER: self.launcher}, self.settings, ram=100) as self.house:
            for number, (what, one, two, three) in enumerate(steps):
                if what == "come":
                    self.come(number, PLACES[one], TERMS[two], counted=three)
                elif what in ("end", "fail", "cancel") and one < len(self.here):
                    self.leave(sorted(self.here)[one], what)
                elif what == "crash" and PLACES[one].id in self.launcher.watchers:
                    self.launcher.watchers[PLACES[one].id].ended("gone")
                elif what == "unload":
                    self.house.dismiss(PLACES[one].id, Conflict("unloaded"))
                elif what == "replace":
                    self.house.replace(PLACES[one])
                await asyncio.sleep(one if what == "pass" else STEP)
                self.log.append(self.seen())
            while self.here:
                self.leave(min(self.here), "cancel")
                await asyncio.sleep(STEP)
        return self.log, self.ends, [(one.id, one.what, one.why) for one in self.decisions()]

    def come(self, name, place, terms, *, counted):
        before = self.seen()
        lent = self.house.lend_now(place, terms, counted=counted) if self.at_once else None
        if lent is not None:
            assert lent[1].engine is self.launcher.engine
            self.short += 1
            self.here[name] = lent, None
            return
        assert self.seen() == before
        end = asyncio.get_running_loop().create_future()
        self.here[name] = asyncio.ensure_future(self.stay(name, place, terms, end, counted=counted)), end

    async def stay(self, name, place, terms, end, *, counted):
        try:
            async with self.house.lease(place, terms, counted=counted):
                run_to(await end)
        except OSError:
            pass
        except EnginehouseError as error:
            self.ends.append((name, type(error)))
            self.here.pop(name, None)

    def leave(self, name, how):
        held, end = self.here.pop(name)
        if end is None:
            self.house.give_back(*held)
        elif how == "cancel" or end.done():
            held.cancel()
        else:
            end.set_result(how)

    def seen(self):
        """All there is to see of both."""
        return [self.resident(place) for place in ("a", "b")], sorted(self.here)

    def resident(self, name):
        one, figures = self.house._residents.get(name), self.house.figures(name)
        if one is None:
            return None
        counts = figures.asked, figures.found, figures.loads, dict(figures.departures)
        stay = one.terms, one.ttl, one.last_used, one.idle_left(), one._demand, one._demand_at
        return one.state, one.leases, one.deployment, one.wanted, one.cause, counts, stay

    def decisions(self):
        return [entry.event for entry in self.house.decisions.about("a", "b")]


@given(STEPS)
def test_by_both_ways_residents_stand_alike(steps):
    short, general = [simulate(Ways(at_once=at_once).run(steps)) for at_once in (True, False)]
    assert short == general


def test_the_short_way_is_taken_when_it_is_ready():
    way = Ways(at_once=True)
    come = ("come", 0, 0, True)
    simulate(way.run([come, ("pass", 2, 0, 0), come, come, ("end", 0, 0, 0), ("come", 1, 0, True)]))
    assert way.short == 2, "the first one loads it, and the last one wants another"


@pytest.mark.parametrize("counted", [True, False])
def test_what_cannot_be_lent_at_once_is_left_as_it_is(counted):
    async def main():
        launcher = FakeLauncher()
        async with Residency({EngineName.LLAMA_SERVER: launcher}, ResidencySettings()) as house:
            assert house.lend_now(PLACES[0], counted=counted) is None
            assert house._residents == {}
            await house.load(PLACES[0])
            assert house.lend_now(PLACES[1], counted=counted) is None, "another one runs under its name"
            resident, loaded = house.lend_now(PLACES[0], counted=counted)
            assert house.leased("a")[:2] == (1, int(counted))
            launcher.watchers["a"].ended("gone")
            assert house.lend_now(PLACES[0], counted=counted) is None, "it has just ended"
            house.give_back(resident, loaded)
            await house.load(PLACES[0])
            house._closing = True
            assert house.lend_now(PLACES[0], counted=counted) is None, "the service is on its way out"
            house._closing = False
            assert house.figures("a").asked == int(counted)
            assert house.figures("a").last_asked is not None or not counted

    simulate(main())


def test_several_leases_at_once_are_as_many_one_after_the_other():
    async def main():
        seen = []
        for together in (True, False):
            async with Residency({EngineName.LLAMA_SERVER: FakeLauncher()}, ResidencySettings()) as house:
                await house.load(PLACES[0])
                began = asyncio.get_running_loop().time()
                for _ in range(1 if together else 3):
                    resident, loaded = house.lend_now(PLACES[0], number=3 if together else 1)
                assert house.ready_now(PLACES[0]) is loaded
                for _ in range(1 if together else 2):
                    house.give_back(resident, loaded, 2 if together else 1)
                if together:
                    house.answered("a", 0.5, 0.25)
                else:
                    house.answered("a", 0.5)
                    house.answered("a", 0.25)
                figures, counts = house.figures("a"), house.leased("a")[:2]
                told = figures.answers, figures.answer_seconds, list(figures.times)
                demand = resident._demand, resident._demand_at - began
                seen.append((counts, (figures.asked, figures.found), demand, told))
                house.give_back(resident, loaded)
        assert seen[0] == seen[1]
        assert seen[0][1] == (3, 3)

    simulate(main())


def test_another_one_under_the_same_name_takes_its_place_once_somebody_asks_by_the_general_way():
    async def main():
        launcher = FakeLauncher()
        async with Residency({EngineName.LLAMA_SERVER: launcher}, ResidencySettings(idle_timeout=0)) as house:
            await house.load(PLACES[0])
            async with asyncio.timeout(5), house.lease(PLACES[1]):
                assert house.lend_now(PLACES[0]) is None
                house.give_back(*house.lend_now(PLACES[1]))
            assert launcher.loads == ["a", "a"]

    simulate(main())
