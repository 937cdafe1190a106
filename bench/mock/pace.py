"""Writes an answer in time: piece by piece at constant distances, at the reader's pace when that is slower."""

import asyncio
from collections.abc import Callable, Iterator

from bench.mock.manner import Manner

__all__ = ["Paced"]


class Paced:
    """An answer under way: the pieces of `content` are written in time, then `last` is handed to `end`.

    A piece is taken from the iterator when it is written, not before, so that it may hold its own time.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        end: Callable[[bytes], None],
        content: Iterator[bytes],
        last: bytes,
        manner: Manner,
    ) -> None:
        self._write = write
        self._end = end
        self._content = content
        self._last = last
        self._interval = manner.interval_ms / 1000
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + manner.delay_ms / 1000
        self._paused = False
        self._next: asyncio.Handle | None = self._loop.call_at(self._due, self._step)

    def cancel(self) -> None:
        """Write nothing more."""
        if self._next is not None:
            self._next.cancel()

    def pause(self) -> None:
        """The reader is slower than we are: the next piece waits."""
        self._paused = True

    def resume(self) -> None:
        """The reader caught up: a piece that waited goes at once."""
        self._paused = False
        if self._next is None:
            self._next = self._loop.call_soon(self._step)

    def _step(self) -> None:
        if self._paused:
            self._next = None
            return
        piece = next(self._content, None)
        if piece is None:
            self._end(self._last)
        else:
            self._write(piece)
            self._schedule()

    def _schedule(self) -> None:
        if self._interval:
            self._due += self._interval
            self._next = self._loop.call_at(self._due, self._step)
        else:
            self._next = self._loop.call_soon(self._step)
