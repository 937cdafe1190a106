"""What is counted of a deployment."""

import asyncio
from datetime import UTC, datetime

import pytest

from enginehouse.errors import ModelNotFound
from enginehouse.residency.base import Terms
from enginehouse.residency.figures import Cause, Figures, WarmUp
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import ResidencySettings
from enginehouse.testing import FakeLauncher, simulate
from enginehouse.types import Deployment, EngineName, Kind


def deployment(name="a", **changes):
    return Deployment(id=name, model=name, kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER, **changes)


def in_a_house(**given):
    def decorate(test):
        def run():
            async def main():
                launcher = FakeLauncher(weights={"a": 80, "b": 80})
                how = {"max_memory_usage": 1, "utility_share": 0, "vram_multiplier": 1, **given}
                async with Residency(
                    {EngineName.LLAMA_SERVER: launcher}, ResidencySettings(**how), ram=100
                ) as house:
                    await test(house, launcher)

            simulate(main())

        run.__name__ = test.__name__
        return run

    return decorate


async def ask(house, seconds=0.0):
    async with house.lease(deployment()):
        await asyncio.sleep(seconds)


@in_a_house()
async def test_the_first_finds_nothing_and_the_others_find_it(house, launcher):
    began = datetime.now(UTC)
    for _ in range(4):
        await ask(house)
    figures = house.figures("a")
    assert (figures.asked, figures.found, figures.missed, figures.hit_rate) == (4, 3, 1, 0.75)
    assert (figures.loads, figures.departures) == (1, {})
    assert began <= figures.loaded_at <= figures.last_asked <= datetime.now(UTC)


@in_a_house()
async def test_all_who_wait_for_one_load_have_missed(house, launcher):
    await asyncio.gather(*(ask(house) for _ in range(5)))
    assert (house.figures("a").found, house.figures("a").missed) == (0, 5)


@in_a_house()
async def test_loading_by_hand_is_no_request(house, launcher):
    await house.load(deployment())
    figures = house.figures("a")
    assert (figures.asked, figures.last_asked, figures.loads, figures.hit_rate) == (0, None, 1, None)


@in_a_house(idle_timeout=10)
async def test_departures_are_counted_by_cause(house, launcher):
    await ask(house)
    await asyncio.sleep(11)
    await house.load(deployment())
    await house.unload("a")
    await house.load(deployment())
    house.replace(deployment(flags=("-c", "512")))
    await asyncio.sleep(0.1)
    await house.load(deployment())
    await asyncio.sleep(6)
    await house.load(deployment("b"))
    await house.unload("b")
    await house.load(deployment())
    launcher.watchers["a"].ended("it fell over")
    await asyncio.sleep(0.1)
    await house.load(deployment())
    figures = house.figures("a")
    house.remove("a", ModelNotFound("a"))
    await asyncio.sleep(0.1)
    assert figures.departures == {
        Cause.IDLE: 1,
        Cause.UNLOADED: 1,
        Cause.EDITED: 1,
        Cause.ROOM: 1,
        Cause.FAILED: 1,
        Cause.REMOVED: 1,
    }
    assert figures.loads == 6


@in_a_house()
async def test_a_load_that_was_stopped_is_no_departure(house, launcher):
    loading = asyncio.ensure_future(house.load(deployment(), Terms()))
    await asyncio.sleep(0.5)
    await house.unload("a")
    await asyncio.wait([loading])
    loading.exception()
    assert (house.figures("a").departures, house.figures("a").loads) == ({}, 0)


@in_a_house()
async def test_a_warm_up_belongs_to_one_life(house, launcher):
    await house.load(deployment())
    house.warmed_up("a", WarmUp(requests=2, failed=0, seconds=1.0, mean=0.5))
    assert house.figures("a").warm_up.mean == 0.5
    await house.unload("a")
    await house.load(deployment())
    assert house.figures("a").warm_up is None


def test_times_are_kept_in_bounded_memory():
    figures = Figures()
    assert (figures.mean, figures.percentile(0.5)) == (None, None)
    for seconds in range(1, 2001):
        figures.answered(float(seconds))
    assert (figures.answers, figures.mean) == (2000, pytest.approx(1000.5))
    assert (figures.percentile(0.5), figures.percentile(0.95)) == (1744.0, 1975.0)


@in_a_house()
async def test_an_answer_is_entered_where_it_belongs(house, launcher):
    house.answered("nobody", 1.0)
    await house.load(deployment())
    house.answered("a", 0.25)
    assert (house.figures("a").answers, house.figures("a").mean) == (1, 0.25)
    assert house.figures("nobody").answers == 0
