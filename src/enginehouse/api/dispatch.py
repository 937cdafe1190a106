"""The front door: plain ASGI that sends hot routes straight to their handler and all else to the framework.

Here every request gets its id, its principal and its body limit, whichever way it takes.
"""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

import msgspec
from starlette.types import ASGIApp

from enginehouse.api.faces import Face
from enginehouse.api.guard import common_headers, credentials, for_browsers, is_public, tagged, token_of_socket
from enginehouse.api.refusals import refusal
from enginehouse.api.wire import Exchange, Message, Receive, Scope, Send, come_again, read_request_id
from enginehouse.core.audit import Audit
from enginehouse.core.identity import ANONYMOUS, check_origin, check_page
from enginehouse.core.limits import NO_BOUNDS, Grant, Limits
from enginehouse.core.traces import Traces
from enginehouse.errors import (
    EnginehouseError,
    MethodNotAllowed,
    MissingCredentials,
    RateLimitExceeded,
    RequestTooLarge,
    StoreUnavailable,
)
from enginehouse.settings.schema import ServerSettings
from enginehouse.telemetry.context import REQUEST
from enginehouse.types import Principal

__all__ = ["FrontDoor", "Identifies"]

Handler = Callable[[Exchange], Awaitable[None]]

_MANAGED = ("/v1/keys", "/v1/models", "/models/", "/v1/cache/", "/cleanup", "/api/pull")
"""Below these, what is no question is an action of management."""
_QUESTIONS = frozenset({"GET", "HEAD", "OPTIONS"})


class ServesSockets(Protocol):
    """Serves WebSockets: `api.sockets.Sockets`."""

    def check(self, principal: Principal) -> None:
        """Whether this caller may open another one; raises RateLimitExceeded."""
        ...

    async def __call__(
        self, receive: Receive, send: Send, principal: Principal, knows: Callable[[], Awaitable[Principal]]
    ) -> None:
        """Serve one to its end; `knows` asks again who opened it."""
        ...


class Identifies(Protocol):
    """Knows who is calling: `core.identity.Identity`."""

    @property
    def open(self) -> bool:
        """Whether nobody is asked for a key."""
        ...

    async def principal(self, authorization: str | None, api_key: str | None) -> Principal:
        """Who holds these credentials; raises MissingCredentials."""
        ...


