"""The failure rules again, with the real bundled engine where it matters that it is the real one."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from enginehouse.residency.launchers.llama import LlamaLauncher
from enginehouse.residency.manager import Residency
from enginehouse.residency.memory import measured
from enginehouse.settings import current_environ
from enginehouse.settings.schema import ResidencySettings
from enginehouse.types import Deployment, EngineName, Kind
from tests.integration.service import Service, Stream

CHAT = "/v1/chat/completions"


def test_a_bad_gguf_tells_every_waiter_what_the_engine_said(tmp_path):
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + bytes(4096))
    model = {"source": str(bad), "kind": "chat", "engine": "llama_server", "context_length": 512}
    body = {"model": "bad", "messages": [{"role": "user", "content": "hi"}]}
    config = {"data_dir": str(tmp_path / "data"), "default_models": False, "models": {"bad": model}}
    with Service(tmp_path, config) as own, ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: own.call(CHAT, body), range(3)))
        for status, answer, headers in answers:
            assert (status, answer["error"]["code"]) == (503, "model_load_failed")
            assert "exit code 1" in answer["error"]["message"]
            assert "gguf" in answer["error"]["message"].lower()
            assert 0 < int(headers["Retry-After"]) <= 10
        began = time.monotonic()
        assert own.call(CHAT, body)[0] == 503
        assert time.monotonic() - began < 0.5
        assert own.log().count('"what":"loads"') == 1


def test_cancelling_a_queued_request_leaves_a_running_one_bit_identical(tmp_path, gguf):
    models = {"m": {"source": str(gguf), "context_length": 512, "slots": 1}}
    ask = {
        "model": "m",
        "messages": [{"role": "user", "content": "Count."}],
        "max_tokens": 60,
        "seed": 7,
        "temperature": 0,
        "ignore_eos": True,
        "cache_prompt": False,
    }
    with Service(tmp_path, {"models": models}) as own:
        undisturbed = own.call(CHAT, ask)[1]["choices"][0]["message"]["content"]
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(own.call, CHAT, ask)
            own.wait_until(lambda: line(own)["active"] == 1, 10)
            for _ in range(5):
                with Stream(own, CHAT, {**ask, "stream": True, "messages": [{"role": "user", "content": "Sing."}]}):
                    own.wait_until(lambda: line(own)["total"] == 1, 10)
                own.wait_until(lambda: line(own)["total"] == 0, 10)
            assert not running.done()
            status, answer, _ = running.result()
    assert status == 200
    assert answer["choices"][0]["message"]["content"] == undisturbed
    assert answer["usage"]["completion_tokens"] == 60


def line(own):
    return own.call("/v1/queue/stats")[1]["queues"]["m"]


class Here:
    """Satisfies `Files` for what is on this machine already."""

    async def fetch(self, source, sha256, watcher):
        return Path(source)


async def test_after_the_first_load_the_ledger_says_what_is_measured(tmp_path, gguf):
    deployment = Deployment(
        id="m", model="m", kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER, source=str(gguf), context_length=2048
    )
    launcher = LlamaLauncher(Here(), binary=None, environ=current_environ(), silence=60, grace=2)
    async with Residency({EngineName.LLAMA_SERVER: launcher}, ResidencySettings()) as house:
        status = await house.load(deployment)
        assert status.pid is not None
        estimate = house.memory.entries["m"]["ram"]
        for _ in range(200):
            if house.memory.entries["m"]["ram"] != estimate:
                break
            await asyncio.sleep(0.05)
        size = await asyncio.to_thread(measured, status.pid)
        assert house.memory.entries["m"]["ram"] == pytest.approx(size, rel=0.1)
    assert not house.memory.entries
