"""Connections without a network: what a caller sends them byte by byte, and what comes back."""

import asyncio

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from enginehouse.cli.http import Connection, Offers

KEEP_ALIVE = 75


class Wire(asyncio.Transport):
    """A transport that keeps what is written; what comes while nobody reads waits."""

    def __init__(self):
        super().__init__({"peername": ("10.0.0.9", 5000), "sockname": ("10.0.0.1", 80)})
        self.protocol = None
        self.sent = b""
        self.writes = 0
        self.reading = True
        self.lost = False
        self._waiting = []
        self._closing = False

    def come(self, data):
        self._waiting.append(data)
        self._deliver()

    def _deliver(self):
        while self._waiting and self.reading and not self._closing:
            self.protocol.data_received(self._waiting.pop(0))

    def write(self, data):
        if not self._closing:
            self.sent += data
            self.writes += 1

    def close(self):
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._lose, None)

    def leave(self):
        """The caller cuts the connection."""
        if not self._closing:
            self._closing = True
            self._lose(None)

    def _lose(self, error):
        self.lost = True
        self.protocol.connection_lost(error)

    def abort(self):
        self.close()

    def is_closing(self):
        return self._closing

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True
        asyncio.get_running_loop().call_soon(self._deliver)

    def get_write_buffer_size(self):
        return 0

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def set_protocol(self, protocol):
        self.protocol = protocol


class Application:
    """An ASGI application that reads a body, answers as `answer` says, and keeps what it was asked."""

    def __init__(self, answer=None):
        self.scopes = []
        self.bodies = []
        self.left = 0
        self._answer = answer or (lambda path, body: path.encode() + b" " + body)

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left += 1
                return
            body += message["body"]
            if not message["more_body"]:
                break
        self.bodies.append(body)
        words = self._answer(scope["path"], body)
        head = [(b"content-length", str(len(words)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": words})


class Lane:
    """A lane; what it does with a call is said by a function."""

    def __init__(self, do, paths=("/lane",)):
        self.paths = paths
        self.calls = []
        self._do = do

    def offer(self, call, /):
        self.calls.append(call)
        return self._do(call)


def answer(call, words=None):
    """Answer at once, as the application would."""
    words = call.path.encode() + b" " + call.body if words is None else words
    call.write(call.opening() + b"content-length: %d\r\n\r\n" % len(words) + words)
    call.end()
    return True


def keep(call):
    """Take it, and answer later."""
    return True


def refuse(call):
    return False


class Line:
    """A caller's connection to a server."""

    def __init__(self, lane=None, application=None, *, kind=None, **config):
        self.application = application or Application()
        self.lane = lane
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"today"), (b"x-more", b"1")]
        named = {"lifespan": "off", "log_config": None, "access_log": False, "timeout_keep_alive": KEEP_ALIVE}
        self.config = Config(self.application, **named, proxy_headers=False, **config)
        self.config.load()
        self.wire = Wire()
        made = {"config": self.config, "server_state": self.state, "app_state": {"shared": 1}}
        self.connection = (
            HttpToolsProtocol(**made) if kind == "uvicorn" else Connection(**made, offers=Offers(lane))
        )
        self.wire.protocol = self.connection
        self.connection.connection_made(self.wire)

    @property
    def sent(self):
        return self.wire.sent

    def say(self, data):
        self.wire.come(data)

    async def rest(self):
        """Let everything happen that can without more bytes."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def ask(self, data):
        """What is said to it, and what has been answered by now."""
        before = len(self.wire.sent)
        self.say(data)
        await self.rest()
        return self.wire.sent[before:]


def request(body=b"hello", path="/lane", *headers, method="POST", version="1.1", length=True):
    lines = [f"{method} {path} HTTP/{version}".encode(), b"Host: here", *headers]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def answered(words, last=False):
    more = b"connection: close\r\n" if last else b""
    head = b"HTTP/1.1 200 OK\r\ndate: today\r\nx-more: 1\r\n"
    return head + more + b"content-length: %d\r\n\r\n" % len(words) + words
