"""The event stream: order, resuming, lagging, and that readers cost no memory."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from enginehouse.telemetry.events import EventStream
from enginehouse.testing import simulate


def published(count, kept=10):
    stream = EventStream(kept=kept)
    for number in range(1, count + 1):
        stream.publish(number)
    return stream


def test_a_reader_gets_what_comes_after_it_subscribed_in_order():
    async def main():
        stream = published(3)
        subscription = stream.subscribe()
        stream.publish(4)  # between subscribing and reading
        with subscription as reader:
            stream.publish(5)
            assert [entry.event for entry in await reader.news()] == [4, 5]
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(reader.news())
                await asyncio.sleep(1)
                assert not waiting.done()
                stream.publish(6)
            assert [(entry.number, entry.event) for entry in waiting.result()] == [(6, 6)]

    simulate(main())


def test_a_cancelled_wait_loses_nothing():
    async def main():
        stream = published(0)
        with stream.subscribe() as reader:
            for number in range(20):
                try:
                    async with asyncio.timeout(1):
                        await reader.news()
                except TimeoutError:
                    stream.publish(number)
                entries = await reader.news()
                assert [entry.event for entry in entries] == [number]

    simulate(main())


def test_a_reader_who_lags_beyond_what_is_kept_is_told():
    async def main():
        stream = published(0, kept=3)
        with stream.subscribe() as slow, stream.subscribe() as quick:
            for number in range(4):
                stream.publish(number)
                await quick.news()
            async with asyncio.timeout(1):
                await slow.overtaken()
            assert stream.after(0) is None
            try:
                async with asyncio.timeout(1):
                    await quick.overtaken()
            except TimeoutError:
                return
            raise AssertionError("the quick reader is not overtaken")

    simulate(main())


def test_a_reader_at_the_edge_still_gets_all():
    async def main():
        stream = published(0, kept=3)
        with stream.subscribe() as reader:
            for number in range(3):
                stream.publish(number)
            assert [entry.event for entry in await reader.news()] == [0, 1, 2]

    simulate(main())


def test_who_left_is_forgotten():
    stream = published(1)
    with stream.subscribe() as reader:
        assert stream._readers == {reader}
    assert not stream._readers


@given(count=st.integers(0, 40), kept=st.integers(1, 12), back=st.integers(-3, 45))
def test_a_token_resumes_without_a_gap_or_not_at_all(count, kept, back):
    stream = published(count, kept)
    number = count - back
    place = stream.place(stream.token(number))
    resumable = 0 <= back <= min(kept, count)
    assert place == (number if resumable else None)
    if place is not None:
        assert [entry.event for entry in stream.after(place)] == list(range(number + 1, count + 1))


def test_a_strangers_token_resumes_nothing():
    stream = published(5)
    life = stream.token(3).partition("-")[0]
    for token in (
        None,
        "",
        "3",
        "abc-3",
        published(5).token(3),
        f"{life}-",
        f"{life}-x",
        f"{life}-²",
        f"{life}--1",
    ):
        assert stream.place(token) is None
    assert stream.place(f"{life}-{'9' * 5000}") is None
