"""Texts of many callers in the batches of one model: what comes while a batch runs is in the next one.

Nobody waits for company longer than `PATIENCE`; and since who asks much has its later pieces put behind the first
ones of everybody else, a thousand texts of one caller do not keep the one of another waiting.
"""

import asyncio
import bisect
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from msgspec import Struct

from enginehouse.engines.onnx.batches import BATCH_TOKENS, fits
from enginehouse.engines.onnx.workers import Workers

__all__ = ["PATIENCE", "Gathering", "Row", "Run"]

PATIENCE = 0.002
"""Seconds that a piece may wait for those who are about to come; when nobody is, it runs at once."""

Row: TypeAlias = Sequence[float]
Run: TypeAlias = Callable[[Sequence[Sequence[int]]], Sequence[Row]]
"""Token ids of several pieces to one row a piece; runs in a worker thread."""


class _Piece(Struct, eq=False):
    """Token ids that wait, and whose they are."""

    turn: int
    """How many tokens its caller has before it: the lower, the sooner."""
    ids: Sequence[int]
    row: "asyncio.Future[Row]"


class Gathering:
    """The waiting room of one model; lives on one event loop.

    Args:
        run: one batch, in a worker thread.
        workers: the threads.
        at_once: batches that run at the same time.
        tokens: most tokens of a batch, padding included.
        width: tokens that every piece costs at least, where the model reads no shorter ones.
    """

    def __init__(
        self, run: Run, workers: Workers, *, at_once: int = 1, tokens: int = BATCH_TOKENS, width: int = 0
    ) -> None:
        self._run = run
        self._workers = workers
        self._at_once = at_once
        self._tokens = tokens
        self._width = width
        self._waiting: list[_Piece] = []
        self._running = 0
        self._expected = 0
        self._turn = 0
        self._timer: asyncio.TimerHandle | None = None
        self.batches = 0
        """Batches that ran so far."""

    async def rows(self, pieces: Sequence[Sequence[int]]) -> list[Row]:
        """One row a piece, in order; who is cancelled takes what still waits along.

        Raises:
            EngineError: the model could not be run.
        """
        loop = asyncio.get_running_loop()
        mine: list[_Piece] = []
        turn = self._turn
        for ids in pieces:
            turn += self._cost(ids)
            mine.append(_Piece(turn, ids, loop.create_future()))
            bisect.insort(self._waiting, mine[-1], key=lambda piece: piece.turn)
        try:
            self._consider()
            return [await piece.row for piece in mine]
        finally:
            self._withdraw(mine)

    @contextmanager
    def expecting(self) -> Generator[None]:
        """While this is open somebody is about to ask, and those who are ready wait a moment for it."""
        self._expected += 1
        try:
            yield
        finally:
            self._expected -= 1

    def _consider(self) -> None:
        """Run now, or in a moment when others are about to come."""
        if not self._expected or self._is_full():
            self._start()
        elif self._timer is None and self._running < self._at_once:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._start)

    def _is_full(self) -> bool:
        """Whether those who wait fill a batch."""
        return sum(self._cost(piece.ids) for piece in self._waiting[: self._tokens]) >= self._tokens

    def _cost(self, ids: Sequence[int]) -> int:
        return max(len(ids), self._width)

    def _withdraw(self, pieces: Sequence[_Piece]) -> None:
        left = [piece for piece in pieces if not piece.row.done()]
        for piece in left:
            piece.row.cancel()
        for piece in pieces:
            if piece.row.done() and not piece.row.cancelled():
                piece.row.exception()  # heard, also where an earlier piece has told it already
        if left:
            self._waiting = [piece for piece in self._waiting if not piece.row.cancelled()]

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self._running < self._at_once:
            batch = self._take()
            self._running += 1
            self.batches += 1
            done = self._workers.submit(self._run, [piece.ids for piece in batch])
            done.add_done_callback(lambda future, batch=batch: self._ended(batch, future))

    def _take(self) -> list[_Piece]:
        """Who is first, and those near in length who come soonest after."""
        first = self._waiting[0]
        self._turn = first.turn
        shortest = longest = self._cost(first.ids)
        batch: list[_Piece] = []
        left: list[_Piece] = []
        for piece in self._waiting:
            cost = self._cost(piece.ids)
            low, high = min(shortest, cost), max(longest, cost)
            if not batch or fits(low, high, len(batch) + 1, self._tokens):
                batch.append(piece)
                shortest, longest = low, high
            else:
                left.append(piece)
        self._waiting = left
        return batch

    def _ended(self, batch: Sequence[_Piece], done: "asyncio.Future[Sequence[Row]]") -> None:
        self._running -= 1
        for number, piece in enumerate(batch):
            if piece.row.done():
                continue
            if done.cancelled():
                piece.row.cancel()
            elif (error := done.exception()) is not None:
                piece.row.set_exception(error)
            else:
                piece.row.set_result(done.result()[number])
        self._consider()
