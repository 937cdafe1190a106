"""A stop signal and the moments after it; and replicas restarted one after the other behind a load balancer."""

import asyncio
import json
import signal
import time
from collections import Counter
from contextlib import AsyncExitStack

import aiohttp
import pytest

from bench.mock import Manner, serve
from tests.integration.balancer import Balancer
from tests.integration.service import Service

DRAIN = 1.0
CHAT = "/v1/chat/completions"


def replica(folder, mock, **server):
    folder.mkdir()
    model = {"engine": "openai", "base_url": mock.base_url, "kind": "chat"}
    config = {
        "data_dir": str(folder),
        "default_models": False,
        "server": {"drain_delay": DRAIN, **server},
        "models": {"m": model},
    }
    return Service(folder, config)


def question(*, stream):
    return {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": stream}


@pytest.fixture
async def mock():
    async with serve(0, Manner(chunks=8, interval_ms=5, delay_ms=20)) as running:
        yield running


async def test_after_a_stop_signal_it_is_not_ready_serves_for_a_moment_and_is_gone(tmp_path, mock):
    service = replica(tmp_path / "a", mock)
    async with aiohttp.ClientSession(service.url) as client, AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, service.__exit__)
        await asyncio.to_thread(service.start)
        async with client.post(CHAT, json=question(stream=False)) as before:
            assert (before.status, before.headers.get("Connection")) == (200, None)
        service.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        await asyncio.sleep(0.2)
        async with client.get("/ready") as ready, client.get("/health") as health:
            assert (ready.status, ready.headers["Retry-After"], health.status) == (503, "5", 503)
        async with client.post(CHAT, json=question(stream=True)) as late:
            assert (late.status, late.headers["Connection"]) == (200, "close")
            assert b"[DONE]" in await late.read()
        assert await asyncio.to_thread(service.process.wait, 10) == 0
        assert DRAIN <= time.monotonic() - began < DRAIN + 4


async def test_a_second_signal_does_not_wait(tmp_path, mock):
    service = replica(tmp_path / "a", mock, drain_delay=60)
    with service:
        service.process.send_signal(signal.SIGTERM)
        service.wait_until(lambda: "draining" in service.log(), 5)
        service.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(service.process.wait, 10) == 0


@pytest.mark.timeout(90)
async def test_restarting_replicas_one_after_the_other_costs_no_request(tmp_path, mock):
    """Every replica is sent new requests until it says that it leaves, and some of them are long then."""
    services = [replica(tmp_path / name, mock) for name in "abc"]
    async with AsyncExitStack() as stack:
        for service in services:
            stack.push_async_callback(asyncio.to_thread, service.__exit__)
        await asyncio.gather(*(asyncio.to_thread(service.start) for service in services))
        balancer = Balancer(*(service.url for service in services))
        client = await stack.enter_async_context(
            aiohttp.ClientSession(await stack.enter_async_context(balancer.serve()))
        )
        await _until(lambda: len(balancer.ready) == 3)
        async with _load(client) as seen:
            pids = [service.process.pid for service in services]
            for service in services:
                await asyncio.sleep(0.5)
                service.process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(service.process.wait, 20) == 0
                await asyncio.to_thread(service.start)
                await _until(lambda: len(balancer.ready) == 3)
            await asyncio.sleep(0.5)
        assert {service.process.pid for service in services}.isdisjoint(pids)
    assert set(seen) == {"whole"}, seen
    assert seen["whole"] > 200
    assert min(balancer.sent.values()) > 40
    print(f"rolling restart of 3 replicas: {seen['whole']} requests, none failed")


class _load:  # noqa: N801 - reads as a function
    """Callers who ask without a pause while the context lasts; counts how their requests ended."""

    def __init__(self, client, callers=8):
        self._client, self._callers = client, callers

    async def __aenter__(self):
        self.seen, self._stop = Counter(), asyncio.Event()
        self._tasks = [asyncio.create_task(self._ask(number % 2 == 0)) for number in range(self._callers)]
        return self.seen

    async def __aexit__(self, *_):
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _ask(self, stream):
        while not self._stop.is_set():
            try:
                async with self._client.post(CHAT, json=question(stream=stream)) as answer:
                    body = await answer.read()
                    self.seen[_how(answer.status, body, stream)] += 1
            except (aiohttp.ClientError, ConnectionError) as error:
                self.seen[repr(error)[:200]] += 1


def _how(status, body, stream):
    if status != 200:
        return f"{status} {body[:200]}"
    if stream:
        return "whole" if body.endswith(b"data: [DONE]\n\n") else f"broken stream {body[-80:]}"
    return "whole" if json.loads(body)["choices"][0]["finish_reason"] else "no reason"


async def _until(condition, seconds=30):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it is another process that changes
            await asyncio.sleep(0.02)
