"""Models pulled by `POST /api/pull` and by the command: files onto this machine, or onto an Ollama server."""

import asyncio
import json

import pytest

from enginehouse.cli.pull import run_pull
from enginehouse.core.catalogue import Catalogue, from_settings
from enginehouse.settings.schema import Settings, SourceSettings
from enginehouse.stores.artifacts import Artifacts
from enginehouse.testing.model_files import write_gguf
from tests.integration.ollama_server import FakeOllama
from tests.integration.service import Service

ADMIN = {"X-API-Key": "the-admin-of-this-test"}


@pytest.fixture
async def house(tmp_path):
    fake = FakeOllama()
    async with fake.serve() as url:
        remote = {"engine": "ollama", "kind": "chat", "base_url": url}
        models = {
            "far": {**remote, "upstream_model": "m:1b"},
            "lost": remote,
            "near": {"source": str(write_gguf(tmp_path / "near.gguf"))},
            "other": {"engine": "openai", "kind": "chat", "base_url": url},
        }
        config = {
            "data_dir": str(tmp_path / "data"),
            "default_models": False,
            "models": models,
            "auth": {"api_keys": [ADMIN["X-API-Key"]]},
        }
        running = await asyncio.to_thread(Service(tmp_path, config).start)
        running.fake, running.models = fake, models
        try:
            yield running
        finally:
            await asyncio.to_thread(running.__exit__)


async def pulled(house, headers=ADMIN, **body):
    status, told, _ = await asyncio.to_thread(house.call, "/api/pull", body, headers)
    lines = [told] if isinstance(told, dict) else [json.loads(line) for line in told.splitlines()]
    return status, lines


async def test_pulls_over_http(house):
    status, lines = await pulled(house, model="far")
    assert (status, lines[-1]) == (200, {"status": "success"})
    assert {"digest": "m:1b d", "total": 9}.items() <= lines[-2].items()
    assert ("/api/pull", {"model": "m:1b", "stream": True}) in house.fake.asked
    assert (await pulled(house, model="near", stream=False)) == (200, [{"status": "success"}])
    assert (await pulled(house, name="near"))[1][-1] == {"status": "success"}
    assert "no such model" in (await pulled(house, model="lost"))[1][-1]["error"]
    status, [told] = await pulled(house, model="lost", stream=False)
    assert (status, "no such model" in told["error"]) == (503, True)
    assert "runs elsewhere" in (await pulled(house, model="other"))[1][-1]["error"]
    assert (await pulled(house, model="nobody"))[0] == 404
    assert (await pulled(house, stream=False))[0] == 400
    _, made, _ = await asyncio.to_thread(house.call, "/v1/keys", {"user_id": "eve"}, ADMIN)
    assert (await pulled(house, {"X-API-Key": made["key"]}, model="near"))[0] == 403
    assert (await pulled(house, {}, model="near"))[0] == 401


async def test_the_command_has_an_ollama_server_pull(house, tmp_path, capsys):
    catalogue = Catalogue(from_settings(Settings.model_validate({"models": house.models, "default_models": False})))
    artifacts = Artifacts(tmp_path / "artifacts", SourceSettings())
    assert await asyncio.to_thread(run_pull, ["far"], catalogue, artifacts) == 0
    assert capsys.readouterr().out.startswith("far\thttp://127.0.0.1")
    assert await asyncio.to_thread(run_pull, ["lost"], catalogue, artifacts) == 1
    assert "no such model" in capsys.readouterr().err
