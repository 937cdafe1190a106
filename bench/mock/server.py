"""The mock's server: one protocol object a connection, no task a request."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from time import monotonic_ns
from typing import Any, cast

import msgspec
from httptools import HttpParserError, HttpRequestParser
from msgspec import Struct

from bench.mock import answers
from bench.mock.manner import HEADERS, Manner
from bench.mock.pace import Paced

__all__ = ["Mock", "Stats", "serve"]


class Stats(Struct):
    """What happened so far; `GET /mock/stats` answers with it."""

    connections: int = 0
    """Open now."""
    requests: int = 0
    """Whole requests that came in, except for those to `/mock/…`."""
    streams: int = 0
    """Streams that were asked for."""
    chunks: int = 0
    """Content chunks that were written."""
    aborted: int = 0
    """Answers whose reader went away before their last byte was written."""


class Mock(Struct, frozen=True):
    """A running mock upstream."""

    port: int
    stats: Stats

    @property
    def base_url(self) -> str:
        """What an OpenAI client calls its base URL."""
        return f"http://127.0.0.1:{self.port}/v1"


@asynccontextmanager
async def serve(port: int = 0, manner: Manner | None = None) -> AsyncGenerator[Mock]:
    """Serve on loopback until the context ends; port 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """
    stats = Stats()
    loop = asyncio.get_running_loop()
    usual = manner or Manner()
    server = await loop.create_server(lambda: _Connection(stats, usual), "127.0.0.1", port, backlog=8192)
    try:
        yield Mock(server.sockets[0].getsockname()[1], stats)
    finally:
        server.close()


class _StreamOptions(Struct):
    include_usage: bool | None = None


class _Text(Struct):
    """What is read of a request for text."""

    model: str = "mock"
    stream: bool | None = None
    stream_options: _StreamOptions | None = None

    @property
    def usage(self) -> bool:
        """Whether a stream is to end with a usage chunk."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class _Vectors(Struct):
    """What is read of a request for vectors."""

    input: str | list[Any]
    model: str = "mock"
    dimensions: int | None = None
    encoding_format: str | None = None

    @property
    def texts(self) -> int:
        """How many vectors are wanted."""
        return 1 if isinstance(self.input, str) else len(self.input)


_text = msgspec.json.Decoder(_Text).decode
_vectors = msgspec.json.Decoder(_Vectors).decode


class _Connection(asyncio.Protocol):
    """One connection; pipelined requests are not understood."""

    def __init__(self, stats: Stats, manner: Manner) -> None:
        self._stats = stats
        self._manner = manner
        self._parser = HttpRequestParser(self)
        self._answer: Paced | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller is there."""
        self._transport = cast("asyncio.Transport", transport)
        self._stats.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The caller went away, perhaps in the middle of an answer."""
        self._stats.connections -= 1
        if self._answer is not None:
            self._answer.cancel()
            self._stats.aborted += 1

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            self._transport.write(answers.error("This is no HTTP/1.1 request.", 400))
            self._transport.close()

    def pause_writing(self) -> None:
        """The reader is slower than we are."""
        if self._answer is not None:
            self._answer.pause()

    def resume_writing(self) -> None:
        """The reader caught up."""
        if self._answer is not None:
            self._answer.resume()

    # What the parser calls, under the names that it wants.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._body = b""
        self._told: dict[bytes, bytes] = {}

    def on_url(self, url: bytes) -> None:
        """Its path."""
        self._path = url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; only our own matter."""
        name = name.lower()
        if name in HEADERS:
            self._told[name] = value

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        self._body += body

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._answer is not None:
            self._transport.abort()
            return
        self._stats.requests += not self._path.startswith(b"/mock/")
        try:
            self._respond()
        except (msgspec.DecodeError, ValueError) as error:
            self._end(answers.error(str(error), 400))

    def _respond(self) -> None:
        """Answer by path.

        Raises:
            ValueError: one of our headers is not a number.
            DecodeError: the body is not what the path wants.
        """
        match self._path:
            case b"/v1/chat/completions":
                self._generate(_text(self._body), chat=True)
            case b"/v1/completions":
                self._generate(_text(self._body), chat=False)
            case b"/v1/embeddings":
                self._embed(_vectors(self._body))
            case b"/v1/models":
                self._end(answers.models(["mock"]))
            case b"/health":
                self._end(answers.response(b'{"status":"ok"}'))
            case b"/mock/stats":
                self._end(answers.response(msgspec.json.encode(self._stats)))
            case _:
                self._end(answers.error("There is no such path.", 404))

    def _generate(self, asked: _Text, *, chat: bool) -> None:
        manner = self._manner_for(asked.model)
        if asked.stream:
            self._stats.streams += 1
            frames = answers.frames(asked.model, manner.chunks, chat, asked.usage)
            self._pace(self._pieces(frames, manner), frames.last, manner)
        else:
            self._whole(answers.chat(asked.model) if chat else answers.completion(asked.model), manner)

    def _embed(self, asked: _Vectors) -> None:
        base64 = asked.encoding_format == "base64"
        vectors = answers.embeddings(asked.model, asked.texts, asked.dimensions or 384, base64)
        self._whole(vectors, self._manner_for(asked.model))

    def _manner_for(self, model: str) -> Manner:
        manner = self._manner.named(model)
        return manner.told(self._told) if self._told else manner

    def _whole(self, answer: bytes, manner: Manner) -> None:
        if manner.delay_ms:
            self._pace(iter(()), answer, manner)
        else:
            self._end(answer)

    def _pieces(self, frames: answers.Frames, manner: Manner) -> Iterator[bytes]:
        """What a stream's writes hold, each stamped when it is taken."""
        template = frames.first
        for begin in range(0, manner.chunks, manner.burst):
            count = min(manner.burst, manner.chunks - begin)
            self._stats.chunks += count
            now = monotonic_ns()
            yield template % now + (frames.content % now) * (count - 1)
            template = frames.content

    def _pace(self, pieces: Iterator[bytes], last: bytes, manner: Manner) -> None:
        self._answer = Paced(self._transport.write, self._end, pieces, last, manner)

    def _end(self, last: bytes) -> None:
        """Write an answer's last bytes; from now on the next request may come."""
        self._answer = None
        self._transport.write(last)
        if not self._parser.should_keep_alive():
            self._transport.close()
