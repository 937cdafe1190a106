"""What a request may spend, held before it runs: tokens of its caller's limits, dollars of its budgets."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from msgspec import Struct

from enginehouse.core.ledger.budgets import Budgets
from enginehouse.core.ledger.ledger import Entry
from enginehouse.types import Request, Usage

__all__ = ["Expected", "Spending"]

_ANSWER = 1024
"""Tokens that are held for an answer whose caller does not say how long it may be."""


class Expected(Struct, frozen=True, kw_only=True):
    """What a request may take, before anybody has counted."""

    prompt: int
    answer: int | None = None
    """Most tokens of the answer, where the caller says."""

    def usage(self) -> Usage:
        """The same as tokens used."""
        return Usage(input=self.prompt, output=_ANSWER if self.answer is None else self.answer, estimated=True)


class Spending:
    """Holds what a request may take, and gives back what it did not.

    Args:
        budgets: dollars; None when there are none.
    """

    def __init__(self, budgets: Budgets | None = None) -> None:
        self._budgets = budgets

    def adopt(self, budgets: Budgets) -> None:
        """New budgets count from the next request on."""
        self._budgets = budgets

    def limits(self, request: Request) -> bool:
        """Whether anything limits this caller: then it is worth knowing what to expect."""
        grant = request.grant
        counted = grant is not None and grant.counts_tokens
        return counted or bool(self._budgets and self._budgets.accounts(request.principal))

    @asynccontextmanager
    async def held(self, request: Request, entry: Entry, expected: Expected | None) -> AsyncGenerator[None]:
        """Inside, so much is held; after it, what was really used counts.

        Args:
            expected: None when nothing limits the caller.

        Raises:
            RateLimitExceeded: so many tokens are not left.
            BudgetSpent: so many dollars are not left.
        """
        grant = request.grant
        try:
            if expected is not None:
                usage = expected.usage()
                if grant is not None:
                    await grant.expect(usage.total)
                if self._budgets is not None and (accounts := self._budgets.accounts(request.principal)):
                    await self._budgets.reserve(entry, accounts, entry.would_cost(usage))
            yield
        finally:
            if grant is not None and entry.usage is not None:
                grant.spent(entry.usage.total)
