"""The mock's bytes are HTTP/1.1 and OpenAI's dialect."""

import base64
import json
import struct

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.mock import answers


class Received:
    """An HTTP client's view of some bytes."""

    def __init__(self, data: bytes) -> None:
        self.body = b""
        self.whole = False
        self.parser = httptools.HttpResponseParser(self)
        self.parser.feed_data(data)

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        self.whole = True


def frames_of(model: str, chunks: int, *, chat: bool, usage: bool) -> list[dict]:
    """The frames of a whole stream, written at the time 7."""
    frames = answers.frames(model, chunks, chat, usage)
    contents = [frames.first % 7, *[frames.content % 7] * (chunks - 1)]
    received = Received(b"".join([*contents, frames.last]))
    assert received.whole
    *parts, done, rest = received.body.decode().split("\n\n")
    assert done == "data: [DONE]"
    assert rest == ""
    return [json.loads(part.removeprefix("data: ")) for part in parts]


@given(st.text(max_size=30), st.integers(min_value=1, max_value=5))
def test_a_stream_is_whole_whatever_the_models_name(model, chunks):
    frames = frames_of(model, chunks, chat=True, usage=True)
    *contents, finish, usage = frames
    assert len(contents) == chunks
    assert [c["choices"][0]["delta"]["content"] for c in contents] == ["~0000000000000000007~"] * chunks
    assert contents[0]["choices"][0]["delta"]["role"] == "assistant"
    assert finish["choices"][0] == {"index": 0, "finish_reason": "stop", "delta": {}}
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 12, "completion_tokens": chunks, "total_tokens": 12 + chunks}
    assert {frame["model"] for frame in frames} == {model}


def test_usage_comes_only_when_asked_for():
    assert all("usage" not in frame for frame in frames_of("mock", 2, chat=True, usage=False))


def test_a_text_completion_streams_text():
    frames = frames_of("mock", 2, chat=False, usage=False)
    assert [frame["object"] for frame in frames] == ["text_completion"] * 3
    assert frames[0]["choices"][0]["text"] == "~0000000000000000007~"


@pytest.mark.parametrize("make", [answers.chat, answers.completion])
def test_a_whole_answer_has_about_700_bytes_and_usage(make):
    received = Received(make("mock"))
    assert received.whole
    assert 600 < len(received.body) < 800
    assert json.loads(received.body)["usage"]["total_tokens"] == 132


@given(st.integers(min_value=1, max_value=64))
def test_both_encodings_hold_the_same_unit_vector(dimensions):
    plain, packed = (
        json.loads(Received(answers.embeddings("mock", 2, dimensions, encoded)).body)["data"]
        for encoded in (False, True)
    )
    assert [item["index"] for item in plain] == [0, 1]
    assert sum(x * x for x in plain[0]["embedding"]) == pytest.approx(1)
    unpacked = struct.unpack(f"<{dimensions}f", base64.b64decode(packed[1]["embedding"]))
    assert unpacked == pytest.approx(plain[1]["embedding"])
