"""Several copies of one model: who gets the next request, growing with the line, shrinking when idle."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from msgspec import structs

from enginehouse.core.admission import Admission
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.copies import Copies, copies_of, next_copies, told_as_model
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import AdmissionSettings, ResidencySettings
from enginehouse.testing import FakeLauncher, simulate
from enginehouse.types import Deployment, EngineName, Instances, Kind, Model, ResidentState

OFF, LOADING, READY, FAILED = (
    ResidentState.OFF,
    ResidentState.LOADING,
    ResidentState.READY,
    ResidentState.FAILED,
)


def model(name="a", least=1, most=3, slots=1):
    deployment = Deployment(id=name, model=name, kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER, slots=slots)
    return Model(id=name, kind=Kind.CHAT, deployments=(deployment,), instances=Instances(min=least, max=most))


class House:
    def __init__(self, residency, admission, copies, launcher):
        self.residency, self.admission, self.copies, self.launcher = residency, admission, copies, launcher
        self.ran_on = Counter()

    async def ask(self, wanted, seconds):
        ticket = self.admission.slot(wanted.deployments[0], slots=self.copies.slots(wanted))
        async with ticket:
            deployment, terms = self.copies.pick(wanted)
            async with self.residency.lease(deployment, terms):
                self.ran_on[deployment.id] += 1
                await asyncio.sleep(seconds)

    async def review(self, *models, every=0.5):
        while True:
            self.copies.review(models)
            await asyncio.sleep(every)


@asynccontextmanager
async def house_of(*models, ram=100, weights=None, **settings):
    given = {"max_memory_usage": 1, "utility_share": 0, "vram_multiplier": 1, "min_residency": 0, **settings}
    how = ResidencySettings(**given)
    launcher = FakeLauncher(weights=weights or {})
    admission = Admission(AdmissionSettings())
    async with Residency({EngineName.LLAMA_SERVER: launcher}, how, ram=ram) as residency:
        house = House(residency, admission, Copies(admission, residency, how), launcher)
        reviewing = asyncio.ensure_future(house.review(*models))
        try:
            yield house
        finally:
            reviewing.cancel()


@pytest.mark.parametrize(
    ("least", "states", "waited", "lacking", "expected"),
    [
        (1, (OFF, OFF, OFF), 99, 9, ()),
        (1, (LOADING, OFF, OFF), 99, 9, ()),
        (1, (READY, OFF, OFF), 0, 9, ()),
        (1, (READY, OFF, OFF), 2, 1, (1,)),
        (1, (READY, OFF, OFF), 2, 9, (1,)),
        (1, (READY, LOADING, OFF), 99, 9, ()),
        (1, (READY, FAILED, OFF), 2, 9, (2,)),
        (1, (READY, READY, READY), 99, 9, ()),
        (1, (OFF, READY, OFF), 2, 9, (0,)),
        (2, (READY, OFF, OFF), 0, 0, (1,)),
        (2, (READY, OFF, READY), 0, 0, (1,)),
        (1, (READY,), 99, 9, ()),
        (1, (READY, READY, OFF, OFF, OFF), 2, 9, (2, 3)),
        (1, (READY, READY, OFF, OFF, OFF), 2, 1, (2,)),
        (1, (READY, READY, LOADING, OFF, OFF), 2, 9, (3,)),
        (1, (READY, READY, LOADING, OFF, OFF), 2, 1, ()),
        (1, (READY, READY, READY, OFF, OFF), 2, 9, (3, 4)),
        (4, (READY, READY, OFF, OFF, OFF), 0, 0, (2, 3)),
    ],
)
def test_when_more_copies_are_worth_it(least, states, waited, lacking, expected):
    instances = Instances(min=least, max=len(states))
    assert next_copies(instances, states, waited=waited, patience=2.0, lacking=lacking) == expected


def test_a_hot_model_doubles_its_copies_until_nobody_waits_for_long():
    async def main():
        wanted = model(most=16)
        async with house_of(wanted, scale_up_wait=2, max_models=20) as house:
            asking = [asyncio.ensure_future(house.ask(wanted, 30)) for _ in range(32)]
            # A load takes a second: five rounds of them, and not fifteen.
            await asyncio.sleep(10)
            assert len(house.launcher.resident) == 16
            await asyncio.gather(*asking)

    simulate(main())


def test_no_more_copies_are_begun_than_there_is_free_memory_for():
    async def main():
        wanted = model(most=8)
        weights = {copy.id: 10 for copy in copies_of(wanted)}
        async with house_of(wanted, ram=35, weights=weights, scale_up_wait=2) as house:
            asking = [asyncio.ensure_future(house.ask(wanted, 20)) for _ in range(12)]
            await asyncio.sleep(15)
            states = Counter(house.residency.status(copy).state for copy in copies_of(wanted))
            assert states == {READY: 3, OFF: 5}
            await asyncio.gather(*asking)

    simulate(main())


def test_a_model_grows_with_its_line_and_shrinks_when_idle():
    async def main():
        wanted = model()
        async with house_of(wanted, scale_up_wait=2, scale_down_idle=60) as house:
            await asyncio.gather(*(house.ask(wanted, 5) for _ in range(30)))
            assert house.launcher.resident == {"a", "a#2", "a#3"}
            assert set(house.ran_on) == {"a", "a#2", "a#3"}
            # Alone the one copy would have taken 151 seconds.
            assert asyncio.get_running_loop().time() < 75
            assert house.copies.status(wanted).instances == 3
            await asyncio.sleep(61)
            assert house.launcher.resident == {"a"}
            assert house.copies.slots(wanted) == 1
            grown = [e.event.why for e in house.residency.decisions.about("a#2") if e.event.what == "grows"]
            assert grown == ["A request has waited for 2.0 s."]

    simulate(main())


def test_no_more_requests_run_than_all_ready_copies_have_slots():
    async def main():
        wanted = model(slots=2)
        async with house_of(wanted, scale_up_wait=1) as house:
            asking = [asyncio.ensure_future(house.ask(wanted, 3)) for _ in range(40)]
            while not all(task.done() for task in asking):
                for copy in copies_of(wanted):
                    assert house.residency.status(copy).leases <= 2
                await asyncio.sleep(0.25)
            await asyncio.gather(*asking)

    simulate(main())


def test_the_least_are_there_whenever_the_model_is():
    async def main():
        wanted = model(least=2, most=2)
        async with house_of(wanted, idle_timeout=100) as house:
            await house.ask(wanted, 5)
            assert house.launcher.resident == {"a", "a#2"}
            await asyncio.sleep(50)
            assert house.launcher.resident == {"a", "a#2"}

    simulate(main())


def test_one_more_copy_takes_free_memory_only_and_says_when_there_is_none():
    async def main():
        wanted, other = model(), model("b", most=1)
        weights = {"a": 40, "a#2": 40, "b": 40}
        async with house_of(wanted, weights=weights, scale_up_wait=1) as house:
            await house.ask(other, 1)
            await asyncio.gather(*(house.ask(wanted, 3) for _ in range(6)))
            assert house.launcher.resident == {"a", "b"}
            told = [e.event.what for e in house.residency.decisions.about("a#2")]
            assert told == ["stays_small"]

    simulate(main())


def test_a_copy_too_many_is_the_first_to_leave_for_another_model():
    async def main():
        wanted, other = model(most=2), model("b", most=1)
        weights = {"a": 40, "a#2": 40, "b": 40}
        async with house_of(wanted, weights=weights, scale_up_wait=1) as house:
            await asyncio.gather(*(house.ask(wanted, 3) for _ in range(6)))
            assert house.launcher.resident == {"a", "a#2"}
            await house.ask(other, 1)
            assert house.launcher.resident == {"a", "b"}

    simulate(main())


def test_without_auto_scaling_there_is_one():
    async def main():
        wanted = model()
        async with house_of(wanted, scale_up_wait=1, enable_auto_scaling=False) as house:
            await asyncio.gather(*(house.ask(wanted, 3) for _ in range(6)))
            assert house.launcher.resident == {"a"}

    simulate(main())


def test_unload_takes_every_copy_and_a_smaller_most_takes_those_beyond_it():
    async def main():
        wanted = model(least=3, most=3)
        async with house_of(wanted) as house:
            await house.ask(wanted, 10)
            assert len(house.launcher.resident) == 3
            house.copies.replace(wanted, model(least=1, most=2))
            await asyncio.sleep(0.1)
            assert house.launcher.resident == {"a", "a#2"}
            await house.copies.unload(model(least=1, most=2))
            assert not house.launcher.resident

    simulate(main())


def test_a_change_of_one_copy_is_told_as_the_model_stands():
    async def main():
        wanted = model(least=2, most=2)
        catalogue = Catalogue([wanted])
        async with house_of(wanted) as house:
            await house.ask(wanted, 5)
            second = house.residency.status(copies_of(wanted)[1])
            await house.residency.unload("a")
            told = told_as_model(catalogue, house.residency, second)
            assert (told.id, told.state, told.instances) == ("a", READY, 1)

    simulate(main())


def test_a_server_that_is_no_more_is_let_go_of_and_the_others_stay():
    first, second = (
        Deployment(
            id=name,
            model="a",
            kind=Kind.CHAT,
            engine=EngineName.LLAMA_SERVER,
            base_url="http://127.0.0.1:9",
            slots=4,
        )
        for name in ("a", "a~2")
    )
    both = Model(id="a", kind=Kind.CHAT, deployments=(first, second))
    one = Model(id="a", kind=Kind.CHAT, deployments=(first,))

    async def main():
        async with house_of(both) as house:
            for deployment in both.deployments:
                async with house.residency.lease(deployment):
                    pass
            assert house.launcher.resident == {"a", "a~2"}
            house.copies.replace(both, one)
            await asyncio.sleep(1)
            assert house.launcher.resident == {"a"}
            await house.copies.unload(one)
            assert house.launcher.resident == set()

    simulate(main())


def test_a_pin_of_the_settings_is_told_before_anybody_has_asked():
    async def main():
        kept = structs.replace(model(), pinned=True)
        async with house_of(kept) as house:
            assert house.copies.status(kept).pinned
            house.copies.pin(kept, pinned=False)
            assert not house.copies.status(kept).pinned

    simulate(main())
