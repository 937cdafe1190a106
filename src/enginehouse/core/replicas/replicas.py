"""This replica among others: it tells what happens here, hears what happens anywhere, and tells it on in one order.

What is told goes by the chronicle and comes back from it, so that all replicas tell the same on in the same order.
While the chronicle is away each tells on its own alone, says so, and finds the others again by itself.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import structlog
from msgspec import MsgspecError

from enginehouse.core.listing import Listed, Update
from enginehouse.core.replicas.outbox import Outbox
from enginehouse.core.replicas.roster import Anew, Heard, Roster
from enginehouse.core.replicas.told import Said, decode, encode
from enginehouse.core.traces.pulse import Ended, Figures, Measured, Queues
from enginehouse.core.traces.tally import Overall
from enginehouse.errors import NotFound, StoreUnavailable
from enginehouse.residency.manager import ResidentStatus
from enginehouse.stores.kv import Chronicle
from enginehouse.stores.kv import Line as Written
from enginehouse.telemetry.events import EventStream, MarkedStream

__all__ = ["Replicas"]

log = structlog.get_logger()

_PAUSE = 0.5
"""Seconds between two looks whether the chronicle is there again."""
_HISTORY = 300
_KEPT = 1000
"""Events: minutes of a few replicas. The same number of what was written and has not come back."""
_FAREWELL = 1.0


class Replicas:
    """All of them, as one service.

    Args:
        id_: this one's.
        host: where it runs.
        source: what happens here, with the figures of every second.
        models: how every model stands here.
        counted: what there was here since the start.
        chronicle: what all tell.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        id_: str,
        host: str,
        source: EventStream[Update | Ended | Queues | Measured],
        models: Callable[[], Iterable[ResidentStatus]],
        counted: Callable[[], Overall],
        chronicle: Chronicle,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.id = id_
        self.events: MarkedStream[Heard] = MarkedStream(kept=_KEPT)
        """Everything that happens in the service."""
        self.changes: MarkedStream[Heard] = MarkedStream(kept=_KEPT)
        """What happens to models, and `Anew`."""
        self.history: deque[Figures] = deque(maxlen=_HISTORY)
        """The figures of all for the last five minutes, the newest last."""
        self.roster = Roster(id_)
        self._source, self._chronicle = source, chronicle
        self._outbox = Outbox(id_, host, clock(), models, counted)
        self._unheard: deque[Said] = deque(maxlen=_KEPT)
        """What was written and has not come back yet."""
        self._told_alone = 0
        """Number of the newest of ours that was told on here without the chronicle."""
        self._now = 0
        """Milliseconds, by the newest line of the chronicle."""

    @property
    def scope(self) -> str:
        """Whose events are told: `shared` for all replicas', `alone` for this one's while the chronicle is away."""
        return "alone" if self.roster.alone else "shared"

    async def ask(self) -> None:
        """Whether the others are heard.

        Raises:
            StoreUnavailable: they are not.
        """
        if self.roster.alone:
            raise StoreUnavailable("Status and events are those of this replica alone.")

    def check(self, replica: str) -> str:
        """The id of a replica by what a caller calls it: its id, or `self` for the one that answers.

        Raises:
            NotFound: there is none.
        """
        if replica in ("self", self.id):
            return self.id
        if replica not in self.roster.living:
            raise NotFound(f"There is no replica {replica!r}; there are {', '.join(self.roster.living)}.")
        return replica

    def figures(self, only: str | None = None) -> Figures | None:
        """The newest of one replica, or of all with those of each; None before the first."""
        if only:
            return self.roster.figures(only)
        each = {id_: self.roster.figures(id_) for id_ in self.roster.living}
        return {**self.history[-1], "replica": self.id, "replicas": each} if self.history else None

    def overall(self, only: str | None = None) -> dict[str, Any] | None:
        """The same, and what there was since the start."""
        figures = self.figures(only)
        return None if figures is None else {**figures, **self.roster.counted(only).told()}

    # Telling -------------------------------------------------------------------------------------------

    async def tell(self) -> None:
        """Write down what happens here, for ever."""
        with self._source.subscribe() as subscription:
            while True:
                await self._write(self._outbox.said(await subscription.news()))

    async def part(self) -> None:
        """The others need not wait until this one has been silent for a while."""
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                await self._chronicle.append([encode(self._outbox.parted())])

    async def _write(self, said: Sequence[Said]) -> None:
        if not said:
            return
        self._unheard.extend(said)
        if self.roster.alone:
            self._tell_alone()
            return
        try:
            await self._chronicle.append([encode(one) for one in said])
        except StoreUnavailable:
            self._go_alone()

    # Hearing -------------------------------------------------------------------------------------------

    async def hear(self) -> None:
        """Read what all tell, for ever."""
        reached: tuple[int, int] | None = None
        while True:
            try:
                lines = _after(reached, await self._chronicle.read(None if self.roster.alone else reached))
            except StoreUnavailable:
                self._go_alone()
                await asyncio.sleep(_PAUSE)
                continue
            reached = lines[-1].mark if lines else reached or (0, 0)
            self._read(lines)

    def _read(self, lines: Sequence[Written]) -> None:
        was_alone, self.roster.alone = self.roster.alone, False
        for line in lines:
            with suppress(MsgspecError):  # of another version
                self._hear(decode(line.text), line.mark)
        if was_alone:
            self._outbox.tell_whole()
            self._tell_on([Heard(Anew(), self.id)], None)
            log.info("replicas_heard", replicas=self.roster.living)

    def _hear(self, said: Said, mark: tuple[int, int]) -> None:
        mine = said.replica == self.id
        while mine and self._unheard and self._unheard[0].number <= said.number:
            self._unheard.popleft()
        known = mine and said.number <= self._told_alone
        self._now = mark[0]
        heard = self.roster.take(said, self._now)
        self._tell_on(() if known else heard, mark)

    def _go_alone(self) -> None:
        if self.roster.alone:
            return
        self.roster.alone = True
        self.roster.forget_shared()
        log.warning("replicas_unheard", replica=self.id)
        self._tell_on([Heard(Anew(), self.id)], None)
        self._tell_alone()

    def _tell_alone(self) -> None:
        while self._unheard:
            said = self._unheard.popleft()
            self._told_alone = said.number
            self._tell_on(self.roster.take(said, self._now), None)

    def _tell_on(self, heard: Sequence[Heard], mark: tuple[int, int] | None) -> None:
        self.history.extend(one.event.figures for one in heard if isinstance(one.event, Measured))
        changes = [one for one in heard if isinstance(one.event, ResidentStatus | Listed | Anew)]
        for stream, events in ((self.events, heard), (self.changes, changes)):
            if mark is not None:
                stream.publish_group(events, mark)
            else:
                for event in events:
                    stream.publish(event)


def _after(reached: tuple[int, int] | None, lines: Sequence[Written]) -> Sequence[Written]:
    """Those that are new, of a chronicle that may have been lost and begun anew meanwhile."""
    if reached is None or not lines or lines[-1].mark < reached:
        return lines
    return [line for line in lines if line.mark > reached]
