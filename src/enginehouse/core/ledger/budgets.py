"""What may still be spent: an amount is held before a request runs, and what it really cost counts after.

What was spent is read from the ledger's own sums, so that no second account can drift from it. What is held is a
row under the record's id, and goes in the transaction that writes the record. Whoever reserves locks the account
first, so that any number of callers on any number of replicas never hold more than there is.
"""

import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Protocol

import structlog
from msgspec import Struct
from sqlalchemy import Connection

from enginehouse.core.ledger.books import nothing_ahead
from enginehouse.core.ledger.record import PICODOLLARS, dollars
from enginehouse.errors import BudgetSpent, StoreUnavailable
from enginehouse.settings.schema import BudgetSettings
from enginehouse.stores.sql import Database, sums
from enginehouse.stores.sql import budgets as table
from enginehouse.types import Allowance, Principal

__all__ = ["Account", "Budgets", "Holder"]

log = structlog.get_logger()

_LEASE = 3600
"""Seconds after which what was held for a request that never came back counts no more."""


class Holder(Protocol):
    """For whom something is held: `core.ledger.ledger.Entry`."""

    id: str
    reserved: bool


class Account(Struct, frozen=True, kw_only=True, order=True):
    """One budget of one caller."""

    scope: str
    """`user`, `key` or `tenant`."""
    subject: str
    period: str
    """`day`, `month` or `total`."""
    limit: int
    """Picodollars."""


class Budgets:
    """Holds amounts for requests.

    Args:
        database: where the ledger's sums are.
        budgets: what the settings allow.
        caught_up: waits until the ledger's sums hold what was recorded by now: `Ledger.caught_up`.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        budgets: Iterable[BudgetSettings],
        *,
        caught_up: Callable[[], Awaitable[None]] = nothing_ahead,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._caught_up = caught_up
        self._budgets = tuple(budgets)
        self._clock = clock

    def accounts(self, principal: Principal) -> tuple[Account, ...]:
        """The budgets that limit a caller; one of its own comes before that of everybody, its key's before both."""
        subjects = {"user": principal.user, "key": principal.key, "tenant": principal.tenant}
        found: dict[tuple[str, str], BudgetSettings | Allowance] = {}
        for budget in self._budgets:
            subject = subjects[budget.scope]
            place = (budget.scope, budget.period)
            if subject and (budget.id == subject or (budget.id == "*" and place not in found)):
                found[place] = budget
        if (own := principal.budget) is not None and principal.key:
            found["key", own.period] = own
        return tuple(
            sorted(
                Account(
                    scope=scope,
                    subject=subjects[scope],
                    period=period,
                    limit=int(Decimal(budget.dollars) * PICODOLLARS),
                )
                for (scope, period), budget in found.items()
            )
        )

    async def reserve(self, entry: Holder, accounts: Sequence[Account], amount: int) -> None:
        """Hold an amount in each of these accounts until the entry's record is written; in all of them, or in none.

        What the entry held before is let go of in the same step; after a refusal it is still held.

        While the database is away nothing is held and nobody is refused: records wait in the spool then.

        Args:
            amount: picodollars that the request may cost at most; 0 when its price is unknown.

        Raises:
            BudgetSpent: less than that is left in one of them.
        """
        if not accounts:
            return
        entry.reserved = True  # first: who is cancelled below does not know whether something is held
        await self._caught_up()  # what an answered request held, and did not need, is free again
        now = int(self._clock())
        try:
            refusal = await self._database.write(partial(_hold, entry.id, accounts, amount, now))
        except StoreUnavailable as error:
            log.warning("budget_unchecked", error=error.message)
            return
        if refusal is not None:
            raise refusal


def _hold(
    record_id: str, accounts: Sequence[Account], amount: int, now: int, connection: Connection
) -> BudgetSpent | None:
    for scope, subject in sorted({(account.scope, account.subject) for account in accounts}):
        table.lock_account(connection, scope, subject, now)
        held = table.reserved(connection, scope, subject, now, but=record_id)
        for account in accounts:
            if (account.scope, account.subject) == (scope, subject):
                gone = _spent(connection, account, now) + held
                # Also what costs nothing, or nobody knows what, is refused once all is gone.
                if gone + max(amount, 1) > account.limit:
                    return _refusal(account, gone, now)
    rows = {(account.scope, account.subject) for account in accounts}
    table.release(connection, [record_id])
    table.hold(
        connection,
        [
            {"record_id": record_id, "scope": scope, "subject": subject, "amount": amount, "expires": now + _LEASE}
            for scope, subject in sorted(rows)
        ],
    )
    return None


def _spent(connection: Connection, account: Account, now: int) -> int:
    start = _began(account.period, now)
    if account.scope == "user":
        return sums.spent(connection, user=account.subject, dimension="total", value="", start=start)
    return sums.spent(connection, user="", dimension=account.scope, value=account.subject, start=start)


def _began(period: str, now: int) -> int:
    """The first second of the period that `now` is in."""
    match period:
        case "day":
            return now - now % 86_400
        case "month":
            return int(datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0).timestamp())
        case _:
            return 0


def _ends(period: str, now: int) -> float | None:
    """Seconds until the period is over."""
    match period:
        case "day":
            return 86_400 - now % 86_400
        case "month":
            into_next = datetime.fromtimestamp(_began(period, now), UTC) + timedelta(days=32)
            return into_next.replace(day=1).timestamp() - now
        case _:
            return None


def _refusal(account: Account, gone: int, now: int) -> BudgetSpent:
    span = "" if account.period == "total" else f" this {account.period}"
    wait = _ends(account.period, now)
    return BudgetSpent(
        f"The budget of {account.scope} {account.subject!r} is ${_digits(account.limit)}{span}, of which "
        f"${_digits(gone)} is spent or held for running requests; this request needs more than is left.",
        retry_after=math.ceil(wait) if wait is not None else None,
    )


def _digits(picodollars: int) -> str:
    return format(dollars(picodollars) or 0, "f")
