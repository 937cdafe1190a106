"""The service as a Python program calls it: conversations, whole or as they come."""

from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import msgspec

from enginehouse.client.socket import Chat
from enginehouse.client.words import Message, Reply, ServiceError, Session

__all__ = ["AsyncClient"]

_CHAT = "/api/v1/inference/chat"
_SESSIONS = "/api/v1/sessions"


class AsyncClient:
    """Calls one service; use as a context.

    Args:
        url: `http://…` or `https://…`.
        key: an API key or a JWT.
        timeout: seconds a whole answer may take.
    """

    def __init__(self, url: str, key: str | None = None, *, timeout: float = 600.0) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._timeout = aiohttp.ClientTimeout(total=timeout)

    async def __aenter__(self) -> Self:
        """Nothing is sent yet."""
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._http = aiohttp.ClientSession(headers=headers, timeout=self._timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let the connections go."""
        await self._http.close()

    async def chat(
        self,
        session_id: str,
        prompt: str,
        *,
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
    ) -> Reply:
        """Ask in a session, and wait for the whole answer; a new id begins a session.

        Raises:
            ServiceError: the service refuses, or the answer ends badly.
        """
        body = _given(
            session_id=session_id, prompt=prompt, model=model, max_tokens=max_tokens, temperature=temperature
        )
        return msgspec.convert(await self._call("POST", _CHAT, body), Reply)

    def open_chat(self, *, retries: int = 5) -> Chat:
        """A WebSocket for answers token by token, several at a time; use as a context."""
        return Chat(self._url, self._key, retries=retries)

    async def create_session(
        self,
        session_id: str | None = None,
        *,
        title: str | None = None,
        model: str | None = None,
        system: str | None = None,
    ) -> Session:
        """Begin a conversation before anything is said in it; the service chooses its id when none is given.

        Raises:
            ServiceError: there is one of this id, or no such model.
        """
        body = _given(id=session_id, title=title, model=model, system=system)
        return msgspec.convert(await self._call("POST", _SESSIONS, body), Session)

    async def sessions(self) -> AsyncIterator[Session]:
        """The caller's conversations, the last changed first."""
        async for session in self._pages(_SESSIONS):
            yield msgspec.convert(session, Session)

    async def session(self, session_id: str) -> Session:
        """One conversation.

        Raises:
            ServiceError: this caller has none of that id.
        """
        return msgspec.convert(await self._call("GET", _path(session_id)), Session)

    async def messages(self, session_id: str) -> AsyncIterator[Message]:
        """What was said, the first message first.

        Raises:
            ServiceError: this caller has no session of that id.
        """
        async for message in self._pages(f"{_path(session_id)}/messages"):
            yield msgspec.convert(message, Message)

    async def rename(self, session_id: str, title: str) -> Session:
        """Give a conversation another title.

        Raises:
            ServiceError: this caller has none of that id.
        """
        return msgspec.convert(await self._call("PATCH", _path(session_id), {"title": title}), Session)

    async def delete(self, session_id: str) -> None:
        """Delete a conversation for good, with all that was said in it.

        Raises:
            ServiceError: this caller has none of that id.
        """
        await self._call("DELETE", _path(session_id))

    async def _pages(self, path: str) -> AsyncIterator[Any]:
        query: dict[str, str] = {}
        while True:
            page = await self._call("GET", path, query=query)
            for entry in page["data"]:
                yield entry
            if page["next_cursor"] is None:
                return
            query = {"cursor": page["next_cursor"]}

    async def _call(
        self, method: str, path: str, body: Any = None, *, query: Mapping[str, str] = MappingProxyType({})
    ) -> Any:
        sent = None if body is None else msgspec.json.encode(body)
        head = {} if sent is None else {"Content-Type": "application/json"}
        url = self._url + path
        try:
            async with self._http.request(method, url, data=sent, params=query, headers=head) as answer:
                told = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServiceError("unreachable", f"The service does not answer: {error}") from None
        if answer.status >= 400:
            raise _refusal(answer, told)
        return msgspec.json.decode(told) if told else None


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _path(session_id: str) -> str:
    return f"{_SESSIONS}/{quote(session_id, safe='')}"


def _refusal(answer: aiohttp.ClientResponse, told: bytes) -> ServiceError:
    try:
        error = msgspec.json.decode(told)["error"]
        code, message = error["code"], error["message"]
    except (msgspec.DecodeError, KeyError, TypeError):
        code, message = "upstream_error", told[:200].decode(errors="replace")
    after = answer.headers.get("Retry-After", "")
    return ServiceError(code, message, status=answer.status, retry_after=float(after) if after.isdigit() else None)
