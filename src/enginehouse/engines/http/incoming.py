"""One answer as it comes in over a connection of our own: what the parser tells of it, for whoever waits for it.

It holds all that belongs to one answer, so that nothing of it can stay for the next. Who takes it chooses how: at
his own pace (`begun`, then `frames`), gathered (`whole`), or told of each piece in the loop's callback, which is
`Piecewise`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NoReturn, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from multidict import CIMultiDict

from enginehouse.engines.http.reply import MAX_BODY, HttpReply
from enginehouse.errors import UpstreamDied

__all__ = ["Incoming", "Line", "Unheard", "said"]

_MAX_HEAD = 64 * 1024
_HIGH = 256 * 1024
"""Unread bytes above which the socket is left alone."""
_FIRST_FINAL = 200
_SWITCHING = 101
_WITHOUT_BODY = frozenset({204, 304})
_END = b"\r\n\r\n"
_ENCODING = b"\r\ncontent-encoding:"
_TRANSFER = b"\r\ntransfer-encoding:"


class Unheard(UpstreamDied):
    """The connection broke before any byte of an answer: the server may not have seen the request."""


class Line(Protocol):
    """The connection over which it comes."""

    @property
    def last_heard(self) -> float:
        """When anything last came over it, on the loop's clock, or could have come if it had been read."""
        ...

    def finish(self, *, reusable: bool) -> None:
        """Have done with the answer."""
        ...

    def fail(self, flaw: Exception) -> None:
        """Cut it; who waits hears why."""
        ...

    def pause(self, full: bool) -> None:
        """Stop reading, or go on."""
        ...

    def linger(self) -> None:
        """Wait for the answer's end for a moment more."""
        ...


