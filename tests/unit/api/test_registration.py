"""Register, patch and delete over HTTP, with fake engines in simulated time."""

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from enginehouse.errors import ModelLoadFailed
from enginehouse.testing import WHOLE, simulate
from tests.unit.api.house import open_door

CHAT = "/v1/chat/completions"
FILE = "pypi:pkg==1/m.gguf"
KEY = {"x_api_key": "boss"}


@pytest.fixture
def at_the_door(tmp_path):
    """Runs a test with an open door and a registry in a folder of its own."""

    def run(test, **door):
        async def main():
            async with open_door([WHOLE], folder=tmp_path, **door) as opened:
                await test(opened)

        simulate(main())

    return run


def hello(model):
    return {"model": model, "messages": [{"role": "user", "content": "hi"}]}


async def made(door, id_, **fields):
    answer = await door.post("/v1/models", {"id": id_, "source": FILE, **fields})
    assert answer.status == 201, answer.json()
    return answer.json()


def kept(tmp_path):
    return json.loads((tmp_path / "registered-models.json").read_text())["models"]


def test_what_is_registered_is_listed_answers_and_is_kept(at_the_door, tmp_path):
    async def test(door):
        entry = await made(door, "org/bert@2", ttl=60, alias="classifier", api_key="very-secret")
        assert (entry["id"], entry["version"], entry["aliases"]) == ("org/bert@2", "2", ["classifier"])
        assert (entry["origin"], entry["status"], entry["provider"]) == ("api", "off", "llama_server")
        listed = (await door.call("GET", "/v1/models/org/bert")).json()
        assert listed == entry
        assert "very-secret" not in (await door.call("GET", "/v1/models")).body.decode()
        assert (await door.post(CHAT, hello("classifier"))).status == 200
        assert kept(tmp_path)["org/bert@2"]["ttl"] == 60

    at_the_door(test)
    assert (tmp_path / "registered-models.json").stat().st_mode & 0o777 == 0o600

    async def again(door):
        assert (await door.post(CHAT, hello("org/bert"))).status == 200

    at_the_door(again)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"{", None, "not valid JSON"),
        (b"[]", None, "has to be an object"),
        ({"source": FILE}, "id", "wants one"),
        ({"id": 5}, "id", "wants one"),
        ({"id": "load", "source": FILE}, "id", "reserved word"),
        ({"id": "a/status", "source": FILE}, "id", "reserved word"),
        ({"id": "m", "source": FILE, "ttl": "soon"}, "ttl", "found 'soon' (text), wanted a number at least 0"),
        ({"id": "m", "source": FILE, "ttll": 1}, "ttll", "Did you mean"),
        ({"id": "m", "source": FILE, "price": {"input_per_1k": "x"}}, "price.input_per_1k", "decimal"),
        ({"id": "m", "source": FILE, "aliases": ["a", "b/load"]}, None, "reserved word"),
        ({"id": "m", "source": FILE, "alias": "a", "aliases": ["b"]}, "alias", "not both"),
        ({"id": "m", "source": FILE, "move_aliases": "yes"}, "move_aliases", "true or false"),
        ({"id": "m"}, None, "neither `source`"),
        ({"id": "m", "source": "/etc/passwd"}, "source", "inside"),
        ({"id": "m", "source": "http://x/m.gguf"}, "source", "inside"),
        ({"id": "m", "source": {"model.onnx": "../../x"}}, "source", "inside"),
        ({"id": "m", "source": FILE, "flags": ["--log-file", "/tmp/x"]}, "flags", "--log-file"),
        ({"id": "m", "flags": ["-m", "/etc/passwd"]}, "flags", "-m"),
        ({"id": "m", "base_url": "http://169.254.169.254/"}, "base_url", "registration.base_urls"),
        ({"id": "m", "engine": "openai"}, "base_url", "none"),
        ({"id": "m", "engine": "openai", "api_key": "file:/etc/passwd"}, "api_key", "configuration only"),
        ({"id": "m", "engine": "openai", "api_key": "env:HOME"}, "api_key", "configuration only"),
    ],
)
def test_what_a_caller_may_not_say_is_refused_and_changes_nothing(at_the_door, tmp_path, body, param, words):
    async def test(door):
        before = door.catalogue.models()
        answer = await door.post("/v1/models", body)
        error = answer.json()["error"]
        assert (answer.status, error["code"], error["param"]) == (400, "invalid_request_error", param), error
        assert words in error["message"]
        assert "root:" not in error["message"]
        assert door.catalogue.models() is before

    at_the_door(test)
    assert not (tmp_path / "registered-models.json").exists()


