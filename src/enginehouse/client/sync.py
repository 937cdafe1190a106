"""The same client for programs without an event loop: one runs in a thread of its own and does the work.

Every method is the asynchronous one, waited for; what it takes, answers and raises is told there.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from enginehouse.client.client import AsyncClient
from enginehouse.client.socket import Answer, Chat

__all__ = ["Client", "SyncAnswer", "SyncChat"]

A = TypeVar("A")
P = ParamSpec("P")
T = TypeVar("T")


class _Loop:
    """An event loop in a thread, where sockets are attended to while nobody waits."""

    def start(self) -> None:
        """Begin the thread."""
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


class _Blocking(Generic[A]):
    """Something of an event loop, for who has none.

    Args:
        inner: what is waited for.
        loop: where it is done.
    """

    def __init__(self, inner: A, loop: _Loop) -> None:
        self.inner, self.loop = inner, loop


def _waiting(
    work: Callable[Concatenate[A, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[_Blocking[A], P], T]:
    @wraps(work)
    def wait(self: _Blocking[A], *args: P.args, **kwargs: P.kwargs) -> T:
        return self.loop.run(work(self.inner, *args, **kwargs))

    return wait


def _listed(work: Callable[Concatenate[A, P], AsyncIterator[T]]) -> Callable[Concatenate[_Blocking[A], P], list[T]]:
    @wraps(work)
    def wait(self: _Blocking[A], *args: P.args, **kwargs: P.kwargs) -> list[T]:
        return self.loop.run(_all(work(self.inner, *args, **kwargs)))

    return wait


async def _all(entries: AsyncIterator[T]) -> list[T]:
    return [entry async for entry in entries]


class SyncAnswer(_Blocking[Answer]):
    """One answer: iterate over it for its tokens, and ask for its `end`; `inner` has its facts as they are now."""

    stop = _waiting(Answer.stop)
    end = _waiting(Answer.end)

    def __iter__(self) -> Iterator[str]:
        while (token := self.loop.run(anext(self.inner, None))) is not None:
            yield token


def _answering(
    work: Callable[Concatenate[Chat, P], Coroutine[Any, Any, Answer]],
) -> Callable[Concatenate[_Blocking[Chat], P], SyncAnswer]:
    @wraps(work)
    def wait(self: _Blocking[Chat], *args: P.args, **kwargs: P.kwargs) -> SyncAnswer:
        return SyncAnswer(self.loop.run(work(self.inner, *args, **kwargs)), self.loop)

    return wait


class SyncChat(_Blocking[Chat]):
    """A WebSocket with any number of answers; use as a context."""

    ask = _answering(Chat.ask)
    attach = _answering(Chat.attach)

    def __enter__(self) -> Self:
        """Open the socket."""
        self.loop.run(self.inner.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.loop.run(self.inner.__aexit__())


class Client(_Blocking[AsyncClient]):
    """Calls one service; use as a context.

    Args:
        url: `http://…` or `https://…`.
        key: an API key or a JWT.
        timeout: seconds a whole answer may take.
    """

    def __init__(self, url: str, key: str | None = None, *, timeout: float = 600.0) -> None:
        super().__init__(AsyncClient(url, key, timeout=timeout), _Loop())

    chat = _waiting(AsyncClient.chat)
    create_session = _waiting(AsyncClient.create_session)
    sessions = _listed(AsyncClient.sessions)
    session = _waiting(AsyncClient.session)
    messages = _listed(AsyncClient.messages)
    change = _waiting(AsyncClient.change)
    delete = _waiting(AsyncClient.delete)

    def __enter__(self) -> Self:
        """Nothing is sent yet."""
        self.loop.start()
        self.loop.run(self.inner.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        """Let the connections go."""
        self.loop.run(self.inner.__aexit__())
        self.loop.stop()

    def open_chat(self, *, retries: int = 5) -> SyncChat:
        """A WebSocket for answers token by token, several at a time; use as a context."""
        return SyncChat(self.inner.open_chat(retries=retries), self.loop)
