"""One HTTP/1.1 connection of our own: a request goes out, an answer comes in, and nothing of it stays for the next.

httptools parses; `Incoming` holds what came. Above a mark the socket is not read any more, so that a server which
talks faster than the caller listens fills neither side's memory. Nobody may be answered with what was meant for
another: a connection is used again only after an answer that ended as it had announced, with not a byte more, and
every answer has a parser of its own.

Over TLS the loop's own layer lies between: it is written to, and gives what it has read. All else (to stop reading,
to end, to know what is unsent) is done with the socket's transport below it, where it works as it does without TLS:
uvloop's layer forgets what it holds when the server closes while nobody reads, and that of neither loop knows how
much of a request still waits for the socket.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

from enginehouse.engines.base import Hear
from enginehouse.engines.http.incoming import Incoming, Unheard
from enginehouse.engines.http.piecewise import Piecewise
from enginehouse.errors import UpstreamDied, UpstreamTimeout

__all__ = ["Connection"]

_LINGER = 0.25
"""Seconds within which an answer that has said all has to come to its end, for its connection to be used again."""

_Told: TypeAlias = "Callable[[Connection], object]"


class Connection(asyncio.Protocol):
    """One connection to a server.

    Args:
        silence: seconds without a byte after which the server counts as gone, while it owes an answer.
        clock: the loop's.
        freed: told when an answer has ended as announced, so that the next request may go out.
        lost: told once, when the connection has ended, by whomever.
    """

    def __init__(self, silence: float, clock: Callable[[], float], freed: _Told, lost: _Told) -> None:
        self._silence = silence
        self._clock = clock
        self._freed = freed
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._outlet: asyncio.Transport | None = None
        self._owed: Incoming | None = None
        self._paused = False
        self._due = 0.0
        self._expires: float | None = None
        self.used = False
        """Whether it has carried an answer before."""
        self.since = clock()
        """When it last became free."""
        self.stale = False
        """Whether it has carried an answer before, and of the next one it broke before any byte."""

    # What the pool does with it.

    async def secure(self, context: ssl.SSLContext, host: str, patience: float) -> None:
        """Speak TLS from now on; whoever gives up waiting, or is refused, has to cut it.

        Args:
            context: whom to trust.
            host: whose certificate it has to be.
            patience: seconds for the handshake.

        Raises:
            ssl.SSLError: no TLS, or a certificate that is not to be trusted.
            OSError: the connection broke.
        """
        below = self._transport
        over: asyncio.Transport | None = None
        if below is not None and not below.is_closing():
            over = await asyncio.get_running_loop().start_tls(
                below, self, context, server_hostname=host, ssl_handshake_timeout=patience
            )
        if over is None or not self.idle:
            raise ConnectionResetError("The server closed the connection.")
        self._outlet = over

    @property
    def last_heard(self) -> float:
        """As `Line` says."""
        return self._due - self._silence

    @property
    def idle(self) -> bool:
        """Whether it may carry a request now."""
        return self._owed is None and self._transport is not None and not self._transport.is_closing()

    def carry(
        self,
        message: Sequence[bytes],
        total: float | None = None,
        hear: Hear | None = None,
        media_type: str = "",
    ) -> Incoming:
        """Send a request; whoever has the answer has to leave it.

        Args:
            message: head and body.
            total: seconds for the whole of it, until the body's end.
            hear: as `Piecewise` has it; None gathers the answer, or leaves its pace to whoever has it.
            media_type: as `Piecewise` has it.
        """
        answer = Incoming(self) if hear is None else Piecewise(self, hear, media_type)
        outlet = self._outlet
        if outlet is None:
            answer.flaw = Unheard("The engine closed the connection.")
            return answer
        now = self._clock()
        self._due = now + self._silence
        self._expires = now + total if total else None
        self._owed = answer
        outlet.writelines(message)
        return answer

    def finish(self, *, reusable: bool) -> None:
        """Have done with the answer: free for the next if it ended as announced, else cut."""
        transport = self._transport
        if not reusable or transport is None or transport.is_closing() or transport.get_write_buffer_size():
            self.cut()
            return
        self._owed = None
        if self._paused:
            self.pause(False)
        self.used = True
        self.since = self._clock()
        self._freed(self)

    def cut(self) -> None:
        """End it at once; the server learns that nobody listens any more."""
        self._owed = None
        if self._transport is not None:
            self._transport.abort()

    def end(self) -> None:
        """End it at once, whoever waits for its answer: the server is not asked any more."""
        self.fail(UpstreamDied("The connection to the engine was closed."))

    def look(self, now: float) -> None:
        """End the wait for an answer that is overdue."""
        if self._owed is None:
            return
        if self._paused:  # the caller is slow, not the server
            self._due = now + self._silence
        if self._expires is not None and now >= self._expires:
            self.fail(UpstreamTimeout("The engine did not answer within the time that it was given."))
        elif now >= self._due:
            self.fail(UpstreamTimeout("The engine was silent for too long; raise admission.request_timeout."))

    # What the answer does with it.

    def pause(self, full: bool) -> None:
        """Stop reading, or go on; while nothing is read no silence is counted."""
        transport = self._transport
        if full is self._paused or transport is None or transport.is_closing():
            return
        self._paused = full
        if full:
            transport.pause_reading()
        else:
            self._due = self._clock() + self._silence
            transport.resume_reading()

    def linger(self) -> None:
        """Wait for an end that nobody else waits for."""
        self._due = self._clock() + _LINGER

    def fail(self, flaw: Exception) -> None:
        """Cut it; who waits for the answer hears why."""
        owed = self._owed
        if owed is not None:
            owed.flaw = owed.flaw or flaw
        if self._transport is not None:
            self._transport.abort()
        if owed is not None:
            owed.wake()

    # What the loop tells (asyncio.Protocol).

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = self._outlet = cast("asyncio.Transport", transport)  # uvloop's are none by descent

    def data_received(self, data: bytes) -> None:
        """Bytes; those that nobody has asked for end the connection."""
        owed = self._owed
        if owed is None or owed.ended:
            self.fail(UpstreamDied("The engine sent more than it was asked for."))
            return
        self._due = self._clock() + self._silence
        owed.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, by the server's doing or by ours."""
        owed = self._owed
        self._transport = self._outlet = self._owed = None
        if owed is not None and not owed.ended:
            owed.broke(clean=exc is None)
            self.stale = self.used and isinstance(owed.flaw, Unheard)
        self._lost(self)
