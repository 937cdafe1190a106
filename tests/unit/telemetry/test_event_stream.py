"""The stream of all events: models, requests and the figures of every second, and to whom they are told."""

import asyncio
import json

import pytest

from enginehouse.core.traces.pulse import Queues
from enginehouse.testing import WHOLE
from tests.unit.telemetry.test_telemetry_api import CHAT, DONE, HELLO, STREAM, TEXT, Callers, at_the_door


class Reader:
    """Follows a stream of the door."""

    def __init__(self, door, path="/v1/events", **headers):
        self._caller = door.caller("GET", path, **headers)
        self._door = door

    async def __aenter__(self):
        self._task = asyncio.ensure_future(self._caller.run())
        await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_):
        self._caller.leave()
        await self._task

    @property
    def events(self):
        """Ids, names and data."""
        parts = [part for part in self._caller.answer.body.decode().split("\n\n") if part.startswith("id:")]
        lines = [[line.partition(": ")[2] for line in part.split("\n")] for part in parts]
        return [(number, name, json.loads(data)) for number, name, data in lines]

    def told(self, name):
        return [data for _, called, data in self.events if called == name]


async def beat(door):
    await asyncio.sleep(1)
    await door.pulse.beat()


@at_the_door(chunks=[0.5, TEXT, 0.5, DONE])
async def test_it_begins_with_all_there_is_and_goes_on_once_a_second(door):
    await beat(door)
    async with Reader(door) as reader:
        await door.post(CHAT, STREAM)
        await beat(door)
        await asyncio.sleep(0.01)
    first = reader.told("full_status")[0]
    assert first["figures"]["totals"]["requests"] == 0
    assert len(first["history"]) == 1
    (ended,) = reader.told("requests")
    assert (ended["skipped"], ended["requests"][0]["model"]) == (0, "tiny")
    (figures,) = reader.told("figures")
    assert figures["totals"]["requests"] == 1
    assert figures["totals"]["output_tokens"] == 3
    assert figures["cost_today"] == 7
    minute = figures["last_minute"]
    assert (minute["requests"], minute["errors"]) == (1, 0)
    assert 250 <= minute["ttft_ms"]["p50"] <= 500
    assert 500 <= minute["latency_ms"]["p95"] <= 1000


@at_the_door(chunks=[WHOLE])
async def test_who_comes_back_hears_what_was_missed(door):
    async with Reader(door) as reader:
        await beat(door)
        await asyncio.sleep(0.01)
    last = reader.events[-1][0]
    await beat(door)
    async with Reader(door, last_event_id=last) as again:
        await asyncio.sleep(0.01)
    assert [name for _, name, _ in again.events] == ["figures"]
    async with Reader(door, last_event_id="another-life-7") as lost:
        await asyncio.sleep(0.01)
    assert [name for _, name, _ in lost.events] == ["full_status"]


@at_the_door(chunks=[WHOLE], callers=Callers())
async def test_nobody_hears_of_others_requests(door):
    async with Reader(door, x_api_key="ann") as ann, Reader(door, x_api_key="boss") as boss:
        await door.post(CHAT, HELLO, x_api_key="bob")
        await beat(door)
        await door.post(CHAT, HELLO, x_api_key="ann")
        await beat(door)
        await asyncio.sleep(0.01)
    assert [one["user_id"] for told in ann.told("requests") for one in told["requests"]] == ["ann"]
    assert [one["user_id"] for told in boss.told("requests") for one in told["requests"]] == ["bob", "ann"]


@at_the_door()
async def test_models_and_lines_are_told(door):
    async with Reader(door) as reader:
        door.pulse.events.publish(Queues({"tiny": {"total": 1}, "gone": {"total": 2}}))
        await asyncio.sleep(0.01)
    assert reader.told("queue_update") == [{"queues": {"tiny": {"total": 1}, "gone": {"total": 2}}}]


@at_the_door(chunks=[WHOLE])
async def test_metrics_alone_have_a_stream_of_their_own(door):
    async with Reader(door, "/metrics/stream") as reader:
        await door.post(CHAT, HELLO)
        await beat(door)
        await asyncio.sleep(0.01)
    assert [name for _, name, _ in reader.events] == ["metrics", "metrics"]
    assert [told["totals"]["requests"] for told in reader.told("metrics")] == [0, 1]


@at_the_door(chunks=[WHOLE])
async def test_many_requests_in_a_second_are_told_as_a_number(door):
    for _ in range(60):
        await door.post(CHAT, HELLO)
    async with Reader(door) as reader:
        await beat(door)
        await asyncio.sleep(0.01)
    (ended,) = reader.told("requests")
    assert (len(ended["requests"]), ended["skipped"]) == (20, 40)
    (figures,) = reader.told("figures")
    assert figures["requests_per_second"] == pytest.approx(60, rel=0.05)


@at_the_door(chunks=[WHOLE])
async def test_rates_are_of_the_last_minute(door):
    await door.post(CHAT, HELLO)
    for _ in range(60):
        await beat(door)
    assert door.pulse.figures()["last_minute"]["requests"] == 1
    await beat(door)
    assert door.pulse.figures()["last_minute"]["requests"] == 0
    assert door.pulse.figures()["last_minute"]["latency_ms"] == {"p50": None, "p95": None, "p99": None}
