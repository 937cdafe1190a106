"""What a request may spend, held before it runs: tokens of its caller's limits, dollars of its budgets."""

from typing import Self

from msgspec import Struct

from enginehouse.core.ledger.budgets import Budgets
from enginehouse.core.ledger.ledger import Entry
from enginehouse.types import Deployment, Model, Principal, Request, Usage

__all__ = ["UNSAID", "Expected", "Hold", "Spending"]

UNSAID = 1024
"""Tokens that are held for an answer whose caller does not say how long it may be."""


class Expected(Struct, frozen=True, kw_only=True):
    """What a request may take, before anybody has counted."""

    prompt: int
    answer: int | None = None
    """Most tokens of the answer, where the caller says."""

    def usage(self) -> Usage:
        """The same as tokens used."""
        return Usage(input=self.prompt, output=UNSAID if self.answer is None else self.answer, estimated=True)


class Hold:
    """What is held for one request, as a context; a try at a dearer place wants more dollars.

    Inside, so many tokens are held, and dollars as the hold is told; after it what was really used counts.

    Args:
        budgets: what dollars are taken from; None when there are none.
        request: whose.
        entry: under whose id they are held, and who knows prices.
        expected: None when nothing limits the caller.
    """

    def __init__(self, budgets: Budgets | None, request: Request, entry: Entry, expected: Expected | None) -> None:
        self._budgets = budgets
        self._accounts = () if budgets is None or expected is None else budgets.accounts(request.principal)
        self._usage = None if expected is None else expected.usage()
        self._grant = request.grant
        self._entry = entry
        self._amount: int | None = None

    async def __aenter__(self) -> Self:
        """Hold the tokens.

        Raises:
            RateLimitExceeded: so many are not left.
        """
        if self._usage is not None and self._grant is not None:
            await self._grant.expect(self._usage.total)
        return self

    async def __aexit__(self, *_: object) -> None:
        """What was used of them counts."""
        if self._grant is not None and self._entry.usage is not None:
            self._grant.spent(self._entry.usage.total)

    async def cover(self, model: Model, deployment: Deployment) -> bool:
        """Hold what an answer may cost there; whether that took a while.

        What is held already is never lowered: a cheaper try may be followed by a dearer one.

        Raises:
            BudgetSpent: so many dollars are not left.
        """
        if self._budgets is None or not self._accounts or self._usage is None:
            return False
        amount = self._entry.would_cost(self._usage, model, deployment)
        if self._amount is not None and amount <= self._amount:
            return False
        await self._budgets.reserve(self._entry, self._accounts, amount)
        self._amount = amount
        return True


class Spending:
    """Holds what a request may take, and gives back what it did not.

    Args:
        budgets: dollars; None when there are none.
    """

    def __init__(self, budgets: Budgets | None = None) -> None:
        self._budgets = budgets

    @property
    def budgets(self) -> Budgets | None:
        """Those that count now."""
        return self._budgets

    def adopt(self, budgets: Budgets) -> None:
        """New budgets count from the next request on."""
        self._budgets = budgets

    def limits(self, request: Request) -> bool:
        """Whether anything limits this caller: then it is worth knowing what to expect."""
        grant = request.grant
        return (grant is not None and grant.counts_tokens) or self.has_budgets(request.principal)

    def has_budgets(self, principal: Principal) -> bool:
        """Whether dollars of this caller are limited."""
        return bool(self._budgets and self._budgets.accounts(principal))

    def held(self, request: Request, entry: Entry, expected: Expected | None) -> Hold:
        """As much as that, while the context lasts.

        Args:
            expected: None when nothing limits the caller.
        """
        return Hold(self._budgets, request, entry, expected)
