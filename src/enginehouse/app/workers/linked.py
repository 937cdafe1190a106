"""What a worker's rooms have in place of the owner's own: each asks the owner, and decides nothing."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from enginehouse.app.workers.link import Asks, Held
from enginehouse.app.workers.words import Landing, Reserve
from enginehouse.core.cache.flights import Flights, Landed, Lead, Leading, Turn
from enginehouse.core.cache.types import Explanation, Match, Scope
from enginehouse.core.gateway.guarding import Guarding, Says, Verdict
from enginehouse.core.gateway.seats import Seating
from enginehouse.core.ledger.budgets import Account, Budgets, Holder
from enginehouse.core.ledger.record import UsageRecord
from enginehouse.core.prediction_cache import PredictionCache
from enginehouse.settings.schema import BudgetSettings, GuardSettings, PredictionSettings
from enginehouse.stores.kv import Asked, Holding, Spent, Taken
from enginehouse.stores.sql import Database
from enginehouse.types.cached import Entry

__all__ = [
    "LinkedAnswers",
    "LinkedBooks",
    "LinkedBudgets",
    "LinkedFlights",
    "LinkedGuarding",
    "LinkedMeaning",
    "LinkedTallies",
]

_taken = msgspec.msgpack.Decoder(Taken).decode
_entries = msgspec.msgpack.Decoder(list[Entry | None]).decode
_number = msgspec.msgpack.Decoder(int).decode
_match = msgspec.msgpack.Decoder(Match | None).decode
_landing = msgspec.msgpack.Decoder(Landing | None).decode
_verdict = msgspec.msgpack.Decoder(Verdict).decode


class LinkedTallies:
    """Satisfies `Tallies` by those of the owner.

    Args:
        link: to the owner.
        here: whether they are those which the owner keeps in its own memory, although replicas share others.
    """

    def __init__(self, link: Asks, *, here: bool) -> None:
        self._link = link
        self._take, self._settle = ("take_here", "settle_here") if here else ("take", "settle")

    async def take(self, asked: Asked) -> Taken:
        """Take all of it if all of it is free; who leaves meanwhile has no seats."""
        try:
            return _taken(await self._link.ask(self._take, asked))
        except asyncio.CancelledError:
            if asked.seats:
                self._link.tell(self._settle, Spent(id=asked.id, seats=tuple(one.key for one in asked.seats)))
            raise

    async def settle(self, spent: Spent) -> None:
        """Say how it ended; an owner that began anew knows nothing of it."""
        self._link.tell(self._settle, spent)


class LinkedBudgets(Budgets):
    """Budgets that are held by the owner, whose database it is.

    Args:
        link: to the owner.
        database: not asked here.
        budgets: what the settings allow.
    """

    def __init__(self, link: Asks, database: Database, budgets: Sequence[BudgetSettings]) -> None:
        super().__init__(database, budgets)
        self._link = link

    async def reserve(self, entry: Holder, accounts: Sequence[Account], amount: int) -> None:
        """As `Budgets` has it."""
        if accounts:
            entry.reserved = True
            await self._link.ask("reserve", Reserve(id=entry.id, accounts=tuple(accounts), amount=amount))


class LinkedBooks:
    """Satisfies `Books` by the owner's ledger, in which a record is durable before it is answered."""

    def __init__(self, link: Asks) -> None:
        self._link = link

    async def write(self, records: Sequence[UsageRecord]) -> None:
        """Keep records; the same ones again are no others."""
        await self._link.ask("write", records)

    async def sum_up(self) -> bool:
        """The owner does."""
        return False


class LinkedGuarding(Guarding):
    """A guard whose model, and what it said before, are the owner's.

    Args:
        link: to the owner.
        seats: what names mean.
        settings: who is guarded, and how.
        told: hears of every outcome, by mode.
    """

    def __init__(
        self, link: Asks, seats: Seating, settings: GuardSettings, told: Callable[[str, str], None]
    ) -> None:
        super().__init__(seats, settings, PredictionCache(PredictionSettings(), asyncio.get_running_loop().time))
        self._link = link
        self._told = told

    async def verdict(self, flow: Says) -> Verdict:
        """The owner's."""
        return _verdict(await self._link.ask("guard", list(flow.said())))

    def count(self, mode: str, outcome: str) -> None:
        """Counted there."""
        self._told(mode, outcome)


class LinkedAnswers:
    """Satisfies `Answers` by those of the owner, which alone sweeps and weighs them."""

    backend = "owner"

    def __init__(self, link: Asks) -> None:
        self._link = link

    async def get(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """What is kept under each key."""
        return _entries(await self._link.ask("answers.get", keys))

    async def put(self, entry: Entry) -> None:
        """Keep it."""
        await self._link.ask("answers.put", entry)

    async def drop(self, keys: Sequence[bytes]) -> int:
        """Keep nothing under these keys."""
        return _number(await self._link.ask("answers.drop", keys))

    async def sweep(self, dead: Callable[[Entry], bool]) -> list[str]:
        """Not from here."""
        del dead
        return []

    async def holding(self) -> Holding:
        """Not from here."""
        return Holding(entries=0, bytes=0, evicted=0)

    def adopt(self, max_bytes: int) -> None:
        """The owner does."""


class LinkedFlights(Flights):
    """Questions that are being answered, at whichever process."""

    def __init__(self, link: Asks) -> None:
        super().__init__()
        self._link = link
        self._led: dict[Any, Held] = {}

    async def turn(self, key: Any) -> Landed | Turn:
        """As `Flights` has it."""
        held = await self._link.hold("flight", key)
        said = _landing(held.answer)
        if said is None:
            return Turn.ALONE
        if said.entry is not None:
            return Landed(said.entry, said.tier)
        self._led[key] = held
        return Turn.LEAD

    def leading(self, key: Any) -> Leading:
        """As `Flights` has it."""
        held = self._led.pop(key)

        def land(lead: Lead) -> None:
            landed = lead.landed
            entry, tier = (None, "") if landed is None else (landed.entry, landed.tier)
            held.leave(Landing(entry=entry, tier=tier, failed=lead.failed))

        return Leading(land)


class LinkedMeaning:
    """Satisfies `Meaning` by that of the owner."""

    def __init__(self, link: Asks) -> None:
        self._link = link

    async def find(
        self, scope: Scope, question: str, *, max_error: float | None = None, without: frozenset[str] = frozenset()
    ) -> Match | None:
        """The entry that may be served, or one on trial."""
        named = {"max_error": max_error, "without": without}
        return _match(await self._link.ask("meaning", ("find", (scope, question), named)))

    async def put(self, scope: Scope, question: str, entry_id: str, *, answer: str = "") -> None:
        """Remember a question by its entry's id."""
        await self._link.ask("meaning", ("put", (scope, question, entry_id), {"answer": answer}))

    async def forget(self, entry_ids: Sequence[str]) -> None:
        """These entries are gone."""
        await self._link.ask("meaning", ("forget", (entry_ids,), dict[str, Any]()))

    async def learn(self, scope: Scope, question: str, entry_id: str, *, kept: str, fresh: str) -> None:
        """What the model says now."""
        said = (scope, question, entry_id)
        await self._link.ask("meaning", ("learn", said, {"kept": kept, "fresh": fresh}))

    async def explain(self, scope: Scope, question: str, *, without: frozenset[str] = frozenset()) -> Explanation:
        """Not from here: who wants to know asks the owner."""
        del scope, question, without
        return Explanation()

    def stats(self) -> Mapping[str, Any]:
        """The owner's."""
        return {}
