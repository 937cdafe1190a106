"""The model cache's face over fakes in simulated time: its bodies field by field, its errors, its warm-ups."""

import asyncio
from datetime import datetime

import pytest

from enginehouse.engines.metadata import Weight
from enginehouse.errors import ModelLoadFailed, UpstreamDied
from enginehouse.testing import WHOLE, Caller, simulate
from enginehouse.types import Deployment, EngineName, Kind, Model, Principal
from tests.unit.api.house import MIB, open_door

CHAT = "/v1/chat/completions"
HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
ANSWER = [0.5, WHOLE]


def at_the_door(chunks=ANSWER, **door):
    """A test that is handed an open door, whose engine takes half a second for an answer."""

    def decorate(test):
        def run():
            async def main():
                async with open_door(chunks, **door) as opened:
                    await test(opened)

            simulate(main())

        run.__name__ = test.__name__
        return run

    return decorate


async def get(door, path):
    answer = await door.call("GET", path)
    assert answer.status == 200, answer.body
    return answer.json()


def is_recent(text):
    return datetime.fromisoformat(text).tzinfo is not None


@at_the_door(load_seconds=2)
async def test_the_list_tells_every_model_and_all_together(door):
    await door.post(CHAT, HELLO)
    await door.post(CHAT, HELLO)
    body = await get(door, "/models")
    assert body["models"].keys() == {"tiny", "org/big:8b", "vec"}
    tiny = body["models"]["tiny"]
    assert is_recent(tiny.pop("last_accessed"))
    assert tiny == {
        "name": "tiny",
        "cached": True,
        "loaded": True,
        "memory_usage_mb": 200.0,
        "access_count": 2,
        "cache_priority": "medium",
        "source": "local",
    }
    assert body["models"]["vec"] == {
        "name": "vec",
        "cached": False,
        "loaded": False,
        "memory_usage_mb": 0.0,
        "last_accessed": None,
        "access_count": 0,
        "cache_priority": "medium",
        "source": "local",
    }
    assert body["cache_summary"] == {
        "total_models": 3,
        "cached_models": 1,
        "total_memory_usage_mb": 200.0,
        "available_memory_mb": 600.0,
        "cache_efficiency": 0.5,
    }
    assert is_recent(body["timestamp"])


@at_the_door(load_seconds=2)
async def test_one_model_with_what_was_measured(door):
    for _ in range(4):
        await door.post(CHAT, HELLO)
    body = await get(door, "/models/tiny-alias")
    info, metrics = body["model_info"], body["performance_metrics"]
    assert is_recent(info.pop("loaded_at"))
    assert info == {
        "type": "gguf",
        "size_mb": 200.0,
        "load_time_seconds": 2.0,
        "warmup_completed": False,
        "warmup_time_seconds": None,
    }
    assert metrics == {
        "avg_inference_time_ms": 500.0,
        "total_inferences": 4,
        "cache_hits": 3,
        "cache_misses": 1,
        "hit_rate": 0.75,
        "p50_inference_time_ms": 500.0,
        "p95_inference_time_ms": 500.0,
        "loads": 1,
        "evictions": {},
    }
    assert (body["name"], body["cached"], body["access_count"]) == ("tiny", True, 4)


@at_the_door()
async def test_before_anything_was_asked_the_numbers_are_numbers(door):
    body = await get(door, "/models/tiny")
    assert body["last_accessed"] is None
    assert body["performance_metrics"]["hit_rate"] == 0.0
    assert body["performance_metrics"]["avg_inference_time_ms"] == 0.0
    assert body["model_info"]["size_mb"] == 0.0
    stats = await get(door, "/stats")
    assert stats["cache_stats"]["performance"]["cache_hit_rate"] == 0.0
    assert stats["system_stats"]["last_cleanup"] is None


