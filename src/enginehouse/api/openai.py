"""The OpenAI face: chat and text completions and embeddings, streamed and not.

Where the engine speaks the same dialect the frames pass through unread; only a stream's end, its errors and the
usage frame that we asked for ourselves are looked at.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TypeVar

import msgspec
import structlog

from enginehouse.api.dialect import (
    ChatBody,
    CompletionBody,
    EmbeddingBody,
    Sampling,
    decode,
    embedding_body,
    error_body,
)
from enginehouse.api.wire import Exchange, status_of
from enginehouse.core.gateway import Gateway, Seat, patience
from enginehouse.engines.base import Embeds
from enginehouse.engines.sse import data_of, whole_frames
from enginehouse.errors import CallerGone, EnginehouseError, QueueFull, UpstreamDied, UpstreamRefused
from enginehouse.types import Operation, Request

__all__ = ["OpenAIFace"]

log = structlog.get_logger()

Handler = Callable[[Exchange], Awaitable[None]]
T = TypeVar("T")

_chat = msgspec.json.Decoder(ChatBody)
_completion = msgspec.json.Decoder(CompletionBody)
_embedding = msgspec.json.Decoder(EmbeddingBody)


class OpenAIFace:
    """The hot routes of the OpenAI dialect, by path."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def chat(self, exchange: Exchange) -> None:
        """`POST /v1/chat/completions`."""
        body = await exchange.read_body()
        await self._generate(exchange, Operation.CHAT, decode(body, _chat), body)

    async def completion(self, exchange: Exchange) -> None:
        """`POST /v1/completions`."""
        body = await exchange.read_body()
        await self._generate(exchange, Operation.COMPLETION, decode(body, _completion), body)

    async def embeddings(self, exchange: Exchange) -> None:
        """`POST /v1/embeddings`."""
        body = await exchange.read_body()
        asked = decode(body, _embedding)
        request = _request(exchange, Operation.EMBEDDING, asked.model, body, stream=False)
        texts = asked.texts()
        async with exchange.attended(streams=False), patience(request), self._seat(exchange, request) as seat:
            if not isinstance(seat.engine, Embeds):
                answer = await self._read(request, seat)
            else:
                embedding = await self._gateway.embed(request, seat.engine, texts)
                if embedding.truncated:
                    exchange.headers.append((b"x-enginehouse-truncated", _indices(embedding.truncated)))
                packed = asked.encoding_format == "base64"
                answer = embedding_body(embedding, asked.model, base64_encoded=packed, dimensions=asked.dimensions)
        await exchange.respond(200, answer)

    async def _generate(self, exchange: Exchange, operation: Operation, asked: Sampling, body: bytes) -> None:
        stream = bool(asked.stream)
        wants_usage = bool(asked.stream_options and asked.stream_options.include_usage)
        if stream and not wants_usage:
            body = _asking_for_usage(body)
        request = _request(exchange, operation, asked.model, body, stream=stream)
        async with exchange.attended(streams=stream), patience(request) as limit:
            if stream:
                sieve = _Sieve(keep_usage=wants_usage)
                await self._retried(request, lambda: self._stream(exchange, request, sieve, limit))
                return
            answer = await self._retried(request, lambda: self._whole(exchange, request))
        await exchange.respond(200, answer)

    async def _retried(self, request: Request, once: Callable[[], Awaitable[T]]) -> T:
        """Once more on a fresh engine, if the first one came down before the caller had a byte of its answer."""
        try:
            return await once()
        except UpstreamDied:
            if request.timings.ttft is not None or not await self._gateway.came_down(request):
                raise
        log.warning("request_retried", request_id=request.request_id, model=request.model)
        return await once()

    async def _stream(self, exchange: Exchange, request: Request, sieve: "_Sieve", limit: asyncio.Timeout) -> None:
        async with AsyncExitStack() as stack:
            seat = await stack.enter_async_context(self._seat(exchange, request))
            asked_at = exchange.clock()
            reply = await stack.enter_async_context(self._gateway.forward(request, seat))
            blocks = await stack.enter_async_context(aclosing(whole_frames(reply.frames())))
            async for block in blocks:
                frames = sieve.sift(block)
                if not frames:
                    continue
                if request.timings.ttft is None:
                    request.timings.ttft = exchange.clock() - asked_at
                    limit.reschedule(None)
                await exchange.write(frames)
                if sieve.ended:
                    break
        if not sieve.ended:
            raise UpstreamDied("The engine's stream broke off before its end.")
        await exchange.finish()

    async def _whole(self, exchange: Exchange, request: Request) -> bytes:
        async with self._seat(exchange, request) as seat:
            return await self._read(request, seat)

    async def _read(self, request: Request, seat: Seat) -> bytes:
        async with self._gateway.forward(request, seat) as reply:
            return await reply.read()

    @asynccontextmanager
    async def _seat(self, exchange: Exchange, request: Request) -> AsyncGenerator[Seat]:
        """A seat; that no cache was asked is told in the answer's headers."""
        async with self._gateway.seat(request) as seat:
            exchange.headers = [(b"x-enginehouse-cache", b"bypass")]
            yield seat


