"""The child process that is the embedded index, raised when it is needed and again when it died.

A request that was under way when the child died is answered with StoreUnavailable. Whether it was carried out is
then not known; upserts and deletes may be repeated, so repeating it is right.
"""

import asyncio
import os
import struct
import sys
from pathlib import Path
from typing import Self

import msgspec
import structlog

from enginehouse.errors import ShuttingDown, StoreUnavailable
from enginehouse.stores.vectors.edge import messages as m
from enginehouse.stores.vectors.edge.tuning import Tuning

__all__ = ["IndexProcess"]

log = structlog.get_logger()

_LENGTH = struct.Struct("<I")
_GRACE = 20.0
"""Seconds the child may take to write everything down before it is killed."""
_LOCKED = 75


class IndexProcess:
    """Owns the child; use as a context. The child is raised by the first question.

    Args:
        folder: where the collections are; one service at a time.
        tuning: how they work.
        patience: seconds to wait for the folder; the process before this one may still be at its last request.
    """

    def __init__(self, folder: Path, tuning: Tuning | None = None, *, patience: float = 10.0) -> None:
        self._folder, self._tuning, self._patience = folder, tuning or Tuning(), patience
        self._child: _Child | None = None
        self._raising = asyncio.Lock()
        self._tasks = asyncio.TaskGroup()
        self._closing = False

    async def __aenter__(self) -> Self:
        """Open for business."""
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let the child write everything down and end."""
        self._closing = True
        if self._child is not None:
            await self._child.end(_GRACE)
        await self._tasks.__aexit__(None, None, None)

    @property
    def pid(self) -> int | None:
        """The child, while there is one."""
        return self._child.pid if self._child is not None and self._child.alive else None

    async def ask(self, question: m.Question) -> bytes:
        """Put a question to the child; its answer, still packed.

        Raises:
            StoreUnavailable: it died over it, or cannot be raised.
            EnginehouseError: what it answered.
        """
        child = await self._living()
        return await child.ask(question)

    async def _living(self) -> "_Child":
        if self._closing:
            raise ShuttingDown("The service is shutting down.", retry_after=5)
        async with self._raising:  # nothing is decided across this wait but who starts the child
            if self._child is None or not self._child.alive:
                if self._child is not None:
                    log.error("vector_index_died", code=self._child.code)
                self._child = await _raised(self._folder, self._tuning, self._patience)
                self._tasks.create_task(self._child.listen(), name="vector index")
            return self._child


class _Child:
    """One life of the child process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._asked: dict[int, asyncio.Future[bytes]] = {}
        self._number = 0
        self.alive = True

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        return self._process.returncode

    async def ask(self, question: m.Question) -> bytes:
        """The answer's value, still packed."""
        assert self._process.stdin is not None
        if not self.alive:
            raise _died(self.code)
        self._number += 1
        number = self._number
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            self._process.stdin.write(m.frame(m.Ask(number, question)))
            await self._process.stdin.drain()
            return await answer
        except ConnectionError:
            raise _died(self.code) from None
        finally:
            self._asked.pop(number, None)

    async def listen(self) -> None:
        """Hand answers to those who wait for them, until the child ends."""
        assert self._process.stdout is not None
        read = self._process.stdout.readexactly
        try:
            while True:
                (length,) = _LENGTH.unpack(await read(_LENGTH.size))
                self._settle(m.decode_answer(await read(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.alive = False
            await self._process.wait()
            self._desert()

    async def end(self, grace: float) -> None:
        """Close its standard input; when it has written everything down it ends."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(grace):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _settle(self, answer: m.Answer) -> None:
        waiting = self._asked.get(answer.number)
        if waiting is None or waiting.done():
            return
        if answer.problem is None:
            waiting.set_result(bytes(answer.value))
        else:
            waiting.set_exception(answer.problem.error())

    def _desert(self) -> None:
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(_died(self.code))


async def _raised(folder: Path, tuning: Tuning, patience: float) -> _Child:
    settings = msgspec.json.encode(tuning).decode()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "enginehouse.stores.vectors.edge.worker",
        str(folder),
        settings,
        str(patience),
        str(os.getpid()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the service, which then lets the child end in order
    )
    return _Child(process)


def _died(code: int | None) -> StoreUnavailable:
    if code == _LOCKED:
        return StoreUnavailable("Another service uses the folder of the collections.", retry_after=5)
    return StoreUnavailable("The vector index ended while it was asked; ask again.", retry_after=1)