@at_the_door(load_seconds=2)
async def test_load_and_unload(door):
    answer = await door.post("/models/tiny/load", b"")
    body = answer.json()
    assert is_recent(body.pop("timestamp"))
    assert body == {
        "message": "Model tiny loaded successfully",
        "model_name": "tiny",
        "load_time_seconds": 2.0,
        "memory_usage_mb": 200.0,
        "cache_status": "loaded",
    }
    body = (await door.post("/models/tiny/unload", b"")).json()
    assert is_recent(body.pop("timestamp"))
    assert body == {
        "message": "Model tiny unloaded successfully",
        "model_name": "tiny",
        "memory_freed_mb": 200.0,
        "cache_status": "unloaded",
    }
    assert (await get(door, "/models/tiny"))["performance_metrics"]["evictions"] == {"unloaded": 1}
    again = (await door.post("/models/tiny/unload", b"")).json()
    assert (again["message"], again["memory_freed_mb"]) == ("Model tiny was not in memory", 0.0)


@pytest.mark.parametrize("name", ["org/big:8b", "org/big:8b-alias"])
def test_names_with_slashes(name):
    async def main():
        async with open_door(ANSWER) as door:
            for verb in ("load", "warmup", "unload"):
                answer = await door.post(f"/models/{name}/{verb}", b"")
                assert (answer.status, answer.json()["model_name"]) == (200, "org/big:8b")
            assert (await get(door, "/models/org/big:8b"))["name"] == "org/big:8b"

    simulate(main())


@at_the_door()
async def test_the_statistics_of_all(door):
    for _ in range(3):
        await door.post(CHAT, HELLO)
    body = await get(door, "/stats")
    assert body["cache_stats"] == {
        "total_models": 3,
        "cached_models": 1,
        "memory_usage": {"used_mb": 200.0, "total_mb": 1000.0, "usage_percentage": 20.0, "threshold": 70.0},
        "performance": {
            "cache_hit_rate": 0.6667,
            "avg_inference_time_ms": 500.0,
            "total_inferences": 3,
            "cache_hits": 2,
            "cache_misses": 1,
        },
        "models": {
            "tiny": {"cached": True, "memory_usage_mb": 200.0, "access_count": 3, "hit_rate": 0.6667},
            "org/big:8b": {"cached": False, "memory_usage_mb": 0.0, "access_count": 0, "hit_rate": 0.0},
            "vec": {"cached": False, "memory_usage_mb": 0.0, "access_count": 0, "hit_rate": 0.0},
        },
        "predictions": {"entries": 0, "hits": 0, "misses": 0, "hit_rate": 0.0},
    }
    assert 0 <= body["system_stats"].pop("uptime_seconds") < 60, "it began just now, however busy the machine"
    assert body["system_stats"] == {
        "last_cleanup": None,
        "cleanup_count": 0,
        "memory_cleanup_mb": 0.0,
    }


@at_the_door()
async def test_an_answer_that_broke_off_is_no_inference(door):
    door.engine.chunks = [UpstreamDied("gone")]
    assert (await door.post(CHAT, HELLO)).status == 502
    metrics = (await get(door, "/models/tiny"))["performance_metrics"]
    assert metrics["total_inferences"] == 0
    assert metrics["cache_misses"] == 1


# Clean-up ---------------------------------------------------------------------------------------------------


@at_the_door(memory={"memory_threshold": 0.4})
async def test_a_clean_up_frees_what_is_too_much(door):
    for name in ("org/big:8b", "tiny"):
        await door.post(f"/models/{name}/load", b"")
    await asyncio.sleep(6)
    body = (await door.post("/cleanup", b"")).json()
    assert is_recent(body.pop("timestamp"))
    assert body == {
        "message": "Memory cleanup completed",
        "cleanup_summary": {
            "models_unloaded": 1,
            "memory_freed_mb": 300.0,
            "models_affected": ["org/big:8b"],
            "cleanup_reason": "memory_threshold_exceeded",
        },
        "memory_usage": {"before_mb": 500.0, "after_mb": 200.0, "freed_mb": 300.0},
        "cache_status": "optimized",
    }
    system = (await get(door, "/stats"))["system_stats"]
    assert is_recent(system["last_cleanup"])
    assert (system["cleanup_count"], system["memory_cleanup_mb"]) == (1, 300.0)
    health = await get(door, "/health")
    assert health["last_cleanup"] == system["last_cleanup"].replace("Z", "+00:00")


