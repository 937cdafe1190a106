"""A server that does as the test says."""

import asyncio
import re
from contextlib import asynccontextmanager

from tests.integration.authority import authority

TRUST = authority().trust()
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class Server:
    """Answers every request with the next of its acts; an act is bytes, or a coroutine over the connection.

    Attributes:
        tls: what it speaks TLS with, if it does.
        deserted: whether nobody is connected any more.
    """

    tls = None

    def __init__(self, *acts):
        self.acts = list(acts)
        self.asked = []
        self.connections = 0
        self.heard, self.hung_up = asyncio.Event(), asyncio.Event()
        self.deserted = asyncio.Event()
        self._serving = set()
        self._there = 0

    async def _serve(self, reader, writer):
        self.connections += 1
        self._there += 1
        self.deserted.clear()
        self._serving.add(asyncio.current_task())
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1])) if length else b""
                self.asked.append((head, body))
                self.heard.set()
                act = self.acts.pop(0)
                if isinstance(act, bytes):
                    writer.write(act)
                    await writer.drain()
                elif await act(reader, writer) is False:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.hung_up.set()
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()
            self._there -= 1
            if not self._there:
                self.deserted.set()

    @asynccontextmanager
    async def __call__(self):
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        try:
            yield f"{'https' if self.tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for serving in self._serving:
                serving.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)
            await server.wait_closed()


async def closes(_, __):
    return False


def then_closes(sent):
    async def act(_, writer):
        writer.write(sent)
        await writer.drain()
        return False

    return act


async def stays_silent(reader, _):
    await reader.readexactly(1)


def talks_for_ever(head=CHUNKED):
    async def act(_, writer):
        writer.write(head)
        while True:
            writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0)  # over uvloop's TLS `drain` waits for nothing when nobody is there any more

    return act
