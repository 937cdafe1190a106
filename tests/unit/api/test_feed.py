"""The endless streams: first and later events, ids, resuming, pings, and every way they end."""

import asyncio
import json

import pytest

from enginehouse.testing import simulate
from tests.unit.api.house import open_door

STATUS = "/v1/models/status/stream"


def parsed(answer):
    """Events as (id, name, data); pings are left out."""
    found = []
    for block in answer.body.decode().split("\n\n"):
        if block and not block.startswith(":"):
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            found.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return found


class Listening:
    """A reader of a stream; leaving the context hangs up."""

    def __init__(self, door, path=STATUS, **headers):
        self.caller = door.caller("GET", path, b"", **headers)
        self.answer = self.caller.answer

    async def __aenter__(self):
        self.group = asyncio.TaskGroup()
        await self.group.__aenter__()
        self.task = self.group.create_task(self.caller.run())
        await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *error):
        self.caller.leave()
        await self.group.__aexit__(*error)

    @property
    def events(self):
        return parsed(self.answer)

    @property
    def names(self):
        return [name for _, name, _ in self.events]


def test_the_whole_first_and_then_every_change():
    async def main():
        async with open_door(load_seconds=2) as door, Listening(door) as reader:
            assert reader.answer.headers["content-type"].startswith("text/event-stream")
            assert reader.answer.headers["cache-control"] == "no-cache"
            assert "content-length" not in reader.answer.headers
            (_, name, whole), *rest = reader.events
            assert (name, rest) == ("full_status", [])
            assert whole == (await door.call("GET", "/v1/models/status")).json()
            await door.post("/v1/models/tiny/load", b"")
            await door.post("/v1/models/tiny/unload", b"")
            await asyncio.sleep(0.01)
            updates = [data for _, name, data in reader.events if name == "model_update"]
            assert [(data["alias"], data["status"]) for data in updates] == [
                ("tiny", "loading"),
                ("tiny", "ready"),
                ("tiny", "draining"),
                ("tiny", "off"),
            ]
            assert updates[1]["load_time_seconds"] == 2.0
            assert {"timestamp", "engine"} <= updates[0].keys()
            assert len({id_ for id_, _, _ in reader.events}) == 5

    simulate(main())


def test_a_reader_who_comes_back_gets_what_it_missed_and_nothing_twice():
    async def main():
        async with open_door(load_seconds=2) as door:
            async with Listening(door) as reader:
                door.residency.load_soon(door_model(door, "tiny"))
                await asyncio.sleep(1)
                seen = reader.events
            assert [data["status"] for _, _, data in seen[1:]] == ["loading"]
            await asyncio.sleep(5)
            async with Listening(door, last_event_id=seen[-1][0]) as again:
                assert again.names == ["model_update"]
                assert again.events[0][2]["status"] == "ready"
                await door.post("/v1/models/tiny/unload", b"")
                await asyncio.sleep(0.01)
                assert [data["status"] for _, _, data in again.events] == ["ready", "draining", "off"]
            async with Listening(door, last_event_id=seen[0][0]) as from_whole:
                assert [data["status"] for _, _, data in from_whole.events] == [
                    "loading",
                    "ready",
                    "draining",
                    "off",
                ]

    simulate(main())


def door_model(door, name):
    return next(m for m in door.catalogue.models() if m.id == name).deployments[0]


def test_who_missed_too_much_or_comes_from_another_life_starts_with_the_whole():
    async def main():
        async with open_door() as door:
            async with Listening(door) as reader:
                first = reader.events[0][0]
            for _ in range(20):
                await door.post("/v1/models/tiny/load", b"")
                await door.post("/v1/models/tiny/unload", b"")
            for stale in (first, "0badcafe-3", "nonsense", "12"):
                async with Listening(door, last_event_id=stale) as again:
                    assert again.names == ["full_status"]

    simulate(main())


