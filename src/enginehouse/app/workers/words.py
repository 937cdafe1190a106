"""What is said between workers and the owner, where it is no word of the rooms themselves."""

from typing import Any

from msgspec import Struct

from enginehouse.core.cache.decisions import Decision
from enginehouse.core.ledger.budgets import Account
from enginehouse.core.traces.trace import Trace
from enginehouse.residency.base import Door
from enginehouse.types import Model, Operation, Priority
from enginehouse.types.cached import Entry

__all__ = [
    "Ending",
    "Given",
    "Hello",
    "Landing",
    "Report",
    "Reserve",
    "SeatAsked",
    "Waiting",
    "Welcome",
]


class Hello(Struct, frozen=True, kw_only=True, array_like=True):
    """A worker has come."""

    number: int
    """Which one it is; the owner is the first."""
    pid: int


class Welcome(Struct, frozen=True, kw_only=True):
    """What a worker has to know of the house."""

    models: tuple[Model, ...]
    """All there are, whoever has named them."""
    meaning: bool
    """Whether questions that mean the same are looked for."""


class SeatAsked(Struct, frozen=True, kw_only=True, array_like=True):
    """A request wants to run."""

    model: str
    deployment: str
    operation: Operation
    request_id: str
    user: str
    tenant: str
    role: str
    priority: Priority
    line: tuple[str, int] | None
    """With whom it shares turns and how many may wait, where its route has rules of its own."""


class Waiting(Struct, frozen=True, kw_only=True, array_like=True):
    """It stands in a line, or has a slot and waits for its model."""

    position: int
    expected: float
    queue: float | None
    """Seconds that it has waited for its slot, once it has one."""


class Given(Struct, frozen=True, kw_only=True, array_like=True):
    """It may run."""

    deployment: str
    door: Door | None
    """How the engine is reached; None for servers elsewhere, which everybody knows how to reach."""
    queue: float
    load: float
    stood: int | None


class Ending(Struct, frozen=True, kw_only=True, array_like=True):
    """It ran."""

    upstream: float | None
    """Seconds that the engine took; None when it was not answered to its end."""


class Landing(Struct, frozen=True, kw_only=True, array_like=True):
    """How a question went that several ask; nothing when who asked for all has left."""

    entry: Entry | None = None
    tier: str = ""
    failed: bool = False


class Reserve(Struct, frozen=True, kw_only=True, array_like=True):
    """Dollars shall be held."""

    id: str
    accounts: tuple[Account, ...]
    amount: int


class Report(Struct, kw_only=True):
    """What has happened at a worker since it last reported."""

    traces: list[Trace] = []
    decisions: list[Decision] = []
    cached: list[tuple[str, list[Any]]] = []
    """What the figures of the cache hear, in their own words."""
    spared: list[Entry] = []
    guarded: list[tuple[str, str]] = []
    """Mode and outcome of the guard."""
    on_the_way: int = 0
    """Requests that have come there and not ended."""
