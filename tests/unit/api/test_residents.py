"""Load, unload, eject, reset, status, failed, logs and health of models, over fakes in simulated time."""

import asyncio

import pytest
from msgspec import structs

from enginehouse.core.copies import copies_of
from enginehouse.errors import ModelLoadFailed, ModelNotFound, UpstreamDied
from enginehouse.testing import WHOLE, Caller, simulate
from enginehouse.types import Instances, Principal
from tests.unit.api.house import open_door

CHAT = "/v1/chat/completions"
HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
BIG = ["/v1/models/org/big:8b", "/v1/models/org/big:8b-alias"]


def at_the_door(**door):
    """A test that is handed an open door."""

    def decorate(test):
        def run():
            async def main():
                async with open_door([WHOLE], **door) as opened:
                    await test(opened)

            simulate(main())

        run.__name__ = test.__name__
        return run

    return decorate


@at_the_door(load_seconds=2)
async def test_load_answers_when_it_is_ready(door):
    answer = await door.post("/v1/models/tiny/load", b"")
    assert answer.status == 200
    assert answer.json() == {
        "alias": "tiny",
        "model_id": "tiny",
        "status": "ready",
        "engine": "llama_server",
        "active_requests": 0,
        "waiting_requests": 0,
        "load_time_seconds": 2.0,
        "idle_seconds": 0.0,
        "ram_mb": 200.0,
        "vram_mb": 0.0,
    }
    assert asyncio.get_running_loop().time() == pytest.approx(2)


@at_the_door(load_seconds=2)
async def test_load_without_waiting_answers_at_once_and_loads(door):
    answer = await door.post("/v1/models/tiny/load?wait=false", b"")
    assert (answer.status, answer.json()["status"]) == (202, "loading")
    assert asyncio.get_running_loop().time() == 0
    await asyncio.sleep(3)
    assert (await door.call("GET", "/v1/models/tiny/status")).json()["status"] == "ready"


@at_the_door(load_seconds=2)
async def test_a_load_goes_on_when_its_caller_hangs_up(door):
    caller = door.caller("POST", "/v1/models/tiny/load")
    async with asyncio.TaskGroup() as group:
        group.create_task(caller.run())
        await asyncio.sleep(1)
        caller.leave()
    await asyncio.sleep(2)
    assert (await door.call("GET", "/v1/models/tiny/status")).json()["status"] == "ready"


@at_the_door()
async def test_asking_for_the_log_of_a_model_never_loaded_changes_nothing(door):
    assert (await door.call("GET", "/v1/models/tiny/logs")).json()["lines"] == []
    assert (await door.call("GET", "/v1/models/tiny/status")).json()["status"] == "off"
    assert door.changes.last == 0
    door.residency.remove("tiny", ModelNotFound("tiny"))
    assert (await door.post("/v1/models/tiny/load", b"")).json()["status"] == "ready"


@at_the_door()
async def test_ids_with_slashes_and_colons_and_aliases(door):
    for path in BIG:
        assert (await door.post(f"{path}/load", b"")).json()["alias"] == "org/big:8b"
        assert (await door.call("GET", f"{path}/status")).json()["status"] == "ready"
        assert (await door.call("GET", f"{path}/logs")).json()["lines"] == []
        assert (await door.post(f"{path}/unload", b"")).json()["status"] == "off"
        assert (await door.post(f"{path}/reset", b"")).json()["status"] == "off"
        assert (await door.call("GET", path)).json()["id"] == "org/big:8b"


@at_the_door()
async def test_unload_lets_the_running_request_end(door):
    door.engine.chunks = [5.0, WHOLE]
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(door.post(CHAT, HELLO))
        await asyncio.sleep(1)
        draining = await door.post("/v1/models/tiny/unload?wait=false", b"")
        assert (draining.status, draining.json()["status"]) == (202, "draining")
        gone = await door.post("/v1/models/eject", {"model": "tiny-alias"})
    assert (gone.status, gone.json()["status"]) == (200, "off")
    assert asyncio.get_running_loop().time() == pytest.approx(5)
    assert asked.result().status == 200


@at_the_door(load_seconds=100)
async def test_unload_while_loading_tells_who_waits(door):
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(door.post("/v1/models/tiny/load", b""))
        await asyncio.sleep(1)
        assert (await door.post("/v1/models/tiny/unload", b"")).json()["status"] == "off"
    assert (waiting.result().status, waiting.result().json()["error"]["code"]) == (409, "conflict")


@at_the_door()
async def test_a_pin_is_told_until_it_is_taken_out(door):
    assert (await door.post("/v1/models/tiny-alias/pin", b"")).json()["pinned"] is True
    assert (await door.post("/v1/models/tiny/load", b"")).json()["pinned"] is True
    assert (await door.call("GET", "/v1/models/status")).json()["models"]["tiny"]["pinned"] is True
    assert "pinned" not in (await door.post("/v1/models/tiny/unpin", b"")).json()
    assert (await door.post("/v1/models/nope/pin", b"")).status == 404


