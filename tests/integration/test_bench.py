"""The harness for real: the mock under official clients, and whole runs with child processes on loopback."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import openai
import psutil
import pytest

from bench import mock
from bench.prototypes import PROTOTYPES

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
CHAT = "/chat/completions"


def bench(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


async def test_the_official_client_reads_the_mock():
    async with mock.serve() as upstream, openai.AsyncOpenAI(base_url=upstream.base_url, api_key="none") as client:
        messages = [{"role": "user", "content": "hello"}]
        whole = await client.chat.completions.create(model="mock", messages=messages)
        assert whole.usage.total_tokens == 132
        stream = await client.chat.completions.create(
            model="mock-c5", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        frames = [frame async for frame in stream]
        assert sum(bool(frame.choices and frame.choices[0].delta.content) for frame in frames) == 5
        assert frames[-1].usage.completion_tokens == 5
        text = await client.completions.create(model="mock", prompt="hello")
        assert text.choices[0].text
        vectors = await client.embeddings.create(model="mock", input=["a", "b"], dimensions=8)
        assert [len(item.embedding) for item in vectors.data] == [8, 8]
        assert [model.id async for model in client.models.list()] == ["mock"]
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(
                model="mock", messages=messages, extra_headers={"x-mock-chunks": "few"}
            )


async def test_the_mock_counts_those_who_leave():
    asked = {"model": "mock", "stream": True}
    async with mock.serve() as upstream, aiohttp.ClientSession() as client:
        for headers in ({"x-mock-interval-ms": "20", "x-mock-chunks": "1000"}, {"x-mock-delay-ms": "20000"}):
            with pytest.raises(TimeoutError):
                async with (
                    asyncio.timeout(0.2),
                    client.post(upstream.base_url + CHAT, json=asked, headers=headers) as answer,
                ):
                    await answer.read()
        async with client.post(upstream.base_url + CHAT, json=asked) as answer:
            await answer.read()
        async with client.get(f"http://127.0.0.1:{upstream.port}/mock/stats") as answer:
            stats = await answer.json()
    assert (stats["requests"], stats["streams"], stats["aborted"]) == (3, 3, 2)
    assert stats == {"connections": 1, "requests": 3, "streams": 3, "chunks": stats["chunks"], "aborted": 2}


async def test_an_unread_stream_does_not_fill_the_mocks_memory():
    asked = json.dumps({"model": "mock-c999999", "stream": True}).encode()
    async with mock.serve() as upstream:
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port, limit=1024)
        head = f"POST /v1{CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(asked)}\r\n\r\n".encode()
        writer.write(head + asked)
        await reader.read(1)
        async with asyncio.timeout(20):
            before = -1
            while upstream.stats.chunks != before:
                before = upstream.stats.chunks
                await asyncio.sleep(0.3)
        writer.transport.abort()
    assert before < 999_999


def test_a_run_over_every_prototype_has_no_failures():
    process = bench(
        "prototypes", "--seconds=0.5", "--rounds=1", "--scenario=saturation", "--scenario=paced", "--json"
    )
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    report = json.loads(out)
    samples = {(m["scenario"], m["system"]): m["sample"] for m in report["measurements"]}
    assert len(samples) == 2 * (1 + len(PROTOTYPES))
    assert not any(sample["failures"] for sample in samples.values())
    # Half a second at 20 streams a second: exactly those that were due.
    assert {sample["answers"] for (scenario, _), sample in samples.items() if scenario == "paced"} == {10}
    for letter in PROTOTYPES:
        sample = samples["saturation", f"prototype:{letter}"]
        assert sample["answers"] > 0
        assert sample["gateway_cpu"] > 0.1
        assert sample["gateway_rss"] > 10 << 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_child_outlives_a_run(number, tmp_path):
    page = tmp_path / "page.md"
    process = bench("--gateway", "prototype:a", "--seconds", "20", "--output", str(page))
    runner = psutil.Process(process.pid)
    try:
        children = wait_for_children(runner, 3)
        process.send_signal(number)
        process.communicate(timeout=15)
    finally:
        process.kill()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []
    assert process.returncode != 0
    assert not page.exists()


def wait_for_children(runner: psutil.Process, count: int) -> list[psutil.Process]:
    """Mock, gateway and load generator, as soon as all are there."""
    deadline = time.monotonic() + 15
    while len(children := runner.children(recursive=True)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return children


def test_a_gateway_that_does_not_exist_is_named():
    process = bench("--gateway", "nginx", "--output", os.devnull)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "There is no gateway 'nginx'. There are: enginehouse, enginehouse:full," in err.replace("\n", " ")
