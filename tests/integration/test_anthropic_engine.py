"""Anthropic's client against a small server that answers, refuses, breaks off and drips."""

import asyncio
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from enginehouse.dialects.anthropic.messages import AnthropicMessages
from enginehouse.dialects.base import Head
from enginehouse.engines.anthropic import AnthropicHttp
from enginehouse.engines.base import Generates
from enginehouse.errors import ContextLengthExceeded, InvalidRequest, UpstreamDied, UpstreamRefused, UpstreamTimeout
from enginehouse.types import Usage
from enginehouse.types.answer import Answer, Choice, Finish, TextDelta, events_of, fold
from enginehouse.types.generation import Generation, Role, Text, ToolCall, Turn

ANSWER = Answer(
    id="msg_1",
    model="claude",
    choices=(
        Choice(
            parts=(Text(text="Grüße"), ToolCall(id="c", name="f", arguments='{"a":1}')), reason=Finish.TOOL_CALLS
        ),
    ),
    usage=Usage(input=7, cached_input=5, output=3),
)
REFUSALS = {
    "busy": (529, "overloaded_error", "busy"),
    "wrong": (400, "invalid_request_error", "temperature: too hot"),
    "long": (400, "invalid_request_error", "prompt is too long: 9 tokens > 4 maximum"),
    "poor": (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
    "key": (401, "authentication_error", "invalid x-api-key"),
}


def stream():
    writer = AnthropicMessages().writer(Head(id="1", model="claude", created=0))
    return b"".join([writer.write(event) for event in events_of(ANSWER)]) + writer.close()


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        """Quiet."""

    def do_GET(self):
        last = "after_id=b" in self.path
        ids = ["c"] if last else ["a", "b"]
        self._json(200, {"data": [{"id": name} for name in ids], "has_more": not last, "last_id": ids[-1]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, dict(self.headers), body))
        question = body["messages"][-1]["content"]
        if self.path.endswith("count_tokens"):
            self._json(200, {"input_tokens": 12})
        elif question in REFUSALS:
            status, kind, message = REFUSALS[question]
            self._json(status, {"type": "error", "error": {"type": kind, "message": message}})
        elif question == "page":
            self._json(200, {"hello": "there"})
        else:
            self._stream(question)

    def _stream(self, question):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.end_headers()
        told = stream()
        try:
            if question == "break":
                told = told[: told.index(b"event: message_delta")]
            if question == "hang":
                self._write(told[:600])
                self.server.release.wait(10)
            if question == "drip":
                self._drip(told)
            self._write(told)
        except OSError:
            self.server.hung_up.set()

    def _drip(self, told):
        head = told.index(b"event: content_block_stop")
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "."}}
        self._write(told[:head])
        for _ in range(500):
            self._write(b"data: " + json.dumps(delta).encode() + b"\n\n")
            time.sleep(0.02)

    def _write(self, data):
        self.wfile.write(data)
        self.wfile.flush()

    def _json(self, status, content):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Retry-After", "3")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.hung_up, server.release = [], threading.Event(), threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
async def engine(server):
    async with AnthropicHttp(f"http://127.0.0.1:{server.server_address[1]}/v1", "secret", silence=1) as client:
        yield client


def asking(question):
    return Generation(model="claude", turns=(Turn(role=Role.USER, parts=(Text(text=question),)),))


async def answered(engine, question):
    async with engine.generate(asking(question), request_id="r1") as events:
        return fold([event async for event in events])


async def test_an_answer_and_what_was_sent(engine, server):
    assert isinstance(engine, Generates)
    assert await answered(engine, "hello") == ANSWER
    path, headers, body = server.asked[-1]
    assert path == "/v1/messages"
    assert headers["x-api-key"] == "secret"
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["X-Request-ID"] == "r1"
    assert "Authorization" not in headers
    assert (body["stream"], body["max_tokens"]) == (True, 4096)


async def test_counting_models_and_health(engine, server):
    assert await engine.count(asking("hello"), request_id="r") == 12
    assert server.asked[-1][0] == "/v1/messages/count_tokens"
    assert await engine.models() == ["a", "b", "c"]
    assert await engine.healthy()
    async with AnthropicHttp("http://127.0.0.1:9", None, silence=1) as nobody:
        assert not await nobody.healthy()


@pytest.mark.parametrize(
    ("question", "kind", "status"),
    [
        ("busy", UpstreamRefused, 529),
        ("key", UpstreamRefused, 401),
        ("poor", UpstreamRefused, 402),
        ("wrong", InvalidRequest, None),
        ("long", ContextLengthExceeded, None),
        ("page", UpstreamDied, None),
        ("break", UpstreamDied, None),
        ("hang", UpstreamTimeout, None),
    ],
)
async def test_what_goes_wrong(engine, question, kind, status):
    with pytest.raises(kind) as caught:
        await answered(engine, question)
    assert type(caught.value) is kind
    assert getattr(caught.value, "status", None) == status
    if question == "busy":
        assert caught.value.retry_after == 3
    assert "balance" not in caught.value.message


async def test_who_leaves_is_noticed_upstream(engine, server):
    async with engine.generate(asking("drip"), request_id="r1") as events:
        async for event in events:
            if event == TextDelta(text="."):
                break
    assert await asyncio.to_thread(server.hung_up.wait, 1)