def test_names_that_are_taken_are_conflicts(at_the_door):
    async def test(door):
        await made(door, "m@1", aliases=["prod"])
        for body in (
            {"id": "m@1"},
            {"id": "m@2", "alias": "prod"},
            {"id": "m@2", "alias": "m@1", "move_aliases": True},
            {"id": "prod", "move_aliases": True},
            {"id": "tiny"},
            {"id": "m@2", "alias": "tiny-alias"},
        ):
            answer = await door.post("/v1/models", {"source": FILE, **body})
            assert (answer.status, answer.json()["error"]["code"]) == (409, "conflict"), body
        assert [model.id for model in door.catalogue.models()] == ["m@1", "org/big:8b", "tiny", "vec"]

    at_the_door(test)


def test_an_alias_moves_when_it_is_said_so_and_back(at_the_door, tmp_path):
    async def test(door):
        await made(door, "m@1", aliases=["prod", "old"])
        await made(door, "m@2", aliases=["prod"], move_aliases=True)
        assert door.catalogue.resolve("prod").id == "m@2"
        assert door.catalogue.resolve("old").id == "m@1"
        body = {"aliases": ["old", "prod"], "move_aliases": True}
        answer = await door.call("PATCH", "/v1/models/m@1", body)
        assert (answer.status, answer.json()["aliases"]) == (200, ["old", "prod"])
        assert door.catalogue.resolve("prod").id == "m@1"
        assert kept(tmp_path)["m@2"]["aliases"] == []

    at_the_door(test)


def test_a_patch_is_merged_and_null_takes_away(at_the_door, tmp_path):
    async def test(door):
        await made(door, "m", ttl=5, price={"input_per_1k": "1", "output_per_1k": "2"})
        patch = {"ttl": None, "price": {"input_per_1k": "3"}, "context_length": 99}
        answer = await door.call("PATCH", "/v1/models/m", patch, content_type="application/merge-patch+json")
        assert (answer.json()["cost_per_1k_input"], answer.json()["cost_per_1k_output"]) == (3, 2)
        price = {"input_per_1k": "3", "output_per_1k": "2"}
        assert kept(tmp_path)["m"] == {"source": FILE, "price": price, "context_length": 99}
        for bad, param in (({"slots": 0}, "slots"), ({"id": "n"}, "id"), ({"base_url": "http://x"}, "base_url")):
            refused = await door.call("PATCH", "/v1/models/m", bad)
            assert (refused.status, refused.json()["error"]["param"]) == (400, param)
        assert kept(tmp_path)["m"]["price"] == price

    at_the_door(test)


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_only_what_was_registered_can_be_changed(at_the_door, method):
    async def test(door):
        await made(door, "m@1")
        for name, status, words in (
            ("tiny", 409, "configuration"),
            ("m", 400, "'m@1'"),
            ("nobody", 404, "does not exist"),
        ):
            answer = await door.call(method, f"/v1/models/{name}", {})
            assert answer.status == status
            assert words in answer.json()["error"]["message"]

    at_the_door(test)


def test_deleting_the_newest_version_gives_its_name_to_the_one_before(at_the_door, tmp_path):
    async def test(door):
        await made(door, "m@1")
        await made(door, "m@2")
        assert door.catalogue.resolve("m").id == "m@2"
        answer = await door.call("DELETE", "/v1/models/m@2")
        assert (answer.status, answer.json()) == (200, {"id": "m@2", "object": "model", "deleted": True})
        assert door.catalogue.resolve("m").id == "m@1"
        assert kept(tmp_path).keys() == {"m@1"}

    at_the_door(test)