@at_the_door()
async def test_what_is_not_loaded_can_be_unloaded(door):
    answer = await door.post(
        "/v1/models/eject", {"model": "tiny"}, content_type="application/x-www-form-urlencoded"
    )
    assert (answer.status, answer.json()["status"]) == (200, "off")


@at_the_door(failure=ModelLoadFailed("bad magic"))
async def test_a_failed_load_is_told_listed_and_reset(door):
    answer = await door.post("/v1/models/tiny/load", b"")
    assert (answer.status, answer.json()["error"]["code"]) == (503, "model_load_failed")
    failed = (await door.call("GET", "/v1/models/failed")).json()
    assert failed["models"].keys() == {"tiny"}
    assert failed["models"]["tiny"]["error"] == "bad magic"
    assert failed["summary"] == {"failed": 1}
    assert (await door.call("GET", "/v1/models/tiny/status")).json()["error"] == "bad magic"
    reset = (await door.post("/v1/models/tiny/reset", b"")).json()
    assert reset["status"] == "off"
    assert "error" not in reset
    assert (await door.call("GET", "/v1/models/failed")).json() == {"models": {}, "summary": {}}


@at_the_door()
async def test_the_status_of_all_has_the_documented_shape(door):
    await door.post("/v1/models/tiny/load", b"")
    body = (await door.call("GET", "/v1/models/status")).json()
    assert body["server"] == {"status": "ready"}
    assert {id_: state["status"] for id_, state in body["models"].items()} == {
        "org/big:8b": "off",
        "tiny": "ready",
        "vec": "off",
    }
    assert body["summary"] == {"off": 2, "ready": 1}


@pytest.mark.parametrize("verb", ["load", "unload", "reset"])
def test_an_unknown_model_is_404(verb):
    async def main():
        async with open_door() as door:
            answer = await door.post(f"/v1/models/tinny/{verb}", b"")
            assert (answer.status, answer.json()["error"]["code"]) == (404, "model_not_found")
            assert "'tiny'" in answer.json()["error"]["message"]
            for path in ("status", "logs", "logs/stream"):
                assert (await door.call("GET", f"/v1/models/tinny/{path}")).status == 404

    simulate(main())


@at_the_door()
async def test_eject_says_what_is_wrong_with_its_body(door):
    for body, field in (({}, "model"), ({"model": 3}, "model"), (b"", "model"), (b"{", None), (b"[]", None)):
        answer = await door.post("/v1/models/eject", body)
        assert (answer.status, answer.json()["error"]["type"]) == (400, "invalid_request_error")
        assert answer.json()["error"]["param"] == field


ADMIN_ONLY = [
    ("POST", "/v1/models/tiny/load"),
    ("POST", "/v1/models/tiny/unload"),
    ("POST", "/v1/models/tiny/reset"),
    ("POST", "/v1/models/tiny/pin"),
    ("POST", "/v1/models/tiny/unpin"),
    ("GET", "/v1/config"),
    ("POST", "/v1/models/eject"),
    ("GET", "/v1/models/tiny/logs"),
    ("GET", "/v1/models/tiny/logs/stream"),
]
FOR_ALL = ["/v1/models/status", "/v1/models/failed", "/v1/models/tiny/status", "/v1/health/models"]


def called_by_a_user(method, path, body=b'{"model": "tiny"}'):
    async def main():
        async with open_door() as door:

            async def as_user(scope, receive, send):
                scope["state"] = {"principal": Principal(user="somebody")}
                await door.rest(scope, receive, send)

            answer = await Caller(as_user, method, path, body, {"content-type": "application/json"}).run()
            return answer, door.launcher.loads

    return simulate(main())


@pytest.mark.parametrize(("method", "path"), ADMIN_ONLY)
def test_management_is_for_admins(method, path):
    answer, loads = called_by_a_user(method, path)
    assert (answer.status, answer.json()["error"]["code"]) == (403, "permission_denied")
    assert not loads


@pytest.mark.parametrize("path", FOR_ALL)
def test_looking_is_for_everybody(path):
    assert called_by_a_user("GET", path)[0].status == 200


@pytest.mark.parametrize("path", [*FOR_ALL, "/v1/models/status/stream", "/v1/models/tiny/logs"])
def test_but_not_for_strangers(path):
    async def main():
        async with open_door(keys=["a-key"]) as door:
            assert (await door.call("GET", path)).status == 401

    simulate(main())


