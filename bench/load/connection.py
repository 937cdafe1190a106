"""One keep-alive connection of the load generator, with at most one request under way."""

import asyncio
import re
from collections.abc import Callable, Iterator
from time import monotonic_ns
from typing import cast

from httptools import HttpParserCallbackError, HttpParserError, HttpResponseParser

from bench.load.meter import Meter

__all__ = ["Connection"]

_DIGITS = 19
_STAMP = re.compile(rb"~(\d{%d})~" % _DIGITS)
_REST = 64
"""Bytes of a stream that are kept for a stamp, or a `[DONE]`, cut in two by the network."""


class Connection(asyncio.Protocol):
    """Sends requests and times their answers; asks `ready` for more when it has nothing to do."""

    def __init__(
        self,
        requests: Iterator[bytes],
        chunks: int | None,
        meter: Meter,
        ready: "Callable[[Connection], None]",
    ) -> None:
        """`chunks` is how many stamped chunks make a whole stream; None when answers are no streams."""
        self._requests = requests
        self._chunks = chunks
        self._meter = meter
        self._ready = ready
        self._parser = HttpResponseParser(self)
        self._due = 0
        self.busy = False
        self.lost = asyncio.Event()

    def send(self, due: int) -> None:
        """Send the next request, which was due at that time."""
        self._due = due
        self._rest = b""
        self._seen = 0
        self.busy = True
        self._transport.write(next(self._requests))

    def close(self) -> None:
        """Close at once; a request under way counts as unanswered."""
        self._fail("unanswered")
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast("asyncio.Transport", transport)
        self._ready(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The other side closed, or we did."""
        self._fail("cut")
        self.lost.set()

    def data_received(self, data: bytes) -> None:
        """Bytes came; they all count as come at this moment."""
        self._now = monotonic_ns()
        try:
            self._parser.feed_data(data)
        except HttpParserCallbackError:
            raise
        except HttpParserError:
            self._fail("no HTTP")
            self._transport.abort()

    def on_body(self, body: bytes) -> None:
        """A part of an answer's body."""
        if self._chunks is None:
            self._seen += len(body)
        else:
            self._read(body)

    def on_message_complete(self) -> None:
        """An answer is whole."""
        status = self._parser.get_status_code()
        if status != 200:
            self._fail(f"status {status}")
        elif not self._whole():
            self._fail("incomplete")
        else:
            self._meter.answered(self._due, self._now)
        self.busy = False
        if self._parser.should_keep_alive():
            self._ready(self)
        else:
            self._transport.close()

    def _read(self, body: bytes) -> None:
        """Find the stamps in a part of a stream."""
        text = self._rest + body
        stamps = _STAMP.findall(text)
        if stamps:
            if not self._seen:
                self._meter.begun(self._due, self._now)
            self._seen += len(stamps)
            self._meter.arrived(stamps, self._now)
            text = text[text.rfind(stamps[-1]) + _DIGITS :]
        self._rest = text[-_REST:]

    def _whole(self) -> bool:
        """Whether the answer that just ended holds what it should."""
        if self._chunks is None:
            return self._seen > 0
        return self._seen == self._chunks and b"[DONE]" in self._rest

    def _fail(self, reason: str) -> None:
        if self.busy:
            self._meter.failed(self._due, reason)
        self.busy = False