def test_a_loading_model_is_not_deleted_and_its_waiters_are_served(at_the_door):
    async def test(door):
        await made(door, "m")
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(door.post(CHAT, hello("m")))
            await asyncio.sleep(1)
            answer = await door.call("DELETE", "/v1/models/m")
            assert (answer.status, answer.json()["error"]["code"]) == (409, "conflict")
        assert asked.result().status == 200
        assert (await door.call("DELETE", "/v1/models/m")).status == 200

    at_the_door(test, load_seconds=5)


def test_who_runs_ends_first_and_who_waits_is_told_or_served_by_the_next(at_the_door):
    async def test(door):
        await made(door, "m@1", slots=1)
        await made(door, "m@2", slots=1)
        door.engine.chunks = [5.0, WHOLE]
        async with asyncio.TaskGroup() as group:
            runs = group.create_task(door.post(CHAT, hello("m@2")))
            await asyncio.sleep(0.1)
            told = group.create_task(door.post(CHAT, hello("m@2")))
            moved = group.create_task(door.post(CHAT, hello("m")))
            await asyncio.sleep(1)
            began = await door.call("DELETE", "/v1/models/m@2?wait=false")
            assert began.status == 202
            again = await door.post(CHAT, hello("m@2"))
            assert again.status == 404
            await asyncio.wait([told])
            assert asyncio.get_running_loop().time() == pytest.approx(1.1)  # at once; the one that runs goes on
            assert not runs.done()
        assert runs.result().status == 200
        assert (told.result().status, told.result().json()["error"]["code"]) == (404, "model_not_found")
        assert moved.result().status == 200
        assert moved.result().headers["x-enginehouse-model"] == "m@1"
        assert door.launcher.resident == {"m@1"}

    at_the_door(test)


def test_who_waits_for_a_new_engine_of_a_model_that_goes_is_served_by_the_one_before(at_the_door):
    async def test(door):
        await made(door, "m@1")
        await made(door, "m@2", slots=2)
        door.engine.chunks = [5.0, WHOLE]
        async with asyncio.TaskGroup() as group:
            runs = group.create_task(door.post(CHAT, hello("m@2")))
            await asyncio.sleep(0.1)
            await door.call("PATCH", "/v1/models/m@2", {"context_length": 9})
            moved = group.create_task(door.post(CHAT, hello("m")))
            told = group.create_task(door.post(CHAT, hello("m@2")))
            await asyncio.sleep(0.1)
            assert (await door.call("DELETE", "/v1/models/m@2?wait=false")).status == 202
        assert runs.result().status == 200
        assert moved.result().headers["x-enginehouse-model"] == "m@1"
        assert told.result().status == 404
        assert door.launcher.loads == ["m@2", "m@1"]

    at_the_door(test)


def test_a_delete_that_waits_answers_when_the_last_request_has_ended(at_the_door):
    async def test(door):
        await made(door, "m")
        door.engine.chunks = [5.0, WHOLE]
        async with asyncio.TaskGroup() as group:
            group.create_task(door.post(CHAT, hello("m")))
            await asyncio.sleep(1)
            await door.call("DELETE", "/v1/models/m")
            assert asyncio.get_running_loop().time() == pytest.approx(5)
        assert not door.launcher.resident

    at_the_door(test)


def test_with_load_first_nobody_waits_for_a_cold_model(at_the_door):
    async def test(door):
        await made(door, "m@1", aliases=["prod"])
        await door.post(CHAT, hello("prod"))
        before = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            body = {"id": "m@2", "source": FILE, "alias": "prod", "move_aliases": True, "load_first": True}
            moving = group.create_task(door.post("/v1/models", body))
            await asyncio.sleep(1)
            for name in ("prod", "m"):
                assert (await door.post(CHAT, hello(name))).headers["x-enginehouse-model"] == "m@1"
            assert (await door.post("/v1/models", body)).status == 409
            assert asyncio.get_running_loop().time() - before == pytest.approx(1)
        assert (moving.result().status, moving.result().json()["status"]) == (201, "ready")
        for name in ("prod", "m"):
            assert (await door.post(CHAT, hello(name))).headers["x-enginehouse-model"] == "m@2"
        assert asyncio.get_running_loop().time() - before == pytest.approx(5)

    at_the_door(test, load_seconds=5)


