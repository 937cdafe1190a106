"""What every face shares at the HTTP edge: reading a body, answering, streaming, errors, and noticing who left.

Hot routes are plain ASGI functions over an `Exchange`; nothing here knows a dialect.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from enginehouse import errors
from enginehouse.core.limits import Grant
from enginehouse.errors import CallerGone, EnginehouseError, InvalidRequest, RequestTooLarge
from enginehouse.types import Principal, Priority, Timings, Tried
from enginehouse.types.ids import ordered_hex

__all__ = [
    "PING",
    "Exchange",
    "RawHeaders",
    "Receive",
    "Scope",
    "Send",
    "come_again",
    "quoted",
    "read_request_id",
    "status_of",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]

STATUS: Mapping[type[EnginehouseError], int] = {
    errors.InvalidRequest: 400,
    errors.MissingCredentials: 401,
    errors.PermissionDenied: 403,
    errors.PromptBlocked: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.Conflict: 409,
    errors.RequestTooLarge: 413,
    errors.BudgetSpent: 429,
    errors.SchemaValidationFailed: 422,
    errors.RateLimitExceeded: 429,
    errors.CallerGone: 499,
    errors.QueueFull: 503,
    errors.QueueTimeout: 504,
    errors.LoadTimeout: 504,
    errors.ModelLoadFailed: 503,
    errors.SourceError: 503,
    errors.InsufficientMemory: 507,
    errors.GuardUnavailable: 503,
    errors.ShuttingDown: 503,
    errors.StoreError: 500,
    errors.StoreUnavailable: 503,
    errors.LedgerUnavailable: 503,
    errors.UpstreamTimeout: 504,
    errors.UpstreamBusy: 429,
    errors.EngineError: 502,
    errors.EnginehouseError: 500,
}
"""The one place where an error gets a status; the nearest ancestor in the tree decides."""

_MAX_REQUEST_ID = 128
_PATIENCE = 8
"""How many times the body limit is read, and thrown away, before an answer cuts its sender off."""
PING = b": ping\n\n"
_JSON: RawHeaders = [(b"content-type", b"application/json")]
_STREAM: RawHeaders = [
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


def status_of(error: EnginehouseError) -> int:
    """The HTTP status of an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def come_again(error: EnginehouseError) -> RawHeaders:
    """`Retry-After` in whole seconds, if there is one: who keeps to it does not come too early."""
    if error.retry_after is None:
        return []
    return [(b"retry-after", str(max(1, math.ceil(error.retry_after))).encode())]


def read_request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The caller's own request id if it is sane (at most 128 printable characters), else a new one."""
    for name, value in headers:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            if 0 < len(text) <= _MAX_REQUEST_ID and text.isascii() and text.isprintable():
                return text
    return ordered_hex()


@lru_cache(1024)
def quoted(model: str) -> bytes:
    """A model's name as a header can hold it."""
    return quote(model, safe="/:@.").encode()