@at_the_door()
async def test_a_clean_up_with_enough_memory_frees_nothing_unless_forced(door):
    await door.post("/models/tiny/load", b"")
    await asyncio.sleep(6)
    body = (await door.post("/cleanup", b"")).json()
    assert body["cleanup_summary"]["models_unloaded"] == 0
    assert body["cleanup_summary"]["cleanup_reason"] == "below_memory_threshold"
    body = (await door.post("/cleanup?force=true", b"")).json()
    assert body["cleanup_summary"]["models_affected"] == ["tiny"]
    assert body["cleanup_summary"]["cleanup_reason"] == "forced"


# Warm-up ----------------------------------------------------------------------------------------------------


@at_the_door(load_seconds=2, memory={"warmup_requests": 4})
async def test_a_warm_up_runs_real_requests_and_measures_them(door):
    body = (await door.post("/models/tiny/warmup", b"")).json()
    assert is_recent(body.pop("timestamp"))
    assert body == {
        "message": "Model tiny warmed up successfully",
        "model_name": "tiny",
        "warmup_requests": 4,
        "warmup_time_seconds": 2.0,
        "avg_response_time_ms": 500.0,
        "warmup_status": "completed",
        "failed_requests": 0,
        "error": None,
    }
    assert len({call.body for call in door.engine.calls}) == 4
    one = await get(door, "/models/tiny")
    assert (one["model_info"]["warmup_completed"], one["model_info"]["warmup_time_seconds"]) == (True, 2.0)
    assert (one["access_count"], one["performance_metrics"]["total_inferences"]) == (0, 0)


@at_the_door(memory={"warmup_requests": 3})
async def test_embedders_are_warmed_up_too(door):
    body = (await door.post("/models/vec/warmup", b"")).json()
    assert (body["warmup_status"], body["warmup_requests"]) == ("completed", 3)


@at_the_door(memory={"warmup_requests": 4})
async def test_callers_go_before_a_warm_up(door):
    async with asyncio.TaskGroup() as group:
        warming = group.create_task(door.post("/models/tiny/warmup", b""))
        await asyncio.sleep(0.2)
        began = asyncio.get_running_loop().time()
        await door.post(CHAT, HELLO)
        assert asyncio.get_running_loop().time() - began == pytest.approx(0.8)  # the one that runs, and its own
    assert warming.result().json()["avg_response_time_ms"] == 500.0


@at_the_door(memory={"warmup_requests": 4})
async def test_two_who_ask_share_one_warm_up(door):
    both = await asyncio.gather(*(door.post("/models/tiny/warmup", b"") for _ in range(2)))
    assert [answer.json()["warmup_time_seconds"] for answer in both] == [2.0, 2.0]
    assert len(door.engine.calls) == 4


@at_the_door(memory={"warmup_requests": 4})
async def test_a_warm_up_goes_on_in_the_background(door):
    answer = await door.post("/models/tiny/warmup?wait=false", b"")
    assert answer.status == 202
    assert answer.json()["warmup_status"] == "running"
    assert answer.json()["warmup_time_seconds"] is None
    caller = door.caller("POST", "/models/tiny/warmup")
    async with asyncio.TaskGroup() as group:
        group.create_task(caller.run())
        await asyncio.sleep(1)
        caller.leave()
    await asyncio.sleep(3)
    assert (await get(door, "/models/tiny"))["model_info"]["warmup_completed"]
    assert len(door.engine.calls) == 4


class Moody:
    """An engine that does not answer every call."""

    def __init__(self, engine, every):
        self.engine, self.every, self.count = engine, every, 0

    async def healthy(self):
        return True

    def generate(self, generation, *, request_id):
        self.count += 1
        if self.count % self.every == 0:
            raise UpstreamDied("it had enough")
        return self.engine.generate(generation, request_id=request_id)


@at_the_door(memory={"warmup_requests": 4})
async def test_a_warm_up_tells_of_failures(door):
    door.launcher.engine = Moody(door.engine, every=2)
    body = (await door.post("/models/tiny/warmup", b"")).json()
    assert (body["warmup_status"], body["failed_requests"]) == ("incomplete", 2)
    assert (body["error"], body["avg_response_time_ms"]) == ("it had enough", 500.0)
    assert not (await get(door, "/models/tiny"))["model_info"]["warmup_completed"]


