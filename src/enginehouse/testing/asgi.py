"""A caller without a socket: hands a request to an ASGI application and collects the answer."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

__all__ = ["Answer", "Caller"]


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
        path, _, query = path.partition("?")
        self._scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "scheme": "http",
            "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
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