class Exchange:
    """One HTTP request and its answer.

    Args:
        standing: headers of the answer, whatever it is.
        principal: who is calling, as far as that is known yet.
        ping_interval: seconds of silence after which a stream gets a comment.
        max_body: most bytes of a body that are read.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        request_id: str,
        standing: RawHeaders,
        principal: Principal,
        ping_interval: float,
        max_body: int,
    ) -> None:
        self.scope = scope
        self.send = send
        self.request_id = request_id
        self.standing = standing
        """Headers of the answer, whatever it is."""
        self.principal = principal
        self.grant: Grant | None = None
        """What it was given of its caller's limits; tell it what was spent."""
        self.timings = Timings()
        self.media_type = "text/event-stream; charset=utf-8"
        """What a stream of this answer is."""
        self.headers: RawHeaders = []
        """More headers for the answer, such as which model gave it."""
        self.status = 0
        """What the caller was told, once it was."""
        self.error: BaseException | None = None
        """What went wrong, if something did."""
        self.started = False
        """Whether the status line has gone out: from then on errors speak the stream's own language."""
        self._said: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        self.receive = receive
        self.ping_interval = ping_interval
        self._max_body = max_body
        self.clock = asyncio.get_running_loop().time
        """Seconds, on the clock that every timing of this request is taken from."""
        self.tried: Tried | None = scope.get("extensions", {}).get("enginehouse", {}).get("tried")
        """What was tried for it before it came this way."""
        self.began = self.clock() if self.tried is None else self.tried.began
        """When it came in, on that clock."""
        self.last_write = self.began
        """When a piece of a stream last went out, on that clock."""

    def header(self, name: bytes) -> str | None:
        """A request header, or None; `name` in lower case. Of one that comes twice, the first."""
        value = self._said.get(name)
        return None if value is None else value.decode("latin-1")

    def priority(self) -> Priority:
        """What `X-Request-Priority` says, normal without it.

        Raises:
            InvalidRequest: it says something else than high, normal or low.
        """
        text = self.header(b"x-request-priority")
        try:
            return Priority(text.lower()) if text else Priority.NORMAL
        except ValueError:
            raise InvalidRequest(
                f"X-Request-Priority is {text!r}; it may be high, normal or low.", param="X-Request-Priority"
            ) from None

    def timeout(self) -> float | None:
        """What `X-Request-Timeout` says, in seconds.

        Raises:
            InvalidRequest: no positive number.
        """
        text = self.header(b"x-request-timeout")
        if text is None:
            return None
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            raise InvalidRequest(
                f"X-Request-Timeout is {text!r}; it has to be a positive number of seconds.",
                param="X-Request-Timeout",
            )
        return seconds

    async def read_body(self) -> bytes:
        """The whole body, never keeping more than the limit.

        Raises:
            RequestTooLarge: it is longer.
            CallerGone: the caller left while sending.
        """
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise CallerGone("The caller left while sending its request.")
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > self._max_body:
                chunks.clear()
                # Who is still sending does not read our answer; a little more patience lets it arrive.
                if size > self._max_body * _PATIENCE or not message.get("more_body", False):
                    raise self._too_large()
                continue
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def respond(self, status: int, body: bytes, headers: RawHeaders = _JSON) -> None:
        """A whole answer."""
        if self.started:
            return
        self.started, self.status = True, status
        head = [*headers, (b"content-length", str(len(body)).encode()), *self._own_headers()]
        await self.send({"type": "http.response.start", "status": status, "headers": head})
        await self.send({"type": "http.response.body", "body": body})

    async def write(self, frames: bytes) -> None:
        """Whole frames of an event stream; the first write sends the headers."""
        if not self.started:
            self.started, self.status = True, 200
            head = [(b"content-type", self.media_type.encode()), *_STREAM, *self._own_headers()]
            await self.send({"type": "http.response.start", "status": 200, "headers": head})
        self.last_write = self.clock()
        await self.send({"type": "http.response.body", "body": frames, "more_body": True})

    async def finish(self) -> None:
        """The end of a stream."""
        await self.send({"type": "http.response.body", "body": b""})

    async def ping(self) -> None:
        """A sign of life; only event streams have words that say nothing, others' clients wait in silence."""
        if self.media_type.startswith("text/event-stream"):
            await self.write(self._sign_of_life())

    def _sign_of_life(self) -> bytes:
        """A comment; who waits in a line is told where."""
        place = self.timings.place
        if place is None or not place.position:
            return PING
        return f": queued position={place.position} expected_wait={place.expected_wait:.1f}s\n\n".encode()

    def _own_headers(self) -> RawHeaders:
        """Which model answers stands in the head even when that goes out while its caller still waits in a line."""
        timings = self.timings
        told: RawHeaders = [(b"x-enginehouse-cache", timings.cache.encode())]
        if timings.model is not None:
            told.append((b"x-enginehouse-model", quoted(timings.model)))
        if timings.guard is not None:
            told.append((b"x-enginehouse-guard", timings.guard.encode("ascii", "replace")))
        if timings.age is not None:
            told.append((b"age", str(int(timings.age)).encode()))
        told += self.headers
        told.append((b"server-timing", self._server_timing()))
        return told + self.standing

    def _server_timing(self) -> bytes:
        """The phases in milliseconds; `gateway` is what none of the others took."""
        phases = self.timings
        queue, load, ttft, upstream = phases.queue, phases.load, phases.ttft, phases.upstream
        engine = upstream if upstream is not None else ttft or 0.0
        own = self.clock() - self.began - (queue or 0.0) - (load or 0.0) - engine
        told = ""
        if queue is not None:
            told = f"queue;dur={queue * 1000:.2f}, "
        if load is not None:
            told += f"load;dur={load * 1000:.2f}, "
        if ttft is not None:
            told += f"ttft;dur={ttft * 1000:.2f}, "
        if upstream is not None:
            told += f"upstream;dur={upstream * 1000:.2f}, "
        return f"{told}gateway;dur={max(own, 0.0) * 1000:.2f}".encode()

    def _too_large(self) -> RequestTooLarge:
        return RequestTooLarge(
            f"The body is larger than {self._max_body} bytes. Send less, or raise server.max_body_bytes."
        )