@at_the_door(memory={"warmup_requests": 4})
async def test_a_warm_up_without_one_answer_is_an_error(door):
    door.launcher.engine = Moody(door.engine, every=1)
    answer = await door.post("/models/tiny/warmup", b"")
    assert (answer.status, answer.json()["code"]) == (502, "UPSTREAM_DIED")


@at_the_door(failure=ModelLoadFailed("bad magic"))
async def test_a_model_that_does_not_load_cannot_be_warmed_up_or_loaded(door):
    for verb in ("warmup", "load"):
        answer = await door.post(f"/models/tiny/{verb}", b"")
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        body = answer.json()
        assert is_recent(body.pop("timestamp"))
        assert body == {"status": "error", "error": "bad magic", "code": "MODEL_LOAD_FAILED"}


@at_the_door()
async def test_what_runs_elsewhere_or_ranks_is_not_warmed_up(door):
    far = Deployment(id="far", model="far", kind=Kind.CHAT, engine=EngineName.OPENAI, base_url="http://far.example")
    rank = Deployment(id="rank", model="rank", kind=Kind.RERANK, engine=EngineName.LLAMA_SERVER)
    models = [Model(id=d.id, kind=d.kind, deployments=(d,), origin="api") for d in (far, rank)]
    door.catalogue.replace("api", models)
    for name in ("far", "rank"):
        answer = await door.post(f"/models/{name}/warmup", b"")
        assert (answer.status, answer.json()["code"]) == (400, "INVALID_REQUEST_ERROR")
    listed = (await get(door, "/models"))["models"]
    assert (listed["far"]["source"], listed["far"]["cached"]) == ("OpenAI API", False)


def test_the_service_does_not_wait_for_a_warm_up_when_it_stops():
    async def main():
        async with open_door(ANSWER, memory={"warmup_requests": 1000}) as door:
            waiting = asyncio.ensure_future(door.post("/models/tiny/warmup", b""))
            await asyncio.sleep(1)
        assert (await waiting).json()["code"] == "SHUTTING_DOWN"
        assert asyncio.get_running_loop().time() < 3

    simulate(main())


# Errors -----------------------------------------------------------------------------------------------------


@at_the_door()
async def test_an_unknown_model_is_told_in_this_faces_shape(door):
    for method, path in [("GET", "/models/tinny")] + [
        ("POST", f"/models/tinny/{verb}") for verb in ("load", "unload", "warmup")
    ]:
        answer = await door.call(method, path)
        body = answer.json()
        assert (answer.status, body["status"], body["code"]) == (404, "error", "MODEL_NOT_FOUND")
        assert "tinny" in body["error"]
        assert is_recent(body["timestamp"])
        assert body.keys() == {"status", "error", "code", "timestamp"}


@at_the_door()
async def test_a_wrong_parameter_is_told_in_this_faces_shape(door):
    answer = await door.post("/cleanup?force=perhaps", b"")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_REQUEST_ERROR")
    assert answer.json()["error"].startswith("force: ")


MANAGEMENT = ["/models/tiny/load", "/models/tiny/unload", "/models/tiny/warmup", "/cleanup"]


@pytest.mark.parametrize("path", MANAGEMENT)
def test_management_is_for_admins(path):
    async def main():
        async with open_door(ANSWER) as door:

            async def as_user(scope, receive, send):
                scope["state"] = {"principal": Principal(user="somebody")}
                await door.rest(scope, receive, send)

            answer = await Caller(as_user, "POST", path).run()
            assert (answer.status, answer.json()["code"]) == (403, "PERMISSION_DENIED")
            assert not door.launcher.loads
            assert (await Caller(as_user, "GET", "/models").run()).status == 200

    simulate(main())


@pytest.mark.parametrize("path", ["/models", "/models/tiny", "/stats", "/vram"])
def test_nothing_of_it_is_for_strangers(path):
    async def main():
        async with open_door(keys=["a-key"]) as door:
            answer = await door.call("GET", path)
            assert answer.status == 401
            if path != "/vram":
                assert (answer.json()["status"], answer.json()["code"]) == ("error", "INVALID_API_KEY")

    simulate(main())


