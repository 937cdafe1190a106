"""Who goes next: the order of one line, without a clock, a task or a slot.

Three classes stand one above the other, and who has waited `aging` seconds in one stands in the next above. A
class is a ring of tenants that take turns; each tenant's own waiters go first in, first out. Time is an argument,
so the same calls always give the same order. To join, to go and to be chosen cost the same in a line of any length.
"""

from collections import Counter, OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from msgspec import Struct

from enginehouse.types import Priority

__all__ = ["Line"]

K = TypeVar("K", bound=Hashable)

_CLASSES = (Priority.HIGH, Priority.NORMAL, Priority.LOW)


class Line(Generic[K]):
    """Those who wait for one deployment.

    A waiter of class c that joins at time t stands in the top class from t + c · aging on (c is 0 for high, 2 for
    low). From then on at most (k + 1) · n waiters go up to and including itself, where k of its own tenant stand
    before it and n is the most tenants that wait in the top class meanwhile.

    Args:
        aging: seconds in one class after which a waiter stands in the next above.
    """

    def __init__(self, aging: float) -> None:
        self.aging = aging
        self._classes = tuple(_Class[K]() for _ in _CLASSES)
        self._places: dict[K, _Place] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, waiter: K) -> bool:
        return waiter in self._places

    def join(self, waiter: K, priority: Priority, tenant: str, now: float) -> None:
        """Stand at the end of the tenant's part of a class.

        Args:
            waiter: who comes; nobody stands here twice.
            priority: the class it claims.
            tenant: with whom it shares turns.
            now: seconds, never less than in an earlier call.
        """
        self._age(now)
        place = _Place(priority=priority, tenant=tenant, level=_CLASSES.index(priority))
        self._places[waiter] = place
        self._classes[place.level].add(waiter, tenant, now)

    def head(self, now: float) -> K | None:
        """Who goes next, or None when nobody waits; it stays in the line."""
        self._age(now)
        return next((each.head() for each in self._classes if each.entered), None)

    def eldest(self) -> K | None:
        """Who has waited longest, in whatever class; None when nobody waits."""
        return next(iter(self._places), None)

    def serve(self, waiter: K) -> None:
        """The head goes, and the next turn of its class is another tenant's."""
        place = self._places[waiter]
        self.leave(waiter)
        self._classes[place.level].pass_turn(place.tenant)

    def leave(self, waiter: K) -> bool:
        """Go without having been served: nobody else's turn changes. False when it did not stand here."""
        place = self._places.pop(waiter, None)
        if place is not None:
            self._classes[place.level].remove(waiter, place.tenant)
        return place is not None

    def ahead(self, waiter: K, now: float) -> int:
        """How many go before this waiter if nobody comes, leaves or ages from now on."""
        self._age(now)
        place = self._places[waiter]
        above = sum(len(each.entered) for each in self._classes[: place.level])
        return above + self._classes[place.level].ahead(waiter, place.tenant)

    def depth(self) -> dict[Priority, int]:
        """How many wait, by the class they claimed."""
        counts = Counter(place.priority for place in self._places.values())
        return {priority: counts[priority] for priority in _CLASSES}

    def _age(self, now: float) -> None:
        """From the bottom up, so that nobody enters a class after somebody who entered it later."""
        for level in (2, 1):
            below, above = self._classes[level], self._classes[level - 1]
            while (risen := below.risen(now, self.aging)) is not None:
                waiter, at = risen
                place = self._places[waiter]
                below.remove(waiter, place.tenant)
                above.add(waiter, place.tenant, at)
                place.level -= 1


class _Place(Struct, gc=False):
    """Where a waiter stands."""

    priority: Priority
    """What it claimed."""
    tenant: str
    level: int
    """The class it has aged into, 0 on top."""


class _Class(Generic[K]):
    """A ring of tenants, each with its own line."""

    def __init__(self) -> None:
        self.entered: OrderedDict[K, float] = OrderedDict()
        """When each waiter came into this class, earliest first."""
        self._ring: OrderedDict[str, OrderedDict[K, None]] = OrderedDict()

    def add(self, waiter: K, tenant: str, now: float) -> None:
        self.entered[waiter] = now
        self._ring.setdefault(tenant, OrderedDict())[waiter] = None

    def remove(self, waiter: K, tenant: str) -> None:
        """A tenant with nobody left is forgotten: who comes back stands at the end of the ring like anybody new."""
        del self.entered[waiter]
        own = self._ring[tenant]
        del own[waiter]
        if not own:
            del self._ring[tenant]

    def head(self) -> K:
        return next(iter(next(iter(self._ring.values()))))

    def pass_turn(self, tenant: str) -> None:
        if tenant in self._ring:
            self._ring.move_to_end(tenant)

    def risen(self, now: float, aging: float) -> tuple[K, float] | None:
        """Who has been here longest, and when it rose to the next class; None while it has not."""
        waiter, entered = next(iter(self.entered.items()), (None, now))
        return (waiter, entered + aging) if waiter is not None and entered + aging <= now else None

    def ahead(self, waiter: K, tenant: str) -> int:
        """Full rounds of the ring before its own turn, and the tenants before its own in the last one."""
        rounds = next(number for number, own in enumerate(self._ring[tenant]) if own == waiter)
        before, total = True, rounds
        for name, waiters in self._ring.items():
            if name == tenant:
                before = False
            else:
                total += min(len(waiters), rounds + before)
        return total
