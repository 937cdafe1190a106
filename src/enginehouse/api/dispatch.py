"""The front door: plain ASGI that sends hot routes straight to their handler and all else to the framework.

Here every request gets its id, its principal and its body limit, whichever way it takes.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from starlette.types import ASGIApp

from enginehouse.api.dialect import error_body
from enginehouse.api.model_cache import is_model_cache, refusal
from enginehouse.api.openai import answered
from enginehouse.api.wire import Exchange, Message, Receive, Scope, Send, read_request_id, status_of
from enginehouse.core.identity import Identity
from enginehouse.errors import EnginehouseError, MissingCredentials, RequestTooLarge
from enginehouse.settings.schema import ServerSettings
from enginehouse.types import Principal

__all__ = ["FrontDoor"]

Handler = Callable[[Exchange], Awaitable[None]]

PUBLIC = frozenset({"/", "/ping", "/health", "/ready", "/docs", "/redoc", "/openapi.json", "/favicon.ico"})
"""What may be read without a key."""
_PUBLIC_FOLDERS = ("/static-offline-docs/",)


class FrontDoor:
    """The ASGI application.

    Args:
        hot: handlers by path, all for POST.
        rest: the framework's application.
    """

    def __init__(
        self, hot: Mapping[str, Handler], rest: ASGIApp, identity: Identity, server: ServerSettings
    ) -> None:
        self._hot = hot
        self._rest = rest
        self._identity = identity
        self._server = server

    def adopt(self, identity: Identity, server: ServerSettings) -> None:
        """New keys and limits count from the next request on."""
        self._identity = identity
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's scope."""
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        request_id = read_request_id(scope["headers"])
        send = _tagged(send, request_id)
        try:
            principal = self._principal(scope)
        except MissingCredentials as error:
            await _refuse(_timed(send), error, scope["path"])
            return
        handler = self._hot.get(scope["path"])
        if handler is None:
            # A route that reads line by line, and holds no more than a piece, may go without the limit.
            own = {"principal": principal, "request_id": request_id, "unlimited": receive}
            scope["state"] = {**scope.get("state", {}), **own}
            await self._rest(scope, _limited(receive, self._server.max_body_bytes), _timed(send))
            return
        if scope["method"] != "POST":
            await _refuse_method(_timed(send), scope["method"])
            return
        exchange = Exchange(
            scope,
            receive,
            send,
            request_id=request_id,
            principal=principal,
            ping_interval=self._server.ping_interval,
            max_body=self._server.max_body_bytes,
        )
        await answered(exchange, handler)

    def _principal(self, scope: Scope) -> Principal:
        credentials: dict[bytes, str] = {
            name: value.decode("latin-1")
            for name, value in scope["headers"]
            if name in {b"authorization", b"x-api-key"}
        }
        try:
            return self._identity.principal(credentials.get(b"authorization"), credentials.get(b"x-api-key"))
        except MissingCredentials:
            if _is_public(scope["path"]):
                return Principal(user="anonymous", role="anonymous", tier="basic")
            raise


def _is_public(path: str) -> bool:
    return path in PUBLIC or path.startswith(_PUBLIC_FOLDERS)


def _tagged(send: Send, request_id: str) -> Send:
    """Every answer carries its request's id."""
    header = (b"x-request-id", request_id.encode("latin-1"))

    async def tagged(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), header]
        await send(message)

    return tagged


def _timed(send: Send) -> Send:
    """Routes of the framework say how long they took."""
    began = time.perf_counter()

    async def timed(message: Message) -> None:
        if message["type"] == "http.response.start":
            took = (time.perf_counter() - began) * 1000
            message["headers"] = [*message["headers"], (b"server-timing", f"gateway;dur={took:.2f}".encode())]
        await send(message)

    return timed


def _limited(receive: Receive, limit: int) -> Receive:
    """No route reads more than the limit."""
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise RequestTooLarge(f"The body is larger than {limit} bytes.")
        return message

    return limited


async def _refuse(send: Send, error: EnginehouseError, path: str) -> None:
    body = refusal(error) if is_model_cache(path) else error_body(error)
    await _send_json(send, status_of(error), body, [(b"www-authenticate", b"Bearer")])


async def _refuse_method(send: Send, method: str) -> None:
    detail = {
        "message": f"{method} is not possible here; use POST.",
        "type": "invalid_request_error",
        "param": None,
        "code": "method_not_allowed",
    }
    await _send_json(send, 405, {"error": detail}, [(b"allow", b"POST")])


async def _send_json(send: Send, status: int, content: Any, headers: list[tuple[bytes, bytes]]) -> None:
    body = msgspec.json.encode(content)
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
