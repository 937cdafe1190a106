"""Callers without a network: they hand requests to an ASGI application and collect what it answers."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

__all__ = ["Answer", "Caller", "SocketCaller"]


class Answer(Struct, kw_only=True):
    """What came back so far."""

    status: int = 0
    headers: dict[str, str] = {}
    chunks: list[bytes] = []
    ended: bool = False

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(self.chunks)

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    def events(self) -> list[str]:
        """The `data:` payloads of an event stream."""
        return [
            part.removeprefix("data: ") for part in self.body.decode().split("\n\n") if part.startswith("data:")
        ]


class Caller:
    """One request.

    Args:
        app: the ASGI application.
        body: JSON-able, or bytes as they are.
    """

    def __init__(
        self, app: Any, method: str, path: str, body: Any = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        self.answer = Answer()
        self._app = app
        self._gone = asyncio.Event()
        self._sent_request = False
        self._body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "scheme": "http",
            **_address(path, headers or {}),
        }

    async def run(self) -> Answer:
        """Until the application returns."""
        await self._app(self._scope, self._receive, self._send)
        return self.answer

    def leave(self) -> None:
        """Hang up."""
        self._gone.set()

    async def _receive(self) -> dict[str, Any]:
        if not self._sent_request:
            self._sent_request = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.answer.status = message["status"]
            self.answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            if chunk := message.get("body"):
                self.answer.chunks.append(chunk)
            self.answer.ended = not message.get("more_body", False)


class SocketCaller:
    """A WebSocket, and what was heard over it.

    Args:
        app: the ASGI application.
    """

    def __init__(self, app: Any, path: str = "/ws", headers: Mapping[str, str] | None = None) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        """Events with their data, in order."""
        self.accepted = False
        self.closed: tuple[int, str] | None = None
        """With which code and reason the application closed it."""
        self.reads = asyncio.Event()
        """While it is not set, nothing is read, and the application waits when it sends."""
        self.reads.set()
        self._app = app
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._said.put_nowait({"type": "websocket.connect"})
        self._news = asyncio.Event()
        self._scope: dict[str, Any] = {
            "type": "websocket",
            "scheme": "ws",
            "subprotocols": [],
            **_address(path, headers or {}),
        }

    async def run(self) -> None:
        """Until the application returns."""
        await self._app(self._scope, self._said.get, self._send)

    def say(self, event: str, **data: Any) -> None:
        """Send an event."""
        self.say_raw(json.dumps({"event": event, "data": data}))

    def say_raw(self, text: str) -> None:
        """Send any text."""
        self._said.put_nowait({"type": "websocket.receive", "text": text})

    def leave(self) -> None:
        """Hang up."""
        self._said.put_nowait({"type": "websocket.disconnect", "code": 1006})

    async def hears(self, event: str, times: int = 1) -> dict[str, Any]:
        """Wait for an event, the first or a later one of this name, and hand back its data."""
        while len(found := [data for name, data in self.heard if name == event]) < times:
            self._news.clear()
            await self._news.wait()
        return found[times - 1]

    async def _send(self, message: Any) -> None:
        await self.reads.wait()
        if self.closed is not None:
            raise RuntimeError("after a farewell nothing may be sent")  # as servers do
        match message["type"]:
            case "websocket.accept":
                self.accepted = True
            case "websocket.close":
                self.closed = (message["code"], message["reason"])
                self.leave()
            case _:
                told = json.loads(message["text"])
                self.heard.append((told["event"], told["data"]))
        self._news.set()


def _address(path: str, headers: Mapping[str, str]) -> dict[str, Any]:
    path, _, query = path.partition("?")
    return {
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
