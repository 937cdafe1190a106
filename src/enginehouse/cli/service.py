"""A running service as its client sees it: whether it is one of ours, what it has, and its answers as they come."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import Any, Self

import aiohttp
import msgspec
from yarl import URL

from enginehouse.dialects.passing import data_of, whole_pieces
from enginehouse.errors import EnginehouseError, MissingCredentials, UpstreamDied, UpstreamRefused, UpstreamTimeout

__all__ = ["Service", "error_message", "payloads"]

CONNECT_SECONDS = 10.0
QUICK_SECONDS = 5.0
"""How long a service may take for a question that costs it nothing."""


class Service:
    """An OpenAI-compatible service at a URL; use as a context.

    Args:
        url: its root, with or without `/v1`.
        key: sent as a bearer token.
        headers: sent with every request.
    """

    def __init__(self, url: str, key: str | None = None, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self._headers = {**headers, **({"Authorization": f"Bearer {key}"} if key else {})}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the connections."""
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close them."""
        if self._session is not None:
            await self._session.close()

    async def is_ours(self) -> bool:
        """Whether an Enginehouse answers there."""
        try:
            root = _object(await self._get("/"))
        except EnginehouseError:
            return False
        return root.get("service") == "enginehouse"

    async def models(self) -> list[dict[str, Any]]:
        """Its models, as it describes them.

        Raises:
            UpstreamDied, UpstreamTimeout: nobody answers.
            UpstreamRefused, MissingCredentials: it answers with an error, or with no list of models.
        """
        entries = _object(await self._get("/v1/models")).get("data")
        if not isinstance(entries, list):
            raise UpstreamRefused(f"What answers at {self.url} has no list of models.")
        return [entry for entry in entries if isinstance(entry, dict) and "id" in entry]  # pyright: ignore[reportUnknownVariableType] - JSON

    @asynccontextmanager
    async def chat(self, body: Mapping[str, Any]) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Ask for a streamed chat completion; yields the payloads of its frames.

        Leaving before their end closes the connection, which tells the service to stop.

        Raises:
            UpstreamDied: nobody answers, or the stream broke off.
            UpstreamRefused, MissingCredentials: the service's error, before or in the stream.
        """
        async with (
            self._request("POST", "/v1/chat/completions", json=body) as response,
            aclosing(payloads(response.content.iter_any())) as stream,
        ):
            yield stream

    async def get(self, path: str) -> dict[str, Any]:
        """Ask a question that costs it little, and read JSON.

        Raises:
            UpstreamDied, UpstreamTimeout: nobody answers.
            UpstreamRefused, MissingCredentials: it answers with an error.
        """
        return _object(await self._get(path))

    @asynccontextmanager
    async def events(self, path: str) -> AsyncGenerator[AsyncIterator[tuple[str, dict[str, Any]]]]:
        """Follow an event stream; yields names and data, until the service stops.

        Raises:
            UpstreamDied: nobody answers, or the stream broke off.
            UpstreamRefused, MissingCredentials: it answers with an error.
        """
        async with (
            self._request("GET", path) as response,
            aclosing(_events(response.content.iter_any())) as events,
        ):
            yield events

    async def change(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        """Send JSON and read JSON; takes as long as the service takes.

        Raises:
            UpstreamDied, UpstreamTimeout: nobody answers.
            UpstreamRefused, MissingCredentials: it answers with an error.
        """
        async with self._request(method, path, json=body) as response:
            return _object(await response.read())

    async def file(self, path: str) -> bytes:
        """What a path holds, as it is.

        Raises:
            UpstreamDied, UpstreamTimeout: nobody answers.
            UpstreamRefused, MissingCredentials: it answers with an error.
        """
        async with self._request("GET", path) as response:
            return await response.read()

    @asynccontextmanager
    async def lines(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Send JSON and read NDJSON; yields its lines.

        Raises:
            UpstreamDied: nobody answers, or the stream broke off.
            UpstreamRefused, MissingCredentials: it answers with an error.
        """
        headers = {"Accept": "application/x-ndjson"}
        async with (
            self._request("POST", path, json=body, headers=headers) as response,
            aclosing(_lines(response.content.iter_any())) as lines,
        ):
            yield lines

    async def send_lines(self, path: str, lines: bytes) -> dict[str, Any]:
        """Send NDJSON and read JSON.

        Raises:
            UpstreamDied, UpstreamTimeout: nobody answers.
            UpstreamRefused, MissingCredentials: it answers with an error.
        """
        headers = {"Content-Type": "application/x-ndjson"}
        async with self._request("POST", path, data=lines, headers=headers) as response:
            return _object(await response.read())

    async def _get(self, path: str) -> bytes:
        async with self._request("GET", path, timeout=aiohttp.ClientTimeout(total=QUICK_SECONDS)) as response:
            return await response.read()

    @asynccontextmanager
    async def _request(self, method: str, path: str, **options: Any) -> AsyncGenerator[aiohttp.ClientResponse]:
        assert self._session is not None, "the service is used outside its context"
        with self._translated():
            async with self._session.request(method, URL(self.url + path, encoded=True), **options) as response:
                if response.status >= 400:
                    raise refusal(response.status, await response.read())
                yield response

    @contextmanager
    def _translated(self) -> Generator[None]:
        """aiohttp's errors in our words."""
        try:
            yield
        except TimeoutError as error:
            raise UpstreamTimeout(f"{self.url} did not answer in time.") from error
        except aiohttp.InvalidURL as error:
            raise UpstreamRefused(f"{self.url!r} is no http or https URL.") from error
        except aiohttp.ClientConnectorError as error:
            raise UpstreamDied(f"No service answers at {self.url}.") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise UpstreamDied(f"The connection to {self.url} broke.") from error


async def payloads(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """What the frames of an event stream hold, up to `[DONE]`; comments are passed over.

    Raises:
        UpstreamDied: the stream ended without an end.
    """
    async for block in whole_pieces(chunks):
        for frame in block.split(b"\n\n"):
            data = data_of(frame)
            if data == b"[DONE]":
                return
            if data is not None:
                yield data
    raise UpstreamDied("The stream broke off before the answer's end.")


async def _events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[tuple[str, dict[str, Any]]]:
    """Names and data of an event stream; comments are passed over."""
    async for block in whole_pieces(chunks):
        for frame in block.split(b"\n\n"):
            fields = {name: rest for name, _, rest in (line.partition(b": ") for line in frame.split(b"\n"))}
            if b"event" in fields:
                yield fields[b"event"].decode(), _object(fields.get(b"data", b""))


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Whole lines, however they come."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line
    if rest:
        yield rest


def refusal(status: int, body: bytes) -> EnginehouseError:
    """An error status and its body in the service's own words."""
    message = error_message(body) or f"The service answered {status} without a message."
    if status == 401:
        return MissingCredentials(f"{message} Give your key with --key.")
    return UpstreamRefused(message, status=status)


def error_message(body: bytes) -> str:
    """The message in an error, in whichever of the usual shapes it has."""
    found = _object(body).get("error", body.decode("utf-8", "replace"))
    if isinstance(found, dict):
        found = found.get("message", found)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - JSON
    return str(found).strip()[:2000]  # pyright: ignore[reportUnknownArgumentType] - JSON


def _object(body: bytes) -> dict[str, Any]:
    """A JSON object, or an empty one when it is none."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}
