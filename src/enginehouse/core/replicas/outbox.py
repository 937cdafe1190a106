"""Makes of what happens at a replica what it tells the others."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import structs

from enginehouse.core.listing import Listed, Update
from enginehouse.core.replicas.merging import at_rest
from enginehouse.core.replicas.told import Beat, Changed, Line, Parted, Said
from enginehouse.core.traces.pulse import Ended, Measured, Queues
from enginehouse.core.traces.tally import Overall
from enginehouse.residency.manager import ResidentStatus
from enginehouse.telemetry.events import Entry

__all__ = ["WHOLE_EVERY", "Outbox"]

WHOLE_EVERY = 10
"""Beats after which one tells everything again, for replicas that have just come."""


class Outbox:
    """Remembers what was told, so that only news are told again.

    Args:
        replica: this one.
        host: where it runs.
        started: when, in seconds since 1970.
        models: how every model stands here.
        counted: what there was here since the start.
    """

    def __init__(
        self,
        replica: str,
        host: str,
        started: float,
        models: Callable[[], Iterable[ResidentStatus]],
        counted: Callable[[], Overall],
    ) -> None:
        self._replica, self._host, self._started = replica, host, started
        self._models, self._counted = models, counted
        self._number = self._beats = 0
        self._ended: Ended | None = None
        self._lines: Mapping[str, Line] = {}
        """As they were last seen here."""
        self._told: Mapping[str, Line] = {}
        self._told_models: Mapping[str, ResidentStatus] = {}
        self._told_counts = Overall()

    def tell_whole(self) -> None:
        """The next beat tells everything."""
        self._beats = 0

    def said(self, entries: Sequence[Entry[Update | Ended | Queues | Measured]]) -> list[Said]:
        """What there is to tell of this."""
        return [said for entry in entries if (said := self._of(entry.event)) is not None]

    def parted(self) -> Parted:
        """That it stops."""
        return Parted(replica=self._replica, number=self._next())

    def _of(self, event: Update | Ended | Queues | Measured) -> Said | None:
        match event:
            case Ended():
                self._ended = event
            case Queues(lines):
                self._lines = lines
            case Measured():
                return self._beat(event)
            case Listed(change=change, status=status):
                return Changed(replica=self._replica, number=self._next(), status=status, change=change)
            case ResidentStatus():
                return Changed(replica=self._replica, number=self._next(), status=event)
        return None

    def _beat(self, measured: Measured) -> Beat:
        whole = self._beats % WHOLE_EVERY == 0
        self._beats += 1
        if whole:
            self._told_counts = Overall()
        told: Mapping[str, Line] = {} if whole else self._told
        lines = {model: line for model, line in self._lines.items() if told.get(model) != line}
        models = {one.model: one for one in self._models() if not at_rest(one)}
        standing = {name: structs.replace(one, idle_seconds=None) for name, one in models.items()}
        same, self._told_models = standing == self._told_models and not whole, standing
        ended, self._ended, self._told = self._ended, None, self._lines
        figures, counted = measured.figures, self._counted()
        news, self._told_counts = counted.since(self._told_counts), counted
        return Beat(
            replica=self._replica,
            number=self._next(),
            host=self._host,
            started=self._started,
            figures=figures,
            window=measured.window,
            cost=figures["totals"]["cost"],
            cost_today=figures["cost_today"],
            lines=lines,
            models=None if same else models,
            ended=ended,
            counted=news,
        )

    def _next(self) -> int:
        self._number += 1
        return self._number