class _Sieve:
    """Lets frames through as they are, all but the usage frame that only we wanted."""

    def __init__(self, *, keep_usage: bool) -> None:
        self._keep_usage = keep_usage
        self.ended = False
        """Whether `[DONE]` has come."""

    def sift(self, block: bytes) -> bytes:
        """What of these whole frames is for the caller.

        Raises:
            UpstreamRefused: the engine reports an error inside the stream.
        """
        if b'"error"' in block or b'"choices":[]' in block or b"error:" in block:
            block = b"".join([frame + b"\n\n" for frame in block.split(b"\n\n") if frame and self._passes(frame)])
        if block.endswith(b"data: [DONE]\n\n"):
            self.ended = True
        return block

    def _passes(self, frame: bytes) -> bool:
        data = data_of(frame) or frame.removeprefix(b"error:").strip()
        if data.startswith((b'{"error"', b'{ "error"')):
            raise UpstreamRefused(f"The engine failed while generating: {_message(data)}")
        return self._keep_usage or b'"choices":[]' not in data


class _Reported(msgspec.Struct):
    message: str = ""


class _Error(msgspec.Struct):
    error: _Reported | str = ""


def _message(data: bytes) -> str:
    try:
        error = msgspec.json.decode(data, type=_Error).error
    except msgspec.MsgspecError:
        return data.decode("utf-8", "replace")[:200]
    return error if isinstance(error, str) else error.message


async def answered(exchange: Exchange, handler: Handler) -> None:
    """Run a handler; whatever it raises reaches the caller in OpenAI's shape, in-band once a stream has begun."""
    try:
        await handler(exchange)
    except CallerGone:
        log.info("caller_gone", request_id=exchange.request_id, path=exchange.scope["path"])
    except EnginehouseError as error:
        await _fail(exchange, error)
    except Exception:
        log.exception("request_broke", request_id=exchange.request_id, path=exchange.scope["path"])
        await _fail(exchange, EnginehouseError("The service made a mistake; its log says more."))


async def _fail(exchange: Exchange, error: EnginehouseError) -> None:
    body = msgspec.json.encode(error_body(error))
    status = status_of(error)
    log.info("request_failed", request_id=exchange.request_id, status=status, code=error.code, error=error.message)
    if exchange.started:
        await exchange.write(b"data: " + body + b"\n\n")
        await exchange.finish()
        return
    headers = [(b"content-type", b"application/json")]
    if error.retry_after is not None:
        headers.append((b"retry-after", str(max(1, round(error.retry_after))).encode()))
    if isinstance(error, QueueFull):
        headers.append((b"x-enginehouse-queue-position", str(error.position).encode()))
    await exchange.respond(status, body, headers)


def _request(exchange: Exchange, operation: Operation, model: str, body: bytes, *, stream: bool) -> Request:
    return Request(
        operation=operation,
        model=model,
        principal=exchange.principal,
        request_id=exchange.request_id,
        body=body,
        stream=stream,
        priority=exchange.priority(),
        timeout=exchange.timeout(),
        timings=exchange.timings,
    )


def _asking_for_usage(body: bytes) -> bytes:
    """The engine shall count for us even when the caller does not care; the frame is taken out again."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    given = msgspec.json.decode(fields.get("stream_options") or b"null", type=dict[str, msgspec.Raw] | None)
    options: dict[str, msgspec.Raw] = given or {}
    options["include_usage"] = msgspec.Raw(b"true")
    fields["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    return msgspec.json.encode(fields)


def _indices(numbers: tuple[int, ...]) -> bytes:
    return ",".join(map(str, numbers[:100])).encode()
