"""Residency on a simulated clock: single flight, leases, unload, idle TTL, edits, crashes, shutdown."""

import asyncio
import random
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from enginehouse.errors import Conflict, LoadTimeout, ModelLoadFailed, ModelNotFound, ShuttingDown
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import ResidencySettings
from enginehouse.testing import FakeLauncher, simulate
from enginehouse.types import Deployment, EngineName, Kind, ResidentState


def deployment(name: str = "a", **changes) -> Deployment:
    return Deployment(id=name, model=name, kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER, **changes)


@asynccontextmanager
async def residency(launcher: FakeLauncher, **settings):
    async with Residency({EngineName.LLAMA_SERVER: launcher}, ResidencySettings(**settings)) as house:
        yield house


def in_simulated_time(test):
    def run():
        simulate(test())

    run.__name__ = test.__name__
    return run


@in_simulated_time
async def test_fifty_cold_requests_cause_one_load():
    launcher = FakeLauncher()
    async with residency(launcher) as house:

        async def ask():
            async with house.lease(deployment()) as lease:
                assert lease.engine is launcher.engine
                assert lease.waited == pytest.approx(1.0)

        await asyncio.gather(*(ask() for _ in range(50)))
    assert launcher.loads == ["a"]


@in_simulated_time
async def test_idle_time_counts_from_the_end_of_the_last_request():
    launcher = FakeLauncher()
    async with residency(launcher, idle_timeout=10) as house:
        async with house.lease(deployment()):
            await asyncio.sleep(60)
            assert launcher.resident == {"a"}
        await asyncio.sleep(9)
        assert launcher.resident == {"a"}
        await asyncio.sleep(2)
        assert not launcher.resident
        assert house.status(deployment()).state is ResidentState.OFF


@in_simulated_time
async def test_a_loaded_model_that_was_never_asked_still_goes_idle():
    launcher = FakeLauncher()
    async with residency(launcher, idle_timeout=10) as house:
        await house.load(deployment())
        await asyncio.sleep(11)
        assert not launcher.resident


@pytest.mark.parametrize("settings", [{"enable_idle_timeout": False}, {"idle_timeout": 0}])
def test_idle_models_stay_when_told_so(settings):
    async def main():
        launcher = FakeLauncher()
        async with residency(launcher, **settings) as house:
            await house.load(deployment())
            await asyncio.sleep(10_000)
            assert launcher.resident == {"a"}

    simulate(main())


def test_five_hundred_requests_within_five_milliseconds_of_the_ttl_are_all_answered():
    async def main():
        launcher = FakeLauncher(load_seconds=0.01, unload_seconds=0.003)
        chance = random.Random(5)
        offsets = [0.0, *(chance.uniform(-0.005, 0.005) for _ in range(499))]
        async with residency(launcher, idle_timeout=1) as house:
            await house.load(deployment())
            for offset in offsets:
                await asyncio.sleep(1 + offset)
                async with house.lease(deployment()):
                    assert launcher.resident == {"a"}
                    await asyncio.sleep(0.1)
                    assert launcher.resident == {"a"}
        assert 100 < len(launcher.loads) < 400  # some came in time, some did not

    simulate(main())


@in_simulated_time
async def test_a_failed_load_answers_every_waiter_and_the_next_request_tries_again():
    launcher = FakeLauncher(failure=ModelLoadFailed("bad magic"))
    async with residency(launcher) as house:

        async def ask():
            async with house.lease(deployment()):
                raise AssertionError("there is nothing to lease")

        results = await asyncio.gather(*(ask() for _ in range(3)), return_exceptions=True)
        assert [str(r) for r in results] == ["bad magic"] * 3
        assert house.status(deployment()).state is ResidentState.FAILED
        assert house.status(deployment()).error == "bad magic"
        launcher.failure = None
        house.reset("a")
        assert house.status(deployment()).state is ResidentState.OFF
        await house.load(deployment())
        assert house.status(deployment()).state is ResidentState.READY
    assert launcher.loads == ["a", "a"]


@in_simulated_time
async def test_a_failed_load_cools_down_twice_as_long_each_time():
    launcher = FakeLauncher(failure=ModelLoadFailed("bad magic"), load_seconds=0)
    pauses = []
    async with residency(launcher) as house:
        for _ in range(7):
            with pytest.raises(ModelLoadFailed) as first:
                await house.load(deployment())
            await asyncio.sleep(1)
            with pytest.raises(ModelLoadFailed) as refused:
                await house.load(deployment())
            pauses.append(round(first.value.retry_after + 1))
            assert refused.value.message == "bad magic"
            await asyncio.sleep(first.value.retry_after)
    assert pauses == [10, 20, 40, 80, 160, 300, 300]
    assert len(launcher.loads) == 7


@in_simulated_time
async def test_an_edit_clears_the_cool_down():
    launcher = FakeLauncher(failure=ModelLoadFailed("bad flag"))
    async with residency(launcher) as house:
        with pytest.raises(ModelLoadFailed):
            await house.load(deployment())
        launcher.failure = None
        house.replace(deployment(flags=("-c", "512")))
        await house.load(deployment(flags=("-c", "512")))


