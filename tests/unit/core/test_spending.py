"""A try at a dearer place holds more of the budget, or is not made."""

import asyncio

import pytest

from enginehouse.core.gateway import Spending
from enginehouse.core.ledger.prices import Prices
from enginehouse.errors import BudgetSpent, UpstreamRefused
from enginehouse.settings.schema import PriceSettings
from enginehouse.testing import WHOLE, simulate
from enginehouse.types import EngineName
from tests.unit.core.way import ELSEWHERE, Server, Servers, answer, open_gateway, request

BODY = b'{"model":"cheap","max_tokens":10,"messages":[{"role":"user","content":"hi"}]}'
MODELS = {
    "cheap": {**ELSEWHERE, "fallbacks": ["middling", "dear"]},
    "middling": ELSEWHERE,
    "dear": ELSEWHERE,
}
DOLLARS = {"cheap": "2", "middling": "1", "dear": "3"}
DOWN = [UpstreamRefused("down", status=503)]
TOKENS = 11
"""One of the prompt, ten of the answer."""


class Purse:
    """Budgets whose one account holds so many dollars."""

    def __init__(self, dollars):
        self.left, self.held = dollars * 10**12, []

    def accounts(self, principal):
        return (principal.user,)

    async def reserve(self, entry, accounts, amount):
        await asyncio.sleep(0)
        if amount > self.left:
            raise BudgetSpent("no")
        self.held.append(amount)


def held(dollars, *up, asked=None):
    """What was held one after the other, and who was asked, when all but these are down."""
    purse, asked = Purse(dollars), [] if asked is None else asked
    servers = {name: Server(WHOLE) if name in up else Server(DOWN) for name in MODELS}
    prices = Prices({name: PriceSettings(input_per_1k=d, output_per_1k=d) for name, d in DOLLARS.items()}, ())

    async def main():
        launchers = {EngineName.OPENAI: Servers(**servers)}
        async with open_gateway(MODELS, launchers, spending=Spending(purse), prices=prices, retries=0) as gateway:
            await answer(gateway, request(BODY, model="cheap"))

    try:
        simulate(main())
    finally:
        asked += [name for name, server in servers.items() if server.calls]
    return [amount / 10**9 / TOKENS for amount in purse.held], asked


def test_what_goes_well_is_held_once():
    assert held(1, "cheap") == ([2], ["cheap"])


def test_a_cheaper_one_in_its_stead_lowers_nothing():
    assert held(1, "middling") == ([2], ["cheap", "middling"])


def test_a_dearer_one_holds_more():
    assert held(1, "dear") == ([2, 3], ["cheap", "middling", "dear"])


def test_a_dearer_one_that_cannot_be_paid_is_not_asked():
    asked = []
    with pytest.raises(BudgetSpent):
        held(0.025, "dear", asked=asked)
    assert asked == ["cheap", "middling"]
