"""What is pinned by hand stays: neither room for others nor idleness takes it out of memory."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from enginehouse.errors import InsufficientMemory
from enginehouse.residency.base import Terms
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import ResidencySettings
from enginehouse.testing import FakeLauncher, simulate
from enginehouse.types import Deployment, EngineName, Kind, ResidentState

A, B = (Deployment(id=n, model=n, kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER) for n in "ab")


@asynccontextmanager
async def house_of(launcher, **given):
    how = {"max_memory_usage": 1, "utility_share": 0, "vram_multiplier": 1, **given}
    told = []
    launchers = {EngineName.LLAMA_SERVER: launcher}
    async with Residency(launchers, ResidencySettings(**how), ram=100, on_change=told.append) as house:
        house.told = told
        yield house


def test_nothing_evicts_it_until_it_is_unpinned():
    launcher = FakeLauncher(weights={"a": 80, "b": 80})

    async def main():
        async with house_of(launcher) as house:
            await house.load(A)
            house.pin("a", pinned=True)
            await asyncio.sleep(100)
            with pytest.raises(InsufficientMemory):
                await house.load(B)
            assert launcher.resident == {"a"}
            house.pin("a", pinned=False)
            house.reset("b")
            await house.load(B)
            assert launcher.resident == {"b"}

    simulate(main())


def test_who_waits_gets_its_room_when_it_is_unpinned():
    launcher = FakeLauncher(weights={"a": 80, "b": 80})

    async def main():
        async with house_of(launcher, min_residency=10) as house:
            await house.load(A)
            waiting = asyncio.ensure_future(house.load(B))
            await asyncio.sleep(1)
            house.pin("a", pinned=True)
            await asyncio.sleep(60)
            assert launcher.resident == {"a"}
            house.pin("a", pinned=False)
            await asyncio.sleep(3)
            assert waiting.done()
            assert launcher.resident == {"b"}

    simulate(main())


def test_it_does_not_leave_for_being_idle_and_does_again_afterwards():
    launcher = FakeLauncher()

    async def main():
        async with house_of(launcher, idle_timeout=10) as house:
            await house.load(A)
            await asyncio.sleep(5)
            house.pin("a", pinned=True)
            await asyncio.sleep(1000)
            assert launcher.resident == {"a"}
            house.pin("a", pinned=False)
            await asyncio.sleep(1)
            assert not launcher.resident

    simulate(main())


def test_it_holds_over_lives_and_against_its_own_entry():
    launcher = FakeLauncher(weights={"a": 80, "b": 80})

    async def main():
        async with house_of(launcher) as house:
            house.pin("a", pinned=False)
            await house.load(A, Terms(pinned=True))
            assert not house.status(A).pinned
            house.pin("a", pinned=True)
            await house.unload("a")
            assert house.status(A).state is ResidentState.OFF
            await house.load(A)
            assert house.status(A).pinned

    simulate(main())


def test_it_is_told_and_remembered_why():
    async def main():
        async with house_of(FakeLauncher()) as house:
            await house.load(A)
            house.pin("a", pinned=True)
            assert house.told[-1].pinned
            assert [entry.event.what for entry in house.decisions.about("a")][-1] == "pinned"

    simulate(main())
