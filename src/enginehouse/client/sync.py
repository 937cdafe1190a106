"""The same client for programs without an event loop: one runs in a thread of its own and does the work."""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Self, TypeVar

from enginehouse.client.client import AsyncClient
from enginehouse.client.socket import Answer, Chat
from enginehouse.client.words import End, Message, Reply, Session

__all__ = ["Client", "SyncAnswer", "SyncChat"]

T = TypeVar("T")


class _Loop:
    """An event loop in a thread, where sockets are attended to while nobody waits."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="enginehouse client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stop(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class SyncAnswer:
    """One answer: iterate over it for its tokens, and ask for its `end`."""

    def __init__(self, answer: Answer, loop: _Loop) -> None:
        self.answer = answer
        """Its facts as they are now: `position`, `text`, `index`, `model` and more."""
        self._loop = loop

    def stop(self) -> End:
        """Have no more of it generated; what came is kept.

        Raises:
            ServiceError: it ended badly.
        """
        return self._loop.run(self.answer.stop())

    def end(self) -> End:
        """What it tells of itself, once it has ended.

        Raises:
            ServiceError: it ended badly.
        """
        return self._loop.run(self.answer.end())

    def __iter__(self) -> Iterator[str]:
        while (token := self._loop.run(anext(self.answer, None))) is not None:
            yield token


class SyncChat:
    """A WebSocket with any number of answers; use as a context."""

    def __init__(self, chat: Chat, loop: _Loop) -> None:
        self._chat = chat
        self._loop = loop

    def __enter__(self) -> Self:
        """Open the socket."""
        self._loop.run(self._chat.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._loop.run(self._chat.__aexit__())

    def ask(
        self,
        session_id: str,
        prompt: str,
        *,
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        request_id: str | None = None,
    ) -> SyncAnswer:
        """Ask in a session; a new id begins one."""
        asked = self._chat.ask(
            session_id,
            prompt,
            model=model,
            max_tokens=max_tokens,
            temperature=temperature,
            request_id=request_id,
        )
        return SyncAnswer(self._loop.run(asked), self._loop)

    def attach(self, request_id: str, index: int = 0) -> SyncAnswer:
        """Read an answer that another socket of the same caller began, from a token on."""
        return SyncAnswer(self._loop.run(self._chat.attach(request_id, index)), self._loop)


class Client:
    """Calls one service; use as a context.

    Args:
        url: `http://…` or `https://…`.
        key: an API key or a JWT.
        timeout: seconds a whole answer may take.
    """

    def __init__(self, url: str, key: str | None = None, *, timeout: float = 600.0) -> None:
        self._client = AsyncClient(url, key, timeout=timeout)

    def __enter__(self) -> Self:
        """Nothing is sent yet."""
        self._loop = _Loop()
        self._loop.run(self._client.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        """Let the connections go."""
        self._loop.run(self._client.__aexit__())
        self._loop.stop()

    def chat(
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
        asked = self._client.chat(session_id, prompt, model=model, max_tokens=max_tokens, temperature=temperature)
        return self._loop.run(asked)

    def create_session(
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
        made = self._client.create_session(session_id, title=title, model=model, system=system)
        return self._loop.run(made)

    def sessions(self) -> list[Session]:
        """The caller's conversations, the last changed first."""
        return self._loop.run(_all(self._client.sessions()))

    def session(self, session_id: str) -> Session:
        """One conversation.

        Raises:
            ServiceError: this caller has none of that id.
        """
        return self._loop.run(self._client.session(session_id))

    def messages(self, session_id: str) -> list[Message]:
        """What was said, the first message first.

        Raises:
            ServiceError: this caller has no session of that id.
        """
        return self._loop.run(_all(self._client.messages(session_id)))

    def rename(self, session_id: str, title: str) -> Session:
        """Give a conversation another title.

        Raises:
            ServiceError: this caller has none of that id.
        """
        return self._loop.run(self._client.rename(session_id, title))

    def delete(self, session_id: str) -> None:
        """Delete a conversation for good, with all that was said in it.

        Raises:
            ServiceError: this caller has none of that id.
        """
        self._loop.run(self._client.delete(session_id))

    def open_chat(self, *, retries: int = 5) -> SyncChat:
        """A WebSocket for answers token by token, several at a time; use as a context."""
        return SyncChat(self._client.open_chat(retries=retries), self._loop)


async def _all(entries: AsyncIterator[T]) -> list[T]:
    return [entry async for entry in entries]
