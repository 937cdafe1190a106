"""Who waits for which model."""

import asyncio

from enginehouse.settings.schema import AdmissionSettings
from enginehouse.testing import simulate
from tests.unit.api.house import open_door

CHAT = "/v1/chat/completions"
HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}


def test_the_line_is_told_by_priority_and_what_became_of_it():
    async def main():
        async with open_door([5.0, b"{}"], admission=AdmissionSettings(max_queue_size=2)) as door:
            untouched = (await door.call("GET", "/v1/queue/stats")).json()
            assert untouched["total_queued"] == 0
            assert untouched["queues"]["tiny"]["wait_p50_ms"] is None
            calls = [
                asyncio.ensure_future(door.post(CHAT, HELLO, x_request_priority=priority))
                for priority in ("normal", "high", "low", "low")
            ]
            await asyncio.sleep(1)
            line = (await door.call("GET", "/v1/queue/stats")).json()["queues"]["tiny"]
            assert line["queued"] == {"high": 1, "normal": 0, "low": 1}
            assert (line["active"], line["slots"], line["total"], line["rejected"]) == (1, 1, 2, 1)
            await asyncio.gather(*calls)
            line = (await door.call("GET", "/v1/queue/stats")).json()["queues"]["tiny"]
            assert (line["served"], line["total"], line["active"]) == (3, 0, 0)
            assert line["wait_p95_ms"] == 10_000

    simulate(main())
