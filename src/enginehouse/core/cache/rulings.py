"""What shall not be served any more: purges, and answers that somebody called wrong.

A ruling counts at once, before anything is swept: it names what it is about and when it was made, and every entry
is held against it when it is found. Replicas hear of each other's within a second; wrong pairs are for ever.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, Protocol
from uuid import uuid4

import structlog
from msgspec import Struct

from enginehouse.core.cache.types import Entry
from enginehouse.errors import StoreError

__all__ = ["Ruling", "Rulings", "Source", "Tier"]

log = structlog.get_logger()

_LOOK = 0.3
"""Seconds between two looks at what others have ruled; with the look itself less than a second."""
_MOST_OF_ONE = 64
"""Purges of one user's entries that are told apart; beyond that one about all of them takes their place."""
_OVERLAP = 10.0
"""Seconds that a look goes back behind the one before: who wrote late, or by another clock, is heard too."""

Tier = Literal["exact", "semantic"]
_Whose = tuple[str, str] | None
"""Tenant and user whose entries a purge is about; None for all others."""


class Ruling(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A purge of all entries that are as it says, or a pair that never matches again."""

    id: str
    at: float
    """Seconds since 1970 when it was made."""
    asked: str = ""
    """Id of the question that was answered wrongly; with it, only `entry` is said besides."""
    entry: str = ""
    """Id of the entry."""
    tier: Tier | None = None
    """Of which cache; both when left out."""
    model: str = ""
    user: str = ""
    tenant: str | None = None
    """An empty one is that of those who have none."""
    tag: str = ""
    before: float = 0.0
    """Seconds since 1970: only what was asked by then."""

    def covers(self, entry: Entry, tier: Tier) -> bool:
        """Whether this purge is about such an entry."""
        return (
            entry.asked <= self.before
            and self.tier in (None, tier)
            and self.entry in ("", entry.id)
            and self.model in ("", entry.model)
            and self.user in ("", entry.writer)
            and self.tenant in (None, entry.tenant)
            and (not self.tag or self.tag in entry.tags)
        )


class Source(Protocol):
    """Where rulings are kept and read, by this replica and by others."""

    async def add(self, ruling: Ruling) -> None:
        """Keep one; twice the same is one.

        Raises:
            StoreError: it cannot be kept.
        """
        ...

    async def since(self, at: float) -> Sequence[Ruling]:
        """All that were kept after a time.

        Raises:
            StoreError: it cannot be told.
        """
        ...


class Rulings:
    """All that count.

    Args:
        kept: where they outlive this process; None keeps them here only.
        shared: where replicas hear each other; None when `kept` is where they do.
        longest: seconds an entry may be old, after which a purge is about nothing any more.
        clock: seconds since 1970.
        heard: told when a purge comes from elsewhere, so that what it is about can be swept.
    """

    def __init__(
        self,
        kept: Source | None = None,
        shared: Source | None = None,
        *,
        longest: float = 604_800.0,
        clock: Callable[[], float] = time.time,
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        self.longest = longest
        self._sources = [source for source in (kept, shared) if source is not None]
        self._clock = clock
        self._heard = heard
        self._known: dict[str, float] = {}
        self._purges: dict[_Whose, list[Ruling]] = {}
        self._wrong: dict[str, set[str]] = {}
        self._looked = 0.0
        self._away = False

    def dead(self, entry: Entry, tier: Tier) -> bool:
        """Whether a purge is about it."""
        if not self._purges:
            return False
        own = self._purges.get((entry.tenant, entry.writer), ())
        return any(purge.covers(entry, tier) for purge in (*self._purges.get(None, ()), *own))

    def wrong(self, asked: str) -> frozenset[str]:
        """Ids of entries that are no answer to this question."""
        return frozenset(self._wrong.get(asked, ()))

    def judged(self, asked: str, entry: str) -> bool:
        """Whether this entry is none."""
        found = self._wrong.get(asked)
        return found is not None and entry in found

    def disowned(self, entry: Entry) -> bool:
        """Whether this entry is none to its own question."""
        return bool(self._wrong) and self.judged(entry.id, entry.id)

    async def purge(self, *, older_than: float = 0.0, **which: str | None) -> Ruling:
        """No entry like this counts from now on.

        Args:
            older_than: only those that were asked so many seconds ago.
            which: fields of `Ruling`; what is left out does not matter.

        Raises:
            StoreError: it counts here, but may not be heard elsewhere.
        """
        now = self._clock()
        said = {name: value for name, value in which.items() if value is not None}
        return await self._rule(Ruling(id=uuid4().hex, at=now, before=now - older_than, **said))  # pyright: ignore[reportArgumentType]

    async def call_wrong(self, asked: str, entry: str) -> Ruling:
        """This entry is no answer to this question, now and for ever.

        Raises:
            StoreError: it counts here, but may not be heard elsewhere.
        """
        return await self._rule(Ruling(id=uuid4().hex, at=self._clock(), asked=asked, entry=entry))

    async def open(self) -> None:
        """Know what was ruled in earlier lives.

        Raises:
            StoreError: nobody can tell.
        """
        for source in self._sources:
            self._take(await source.since(0.0))
        self._looked = self._clock()

    async def run(self) -> None:
        """Hear what others rule; a store that is away is logged once."""
        while True:
            await asyncio.sleep(_LOOK)
            try:
                await self.look()
            except StoreError as error:
                if not self._away:
                    log.warning("cache_rulings_not_heard", error=error.message)
                self._away = True
            else:
                self._away = False

    async def look(self) -> None:
        """Hear it now.

        Raises:
            StoreError: nobody can tell.
        """
        began = self._clock()
        for source in self._sources[-1:]:
            if self._take(await source.since(self._looked - _OVERLAP)):
                self._heard()
        self._looked = began

    async def _rule(self, ruling: Ruling) -> Ruling:
        self._take([ruling])  # who purges sweeps as well
        for source in self._sources:
            await source.add(ruling)
        return ruling

    def _take(self, rulings: Iterable[Ruling]) -> bool:
        """Let them count; whether there was a purge among them that nobody knew."""
        now = self._clock()
        purged = False
        for ruling in rulings:
            if ruling.id in self._known:
                continue
            self._known[ruling.id] = ruling.at
            if ruling.asked:
                self._wrong.setdefault(ruling.asked, set()).add(ruling.entry)
            elif ruling.before > now - self.longest:
                self._purge(ruling)
                purged = True
        if purged:
            self._forget(now)
        return purged

    def _purge(self, ruling: Ruling) -> None:
        """Users may purge what is theirs as often as they like, and shall slow down nobody but themselves."""
        whose = (ruling.tenant, ruling.user) if ruling.user and ruling.tenant is not None else None
        known = self._purges.setdefault(whose, [])
        known.append(ruling)
        if whose is not None and len(known) > _MOST_OF_ONE:
            latest = max(purge.before for purge in known)
            known[:] = [Ruling(id=ruling.id, at=ruling.at, user=ruling.user, tenant=ruling.tenant, before=latest)]

    def _forget(self, now: float) -> None:
        """Of what a purge is about, nothing is left when its time is over."""
        for whose, purges in list(self._purges.items()):
            kept = [purge for purge in purges if purge.before > now - self.longest]
            if kept:
                self._purges[whose] = kept
            else:
                del self._purges[whose]
        over = now - self.longest - _OVERLAP
        self._known = {id_: at for id_, at in self._known.items() if at > over}