class Incoming(HttpReply):
    """One answer; satisfies `Reply` and `Carried`, and is what httptools tells of it.

    Args:
        line: over which it comes.
    """

    def __init__(self, line: Line) -> None:
        # All are the instance's own: what is the class's alone is found more slowly, and each piece asks for some.
        self.status = 0
        self.ended = False
        """Whether it has come to its proper end."""
        self.flaw: Exception | None = None
        """Why nothing more comes."""
        self._line: Line | None = line
        self._raw = b""
        """The head; until it is whole, all that came."""
        self._passed = 0
        """Bytes of interim heads before it."""
        self._headers: CIMultiDict[str] | None = None
        self._unread = 0
        self._paced = False
        self._reusable = False
        self._ending: Line | None = None
        """The connection, where nobody waits any more for the end that is on its way."""
        self._waiter: asyncio.Future[None] | None = None
        self._told: Callable[[], None] | None = None
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    # What is done with it.

    @property
    def headers(self) -> Mapping[str, str]:
        """By name, in whatever case they are asked for; nothing before the head is in."""
        if not self.status:
            return {}
        if self._headers is None:
            lines = self._raw.decode("latin-1").split("\r\n")[1:]
            pairs = [line.partition(":") for line in lines]
            self._headers = CIMultiDict([(name, value.strip(" \t")) for name, _, value in pairs])
        return self._headers

    async def begun(self) -> None:
        """Wait for the head, and be read at one's own pace from then on.

        Raises:
            Unheard: the connection broke before any byte came.
            UpstreamDied: it broke within the head, or what came is no HTTP.
            UpstreamTimeout: nothing came for longer than allowed.
        """
        self._paced = True
        while not self.status:
            await self._news()

    async def frames(self) -> AsyncIterator[bytes]:
        """The body, as the socket gave it."""
        while True:
            if self._pieces:
                self._unread = 0
                self.pause(False)
                yield self._joined()
            elif self.ended:
                return
            else:
                await self._news()

    async def whole(self) -> bytes:
        """The whole body, or what of it was not read before.

        Raises:
            Unheard: the connection broke before any byte of the answer.
            UpstreamDied: it broke within it, what came is no HTTP, or it is larger than 256 MiB.
            UpstreamTimeout: nothing came for longer than allowed.
        """
        if not self.ended and self._paced:
            self._paced = False
            self.pause(False)
        while not self.ended:
            await self._news()
        return self._joined()

    read = whole

    def then(self, told: Callable[[], None]) -> None:
        """As `Carried` says."""
        if self.ended or self.flaw is not None:
            told()
        else:
            self._told = told

    @property
    def last_heard(self) -> float:
        """As `Carried` says."""
        return 0.0 if self._line is None else self._line.last_heard

    def taken(self) -> bytes:
        """As `Carried` says."""
        if self.flaw is not None:
            raise self.flaw
        if not self.ended:
            raise UpstreamDied("The answer was left before its end.")
        return self._joined()

    async def over(self) -> None:
        """Wait until it has come to its end, or was left.

        Raises:
            Unheard, UpstreamDied, UpstreamTimeout: as of `whole`.
            Exception: whatever `hear` has raised.
        """
        while not self.ended and (self._line is not None or self.flaw is not None):
            await self._news()

    def pause(self, full: bool) -> None:
        """Stop reading the socket, or go on."""
        if self._line is not None:
            self._line.pause(full)

    def leave(self) -> None:
        """Have done with it: the connection may be used again if it ended as announced, else it is cut."""
        line = self._line
        if line is None:
            return
        self._line = self._parser = self._told = None  # which know us as well
        line.finish(reusable=self._reusable and self.flaw is None)
        if self._waiter is not None:
            self.wake()

    def done(self) -> None:
        """As `Carried` says: the end of its chunks is often the next thing to come."""
        line = self._line
        if line is None or self.ended or self.flaw is not None or self._pieces or not self._chunked():
            self.leave()
            return
        line.pause(False)
        self._line, self._ending = None, line
        line.linger()
        self.wake()

    def _news(self) -> asyncio.Future[None]:
        if self.flaw is not None:
            raise self.flaw
        if self._line is None:
            raise UpstreamDied("The answer was left before its end.")
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        return waiter

    def _joined(self) -> bytes:
        pieces = self._pieces
        if len(pieces) == 1:
            return pieces.pop()
        joined = b"".join(pieces)
        pieces.clear()
        return joined

    # What its connection tells.

    def wake(self) -> None:
        """Something has changed."""
        told = self._told
        if told is not None and (self.ended or self.flaw is not None):
            self._told = None
            told()
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def feed(self, data: bytes) -> None:
        """More of it."""
        self._parse(data)
        self._fed(len(data))

    def broke(self, *, clean: bool) -> None:
        """The connection has ended before it."""
        self._parser = None
        if self.flaw is None:
            if clean and self.status and self._by_close():
                self.ended = True
            elif not self._raw:
                self.flaw = Unheard("The engine closed the connection.")
            else:
                self.flaw = UpstreamDied("The connection to the engine broke.")
        self.wake()

    def _parse(self, data: bytes) -> None:
        """Let the parser tell what is in it."""
        if not self.status:
            self._raw += data
        assert self._parser is not None, "what was left is not read any more"
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail(f"What the engine sent is not HTTP/1.1 ({type(error).__name__}).")

    def _fed(self, size: int) -> None:
        """So many bytes have been told of; they wait for whom it concerns."""
        if self._ending is not None:
            self._end(self._ending)
        elif self.ended or self.flaw is not None:
            self.wake()
        elif not self.status:
            if len(self._raw) > _MAX_HEAD:
                self._fail("The head of the engine's answer is larger than 64 KiB.")
        else:
            self._unread += size
            self._kept()

    def _end(self, line: Line) -> None:
        """Its end may have come, or more of it; what is anything else is not waited for."""
        if self.ended or self.flaw is not None or self._pieces:
            self._ending = self._parser = None
            line.finish(reusable=self._reusable and self.flaw is None and not self._pieces)
        else:
            line.linger()

    def _kept(self) -> None:
        """More is here that nobody has taken: some may wait, all has an end."""
        if self._paced:
            if self._unread > _HIGH:
                self.pause(True)
            self.wake()
        elif self._unread > MAX_BODY:
            self._unread = sum(map(len, self._pieces))  # until now their frames were counted with them
            if self._unread > MAX_BODY:
                self._fail("The engine sent an answer larger than 256 MiB.")

    def _by_close(self) -> bool:
        """Whether its end was to be the connection's."""
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "").lower()
        return not chunked and "Content-Length" not in self.headers and self.status not in _WITHOUT_BODY

    def _chunked(self) -> bool:
        return said(self._raw.lower(), _TRANSFER) == b"chunked"

    def _fail(self, why: str) -> None:
        self.flaw = self.flaw or UpstreamDied(why)
        if self._line is not None:
            self._line.fail(self.flaw)

    # What the parser tells (httptools); pieces of the body go to `on_body` without a call of ours.

    def on_message_begin(self) -> None:
        """The first byte of an answer; a second one in the same breath was never asked for."""
        if self.ended:
            self._refuse(UpstreamDied("The engine sent more than it was asked for."))

    def on_headers_complete(self) -> None:
        """The head is in."""
        assert self._parser is not None, "it tells us"
        status = self._parser.get_status_code()
        raw = self._raw[self._passed :].lstrip(b"\r\n")
        head = raw[: raw.index(_END)]
        if status < _FIRST_FINAL:
            self._passed = self._raw.index(head, self._passed) + len(head) + len(_END)
            if status == _SWITCHING:
                self._refuse(UpstreamDied("The engine wants to speak another protocol."))
            return
        if self._passed + len(head) > _MAX_HEAD:
            self._refuse(UpstreamDied("The head of the engine's answer is larger than 64 KiB."))
        self._raw = head
        lowered = head.lower()
        if _ENCODING in lowered:
            self._decode(said(lowered, _ENCODING))
        self.status = status
        self._heed(lowered)

    def on_message_complete(self) -> None:
        """The answer's end; an interim one is followed by the real one."""
        if self.status:
            assert self._parser is not None, "it tells us"
            self.ended = True
            self._reusable = self._parser.should_keep_alive()

    def _decode(self, encoding: bytes) -> None:
        """Nothing, for that is all we know how to do."""
        if encoding != b"identity":
            shown = encoding[:40].decode("latin-1")
            self._refuse(
                UpstreamDied(f"The engine answered in the encoding {shown!r}, for which it was not asked.")
            )

    def _heed(self, head: bytes) -> None:
        """The head is in, here in small letters; whoever gathers takes any."""

    def _refuse(self, error: UpstreamDied) -> NoReturn:
        """Stop the parser: what follows is not to be understood."""
        self.flaw = error
        raise error


def said(head: bytes, name: bytes) -> bytes:
    """What a head in small letters says first under a name; empty where it says nothing.

    Args:
        name: with the end of the line before it and its colon.
    """
    at = head.find(name)
    if at < 0:
        return b""
    end = head.find(b"\r\n", at + len(name))
    return head[at + len(name) : end if end >= 0 else len(head)].strip()
