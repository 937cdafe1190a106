"""Anthropic's Messages over HTTP: a client for Anthropic itself and for servers that speak as it does."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import ClassVar, Self

from msgspec import Struct

from enginehouse.dialects.anthropic.messages import AnthropicMessages
from enginehouse.dialects.shapes import from_engine
from enginehouse.engines.base import Call, Reply
from enginehouse.engines.http import HttpReply, HttpServer, address_of, events_of_stream
from enginehouse.errors import EngineError, InvalidRequest, UpstreamRefused
from enginehouse.types import Deployment
from enginehouse.types.answer import Event
from enginehouse.types.generation import Dialect, Generation

__all__ = ["AnthropicHttp", "connect"]

VERSION = "2023-06-01"
"""Of the API, as every request has to name it."""
_PATH = "/v1/messages"
_PAGE = 1000


class _Model(Struct):
    id: str


class _Models(Struct):
    data: list[_Model]
    has_more: bool = False
    last_id: str | None = None


class AnthropicHttp:
    """A server at a base URL; satisfies `Engine`, `Forwards`, `Generates`, `Counts` and `Lists`.

    Args:
        base_url: root without the `/v1`, or with it.
        api_key: sent as `x-api-key`.
        silence: seconds without a byte after which the server counts as gone.
        max_tokens: most tokens of an answer, where the caller does not say.
    """

    dialects: ClassVar = frozenset({Dialect.ANTHROPIC_MESSAGES})

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        silence: float,
        connect: float | None = None,
        max_tokens: int = 4096,
        keep_alive: bool = True,
    ) -> None:
        headers = {"anthropic-version": VERSION} | ({"x-api-key": api_key} if api_key else {})
        self._server = HttpServer(
            base_url, None, silence=silence, connect=connect, keep_alive=keep_alive, headers=headers
        )
        self._codec = AnthropicMessages(max_tokens=max_tokens)

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self._server.__aexit__()

    @asynccontextmanager
    async def forward(self, call: Call) -> AsyncGenerator[Reply]:
        """Send the body as it is; leaving early closes the connection, which tells the server to stop."""
        async with self._server.request("POST", _PATH, call.body, request_id=call.request_id) as reply:
            yield reply

    @asynccontextmanager
    async def generate(self, generation: Generation, *, request_id: str) -> AsyncGenerator[AsyncIterator[Event]]:
        """The events of the answer, always asked for as a stream: a caller who leaves closes the connection."""
        body = self._codec.write_request(generation, stream=True)
        async with (
            self._asked("POST", _PATH, body, request_id=request_id) as reply,
            aclosing(events_of_stream(reply, self._codec.reader(), self._codec.media_type)) as events,
        ):
            yield events

    async def count(self, generation: Generation, *, request_id: str) -> int:
        """How many tokens the prompt has, as the server counts.

        Raises:
            InvalidRequest: it cannot be told what to count.
            EngineError: it does not answer, or not with a number.
        """
        body = self._codec.write_count_request(generation)
        async with self._asked("POST", "/v1/messages/count_tokens", body, request_id=request_id) as reply:
            return self._codec.read_count(await reply.read())

    async def models(self) -> list[str]:
        """The ids of all its models.

        Raises:
            EngineError: it does not tell them.
        """
        found: list[str] = []
        after = ""
        while True:
            async with self._asked("GET", f"/v1/models?limit={_PAGE}{after}") as reply:
                page = from_engine(await reply.read(), _Models)
            found += [model.id for model in page.data]
            if not page.has_more or not page.data:
                return found
            after = f"&after_id={page.last_id or page.data[-1].id}"

    async def healthy(self) -> bool:
        """Whether the list of models can be had within five seconds."""
        try:
            async with self._asked("GET", "/v1/models?limit=1", timeout=5):
                return True
        except EngineError:
            return False

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        request_id: str = "",
        timeout: float | None = None,
    ) -> AsyncGenerator[HttpReply]:
        """A reply that is not a refusal."""
        with _account():
            async with self._server.asked(method, path, body, request_id=request_id, timeout=timeout) as reply:
                yield reply


def connect(deployment: Deployment, silence: float) -> AnthropicHttp:
    """The server of a deployment.

    Raises:
        ModelLoadFailed: it is not known where it is.
    """
    return AnthropicHttp(
        address_of(deployment), deployment.api_key, silence=silence, connect=deployment.connect_timeout
    )


@contextmanager
def _account() -> Generator[None]:
    """Anthropic tells an empty account as a wrong request; it is our account, not the caller's mistake."""
    try:
        yield
    except InvalidRequest as error:
        if "credit balance" in error.message:
            raise UpstreamRefused(
                "The account at the provider of this model is out of credit.", status=402
            ) from None
        raise
