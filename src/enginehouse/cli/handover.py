"""Connections that a worker hands over to the owner, whole: what it has read of them, and the socket itself.

A worker answers requests that generate. Whatever else is asked on one of its connections, the owner answers there
as if it had accepted the connection itself, and closes it afterwards, so that the next request may be anybody's.
"""

import asyncio
import os
import socket
import tempfile
from array import array
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import structlog
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from enginehouse.cli.http import Connection

__all__ = ["HandedOver", "Handing", "Porter", "Reception"]

log = structlog.get_logger()

_LONGEST_HEAD = 64 * 1024
_IN_A_LETTER = 32 * 1024
"""Bytes that are sent beside a socket; more of them lie in a file that is sent in their place."""
_AGAIN = 0.02
_PATIENCE = 20.0
"""Seconds for which a connection waits for an owner that begins anew."""
_AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\nretry-after: 5\r\n"
)
_WORDS = b'{"error":{"message":"The service is starting again; try again soon.","code":"shutting_down"}}'


class Porter:
    """Carries connections to the owner.

    Args:
        path: of the owner's reception.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._letters = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._letters.setblocking(False)

    def close(self) -> None:
        """Carry no more."""
        self._letters.close()

    def carry(self, connection: int, read: bytes) -> bool:
        """Hand over a socket, and what was read of it; whether somebody has taken it."""
        with ExitStack() as stack:
            carried = [connection]
            if len(read) > _IN_A_LETTER:
                file = stack.enter_context(tempfile.TemporaryFile())
                file.write(read)
                file.seek(0)
                carried.append(file.fileno())
                read = b"\0"
            try:
                rights = socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", carried).tobytes()
                self._letters.sendmsg([read], [rights], 0, self._path)
            except OSError:  # nobody is there, or too much is on its way
                return False
        return True


class Handing(Connection):
    """A connection of a worker, which keeps what is its own.

    Args:
        porter: takes what is not.
        hot: paths that are answered here.
    """

    def __init__(self, *args: Any, porter: Porter, hot: Collection[bytes], **named: Any) -> None:
        super().__init__(*args, **named)
        self._porter, self._hot = porter, hot
        self._head = b""

    def data_received(self, data: bytes) -> None:
        """Decide where a request is answered as soon as its head is there."""
        if not self._between:
            super().data_received(data)
            return
        if not self._head:
            self._since = self.loop.time()
        data = self._head + data
        end = data.find(b"\r\n\r\n")
        if end < 0 and len(data) < _LONGEST_HEAD:
            self._head = data
            return
        self._head = b""
        if self._is_ours(data[:end]):
            super().data_received(data)
        else:
            self.stop_waiting()
            self.transport.pause_reading()
            self._hand_over(data, self.loop.time() + _PATIENCE)

    def _is_ours(self, head: bytes) -> bool:
        """A request that generates; conversations that the service keeps are the owner's."""
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        return method == b"POST" and path in self._hot and b"\r\nx-session-id:" not in head.lower()

    def _hand_over(self, data: bytes, until: float) -> None:
        """When what was answered before has been sent; who finds nobody is told so in the end."""
        if self.transport.is_closing():
            return
        connection = self.transport.get_extra_info("socket").fileno()
        written = not self.transport.get_write_buffer_size()
        if written and self._is_answered and self._porter.carry(connection, data):
            self.transport.abort()
        elif self.loop.time() < until:
            self.loop.call_later(_AGAIN, self._hand_over, data, until)
        else:
            self.transport.write(_AWAY + b"content-length: %d\r\n\r\n" % len(_WORDS) + _WORDS)
            self.transport.close()

    @property
    def _is_answered(self) -> bool:
        """Whether the request before has its answer."""
        return self._running is None


class HandedOver(Connection):
    """A connection that somebody else has accepted, and begun to read.

    Args:
        read: what was read.
    """

    def __init__(self, *args: Any, read: bytes, **named: Any) -> None:
        super().__init__(*args, **named)
        self._read = read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Go on where the other one stopped."""
        super().connection_made(transport)
        self.data_received(self._read)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.keep_alive = False
        super()._start_asgi_task(cycle, app)


class Reception:
    """Where connections are handed over to the owner; use as a context.

    Args:
        path: of a socket in a folder that nobody else may enter.
        make: makes the protocol of a connection.
    """

    def __init__(self, path: Path, make: "Callable[[bytes], asyncio.Protocol]") -> None:
        self._path, self._make = path, make
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        """Begin to take them."""
        await self._tasks.__aenter__()
        self._path.unlink(missing_ok=True)
        self._letters = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._letters.setblocking(False)
        self._letters.bind(str(self._path))
        asyncio.get_running_loop().add_reader(self._letters.fileno(), self._take)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take no more."""
        self.close()
        await self._tasks.__aexit__(None, None, None)

    def close(self) -> None:
        """Whoever wants to hand something over finds nobody."""
        if self._letters.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._letters.fileno())
            self._letters.close()
            self._path.unlink(missing_ok=True)

    def _take(self) -> None:
        try:
            read, carried, _, _ = socket.recv_fds(self._letters, 2 * _IN_A_LETTER, 2)
        except OSError:
            return
        if not carried:
            return
        if len(carried) > 1:
            with os.fdopen(carried[1], "rb") as file:
                read = file.read()
        connection = socket.socket(fileno=carried[0])
        connection.setblocking(False)
        self._tasks.create_task(self._serve(connection, read), name="handed over")

    async def _serve(self, connection: socket.socket, read: bytes) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: self._make(read), connection)
        except OSError as error:
            connection.close()
            log.info("caller_gone", error=str(error))
