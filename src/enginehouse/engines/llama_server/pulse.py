"""How long an engine has owed an answer without writing a byte: what tells a wedged one from one that works."""

from collections.abc import AsyncIterator, Callable, Mapping

from enginehouse.engines.base import Reply

__all__ = ["Heard", "Pulse"]


class Pulse:
    """Counts the seconds in which somebody waited for the engine and it wrote to nobody.

    `with pulse:` stands around each wait. A wait that ends well is a byte, to whomever, and starts the count anew.
    One that ends badly takes nothing back: what was waited for in vain still counts, so that callers who give up
    cannot keep a dead engine alive.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting = 0
        self._since = 0.0
        self._owed = 0.0

    @property
    def silence(self) -> float:
        """Seconds so far."""
        return self._owed + (self._clock() - self._since if self._waiting else 0.0)

    def __enter__(self) -> None:
        if not self._waiting:
            self._since = self._clock()
        self._waiting += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or kind is StopAsyncIteration:
            self._since = self._clock()
            self._owed = 0.0
        elif self._waiting == 1:
            self._owed = self.silence
        self._waiting -= 1


class Heard:
    """A reply whose stream is listened to; satisfies `Reply`.

    Only our own waits count: while a slow caller reads what it was given, the engine owes nothing.
    """

    def __init__(self, reply: Reply, pulse: Pulse) -> None:
        self.status = reply.status
        self.headers: Mapping[str, str] = reply.headers
        self.prompt_tokens = reply.prompt_tokens
        self._reply = reply
        self._pulse = pulse

    async def frames(self) -> AsyncIterator[bytes]:
        """Its chunks, as they arrive."""
        chunks = self._reply.frames()
        while True:
            try:
                with self._pulse:
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            yield chunk

    async def read(self) -> bytes:
        """The whole body."""
        with self._pulse:
            return await self._reply.read()
