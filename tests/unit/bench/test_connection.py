"""The load generator's connection judges answers, however the network cut them."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.connection import Connection
from bench.load.meter import Meter
from bench.mock import answers

CHUNKS = 5


class Wire(asyncio.Transport):
    """A transport that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data):
        self.sent.append(data)

    def close(self):
        self.closed = True

    def abort(self):
        self.closed = True


def asking(meter: Meter, chunks: int | None) -> tuple[Connection, Wire]:
    """A connection that has sent one request, in a window without end."""
    meter.begin = 0
    connection = Connection(iter([b"request"]), chunks, meter, lambda _: None)
    wire = Wire()
    connection.connection_made(wire)
    connection.send(due=0)
    assert wire.sent == [b"request"]
    return connection, wire


def stream(chunks: int = CHUNKS) -> bytes:
    frames = answers.frames("mock", chunks, chat=True, usage=True)
    return b"".join([frames.first % 1, *[frames.content % 1] * (chunks - 1), frames.last])


@given(st.lists(st.integers(min_value=0, max_value=len(stream())), max_size=30))
def test_every_chunk_is_seen_once_wherever_the_stream_is_cut(cuts):
    meter = Meter()
    connection, _ = asking(meter, CHUNKS)
    whole = stream()
    edges = [0, *sorted(set(cuts) - {0, len(whole)}), len(whole)]
    for begin, end in pairwise(edges):
        connection.data_received(whole[begin:end])
    assert (meter.added.count, meter.first.count, meter.latency.count) == (CHUNKS, 1, 1)
    assert meter.failures == {}
    assert not connection.busy


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (stream(CHUNKS - 1), "incomplete"),
        (stream(CHUNKS + 1), "incomplete"),
        (stream().replace(b"[DONE]", b"[GONE]"), "incomplete"),
        (answers.error("no", 404), "status 404"),
        (b"HELLO\r\n\r\n", "no HTTP"),
    ],
)
def test_a_bad_answer_counts_as_failed(answer, reason):
    meter = Meter()
    connection, _ = asking(meter, CHUNKS)
    connection.data_received(answer)
    assert meter.failures == {reason: 1}
    assert meter.latency.count == 0
    assert not connection.busy


def test_a_whole_answer_counts():
    meter = Meter()
    connection, _ = asking(meter, None)
    connection.data_received(answers.chat("mock"))
    assert meter.latency.count == 1
    assert meter.failures == {}


def test_an_empty_answer_does_not():
    meter = Meter()
    connection, _ = asking(meter, None)
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    assert meter.failures == {"incomplete": 1}


def test_a_lost_connection_fails_its_request_once():
    meter = Meter()
    connection, _ = asking(meter, CHUNKS)
    connection.data_received(stream()[:300])
    connection.connection_lost(None)
    connection.close()
    assert meter.failures == {"cut": 1}
    assert connection.lost.is_set()


def test_a_connection_is_not_used_again_when_the_other_side_wants_to_close():
    meter = Meter()
    connection, wire = asking(meter, None)
    connection.data_received(answers.chat("mock").replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1))
    assert meter.latency.count == 1
    assert wire.closed