def test_silence_is_pinged_every_fifteen_seconds():
    async def main():
        async with open_door() as door, Listening(door) as reader:
            await asyncio.sleep(46)
            assert reader.answer.chunks[1:] == [b": ping\n\n"] * 3

    simulate(main())


@pytest.mark.parametrize("path", [STATUS, "/v1/models/tiny/logs/stream"])
def test_it_ends_cleanly_when_the_service_stops(path):
    async def main():
        async with open_door() as door, Listening(door, path) as reader:
            assert not reader.answer.ended
            door.stopping.set()
            await asyncio.sleep(0.01)
            assert reader.task.done()
            assert reader.answer.ended
            refused = await door.call("GET", path)
            assert (refused.status, refused.json()["error"]["code"]) == (503, "shutting_down")
            assert (await door.call("GET", "/v1/models/status")).json()["server"] == {"status": "shutting_down"}

    simulate(main())


def test_who_hangs_up_is_forgotten():
    async def main():
        async with open_door() as door:
            async with Listening(door):
                assert len(door.changes._readers) == 1
            assert not door.changes._readers

    simulate(main())


class Stuck:
    """A caller who reads one chunk and no more."""

    def __init__(self, caller):
        self.caller = caller
        self.read = 0
        self._send = caller._send
        caller._send = self.send

    async def send(self, message):
        if message["type"] == "http.response.body":
            self.read += 1
            if self.read > 1:
                await asyncio.get_running_loop().create_future()
        await self._send(message)


def test_a_reader_who_is_overtaken_is_dropped():
    async def main():
        async with open_door() as door:
            stuck = Stuck(caller := door.caller("GET", STATUS))
            async with asyncio.TaskGroup() as group:
                task = group.create_task(caller.run())
                await asyncio.sleep(1)
                for _ in range(12):  # four changes each; fifty are kept
                    await door.post("/v1/models/tiny/load", b"")
                    await door.post("/v1/models/tiny/unload", b"")
                assert not task.done()
                for _ in range(2):
                    await door.post("/v1/models/tiny/load", b"")
                    await door.post("/v1/models/tiny/unload", b"")
                await asyncio.sleep(2)
                assert task.done()
            assert stuck.read >= 1
            assert not door.changes._readers

    simulate(main())


def test_a_stuck_reader_does_not_hold_up_the_stop():
    async def main():
        async with open_door() as door:
            Stuck(caller := door.caller("GET", STATUS))
            async with asyncio.TaskGroup() as group:
                task = group.create_task(caller.run())
                await asyncio.sleep(1)
                await door.post("/v1/models/tiny/load", b"")
                door.stopping.set()
                await asyncio.sleep(1.5)
                assert task.done()

    simulate(main())


def test_the_log_is_followed_and_resumed():
    async def main():
        async with open_door() as door:
            await door.post("/v1/models/tiny/load", b"")
            engine = door.launcher.watchers["tiny"]
            engine.printed(["one", "two", "three"])
            async with Listening(door, "/v1/models/tiny/logs/stream?lines=2") as reader:
                engine.printed(["four\r", 'say "five": äöü'])
                await asyncio.sleep(0.01)
                assert set(reader.names) == {"log"}
                lines = [data["line"] for _, _, data in reader.events]
                assert lines == ["two", "three", "four\r", 'say "five": äöü']
                last = reader.events[-1][0]
            engine.printed(["six"])
            async with Listening(door, "/v1/models/tiny/logs/stream", last_event_id=last) as again:
                assert [data["line"] for _, _, data in again.events] == ["six"]

    simulate(main())


def test_a_log_can_be_followed_before_the_first_load():
    async def main():
        async with open_door() as door, Listening(door, "/v1/models/tiny/logs/stream") as reader:
            await door.post("/v1/models/tiny/load", b"")
            door.launcher.watchers["tiny"].printed(["hello"])
            await asyncio.sleep(0.01)
            assert [data["line"] for _, _, data in reader.events] == ["hello"]

    simulate(main())