class FrontDoor:
    """The ASGI application.

    Args:
        hot: handlers by path, all for POST.
        rest: the framework's application.
        audit: keeps what was managed; only the log does when left out.
        limits: how much callers may ask; nobody is limited when left out.
        sockets: what serves WebSockets, by path.
        public: paths that need no key, beside those that never do.
        traces: follows requests to models; nobody does when left out.
        leaving: whether the service has been told to stop: callers are told to come by a new connection next time.
    """

    def __init__(
        self,
        hot: Mapping[str, Handler],
        rest: ASGIApp,
        identity: Identifies,
        server: ServerSettings,
        *,
        audit: Audit | None = None,
        limits: Limits | None = None,
        sockets: Mapping[str, ServesSockets] = MappingProxyType({}),
        public: Collection[str] = (),
        traces: Traces | None = None,
        leaving: Callable[[], bool] = lambda: False,
    ) -> None:
        self._leaving = leaving
        self._traces = traces or Traces()
        self._sockets = sockets
        self._hot = hot
        self._rest = rest
        self._audit = audit or Audit()
        self._limits = limits
        self._changed: Callable[[], Awaitable[None]] | None = None
        self.adopt(identity, server, public)

    def tell_of_changes(self, hear: Callable[[], Awaitable[None]]) -> None:
        """This one is told of every action of management before its caller hears how it ended."""
        self._changed = hear

    def adopt(self, identity: Identifies, server: ServerSettings, public: Collection[str] = ()) -> None:
        """New keys and limits count from the next request on."""
        self._identity = identity
        self._public = public
        self._server = server
        self._entrance = for_browsers(self._serve, server.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's scope."""
        if scope["type"] == "http":
            await self._entrance(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._serve_socket(scope, receive, send)
        else:
            await self._rest(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = read_request_id(scope["headers"])
        REQUEST.set(request_id)
        exchange = self._exchange(scope, receive, send, request_id)
        handler = self._hot.get(scope["path"])
        if handler is not None and scope["method"] == "POST":
            await self._serve_hot(exchange, handler)
        else:
            await self._serve_usual(exchange, receive, tagged(send, exchange.standing))

    async def _serve_hot(self, exchange: Exchange, handler: Handler) -> None:
        """A request to a model: telemetry follows it from here to its end, and its caller's limits count it."""
        parent, state = exchange.header(b"traceparent"), exchange.header(b"tracestate")
        path = exchange.scope["path"]
        way = self._traces.arrived(exchange.timings, exchange.request_id, path, exchange.began, parent, state)
        try:
            try:
                grant = await self._let_in(exchange)
            except EnginehouseError as error:
                await self._refuse(exchange, handler, error)
                return
            try:
                await handler(exchange)
            finally:
                await grant.settle()
        finally:
            self._traces.left(way, exchange.principal, exchange.status, exchange.error)

    async def _serve_usual(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        """A route of the framework, or none."""
        try:
            grant = await self._let_in(exchange)
        except EnginehouseError as error:
            await _refuse(_timed(send), error, exchange.scope)
            return
        try:
            await self._route(exchange, receive, send)
        finally:
            await grant.settle()

    async def _let_in(self, exchange: Exchange) -> Grant:
        """Who is calling, and what the request is given of its caller's limits.

        Raises:
            EnginehouseError: nobody comes in like this.
        """
        scope = exchange.scope
        with exchange.timings.phase("identity"):
            exchange.principal = await self._principal(scope)
        with exchange.timings.phase("limits"):
            grant = exchange.grant = await self._granted(exchange.principal, scope)
        exchange.standing += grant.headers
        return grant

    async def _granted(self, principal: Principal, scope: Scope) -> Grant:
        if self._limits is None or scope["method"] != "POST" or not self._limits.covers(scope["path"]):
            return Grant("", NO_BOUNDS, None)
        return await self._limits.grant(principal, scope["path"])

    async def _route(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        scope = exchange.scope
        if scope["path"] in self._hot:
            await _refuse_method(_timed(send), scope)
            return
        state = {"principal": exchange.principal, "request_id": exchange.request_id, "grant": exchange.grant}
        await self._serve_rest(scope, receive, _timed(send), state)

    def _exchange(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> Exchange:
        standing = common_headers(request_id)
        if self._leaving():
            standing.append((b"connection", b"close"))
        return Exchange(
            scope,
            receive,
            send,
            request_id=request_id,
            standing=standing,
            principal=ANONYMOUS,
            ping_interval=self._server.ping_interval,
            max_body=self._server.max_body_bytes,
        )

    async def _refuse(self, exchange: Exchange, handler: Handler, error: EnginehouseError) -> None:
        """Nobody comes in; said in the dialect of the route that was asked."""
        if isinstance(handler, Face):
            exchange.headers = _reasons(error)
            await handler.refuse(exchange, error)
        else:
            await _refuse(_timed(tagged(exchange.send, exchange.standing)), error, exchange.scope)

    async def _serve_rest(self, scope: Scope, receive: Receive, send: Send, state: dict[str, Any]) -> None:
        """A route of the framework; what it manages is noted, however it ends."""
        detail: dict[str, Any] = {}
        # A route that reads line by line, and holds no more than a piece, may go without the limit.
        scope["state"] = {**scope.get("state", {}), **state, "audit": detail, "unlimited": receive}
        status, managed = 500, scope["method"] not in _QUESTIONS and scope["path"].startswith(_MANAGED)

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if managed and self._changed is not None:
                    await self._changed()
            await send(message)

        try:
            await self._rest(scope, _limited(receive, self._server.max_body_bytes), watched)
        finally:
            if managed:
                action = f"{scope['method']} {scope['path']}"
                await self._audit.note(state["principal"], action, state["request_id"], status, detail)

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id, serves = read_request_id(scope["headers"]), self._sockets.get(scope["path"])
        try:
            if not self._identity.open:
                check_origin(*_page(scope), self._server.cors_origins)
            principal = await self._principal(scope)
            if serves is not None:
                serves.check(principal)
        except EnginehouseError as error:
            await receive()
            await _refuse_socket(scope, send, error, request_id)
            return
        if serves is not None:
            await serves(receive, send, principal, partial(self._principal, scope))
            return
        scope["state"] = {**scope.get("state", {}), "principal": principal, "request_id": request_id}
        await self._rest(scope, receive, send)

    async def _principal(self, scope: Scope) -> Principal:
        """Who is calling.

        Raises:
            MissingCredentials, StoreUnavailable: nobody knows, and the route is not public.
            PermissionDenied: it is a web page of somebody else, where no key is asked for.
        """
        if self._identity.open:
            check_page(*_page(scope), self._server.cors_origins)
        try:
            authorization, api_key = credentials(scope["headers"])
            if scope["type"] == "websocket" and authorization is None and api_key is None:
                api_key = token_of_socket(scope)
            return await self._identity.principal(authorization, api_key)
        except (MissingCredentials, StoreUnavailable):
            if scope["type"] == "http" and (is_public(scope["path"]) or scope["path"] in self._public):
                return ANONYMOUS
            raise


def _page(scope: Scope) -> tuple[str | None, str | None]:
    """The `Origin` and `Host` headers."""
    headers = dict(scope["headers"])
    return _text(headers.get(b"origin")), _text(headers.get(b"host"))


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


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


def _reasons(error: EnginehouseError) -> list[tuple[bytes, bytes]]:
    """What a refusal at the door says in headers: which credentials are wanted, or how the limits stand."""
    if isinstance(error, RateLimitExceeded):
        return [(name.encode(), value.encode()) for name, value in error.told]
    return [(b"www-authenticate", b"Bearer")] if isinstance(error, MissingCredentials) else []


async def _refuse(send: Send, error: EnginehouseError, scope: Scope) -> None:
    status, body = refusal(scope, error)
    await _send_json(send, status, body, [*_reasons(error), *come_again(error)])


async def _refuse_socket(scope: Scope, send: Send, error: EnginehouseError, request_id: str) -> None:
    """An answer to the handshake where the server can give one; browsers see no more than that it failed."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": error.code})
        return

    async def tell(message: Message) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    await _refuse(tagged(tell, common_headers(request_id)), error, scope)


async def _refuse_method(send: Send, scope: Scope) -> None:
    status, body = refusal(scope, MethodNotAllowed(f"{scope['method']} is not possible here; use POST."))
    await _send_json(send, status, body, [(b"allow", b"POST")])


async def _send_json(send: Send, status: int, content: Any, headers: list[tuple[bytes, bytes]]) -> None:
    body = msgspec.json.encode(content)
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