@at_the_door()
async def test_the_documentation_lists_bodies_and_refusals(door):
    paths = (await get(door, "/openapi.json"))["paths"]
    for method, path, refusals in [
        ("get", "/models", set()),
        ("get", "/models/{model_name}", {"404"}),
        ("post", "/models/{model_name}/load", {"403", "404", "409", "503", "504", "507"}),
        ("post", "/models/{model_name}/unload", {"403", "404"}),
        ("post", "/models/{model_name}/warmup", {"202", "400", "403", "404", "503", "507"}),
        ("get", "/stats", set()),
        ("post", "/cleanup", {"400", "403"}),
        ("get", "/vram", set()),
    ]:
        responses = paths[path][method]["responses"]
        assert "$ref" in responses["200"]["content"]["application/json"]["schema"], path
        assert refusals <= responses.keys(), path


# Elsewhere --------------------------------------------------------------------------------------------------


@at_the_door()
async def test_health_has_the_cache_fields(door):
    await door.post(CHAT, HELLO)
    await door.post(CHAT, HELLO)
    door.machine.used = 250 * MIB
    body = await get(door, "/health")
    assert body["memory_usage"] == {
        "used_mb": 250.0,
        "total_mb": 1000.0,
        "usage_percentage": 25.0,
        "threshold": 70.0,
    }
    assert (body["models_cached"], body["total_models"], body["cache_hit_rate"]) == (1, 3, 0.5)
    assert (body["cache_status"], body["last_cleanup"]) == ("operational", None)


@at_the_door(
    gpus=(1000 * MIB, 500 * MIB),
    offloaded={
        "tiny": Weight(ram=10 * MIB, vram=600 * MIB),
        "org/big:8b": Weight(ram=20 * MIB, vram=90 * MIB, fixed=True, split=(2.0, 1.0)),
    },
)
async def test_memory_by_gpu_and_by_model(door):
    await door.post("/models/tiny/load", b"")
    await door.residency.load(door.catalogue.resolve("org/big:8b").deployments[0])
    door.machine.processes[1] = {0: 700 * MIB, 1: 30 * MIB}
    body = await get(door, "/vram")
    one = {"total_mb": 1000.0, "used_mb": 700.0, "free_mb": 300.0, "budget_mb": 800.0, "models_mb": 660.0}
    two = {"total_mb": 500.0, "used_mb": 30.0, "free_mb": 470.0, "budget_mb": 400.0, "models_mb": 30.0}
    assert body["gpus"] == [{"index": 0, "name": "GPU 0", **one}, {"index": 1, "name": "GPU 1", **two}]
    assert body["ram"]["models_mb"] == 30.0
    assert body["models"] == {
        "tiny": {"status": "ready", "vram_mb": 600.0, "ram_mb": 10.0, "gpus": {"0": 600.0}},
        "org/big:8b": {"status": "ready", "vram_mb": 90.0, "ram_mb": 20.0, "gpus": {"0": 60.0, "1": 30.0}},
    }
    assert (body["total_vram_mb"], body["used_vram_mb"], body["free_vram_mb"]) == (1500.0, 730.0, 770.0)
    models = (await get(door, "/v1/models/status"))["models"]
    assert (models["tiny"]["vram_mb"], models["org/big:8b"]["vram_mb"]) == (600.0, 90.0)


@at_the_door()
async def test_memory_without_a_gpu(door):
    await door.post("/models/tiny/load", b"")
    door.machine.used = 250 * MIB
    body = await get(door, "/vram")
    assert is_recent(body.pop("timestamp"))
    assert body == {
        "gpus": [],
        "ram": {"total_mb": 1000.0, "used_mb": 250.0, "free_mb": 750.0, "budget_mb": 800.0, "models_mb": 200.0},
        "models": {"tiny": {"status": "ready", "vram_mb": 0.0, "ram_mb": 200.0, "gpus": {}}},
        "total_vram_mb": 0,
        "used_vram_mb": 0,
        "free_vram_mb": 0,
    }
