"""One HTTP/1.1 connection of our own: a request goes out, an answer comes in, and nothing of it stays for the next.

httptools parses. What arrives is kept in pieces until it is read; above a mark the socket is not read any more, so
that a server which talks faster than the caller listens fills neither side's memory. Nobody may be answered with
what was meant for another: a connection is used again only after an answer that ended as it had announced, with not
a byte more, and every answer has a parser of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NoReturn, cast

import httptools
from multidict import CIMultiDict

from enginehouse.errors import EngineError, UpstreamDied, UpstreamTimeout

__all__ = ["Connection", "Unheard"]

_MAX_HEAD = 64 * 1024
_HIGH = 256 * 1024
"""Unread bytes above which the socket is left alone."""
_FIRST_FINAL = 200
_SWITCHING = 101
_WITHOUT_BODY = frozenset({204, 304})


class Unheard(UpstreamDied):
    """The connection broke before any byte of an answer: the server may not have seen the request."""


class Connection(asyncio.Protocol):
    """One connection to a server.

    Args:
        silence: seconds without a byte after which the server counts as gone, while it owes an answer.
        clock: the loop's.
        lost: told once, when the connection has ended, by whomever.
    """

    def __init__(self, silence: float, clock: Callable[[], float], lost: "Callable[[Connection], None]") -> None:
        self._silence = silence
        self._clock = clock
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._owed = False
        self.used = False
        """Whether it has carried an answer before."""
        self.since = clock()
        """When it last became free."""
        self._begin(None)

    def _begin(self, total: float | None) -> None:
        now = self._clock()
        self._parser = httptools.HttpResponseParser(self)
        self._heard = False
        self._headed = False
        self._ended = False
        self._by_close = False
        self._interim = False
        self._reusable = False
        self._flaw: EngineError | None = None
        self._pieces: list[bytes] = []
        self._unread = 0
        self._head_bytes = 0
        self._paused = False
        self._due = now + self._silence
        self._expires = now + total if total else None
        self.status = 0
        self.headers: CIMultiDict[str] = CIMultiDict()

    # What the pool does with it.

    @property
    def idle(self) -> bool:
        """Whether it may carry a request now."""
        return not self._owed and self._transport is not None and not self._transport.is_closing()

    async def ask(self, message: Sequence[bytes], total: float | None) -> None:
        """Send a request and wait for the answer's head; if that fails, whyever, the connection is cut.

        Args:
            message: head and body.
            total: seconds for the whole of it, until the body's end.

        Raises:
            Unheard: it broke before any byte came.
            UpstreamDied: it broke within the head, or what came is no HTTP.
            UpstreamTimeout: nothing came for longer than allowed.
        """
        if self._transport is None:
            raise Unheard("The engine closed the connection.")
        self._begin(total)
        self._owed = True
        self._transport.writelines(message)
        try:
            while not self._headed:
                await self._news()
        except BaseException:  # also a cancel that comes in the very tick of the head
            self.cut()
            raise

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, as the socket gave it.

        Raises:
            UpstreamDied: it broke before the body's end.
            UpstreamTimeout: nothing came for longer than allowed.
        """
        while True:
            if self._pieces:
                yield self._take()
            elif self._ended:
                return
            else:
                await self._news()

    def finish(self) -> bool:
        """Have done with the answer. True: it ended as announced and the connection is free for the next."""
        transport = self._transport
        if (
            not self._reusable
            or self._flaw
            or transport is None
            or transport.is_closing()
            or transport.get_write_buffer_size()
        ):
            self.cut()
            return False
        if self._paused:
            transport.resume_reading()
        self._owed = False
        self.used = True
        self.since = self._clock()
        self._pieces.clear()
        return True

    def cut(self) -> None:
        """End it at once; the server learns that nobody listens any more."""
        self._owed = False
        if self._transport is not None:
            self._transport.abort()

    def end(self) -> None:
        """End it at once, whoever waits for its answer: the server is not asked any more."""
        self._fail(UpstreamDied("The connection to the engine was closed."))

    def look(self, now: float) -> None:
        """End the wait for an answer that is overdue."""
        if not self._owed:
            return
        if self._paused:  # the caller is slow, not the server
            self._due = now + self._silence
        if self._expires is not None and now >= self._expires:
            self._fail(UpstreamTimeout("The engine did not answer within the time that it was given."))
        elif now >= self._due:
            self._fail(UpstreamTimeout("The engine was silent for too long; raise admission.request_timeout."))

    # What is waited for.

    async def _news(self) -> None:
        if self._flaw is not None:
            raise self._flaw
        if self._transport is None:
            raise UpstreamDied("The connection to the engine is closed.")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _take(self) -> bytes:
        pieces = self._pieces
        taken = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._unread = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._due = self._clock() + self._silence
            self._transport.resume_reading()
        return taken

    def _fail(self, flaw: EngineError) -> None:
        self._flaw = self._flaw or flaw
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    # What the loop tells (asyncio.Protocol).

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by descent

    def data_received(self, data: bytes) -> None:
        """Bytes; those that nobody has asked for end the connection."""
        if not self._owed or self._ended:
            self._fail(UpstreamDied("The engine sent more than it was asked for."))
            return
        self._heard = True
        self._due = self._clock() + self._silence
        if not self._headed:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(
                self._flaw or UpstreamDied(f"What the engine sent is not HTTP/1.1 ({type(error).__name__}).")
            )
            return
        if not self._headed and self._head_bytes > _MAX_HEAD:
            self._fail(UpstreamDied("The head of the engine's answer is larger than 64 KiB."))
        elif self._unread > _HIGH and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, by the server's doing or by ours."""
        self._transport = None
        if self._owed and not self._ended:
            if self._headed and self._by_close and exc is None and self._flaw is None:
                self._ended = True
            elif not self._heard:
                self._flaw = self._flaw or Unheard("The engine closed the connection.")
            else:
                self._flaw = self._flaw or UpstreamDied("The connection to the engine broke.")
        self._wake()
        self._lost(self)

    # What the parser tells (httptools).

    def on_message_begin(self) -> None:
        """The first byte of an answer; a second one in the same breath was never asked for."""
        if self._ended:
            self._refuse("The engine sent more than it was asked for.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One line of the head, or of the trailer, which nobody reads."""
        if not self._headed:
            self.headers.add(name.decode("latin-1"), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """The head is in."""
        status = self._parser.get_status_code()
        self._interim = status < _FIRST_FINAL
        if self._interim:
            self.headers.clear()
            if status == _SWITCHING:
                self._refuse("The engine wants to speak another protocol.")
            return
        encoding = self.headers.get("Content-Encoding", "identity").lower()
        if encoding != "identity":
            self._refuse(f"The engine answered in the encoding {encoding[:40]!r}, for which it was not asked.")
        self.status = status
        self._headed = True
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "").lower()
        announced = chunked or "Content-Length" in self.headers
        self._by_close = not announced and status not in _WITHOUT_BODY

    def on_body(self, body: bytes) -> None:
        """A piece of it."""
        self._pieces.append(body)
        self._unread += len(body)

    def on_message_complete(self) -> None:
        """The answer's end; an interim one is followed by the real one."""
        if self._interim:
            self._interim = False
        else:
            self._ended = True
            self._reusable = self._parser.should_keep_alive()

    def _refuse(self, why: str) -> NoReturn:
        """Stop the parser: what follows is not to be understood."""
        self._flaw = UpstreamDied(why)
        raise self._flaw
