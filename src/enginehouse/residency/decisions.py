"""Why things are as they are: a bounded ring of decisions about what is in memory, each with its reason."""

from collections.abc import Sequence

import structlog
from msgspec import Struct

from enginehouse.telemetry.events import Entry, EventStream

__all__ = ["Decision", "Decisions"]

log = structlog.get_logger()


class Decision(Struct, frozen=True, kw_only=True):
    """One decision about one deployment."""

    id: str
    """Whom it is about."""
    what: str
    """`loads`, `starved`, `ready`, `waits`, `evicted`, `leaves`, `failed`, `grows` or `stays_small`."""
    why: str
    other: str | None = None
    """Who else was part of it: for whom it was evicted."""


class Decisions:
    """The newest decisions; each is logged too. Belongs to the event loop.

    Args:
        kept: how many.
    """

    def __init__(self, kept: int = 1000) -> None:
        self._ring: EventStream[Decision] = EventStream(kept=kept)

    def note(self, deployment_id: str, what: str, why: str, *, other: str | None = None) -> None:
        """Something was decided."""
        self._ring.publish(Decision(id=deployment_id, what=what, why=why, other=other))
        log.info("decision", model=deployment_id, what=what, why=why, other=other)

    def about(self, *deployment_ids: str) -> Sequence[Entry[Decision]]:
        """What is remembered of some deployments, as those concerned or as the others, oldest first."""
        return [e for e in self._ring.recent() if e.event.id in deployment_ids or e.event.other in deployment_ids]
