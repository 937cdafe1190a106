"""A preloaded model's TTL begins anew before it ends; everybody else's ends."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from enginehouse.residency.base import Terms, terms_of
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import ResidencySettings
from enginehouse.testing import FakeEngine, FakeLauncher, simulate
from enginehouse.types import Deployment, EngineName, Kind, Model

DEPLOYMENT = Deployment(id="a", model="a", kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER)


@asynccontextmanager
async def loaded(launcher, *, refreshed):
    async with Residency({EngineName.LLAMA_SERVER: launcher}, ResidencySettings(health_interval=1e9)) as house:
        await house.load(DEPLOYMENT, Terms(ttl=10, refreshed=refreshed))
        yield house


@pytest.mark.parametrize(("refreshed", "stays"), [(True, True), (False, False)])
def test_only_a_preloaded_model_outlives_its_ttl_and_a_request_is_never_cold(refreshed, stays):
    async def main():
        launcher = FakeLauncher()
        async with loaded(launcher, refreshed=refreshed) as house:
            await asyncio.sleep(1000)
            assert ("a" in launcher.resident) is stays
            async with house.lease(DEPLOYMENT, Terms(ttl=10, refreshed=refreshed)) as lease:
                assert (lease.waited == 0) is stays
        assert len(launcher.loads) == (1 if stays else 2)

    simulate(main())


def test_a_refresh_asks_the_engine_and_replaces_one_that_is_silent():
    async def main():
        engine = FakeEngine()
        launcher = FakeLauncher(engine)
        async with loaded(launcher, refreshed=True) as house:
            engine.well = False
            await asyncio.sleep(25)
            assert launcher.resident == {"a"}
            await asyncio.sleep(10)
            assert "did not answer" in (house.status(DEPLOYMENT).error or "")
            assert not launcher.resident

    simulate(main())


class Counting(FakeEngine):
    """Counts how often it is asked how it is."""

    asked = 0

    async def healthy(self):
        self.asked += 1
        return await super().healthy()


def test_it_is_refreshed_before_its_time_is_up():
    async def main():
        engine = Counting()
        async with loaded(FakeLauncher(engine), refreshed=True):
            await asyncio.sleep(8.9)
            assert engine.asked == 0
            await asyncio.sleep(0.2)
            assert engine.asked == 1
            await asyncio.sleep(9)
            assert engine.asked == 2

    simulate(main())


def test_idle_seconds_go_on_counting_and_unload_still_unloads():
    async def main():
        launcher = FakeLauncher()
        async with loaded(launcher, refreshed=True) as house:
            await asyncio.sleep(95)
            assert house.status(DEPLOYMENT).idle_seconds == pytest.approx(95)
            await house.unload("a")
            assert not launcher.resident

    simulate(main())


@pytest.mark.parametrize("preload", [True, False])
def test_preloaded_models_are_the_ones_refreshed(preload):
    model = Model(id="a", kind=Kind.CHAT, deployments=(DEPLOYMENT,), preload=preload)
    assert terms_of(model).refreshed is preload
