"""The service as a Python program calls it: conversations, whole or as they come."""

from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any, Self, Unpack
from urllib.parse import quote

import aiohttp
import msgspec

from enginehouse.client.socket import Chat
from enginehouse.client.words import Changes, Message, Options, Reply, ServiceError, Session, question_of

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

    async def chat(self, session_id: str, prompt: str | None = None, **options: Unpack[Options]) -> Reply:
        """Ask in a session, and wait for the whole answer; a new id begins a session.

        Args:
            prompt: what is said; nothing where `parent` is to be answered anew.
            options: as `Options` tells.

        Raises:
            ServiceError: the service refuses, or the answer ends badly.
        """
        return msgspec.convert(await self._call("POST", _CHAT, question_of(session_id, prompt, options)), Reply)

    def open_chat(self, *, retries: int = 5) -> Chat:
        """A WebSocket for answers token by token, several at a time; use as a context."""
        return Chat(self._url, self._key, retries=retries)

    async def create_session(self, session_id: str | None = None, **given: Unpack[Changes]) -> Session:
        """Begin a conversation before anything is said in it; the service chooses its id when none is given.

        Raises:
            ServiceError: there is one of this id, or no such model.
        """
        named = {} if session_id is None else {"id": session_id}
        return msgspec.convert(await self._call("POST", _SESSIONS, {**named, **given}), Session)

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

    async def messages(self, session_id: str, branch: str | None = None) -> AsyncIterator[Message]:
        """What was said on one branch, the first message first.

        Args:
            branch: the message with which it ends, or `all` for every branch; the one that is gone on with when it
                is None.

        Raises:
            ServiceError: this caller has no session of that id, or it no such message.
        """
        chosen = {} if branch is None else {"branch": branch}
        async for message in self._pages(f"{_path(session_id)}/messages", chosen):
            yield msgspec.convert(message, Message)

    async def change(self, session_id: str, **changes: Unpack[Changes]) -> Session:
        """Give a conversation another title, model or system prompt, or go on with another branch of it.

        Raises:
            ServiceError: this caller has none of that id.
        """
        return msgspec.convert(await self._call("PATCH", _path(session_id), changes), Session)

    async def delete(self, session_id: str) -> None:
        """Delete a conversation for good, with all that was said in it.

        Raises:
            ServiceError: this caller has none of that id.
        """
        await self._call("DELETE", _path(session_id))

    async def _pages(self, path: str, query: Mapping[str, str] = MappingProxyType({})) -> AsyncIterator[Any]:
        cursor: dict[str, str] = {}
        while True:
            page = await self._call("GET", path, query={**query, **cursor})
            for entry in page["data"]:
                yield entry
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}

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
