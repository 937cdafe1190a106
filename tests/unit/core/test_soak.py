"""Random work on admission, copies and residency together, in simulated time: `make soak` runs 100,000 requests.

A failure prints its seed; `SOAK_SEED=… SOAK_EVENTS=… pytest tests/unit/core/test_soak.py` repeats it exactly.
"""

import asyncio
import os
import random
from collections import Counter
from contextlib import suppress

from enginehouse.core.admission import Admission
from enginehouse.core.copies import Copies, copies_of
from enginehouse.errors import EnginehouseError, ModelLoadFailed, QueueFull, QueueTimeout, UpstreamDied
from enginehouse.residency.manager import Residency
from enginehouse.settings.schema import AdmissionSettings, ResidencySettings
from enginehouse.testing import FakeLauncher, simulate
from enginehouse.types import Deployment, EngineName, Instances, Kind, Model, Priority

EVENTS = int(os.environ.get("SOAK_EVENTS", "1500"))
SEED = int(os.environ.get("SOAK_SEED", random.SystemRandom().randrange(2**32)))
BUDGET = 100
LONGEST_RUN = 8.0
LOAD = 2.0
QUEUE_TIMEOUT = 120.0
MAX_WAIT = 10.0
BOUND = QUEUE_TIMEOUT + 600 + LONGEST_RUN + 1
"""What one request may take: its wait in the line, its wait for room and load (`load_timeout`), its run."""


def some_model(chance, name):
    most = chance.choice([1, 1, 3])
    slots = chance.randint(1, 3)
    deployment = Deployment(id=name, model=name, kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER, slots=slots)
    return Model(
        id=name,
        kind=Kind.CHAT,
        deployments=(deployment,),
        instances=Instances(max=most),
        priority=chance.choice(list(Priority)),
    )


class Soak:
    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.models = [some_model(self.chance, name) for name in "vwxyz"]
        weights = {
            copy.id: weight
            for model in self.models
            for weight in [self.chance.randint(10, 90)]
            for copy in copies_of(model)
        }
        self.launcher = FakeLauncher(weights=weights, load_seconds=LOAD, unload_seconds=0.2)
        self.outcomes = Counter()
        self.done = asyncio.Event()

    async def run(self, events):
        settings = ResidencySettings(
            max_memory_usage=1,
            utility_share=0,
            vram_multiplier=1,
            idle_timeout=30,
            max_wait=MAX_WAIT,
            min_residency=self.chance.choice([0, 1, 5]),
        )
        self.admission = Admission(AdmissionSettings(max_queue_size=50, queue_timeout=QUEUE_TIMEOUT, aging=20))
        async with Residency({EngineName.LLAMA_SERVER: self.launcher}, settings, ram=BUDGET) as self.residency:
            self.copies = Copies(self.admission, self.residency, settings)
            side = [asyncio.ensure_future(work()) for work in (self.watch, self.meddle, self.review)]
            async with asyncio.TaskGroup() as callers:
                for _ in range(events):
                    await asyncio.sleep(self.chance.expovariate(0.3))
                    callers.create_task(self.call())
            self.done.set()
            await asyncio.gather(*side)
            await asyncio.sleep(1000)
            assert not self.residency.memory.entries
            assert not self.launcher.resident
            for model in self.models:
                assert all(self.residency.status(copy).leases == 0 for copy in copies_of(model))
                stats = self.admission.stats(model.id)
                assert stats is None or (stats.active, sum(stats.depth.values())) == (0, 0)

    async def call(self):
        began = asyncio.get_running_loop().time()
        self.outcomes[await self.outcome()] += 1
        assert asyncio.get_running_loop().time() - began <= BOUND

    async def outcome(self):
        model = self.chance.choice(self.models)
        patience = self.chance.choice([0.001, 1, LOAD, 20, None, None, None])
        try:
            async with asyncio.timeout(patience):
                await self.answer(model)
        except TimeoutError:
            return "left"
        except EnginehouseError as error:
            return type(error).__name__
        return "answered"

    async def answer(self, model):
        priority, tenant = self.chance.choice(list(Priority)), self.chance.choice("ABC")
        slots = self.copies.slots(model)
        async with self.admission.slot(model.deployments[0], slots=slots, priority=priority, tenant=tenant):
            deployment, terms = self.copies.pick(model)
            async with self.residency.lease(deployment, terms):
                await asyncio.sleep(self.chance.random() * LONGEST_RUN)

    async def meddle(self):
        """Crashes, unloads, loads that fail for a while, edits."""
        while not self.done.is_set():
            await asyncio.sleep(self.chance.random() * 20)
            model = self.chance.choice(self.models)
            match self.chance.randrange(5):
                case 0:
                    await self.copies.unload(model)
                case 1 if self.launcher.resident:
                    name = self.chance.choice(sorted(self.launcher.resident))
                    self.launcher.watchers[name].ended("crashed")
                case 2:
                    self.launcher.failure = ModelLoadFailed("bad luck")
                    await asyncio.sleep(self.chance.random() * 5)
                    self.launcher.failure = None
                case 3:
                    self.copies.reset(model)
                case 4:
                    with suppress(EnginehouseError):
                        await self.residency.load(model.deployments[0])

    async def review(self):
        while not self.done.is_set():
            self.copies.review(self.models)
            await asyncio.sleep(0.5)

    async def watch(self):
        while not self.done.is_set():
            used = sum(entry["ram"] for entry in self.residency.memory.entries.values())
            assert used <= BUDGET
            assert sum(self.launcher.weights[name] for name in self.launcher.resident) <= used
            await asyncio.sleep(0.1)


def test_every_request_has_one_end_and_nothing_is_left_behind():
    print(f"SOAK_SEED={SEED} SOAK_EVENTS={EVENTS}")
    house = {}

    async def main():
        house["soak"] = Soak(SEED)
        await house["soak"].run(EVENTS)

    simulate(main())
    outcomes = house["soak"].outcomes
    print(dict(outcomes))
    assert sum(outcomes.values()) == EVENTS
    known = {"answered", "left", "Conflict", "LoadTimeout"}
    known |= {kind.__name__ for kind in (ModelLoadFailed, QueueFull, QueueTimeout, UpstreamDied)}
    assert set(outcomes) <= known
    assert outcomes["answered"] > EVENTS / 4