@at_the_door()
async def test_the_last_lines_of_the_engine(door):
    await door.post("/v1/models/tiny/load", b"")
    door.launcher.watchers["tiny"].printed([f"line {number}" for number in range(700)])
    body = (await door.call("GET", "/v1/models/tiny/logs")).json()
    assert body == {"alias": "tiny", "model_id": "tiny", "lines": [f"line {number}" for number in range(600, 700)]}
    assert (await door.call("GET", "/v1/models/tiny/logs?lines=2")).json()["lines"] == ["line 698", "line 699"]
    assert len((await door.call("GET", "/v1/models/tiny/logs?lines=500")).json()["lines"]) == 500
    for wrong in ("0", "501", "x"):
        refused = await door.call("GET", f"/v1/models/tiny/logs?lines={wrong}")
        assert (refused.status, refused.json()["error"]["param"]) == (400, "lines")


class Ailing:
    """An engine that says how it is as it is told to."""

    def __init__(self, answer):
        self.answer = answer

    async def healthy(self):
        match self.answer:
            case bool():
                return self.answer
            case Exception():
                raise self.answer
            case seconds:
                await asyncio.sleep(seconds)
                return True


def health_of(answer):
    async def main():
        async with open_door() as door:
            door.launcher.engine = Ailing(answer)
            await door.post("/v1/models/tiny/load", b"")
            body = (await door.call("GET", "/v1/health/models")).json()
            return body, asyncio.get_running_loop().time()

    return simulate(main())


def test_the_health_of_loaded_models_is_asked_of_them():
    body, _ = health_of(True)
    assert body["status"] == "healthy"
    assert body["models"].keys() == {"tiny"}
    assert body["models"]["tiny"]["status"] == "healthy"
    assert body["models"]["tiny"]["latency_ms"] >= 0
    assert body["summary"] == {"healthy": 1}
    assert {"timestamp"} <= body.keys()


@pytest.mark.parametrize(
    ("answer", "detail"),
    [(False, None), (UpstreamDied("it is gone"), "it is gone"), (60.0, "It did not answer within 5 s.")],
)
def test_an_engine_that_is_not_well_is_told(answer, detail):
    body, took = health_of(answer)
    assert body["status"] == "degraded"
    assert body["models"]["tiny"]["status"] == "unhealthy"
    assert body["models"]["tiny"].get("detail") == detail
    assert took <= 5.1


def test_every_copy_of_a_model_is_asked():
    async def main():
        async with open_door() as door:
            several = structs.replace(door.catalogue.resolve("tiny"), instances=Instances(min=2, max=2))
            door.catalogue.replace(several.origin, [several])
            for copy, well in zip(copies_of(several), (True, False), strict=True):
                door.launcher.engine = Ailing(well)
                await door.residency.load(copy)
            body = (await door.call("GET", "/v1/health/models")).json()
            assert body["models"]["tiny"]["status"] == "unhealthy"
            assert body["summary"] == {"unhealthy": 1}
            await door.residency.unload(copies_of(several)[1].id)
            assert (await door.call("GET", "/v1/health/models")).json()["summary"] == {"healthy": 1}

    simulate(main())


def test_a_model_that_leaves_while_it_is_asked_is_left_out():
    async def main():
        async with open_door() as door:
            door.launcher.engine = Ailing(2.0)
            await door.post("/v1/models/tiny/load", b"")
            async with asyncio.TaskGroup() as group:
                asked = group.create_task(door.call("GET", "/v1/health/models"))
                await asyncio.sleep(1)
                await door.post("/v1/models/tiny/unload", b"")
            assert asked.result().json()["models"] == {}

    simulate(main())


@at_the_door()
async def test_asking_for_health_is_no_use_of_the_model(door):
    await door.post("/v1/models/tiny/load", b"")
    for _ in range(40):
        await asyncio.sleep(10)
        await door.call("GET", "/v1/health/models")
    assert not door.launcher.resident


@at_the_door()
async def test_the_documentation_lists_them_with_their_bodies(door):
    document = (await door.call("GET", "/openapi.json")).json()
    for method, path in [
        ("post", "/v1/models/{model_id}/load"),
        ("post", "/v1/models/{model_id}/unload"),
        ("post", "/v1/models/{model_id}/reset"),
        ("post", "/v1/models/eject"),
        ("get", "/v1/models/{model_id}/status"),
        ("get", "/v1/models/{model_id}/logs"),
        ("get", "/v1/models/status"),
        ("get", "/v1/models/failed"),
        ("get", "/v1/health/models"),
    ]:
        answer = document["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
        assert "$ref" in answer, path
    for path in ("/v1/models/status/stream", "/v1/models/{model_id}/logs/stream"):
        assert document["paths"][path]["get"]["responses"]["200"]["content"].keys() == {"text/event-stream"}
    assert "requestBody" in document["paths"]["/v1/models/eject"]["post"]