@in_simulated_time
async def test_the_third_crash_within_the_window_opens_the_breaker():
    launcher = FakeLauncher()
    async with residency(launcher) as house:
        for _ in range(3):
            await house.load(deployment())
            launcher.watchers["a"].ended("The engine process was killed by signal 11.")
            await asyncio.sleep(1)
        with pytest.raises(ModelLoadFailed, match="signal 11") as refused:
            await house.load(deployment())
        assert refused.value.retry_after > 5
        await asyncio.sleep(10)
        await house.load(deployment())


@in_simulated_time
async def test_unload_waits_for_leases_and_later_requests_load_again():
    launcher = FakeLauncher()
    async with residency(launcher) as house:
        async with house.lease(deployment()):
            unloading = asyncio.ensure_future(house.unload("a"))
            await asyncio.sleep(5)
            assert not unloading.done()
            assert house.status(deployment()).state is ResidentState.DRAINING
            later = asyncio.ensure_future(house.load(deployment()))
            await asyncio.sleep(5)
            assert launcher.loads == ["a"]
        await unloading
        await later
        assert launcher.loads == ["a", "a"]


@in_simulated_time
async def test_unload_while_loading_stays_unloaded_and_tells_the_waiters():
    launcher = FakeLauncher(load_seconds=10)
    async with residency(launcher) as house:
        waiting = asyncio.ensure_future(house.load(deployment()))
        await asyncio.sleep(1)
        await house.unload("a")
        with pytest.raises(Conflict):
            await waiting
        await asyncio.sleep(100)
        assert house.status(deployment()).state is ResidentState.OFF
        assert not launcher.resident


@in_simulated_time
async def test_a_waiter_who_leaves_does_not_stop_the_load_of_others():
    launcher = FakeLauncher()
    async with residency(launcher) as house:
        first = asyncio.ensure_future(house.load(deployment()))
        second = asyncio.ensure_future(house.load(deployment()))
        await asyncio.sleep(0.5)
        first.cancel()
        await second
        assert launcher.resident == {"a"}
        assert house.status(deployment()).leases == 0


@in_simulated_time
async def test_no_lease_is_left_behind_when_the_grant_and_the_cancel_meet():
    launcher = FakeLauncher()
    async with residency(launcher, idle_timeout=5) as house:
        waiting = asyncio.ensure_future(house.load(deployment()))
        await asyncio.sleep(0.5)
        asyncio.get_running_loop().call_at(1.0, waiting.cancel)
        await asyncio.wait([waiting])
        assert house.status(deployment()).leases == 0
        await asyncio.sleep(10)
        assert not launcher.resident


@in_simulated_time
async def test_an_edit_drains_the_old_process_and_starts_the_new_one():
    launcher = FakeLauncher()
    async with residency(launcher) as house:
        async with house.lease(deployment()):
            house.replace(deployment(flags=("-c", "512")))
            renewed = asyncio.ensure_future(house.load(deployment(flags=("-c", "512"))))
            await asyncio.sleep(3)
            assert not renewed.done()
        await renewed
        assert launcher.loads == ["a", "a"]


@in_simulated_time
async def test_an_edit_while_loading_keeps_the_waiters():
    launcher = FakeLauncher()
    async with residency(launcher) as house:
        waiting = asyncio.ensure_future(house.load(deployment()))
        await asyncio.sleep(0.5)
        house.replace(deployment(flags=("-c", "512")))
        await waiting
        assert launcher.loads == ["a", "a"]


@in_simulated_time
async def test_forgetting_a_model_tells_its_waiters():
    async with residency(FakeLauncher()) as house:
        waiting = asyncio.ensure_future(house.load(deployment()))
        await asyncio.sleep(0.5)
        house.remove("a", ModelNotFound("a"))
        with pytest.raises(ModelNotFound):
            await waiting


@pytest.mark.parametrize("state", ["off", "idle", "running", "unloading", "failed", "loading"])
def test_nothing_is_kept_of_a_model_that_is_no_more(state):
    async def main():
        launcher = FakeLauncher(unload_seconds=1)
        async with residency(launcher) as house:
            await house.load(deployment())
            launcher.watchers["a"].printed(["a line"])
            async with AsyncExitStack() as stack:
                match state:
                    case "off":
                        await house.unload("a")
                    case "running":
                        await stack.enter_async_context(house.lease(deployment()))
                    case "unloading":
                        stack.push_async_callback(house.unload, "a")
                        await stack.enter_async_context(house.lease(deployment()))
                    case "failed" | "loading":
                        launcher.watchers["a"].ended("it fell over")
                        await asyncio.sleep(2)
                        if state == "loading":
                            house.load_soon(deployment())
                            await asyncio.sleep(0.5)
                    case _:
                        pass
                house.remove("a", ModelNotFound("a"))
                await asyncio.sleep(0.1)
            await asyncio.sleep(2)
            assert not launcher.resident
            assert not house._residents
            assert house.status(deployment()).state is ResidentState.OFF

    simulate(main())