def test_a_load_first_that_fails_changes_nothing(at_the_door, tmp_path):
    async def test(door):
        await made(door, "m@1", aliases=["prod"])
        body = {"id": "m@2", "source": FILE, "alias": "prod", "move_aliases": True, "load_first": True}
        answer = await door.post("/v1/models", body)
        assert (answer.status, answer.json()["error"]["message"]) == (503, "bad magic")
        assert door.catalogue.resolve("prod").id == "m@1"
        assert kept(tmp_path).keys() == {"m@1"}
        swap = {"context_length": 5, "load_first": True}
        refused = await door.call("PATCH", "/v1/models/m@1", swap)
        assert (refused.status, refused.json()["error"]["param"]) == (400, "load_first")

    at_the_door(test, failure=ModelLoadFailed("bad magic"))


def test_preload_begins_at_once(at_the_door):
    async def test(door):
        await made(door, "m", preload=True)
        await asyncio.sleep(2)
        assert door.launcher.resident == {"m"}

    at_the_door(test, load_seconds=1)


def test_the_stream_tells_what_came_changed_and_went(at_the_door):
    async def test(door):
        await made(door, "m")
        await door.call("PATCH", "/v1/models/m", {"name": "M"})
        await door.call("DELETE", "/v1/models/m")
        token = door.changes.token(1)
        caller = door.caller("GET", "/v1/models/status/stream", last_event_id=token)
        async with asyncio.TaskGroup() as group:
            group.create_task(caller.run())
            await asyncio.sleep(1)
            caller.leave()
        lines = caller.answer.body.decode().splitlines()
        events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        assert [(event["change"], event["alias"], event["status"]) for event in events] == [
            ("changed", "m", "off"),
            ("removed", "m", "off"),
        ]

    at_the_door(test)


def test_every_try_is_in_the_log_with_who_and_without_values(at_the_door):
    async def test(door):
        with capture_logs() as logs:
            body = {"id": "m", "source": FILE, "api_key": "very-secret"}
            await door.post("/v1/models", body, x_request_id="r1")
            await door.post("/v1/models", body, x_request_id="r2")
            await door.call("PATCH", "/v1/models/m", {"api_key": "other-secret"})
            await door.call("DELETE", "/v1/models/m")
        lines = [line for line in logs if line["event"] == "registration"]
        assert [(line["action"], line["outcome"]) for line in lines] == [
            ("register", "done"),
            ("register", "conflict"),
            ("patch", "done"),
            ("delete", "done"),
        ]
        assert (lines[0]["user"], lines[0]["request_id"], lines[0]["keys"]) == (
            "local",
            "r1",
            ["api_key", "source"],
        )
        assert "secret" not in str(logs)

    at_the_door(test)


def test_strangers_change_nothing(at_the_door):
    async def test(door):
        for method, path in (("POST", "/v1/models"), ("PATCH", "/v1/models/m"), ("DELETE", "/v1/models/m")):
            assert (await door.call(method, path, {"id": "m", "source": FILE})).status == 401
        assert (await door.post("/v1/models", {"id": "m", "source": FILE}, **KEY)).status == 201

    at_the_door(test, keys=["boss"])


def test_the_page_tells_the_bodies_and_the_statuses(at_the_door):
    async def test(door):
        page = (await door.call("GET", "/openapi.json")).json()
        paths, schemas = page["paths"], page["components"]["schemas"]
        post = paths["/v1/models"]["post"]
        assert {"201", "400", "401", "403", "409", "503", "504", "507"} <= post["responses"].keys()
        schema = post["requestBody"]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/NewModel"}
        assert {"id", "source", "alias", "load_first", "move_aliases"} <= schemas["NewModel"]["properties"].keys()
        one = paths["/v1/models/{model_id}"]
        assert {"200", "400", "404", "409"} <= one["patch"]["responses"].keys()
        assert {"200", "202", "404", "409"} <= one["delete"]["responses"].keys()

    at_the_door(test)
