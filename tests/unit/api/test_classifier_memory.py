"""Three classifiers and room for two: who leaves, that the figures agree, and versions that change at run time."""

import asyncio

from msgspec.structs import replace

from enginehouse.testing import FakeClassifier, simulate
from enginehouse.types import EngineName, Kind, Priority
from tests.unit.api.house import MIB, model, open_door
from tests.unit.api.test_metrics import read

SHARE = {"min_residency": 0}


def classifier(name, priority=Priority.NORMAL, **changes):
    return replace(model(name, Kind.CLASSIFIER, EngineName.ONNX), priority=priority, **changes)


def with_models(*models):
    """Each takes 50 MB of the 120 that classifiers have for themselves."""

    def decorate(test):
        def run():
            async def main():
                async with open_door(memory=SHARE) as door:
                    door.catalogue.replace("settings", [*door.catalogue.models(), *models])
                    door.onnx.engine = FakeClassifier()
                    door.onnx.weights = {one.id: 50 * MIB for one in models}
                    await test(door)

            simulate(main())

        run.__name__ = test.__name__
        return run

    return decorate


async def ask(door, name):
    answer = await door.post("/predict", {"text": f"text for {name}", "model_name": name}, cache_control="no-store")
    assert answer.status == 200, answer.body
    await asyncio.sleep(1)


async def held(door):
    listed = (await door.call("GET", "/models")).json()["models"]
    return {name for name, one in listed.items() if one["cached"]}


@with_models(classifier("a"), classifier("b"), classifier("c"))
async def test_the_one_used_longest_ago_leaves_and_all_figures_say_so(door):
    for name in ("a", "b", "a", "c"):
        await ask(door, name)
    assert await held(door) == {"a", "c"}
    stats = (await door.call("GET", "/stats")).json()["cache_stats"]
    now = read((await door.call("GET", "/metrics")).body.decode())
    assert stats["cached_models"] == now["model_cache_models_cached"] == 2
    assert stats["memory_usage"]["used_mb"] == now["model_cache_memory_usage_mb"] == 100
    gone = (await door.call("GET", "/models/b")).json()["performance_metrics"]
    assert gone["evictions"] == {"room": 1}


@with_models(classifier("a", Priority.HIGH), classifier("b", Priority.LOW), classifier("c"))
async def test_who_is_less_important_leaves_first_and_waits_for_those_who_are_more(door):
    for name in ("a", "b", "c"):
        await ask(door, name)
    assert await held(door) == {"a", "c"}  # b went, although a was used before it
    late = await door.post("/predict", {"text": "x", "model_name": "b"}, x_request_timeout="5")
    assert late.status == 504
    assert {"a", "c"} <= await held(door)


@with_models(classifier("judge@1", aliases=("judge-now",)))
async def test_an_alias_moves_to_a_new_version_and_no_request_fails(door):
    async def keep_asking():
        for _ in range(50):
            answer = await door.post(
                "/predict", {"text": "attack", "model_name": "judge-now"}, cache_control="no-cache"
            )
            assert answer.status == 200, answer.body
            used.append(answer.json()["model_used"])
            await asyncio.sleep(0.1)

    used = []
    async with asyncio.TaskGroup() as group:
        group.create_task(keep_asking())
        await asyncio.sleep(2)
        others = [one for one in door.catalogue.models() if one.id != "judge@1"]
        one, two = classifier("judge@1", aliases=()), classifier("judge@2", aliases=("judge-now",))
        door.catalogue.replace("settings", [*others, one, two])
    assert used == sorted(used)
    assert set(used) == {"judge@1", "judge@2"}


@with_models(classifier("brief", ttl=60), classifier("kept", ttl=60, preload=True))
async def test_one_leaves_when_its_time_is_up_and_a_preloaded_one_is_refreshed_before(door):
    for name in ("brief", "kept"):
        await ask(door, name)
    await asyncio.sleep(57)
    assert await held(door) == {"brief", "kept"}
    await asyncio.sleep(600)
    assert await held(door) == {"kept"}
    assert (await door.call("GET", "/models/brief")).json()["performance_metrics"]["evictions"] == {"idle": 1}
    now = read((await door.call("GET", "/metrics")).body.decode())
    assert (now["model_cache_models_cached"], now["model_cache_memory_usage_mb"]) == (1, 50)
    loads = len(door.onnx.loads)
    await ask(door, "kept")
    assert len(door.onnx.loads) == loads
