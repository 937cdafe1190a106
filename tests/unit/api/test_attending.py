"""Callers who leave: a server that tells of it at once, and one that has to be asked."""

import asyncio

import pytest

from enginehouse.api.attending import Attended
from enginehouse.api.wire import Exchange
from enginehouse.core.identity import ANONYMOUS
from enginehouse.errors import CallerGone
from enginehouse.testing import simulate


class Leaving:
    """Satisfies `api.attending.Leaving`."""

    def __init__(self, *, gone=False):
        self.gone, self.told = gone, None

    def leave(self):
        self.told()

    def hear(self, told):
        self.told = told
        if told is not None and self.gone:
            told()


def exchange_of(sent, *, leaving=None):
    async def never():
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    scope = {"headers": [], "leaving": leaving} if leaving else {"headers": []}
    return Exchange(
        scope, never, send, request_id="r", standing=[], principal=ANONYMOUS, ping_interval=15, max_body=100
    )


def test_whoever_is_told_to_leave_is_cancelled_with_the_reason():
    async def main():
        leaving = Leaving()
        asyncio.get_running_loop().call_later(5, leaving.leave)
        exchange = exchange_of([], leaving=leaving)
        with pytest.raises(CallerGone):
            async with Attended(exchange, streams=False):
                await asyncio.sleep(60)
        assert exchange.timings.gone
        assert asyncio.get_running_loop().time() == 5
        assert asyncio.current_task().cancelling() == 0

    simulate(main())


def test_one_who_had_left_before_is_noticed_as_well():
    async def main():
        with pytest.raises(CallerGone):
            async with Attended(exchange_of([], leaving=Leaving(gone=True)), streams=False):
                pass

    simulate(main())


def test_after_the_answer_nobody_is_told_any_more():
    async def main():
        leaving = Leaving()
        async with Attended(exchange_of([], leaving=leaving), streams=True):
            assert leaving.told is not None
        assert leaving.told is None

    simulate(main())


def test_a_cancel_from_elsewhere_stays_one():
    async def main():
        async def work():
            async with Attended(exchange_of([], leaving=Leaving()), streams=False):
                await asyncio.sleep(60)

        task = asyncio.get_running_loop().create_task(work())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    simulate(main())


@pytest.mark.parametrize("leaving", [Leaving(), None])
def test_a_silent_stream_is_pinged_and_one_that_speaks_is_not(leaving):
    async def main():
        sent = []
        exchange = exchange_of(sent, leaving=leaving)
        async with Attended(exchange, streams=True):
            for _ in range(5):
                await asyncio.sleep(10)
                await exchange.write(b"data: {}\n\n")
            spoken = len(sent)
            await asyncio.sleep(31)
        assert [message["body"] for message in sent[spoken:]] == [b": ping\n\n"] * 2
        assert not [message for message in sent[:spoken] if message.get("body") == b": ping\n\n"]

    simulate(main())
