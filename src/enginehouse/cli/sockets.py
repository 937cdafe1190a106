"""uvicorn's WebSocket connections with bounds: who stops reading is cut off, and is told why.

A connection holds at most a buffer of unsent bytes, whatever its application has to say: senders wait while it is
full, and when it has been full for too long the connection ends. There may be thousands that do nothing for hours,
so what only the handshake wanted is let go of after it.
"""

import asyncio
import logging
from asyncio.transports import BaseTransport
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from enginehouse.cli.gates import Gate
from enginehouse.core.chat import Bell
from enginehouse.settings.schema import ChatSettings

__all__ = ["TOO_SLOW", "BoundedSocket"]

TOO_SLOW = (1008, "too_slow")
"""The close code and the reason for who does not read."""

_LAST_WORD = 1.0
"""Seconds in which a farewell has to be answered while the service stops."""

# A WebSocket's address may hold its caller's key, and uvicorn logs addresses.
_quiet = logging.getLogger("enginehouse.sockets")
_quiet.setLevel(logging.WARNING)


class _Inbox:
    """What the client has said and nobody has read yet: `asyncio.Queue` for one reader, in a tenth of the room."""

    __slots__ = ("_bell", "_messages")

    def __init__(self) -> None:
        self._messages: list[Any] = []
        self._bell = Bell()

    def put_nowait(self, message: Any) -> None:
        """The next one."""
        self._messages.append(message)
        self._bell.ring()

    def empty(self) -> bool:
        """Whether all has been read."""
        return not self._messages

    async def get(self) -> Any:
        """The oldest one."""
        while not self._messages:
            await self._bell.heard()
        return self._messages.pop(0)


class BoundedSocket(WebSocketsSansIOProtocol):
    """One connection.

    Args:
        bounds: how much may be unsent, and for how long.
        config, server_state, app_state, _loop: uvicorn's own.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        bounds: ChatSettings,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = _quiet
        self.conn.logger = _quiet
        self.conn.debug = False
        self._bounds = bounds
        self._verdict: asyncio.TimerHandle | None = None
        self.queue, self.writable = cast("Any", _Inbox()), cast("Any", Gate())

    def connection_made(self, transport: BaseTransport) -> None:
        """The buffer is as large as the settings say."""
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=self._bounds.socket_buffer)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._acquit()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The buffer is full; the clock ticks."""
        super().pause_writing()
        if self._verdict is None and not self.close_sent:
            self._verdict = self.loop.call_later(self._bounds.slow_reader_timeout, self._cut, *TOO_SLOW)

    def resume_writing(self) -> None:
        """It has been read."""
        self._acquit()
        super().resume_writing()

    def handle_ping(self) -> None:
        """Answered unless the buffer is full: who sends pings and reads nothing shall not fill it further."""
        pongs = self.conn.data_to_send()
        if self.writable.is_set():
            self.transport.write(b"".join(pongs))

    def keepalive_timeout(self) -> None:
        """It has not answered a ping: nobody waits for its unsent bytes."""
        super().keepalive_timeout()
        self._let_go(1011, "keepalive ping timeout")

    def shutdown(self) -> None:
        """An open socket is told by its application, once its answers have ended; who does not answer the farewell
        is not waited for long."""
        self.close_timeout = _LAST_WORD
        if not self.handshake_complete or self.close_sent:
            super().shutdown()

    async def send(self, message: Any) -> None:
        """As uvicorn does; only a farewell does not wait for who does not read."""
        if message["type"] == "websocket.close" and self.handshake_complete and not self.writable.is_set():
            self._cut(message.get("code", 1000), message.get("reason") or "")
        else:
            await super().send(message)
        if message["type"] == "websocket.accept":
            del self.request, self.response

    def _cut(self, code: int, reason: str) -> None:
        self._verdict = None
        if self.close_sent or self.transport.is_closing():
            return
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self._let_go(code, reason)

    def _let_go(self, code: int, reason: str) -> None:
        """The application hears that it is over; what is unsent has a little time yet to be read."""
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.disconnected = True
        self.writable.set()
        if self.close_timer is None:
            self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    def _acquit(self) -> None:
        if self._verdict is not None:
            self._verdict.cancel()
            self._verdict = None
