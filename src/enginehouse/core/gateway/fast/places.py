"""Places of the fast path: who begins in one step takes slot and lease together with all others of that step."""

from typing import TYPE_CHECKING

from enginehouse.core.admission.gate import Gate
from enginehouse.engines.base import Carrier, Carries
from enginehouse.residency.base import Loaded, Terms
from enginehouse.residency.resident import Resident
from enginehouse.types import Deployment
from enginehouse.types.generation import Dialect

if TYPE_CHECKING:
    from enginehouse.core.gateway.fast.tracks import Tracks

__all__ = ["Place"]


class Place:
    """One deployment as it is in memory now.

    Args:
        rooms: what it leads through.
        deployment: what is asked.
        terms: how long it stays in memory.
        gate: its line.
        loaded: what is in memory.
    """

    __slots__ = (
        *("_breaker", "_carriers", "_coming", "_deployment", "_resident", "_rooms", "_terms"),
        *("gate", "loaded", "room", "step", "trying"),
    )

    _resident: Resident

    def __init__(self, rooms: "Tracks", deployment: Deployment, terms: Terms, gate: Gate, loaded: Loaded) -> None:
        self.gate = gate
        self.loaded = loaded
        self.step = -1
        """The one that is open."""
        self.room = 0
        """How many more may come in it."""
        self.trying = False
        """Whether those who came last try a server that was left alone; then they are one."""
        self._rooms = rooms
        self._deployment = deployment
        self._terms = terms
        self._breaker = rooms.routes.breaker(deployment)
        self._carriers: dict[Dialect, Carrier | None] = {}
        self._coming = 0

    def open(self, step: int) -> None:
        """A step begins; who is the next at a server that was left alone, is so alone."""
        self.step = step
        self.room = min(self.gate.free, 1) if self._breaker.tries else self.gate.free

    def carrier(self, dialect: Dialect) -> Carrier | None:
        """How its engine is asked in this dialect; None where it cannot be asked at once."""
        if dialect not in self._carriers:
            engine = self.loaded.engine
            self._carriers[dialect] = engine.carrier(dialect) if isinstance(engine, Carries) else None
        return self._carriers[dialect]

    def come(self) -> None:
        """One more comes, for whom there is room; `enter` is next, within the step."""
        self.room -= 1
        self._coming += 1

    def enter(self) -> None:
        """All who have come take their slots and leases."""
        number, self._coming = self._coming, 0
        if not number:
            return
        rooms, deployment = self._rooms, self._deployment
        lent = rooms.residency.lend_now(deployment, self._terms, number)
        assert lent is not None, "it was ready when the step began"
        self._resident = lent[0]
        self.gate.enter_now(number)
        self.trying = rooms.routes.began(deployment, self._breaker, number)

    def answered(self, *seconds: float) -> None:
        """Its engine answered to the end, and took so long each time."""
        self._rooms.residency.answered(self._deployment.id, *seconds)

    def leave(self, *seconds: float, error: BaseException | None = None, trying: bool = False) -> None:
        """Some who were here so long each have ended alike.

        Args:
            seconds: how long.
            error: how, if it was not by an answer.
            trying: as `trying` was when any of them entered.
        """
        rooms, number = self._rooms, len(seconds)
        rooms.routes.ended(self._deployment, self._breaker, error, number, trying=trying)
        rooms.residency.give_back(self._resident, self.loaded, number)
        self.gate.leave_now(*seconds)
