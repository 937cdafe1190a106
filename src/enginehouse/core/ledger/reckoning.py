"""What recorded work would have cost otherwise: with sums, prices and formula to check it by."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from operator import itemgetter

import msgspec
from msgspec import Struct

from enginehouse.core.ledger.prices import Prices, provider_of
from enginehouse.core.ledger.record import PriceRow, dollars
from enginehouse.core.ledger.repeats import Repeated
from enginehouse.types import Model

__all__ = ["Line", "Work", "batched", "cached", "cheaper", "merged", "would_cost"]


class Work(Struct, frozen=True, kw_only=True):
    """Recorded requests of one model with known costs, summed up."""

    model: str
    provider: str = ""
    upstream_model: str = ""
    requests: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    """Reasoning included."""
    cost: int = 0
    """Picodollars."""
    longest_input: int = 0
    """Input tokens of the longest prompt, cached ones included."""
    longest: int = 0
    """Tokens of the longest request in all: the context that it needed."""


class Line(Struct, frozen=True, kw_only=True):
    """One thing that would have cost less, and how that is reckoned; money in US dollars, None if unknown."""

    model: str
    instead: str
    """A model's id, `cache` or `batch`."""
    basis: str
    """`records`: as it was charged; `prices`: by the prices given; `assumed`: by a discount that the asker states;
    `unknown`: nobody knows the price."""
    scope: str | None = None
    """Who would have shared the cache: `user` or `tenant`."""
    requests: int
    unpriced_requests: int = 0
    """Those among them without a known cost, which count as nothing."""
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost: Decimal
    would_cost: Decimal | None
    saved: Decimal | None
    prices: PriceRow | None = None
    """What the tokens are multiplied with."""
    arithmetic: str


def cached(scope: str, model: str, repeats: Repeated) -> Line:
    """What the repeats of a model's requests cost, which a cache would have answered for nothing."""
    cost = _dollars(repeats.cost)
    return Line(
        model=model,
        instead="cache",
        basis="records",
        scope=scope,
        requests=repeats.requests,
        unpriced_requests=repeats.unpriced,
        input_tokens=repeats.input_tokens,
        cached_input_tokens=repeats.cached_input_tokens,
        output_tokens=repeats.output_tokens,
        cost=cost,
        would_cost=Decimal(0),
        saved=cost,
        arithmetic=f"{repeats.requests} repeats were charged {cost:f}; {cost:f} - 0 = {cost:f}",
    )


def cheaper(work: Work, own: Model, others: Iterable[Model], prices: Prices, when: datetime) -> list[Line]:
    """Models that can do what this one can and would have been cheaper, the cheapest first.

    Args:
        work: all that the model did.
        own: the model.
        others: those that might have done it.
        prices: what they cost.
        when: the day whose prices count.
    """
    lines = [
        _priced(work, model.id, row)
        for model in others
        if _equal(own, model, work) and (row := _dearest(work, model, prices, when)) is not None
    ]
    return sorted((line for line in lines if line.saved and line.saved > 0), key=lambda line: -(line.saved or 0))


def batched(work: Work, prices: Prices, when: datetime, discount: Decimal | None) -> Line:
    """What a provider's batch price would have saved on requests that nobody saw streaming.

    Args:
        discount: assumed where no batch price is known, 0 to 1; None assumes nothing.
    """
    row = prices.per_token(
        work.model, work.provider, work.upstream_model, when, longest=work.longest_input, batch=True
    )
    if row is not None and would_cost(work, row) is not None:
        return _priced(work, "batch", row)
    cost = _dollars(work.cost)
    if discount is None:
        words = f"saved = {cost:f} * batch_discount; no list names a batch price, and no batch_discount was given"
        return _line(work, "batch", "unknown", None, words)
    less = cost * (1 - discount)
    words = f"{cost:f} * (1 - {discount:f}) = {_plain(less)}; {cost:f} - {_plain(less)} = {_plain(cost - less)}"
    return _line(work, "batch", "assumed", less, words)


def merged(works: Sequence[Work]) -> list[Work]:
    """By model, whoever provided it, the dearest first."""
    found: dict[str, Work] = {}
    for work in works:
        held = found.get(work.model)
        found[work.model] = work if held is None else _sum(held, work)
    return sorted(found.values(), key=lambda work: -work.cost)


def would_cost(work: Work, row: PriceRow) -> Decimal | None:
    """Dollars at a price for each token; None when there were tokens of a kind that it has no price for."""
    total = Decimal(0)
    for count, per_1k in _terms(work, row):
        if per_1k is None and count:
            return None
        total += count * Decimal(per_1k or 0)
    return total / 1000


def _terms(work: Work, row: PriceRow) -> list[tuple[int, str | None]]:
    return [
        (work.input_tokens, row.input_per_1k),
        (work.cached_input_tokens, row.cached_input_per_1k),
        (work.output_tokens, row.output_per_1k),
    ]


def _priced(work: Work, instead: str, row: PriceRow) -> Line:
    amount = would_cost(work, row) or Decimal(0)
    cost = _dollars(work.cost)
    terms = " + ".join(f"{count} * {per_1k or 0}" for count, per_1k in _terms(work, row))
    words = f"({terms}) / 1000 = {_plain(amount)}; {cost:f} - {_plain(amount)} = {_plain(cost - amount)}"
    return _line(work, instead, "prices", amount, words, row)


def _line(
    work: Work, instead: str, basis: str, amount: Decimal | None, arithmetic: str, row: PriceRow | None = None
) -> Line:
    cost = _dollars(work.cost)
    return Line(
        model=work.model,
        instead=instead,
        basis=basis,
        requests=work.requests,
        input_tokens=work.input_tokens,
        cached_input_tokens=work.cached_input_tokens,
        output_tokens=work.output_tokens,
        cost=cost,
        would_cost=amount,
        saved=None if amount is None else cost - amount,
        prices=row,
        arithmetic=arithmetic,
    )


def _equal(own: Model, other: Model, work: Work) -> bool:
    """Whether another model is of the same kind, can all that this one can, and holds as much.

    Where a model's own context length is unknown, the longest recorded request stands for it.
    """
    needed = own.context_length or work.longest
    return (
        other.id != own.id
        and other.kind == own.kind
        and set(other.capabilities) >= set(own.capabilities)
        and other.context_length is not None
        and other.context_length >= needed
    )


def _dearest(work: Work, model: Model, prices: Prices, when: datetime) -> PriceRow | None:
    """The price of the model's dearest deployment; None when that of any is unknown."""
    rows: list[tuple[Decimal, PriceRow]] = []
    for deployment in model.deployments:
        upstream = deployment.upstream_model or ""
        row = prices.per_token(model.id, provider_of(deployment), upstream, when, longest=work.longest_input)
        amount = None if row is None else would_cost(work, row)
        if row is None or amount is None:
            return None
        rows.append((amount, row))
    return max(rows, key=itemgetter(0))[1] if rows else None


def _sum(one: Work, other: Work) -> Work:
    counts = ("requests", "input_tokens", "cached_input_tokens", "output_tokens", "cost")
    return msgspec.structs.replace(
        one,
        **{name: getattr(one, name) + getattr(other, name) for name in counts},
        **{name: max(getattr(one, name), getattr(other, name)) for name in ("longest_input", "longest")},
    )


def _dollars(picodollars: int) -> Decimal:
    return dollars(picodollars) or Decimal(0)


def _plain(amount: Decimal) -> str:
    return format(amount.normalize(), "f")
