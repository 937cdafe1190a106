"""Lines that many replicas stand in: what one of them says in a step, and what it is told.

A line is named; it has slots, those who run on them, and those who wait. A replica speaks for its own tickets only.
All it has to say goes in one `step`, which happens as a whole or not at all and may be said twice: a ticket that is
known is not made again, and one that is gone cannot go again. What a replica holds is a lease: it is said again
before `Moves.lease` is over, or it is gone.
"""

from typing import Literal, Protocol

from msgspec import Struct

__all__ = ["End", "Figures", "Join", "Lines", "Listener", "Moves", "Outcome"]


class Join(Struct, frozen=True, kw_only=True):
    """A ticket that wants to run."""

    id: str
    """Letters and digits, unique for ever."""
    level: int
    """The class it claims: 0 high, 1 normal, 2 low."""
    tenant: str
    """With whom it shares turns; letters and digits."""
    waited: float
    """Seconds since it came, if it stood in line before; its place is the one it would have had then. Who comes for
    the first time comes now (0): steps take unlike times, and still nobody overtakes at one replica."""
    again: bool = False
    """It has stood in line before, so that a full line does not refuse it."""
    limit: int | None = None
    """It is refused when so many wait, be `Moves.limit` more."""


class End(Struct, frozen=True, kw_only=True):
    """A ticket that neither waits nor runs any more."""

    id: str
    how: Literal["served", "left", "timed_out"]
    seconds: float = 0.0
    """How long it ran, when it was served."""


class Moves(Struct, kw_only=True):
    """What a replica has to say of one line."""

    slots: int
    """How many may run, as this replica is configured; the smallest that any has said within its lease counts."""
    aging: float
    """Seconds in one class after which a waiter stands in the next above, for this step."""
    lease: float
    """Seconds for which what is said here holds."""
    limit: int
    """Most that may wait when one of `joins` comes."""
    settle: float = 0.0
    """Seconds in which nobody starts, because this replica comes back and others may; 0 when it does not."""
    ends: list[End] = []
    joins: list[Join] = []
    waiting: list[str] = []
    """Tickets whose lease is renewed and whose place is asked."""
    running: list[str] = []
    """Tickets that run; they hold a slot from now on, whether the line knew of them or not."""
    figures: bool = False
    """Whether `Outcome.figures` is wanted."""


class Figures(Struct, frozen=True, kw_only=True):
    """What has become of all who asked at a line, whichever replica they asked."""

    depth: tuple[int, int, int]
    """How many wait, by the class they claimed."""
    waits: list[float]
    """Seconds that the last 512 who got a slot had waited."""
    served: int
    rejected: int
    timed_out: int
    left: int


class Outcome(Struct, frozen=True, kw_only=True):
    """How things are after a step. A place is 1 for who goes next, 0 for who runs."""

    joined: list[int] = []
    """The place of each of `Moves.joins`; -1 for one that found the line full."""
    waiting: list[int] = []
    """The place of each of `Moves.waiting`; -1 for one that the line does not know."""
    turns: list[str] = []
    """Tickets of this replica that this step let in, in order, before any of `joined`; it is told here alone."""
    slots: int
    active: int = 0
    """How many run."""
    depth: int = 0
    """How many wait."""
    service: float | None = None
    """Mean seconds a slot is held, the newest counting most; None before the first."""
    next: float | None = None
    """Seconds until time alone may let somebody in: a lease ends, or everybody has come back."""
    figures: Figures | None = None


class Listener(Protocol):
    """Who is told what happens between steps."""

    def turn(self, line: str, ticket: str) -> None:
        """A waiting ticket of this replica runs from now on: another replica's step let it in."""
        ...

    def connection(self, *, up: bool) -> None:
        """The store has gone, or has come back."""
        ...


class Lines(Protocol):
    """The lines as one replica sees them."""

    @property
    def up(self) -> bool:
        """Whether the store is believed to be there."""
        ...

    def listen(self, listener: Listener) -> None:
        """From now on this one is told."""
        ...

    async def step(self, line: str, moves: Moves) -> Outcome:
        """Say something, let in whoever may run then, and hear how things are.

        Raises:
            StoreUnavailable: the store is away. Whether the step happened is not known.
        """
        ...
