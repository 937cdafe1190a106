"""One engine process: its birth in a group of its own, its output, its death."""

import asyncio
import os
import signal
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import cast

from enginehouse.errors import ModelLoadFailed, OutOfMemory
from enginehouse.residency.base import Watcher

__all__ = ["EngineProcess", "engine_process"]

_KEPT_LINES = 60
_TOLD_LINES = 8
_LAST_WORDS = 0.5
"""Seconds after its end in which a process's output must have been read; somebody else may hold the pipe open."""


_STARVED = ("out of memory", "failed to allocate", "unable to allocate", "insufficient memory", "bad_alloc")


class EngineProcess(asyncio.SubprocessProtocol):
    """A child that is watched by callbacks alone, so that no task has to be owned for it."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._transport: asyncio.SubprocessTransport | None = None
        self._partial = {1: b"", 2: b""}
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._serving = self._stopping = False
        self.announcement: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """The first line on standard output, or ModelLoadFailed when the process ends without one."""
        self._exited = asyncio.Event()

    @property
    def pid(self) -> int:
        """The process, which is also its group."""
        assert self._transport is not None
        return self._transport.get_pid()

    @property
    def exited(self) -> bool:
        """Whether it is gone."""
        return self._exited.is_set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process runs."""
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """It wrote something."""
        *lines, self._partial[fd] = (self._partial[fd] + data).split(b"\n")
        texts = [line.decode("utf-8", "replace").rstrip("\r") for line in lines]
        if fd == 1 and texts and not self.announcement.done():
            self.announcement.set_result(texts[0])
        self._lines.extend(texts)
        self._watcher.printed(texts)
        self._watcher.progressed("output")

    def process_exited(self) -> None:
        """It is gone; what it left behind in its group goes too. Its last words may still be on their way."""
        self._kill_group()
        assert self._transport is not None
        if (stdin := self._transport.get_pipe_transport(0)) is not None:
            stdin.close()
        asyncio.get_running_loop().call_later(_LAST_WORDS, self._finish)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone and everything it wrote has been read."""
        del exc
        self._finish()

    def _finish(self) -> None:
        if self.exited:
            return
        self._exited.set()
        if not self.announcement.done():
            self.announcement.set_exception(self.failure())
            self.announcement.exception()  # nobody may be waiting for it, and that is no error
        if self._serving:
            self._tell_the_end()

    def serve(self) -> None:
        """From now on its end is told; until now it was a failed load, which is raised to who loads."""
        self._serving = True
        if self.exited:
            self._tell_the_end()

    def _tell_the_end(self) -> None:
        if not self._stopping:
            self._watcher.ended(self.failure().message)

    def say(self, line: str) -> None:
        """Write one line to its standard input, which stays open as the sign that we live."""
        assert self._transport is not None
        stdin = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        stdin.write(line.encode() + b"\n")

    def failure(self) -> ModelLoadFailed:
        """Why it ended, in its own last words."""
        code = self._transport.get_returncode() if self._transport else None
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        told = f"The engine process {how}. Its last lines:\n{self.last_lines()}"
        # Nobody but the kernel kills an engine that we do not stop: it does so when memory runs out.
        killed = code == -signal.SIGKILL and not self._stopping
        starved = killed or any(_tells_of_memory(line) for line in self._lines)
        return OutOfMemory(told) if starved else ModelLoadFailed(told)

    def last_lines(self) -> str:
        """The end of its output; warnings and errors when there are any, since the rest is chatter."""
        rest = [part.decode("utf-8", "replace") for part in self._partial.values() if part]
        lines = [line for line in (*self._lines, *rest) if line.strip()]
        telling = [line for line in lines if _tells_of_trouble(line)]
        return "\n".join((telling or lines)[-_TOLD_LINES:])

    async def stop(self, grace: float) -> None:
        """SIGTERM, then after `grace` seconds SIGKILL for the whole group; returns when it is gone."""
        self._stopping = True
        try:
            if not self.exited:
                self._signal(signal.SIGTERM)
                with suppress(TimeoutError):
                    async with asyncio.timeout(grace):
                        await self._exited.wait()
        finally:
            self._kill_group()
        await self._exited.wait()
        if self._transport is not None:
            self._transport.close()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _kill_group(self) -> None:
        self._signal(signal.SIGKILL)


@asynccontextmanager
async def engine_process(
    argv: Sequence[str], watcher: Watcher, *, environ: Mapping[str, str], grace: float
) -> AsyncGenerator[EngineProcess]:
    """Start a process; leaving the context stops it."""
    try:
        _, process = await asyncio.get_running_loop().subprocess_exec(
            lambda: EngineProcess(watcher), *argv, env=dict(environ), start_new_session=True
        )
    except OSError as error:
        raise ModelLoadFailed(f"Cannot run {argv[0]}: {error.strerror}.") from error
    try:
        yield process
    finally:
        await process.stop(grace)


def _tells_of_memory(line: str) -> bool:
    """What llama.cpp, its backends and C++ itself say when an allocation fails."""
    return any(words in line.lower() for words in _STARVED)


def _tells_of_trouble(line: str) -> bool:
    """llama.cpp marks its lines with a level letter; other programs say it in words."""
    marked = " E " in line or " W " in line or "error" in line.lower() or "fail" in line.lower()
    return marked or _tells_of_memory(line)
