"""The OpenAI dialect over HTTP: one client for every server that speaks it, here or far away."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Self

import aiohttp
import msgspec

from enginehouse.engines.base import Call, Reply
from enginehouse.errors import (
    ContextLengthExceeded,
    EngineError,
    EnginehouseError,
    InvalidRequest,
    RequestTooLarge,
    UpstreamDied,
    UpstreamRefused,
    UpstreamTimeout,
)
from enginehouse.types import Operation

__all__ = ["HttpReply", "OpenAIHttp", "error_from_reply"]

PATHS: Mapping[Operation, str] = {
    Operation.CHAT: "/v1/chat/completions",
    Operation.COMPLETION: "/v1/completions",
    Operation.EMBEDDING: "/v1/embeddings",
}

_ANONYMOUS: Mapping[str, str] = {"Content-Type": "application/json"}
_MAX_ERROR_BODY = 64 * 1024


class HttpReply:
    """A reply whose headers are in; satisfies `Reply`."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def frames(self) -> AsyncIterator[bytes]:
        """Chunks as the socket gave them."""
        chunks = self._response.content.iter_any()
        while True:
            with _Translated():
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
            yield chunk

    async def read(self) -> bytes:
        """The whole body."""
        with _Translated():
            return await self._response.read()


class OpenAIHttp:
    """A server at a base URL; satisfies `Engine` and `Forwards`.

    Args:
        base_url: root without the `/v1`, or with it, as people write both.
        api_key: sent as a bearer token.
        headers: sent with every request, such as another dialect's own key and version.
        silence: seconds without a byte after which the server counts as gone.
        keep_alive: whether connections are used again. Not worth it on loopback, where a new one costs less than
            finding out that llama-server has closed the old one.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        silence: float,
        keep_alive: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._root = base_url.rstrip("/").removesuffix("/v1")
        self._headers = {**_ANONYMOUS, **(headers or {})}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=silence)
        self._keep_alive = keep_alive
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the connection pool. Limits are admission's business, not the pool's."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=not self._keep_alive),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            trace_configs=[_noting_reuse()] if self._keep_alive else None,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def forward(self, call: Call) -> AsyncGenerator[Reply]:
        """Send the body as it is; leaving early closes the connection, which tells the server to stop."""
        async with self.request("POST", PATHS[call.operation], call.body, request_id=call.request_id) as reply:
            yield reply

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        request_id: str = "",
        timeout: float | None = None,
        authorized: bool = True,
    ) -> AsyncGenerator[HttpReply]:
        """Any request to the same server; `timeout` bounds the whole of it, in seconds."""
        headers = self._headers if authorized else _ANONYMOUS
        if request_id:
            headers = {**headers, "X-Request-ID": request_id}
        limits = aiohttp.ClientTimeout(total=timeout) if timeout else self._timeout
        with _Translated():
            response = await self._send(method, path, body, headers, limits)
        try:
            yield HttpReply(response)
        finally:
            response.close() if not response.content.at_eof() else response.release()

    async def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """One try; a second one only if a connection that had been used before broke before any byte came back."""
        assert self._session is not None, "the engine is used outside its context"
        attempt = _Attempt()
        for last in (False, True):
            try:
                return await self._session.request(
                    method,
                    self._root + path,
                    data=body,
                    headers=headers,
                    timeout=limits,
                    allow_redirects=False,
                    trace_request_ctx=attempt,
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if last or not attempt.reused or isinstance(error, aiohttp.ClientConnectorError):
                    raise
                attempt.reused = False
        raise AssertionError("the second try either answers or raises")

    async def healthy(self) -> bool:
        """Whether the list of models can be had within five seconds."""
        try:
            async with self.request("GET", "/v1/models", timeout=5) as reply:
                return reply.status == 200
        except EngineError:
            return False


class _Attempt:
    """Whether a request went out on a connection that had been used before."""

    reused = False


def _noting_reuse() -> aiohttp.TraceConfig:
    async def note(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.reused = True

    config = aiohttp.TraceConfig()
    config.on_connection_reuseconn.append(note)
    return config


class _Translated:
    """aiohttp's errors become ours, once, here."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        match error:
            case TimeoutError():
                raise UpstreamTimeout(
                    "The engine was silent for too long; raise admission.request_timeout."
                ) from error
            case aiohttp.ClientConnectorError():
                raise UpstreamDied("The engine refused the connection.") from error
            case aiohttp.ClientError() | ConnectionError():
                raise UpstreamDied(f"The connection to the engine broke ({type(error).__name__}).") from error
            case _:
                return


class _Detail(msgspec.Struct):
    message: str = ""
    type: str | None = None
    param: str | None = None
    code: int | str | None = None
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class _ErrorBody(msgspec.Struct):
    error: _Detail | str = ""
    message: str = ""


async def error_from_reply(reply: Reply) -> EnginehouseError:
    """What a reply of status 400 or more means in our words.

    The caller's own mistakes (400, 413, 422) stay the caller's; a refusal of *our* key or a path the server does
    not have is ours, and becomes an upstream error.
    """
    body = (await reply.read())[:_MAX_ERROR_BODY]
    detail = _detail(body)
    if detail.n_prompt_tokens is not None and detail.n_ctx is not None:
        return ContextLengthExceeded(
            f"The prompt has {detail.n_prompt_tokens} tokens, the model's context holds {detail.n_ctx}. "
            "Shorten the prompt or load the model with a larger context.",
            param="messages",
        )
    if detail.code == "context_length_exceeded" or "context length" in detail.message.lower():
        return ContextLengthExceeded(detail.message, param=detail.param)
    if reply.status == 413:
        return RequestTooLarge(detail.message)
    if reply.status in {400, 422} or _blames_the_caller(detail.message):
        return InvalidRequest(detail.message or "The engine refused the request.", param=detail.param)
    return UpstreamRefused(
        f"The engine answered {reply.status}: {detail.message or 'no message'}",
        status=reply.status,
        retry_after=_seconds(reply.headers.get("Retry-After")),
    )


def _detail(body: bytes) -> _Detail:
    try:
        parsed = msgspec.json.decode(body, type=_ErrorBody)
    except msgspec.MsgspecError:
        return _Detail(message=body.decode("utf-8", "replace").strip()[:500])
    if isinstance(parsed.error, _Detail):
        return parsed.error
    return _Detail(message=parsed.error or parsed.message)


def _blames_the_caller(message: str) -> bool:
    """llama.cpp answers 500 to some requests that are simply wrong; these are its words for them."""
    return message.startswith(("Failed to parse", "image input is not supported", "audio input is not supported"))


def _seconds(header: str | None) -> float | None:
    try:
        return float(header) if header else None
    except ValueError:
        return None
