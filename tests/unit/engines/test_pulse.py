"""How long an engine has owed an answer: what counts as silence, and what does not."""

import asyncio
from contextlib import suppress

import pytest

from enginehouse.engines.llama_server.pulse import Heard, Pulse
from enginehouse.errors import UpstreamTimeout
from enginehouse.testing.engines import FakeReply


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def pass_by(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pulse(clock):
    return Pulse(clock)


def test_an_engine_that_nobody_waits_for_is_not_silent(pulse, clock):
    clock.pass_by(1000)
    assert pulse.silence == 0
    with pulse:
        clock.pass_by(3)
        assert pulse.silence == 3
    clock.pass_by(1000)
    assert pulse.silence == 0


def test_a_byte_to_anybody_starts_the_count_anew(pulse, clock):
    with pulse:
        clock.pass_by(50)
        with pulse:
            clock.pass_by(10)
            assert pulse.silence == 60
        assert pulse.silence == 0
        clock.pass_by(7)
        assert pulse.silence == 7


def wait_in_vain(pulse, clock, seconds):
    with suppress(UpstreamTimeout), pulse:
        clock.pass_by(seconds)
        raise UpstreamTimeout("silent")


def test_what_was_waited_for_in_vain_still_counts(pulse, clock):
    wait_in_vain(pulse, clock, 40)
    clock.pass_by(1000)
    assert pulse.silence == 40
    wait_in_vain(pulse, clock, 40)
    assert pulse.silence == 80
    with pulse:
        pass
    assert pulse.silence == 0


def test_one_who_gives_up_beside_others_does_not_count_twice(pulse, clock):
    with pulse:
        clock.pass_by(10)
        wait_in_vain(pulse, clock, 20)
        assert pulse.silence == 30


async def test_the_end_of_a_stream_is_a_sign_and_a_slow_reader_is_not_silence(pulse, clock):
    heard = Heard(FakeReply([b"a", b"b"]), pulse)
    silences = []
    async for _ in heard.frames():
        clock.pass_by(100)  # the caller takes its time
        silences.append(pulse.silence)
    assert silences == [0, 0]
    assert pulse.silence == 0


async def test_a_stream_that_breaks_is_not_a_sign(pulse, clock):
    wait_in_vain(pulse, clock, 5)
    with pytest.raises(UpstreamTimeout):
        await Heard(FakeReply([UpstreamTimeout("silent")]), pulse).read()
    assert pulse.silence == 5


async def test_a_wait_that_is_cancelled_counts(pulse, clock):
    heard = Heard(FakeReply([1000.0, b"late"]), pulse)
    waiting = asyncio.ensure_future(heard.read())
    await asyncio.sleep(0)
    clock.pass_by(9)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert pulse.silence == 9