@in_simulated_time
async def test_a_model_that_comes_back_while_it_still_goes_is_loaded_again():
    launcher = FakeLauncher(unload_seconds=5)
    async with residency(launcher) as house:
        await house.load(deployment())
        house.remove("a", ModelNotFound("a"))
        await asyncio.sleep(1)
        await house.load(deployment())
        await asyncio.sleep(1)
        assert house.status(deployment()).state is ResidentState.READY
        assert house.figures("a").loads == 2
        await house.unload("a")
        await asyncio.sleep(1)
        assert house.figures("a").loads == 2  # it is there to stay, so what is known of it stays too


@in_simulated_time
async def test_an_engine_that_ends_by_itself_is_failed_and_comes_back():
    launcher = FakeLauncher()
    async with residency(launcher) as house:
        async with house.lease(deployment()):
            launcher.watchers["a"].ended("The engine process was killed by signal 11.")
            await asyncio.sleep(1)
            assert house.status(deployment()).state is ResidentState.FAILED
        await house.load(deployment())
        assert house.status(deployment()).leases == 0
        assert house.status(deployment()).state is ResidentState.READY


@in_simulated_time
async def test_a_load_that_stalls_is_stopped_and_one_that_moves_is_not():
    launcher = FakeLauncher(load_seconds=100)
    async with residency(launcher, load_timeout=1000, load_stall_timeout=30) as house:
        with pytest.raises(LoadTimeout):
            await house.load(deployment())
        house.reset("a")
        moving = asyncio.ensure_future(house.load(deployment()))
        for _ in range(5):
            await asyncio.sleep(19)
            launcher.watchers["a"].progressed("output")
        await moving


@in_simulated_time
async def test_shutdown_ends_leases_first_and_refuses_the_rest():
    launcher = FakeLauncher()
    order = []

    async def stream(house):
        async with house.lease(deployment()):
            await asyncio.sleep(10)
            order.append("stream ended")

    async with residency(launcher) as house:
        streaming = asyncio.ensure_future(stream(house))
        await asyncio.sleep(2)
        loading = asyncio.ensure_future(house.load(deployment("b")))
        await asyncio.sleep(0.5)
    order.append("stopped")
    assert order == ["stream ended", "stopped"]
    await streaming
    with pytest.raises(ShuttingDown):
        await loading
    with pytest.raises(ShuttingDown):
        await house.load(deployment())
    assert not launcher.resident


@in_simulated_time
async def test_an_engine_nobody_launches_is_a_clear_error():
    async with Residency({}, ResidencySettings()) as house:
        with pytest.raises(ModelLoadFailed, match="llama_server"):
            await house.load(deployment())


@in_simulated_time
async def test_an_edit_that_changes_nothing_of_a_deployment_leaves_its_engine_alone():
    launcher = FakeLauncher()
    async with residency(launcher) as house:
        await house.load(deployment())
        house.replace(deployment())
        await asyncio.sleep(1)
        assert house.status(deployment()).state is ResidentState.READY
    assert launcher.loads == ["a"]


@in_simulated_time
async def test_new_limits_count_at_once():
    launcher = FakeLauncher()
    async with residency(launcher, idle_timeout=1000) as house:
        house.adopt(ResidencySettings(idle_timeout=10))
        await house.load(deployment())
        await asyncio.sleep(11)
        assert not launcher.resident


def test_an_error_or_a_cancel_stops_engines_without_waiting_for_leases():
    launcher = FakeLauncher()

    async def main():
        async with residency(launcher) as house:
            holder = asyncio.ensure_future(hold(house))
            await asyncio.sleep(2)
            assert not holder.done()
            raise KeyError("the house burns")

    async def hold(house):
        async with house.lease(deployment()):
            await asyncio.sleep(10_000)

    with pytest.raises(KeyError):
        simulate(main())
    assert not launcher.resident


@in_simulated_time
async def test_an_engine_that_leaves_three_health_checks_unanswered_is_replaced():
    launcher = FakeLauncher()
    async with residency(launcher, idle_timeout=0, health_interval=30) as house:
        await house.load(deployment())
        launcher.engine.well = False
        await asyncio.sleep(70)
        launcher.engine.well = True
        await asyncio.sleep(30)
        launcher.engine.well = False
        await asyncio.sleep(80)
        assert house.status(deployment()).state is ResidentState.READY
        await asyncio.sleep(20)
        assert house.status(deployment()).state is ResidentState.FAILED
        assert "health checks" in house.status(deployment()).error
        assert not launcher.resident
        launcher.engine.well = True
        await house.load(deployment())
        assert launcher.loads == ["a", "a"]


@in_simulated_time
async def test_a_server_elsewhere_is_not_ours_to_check():
    launcher = FakeLauncher()
    launcher.engine.well = False
    remote = deployment(base_url="http://127.0.0.1:9")
    async with residency(launcher, idle_timeout=0) as house:
        await house.load(remote)
        await asyncio.sleep(1000)
        assert house.status(remote).state is ResidentState.READY
