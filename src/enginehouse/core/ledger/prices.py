"""What a request costs: the price that counted on its day, and exact arithmetic.

A price of the settings comes first (the latest dated one, then the model's own), then the public price list of a
known provider. A model without any has no cost at all, which is not the same as costing nothing.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
import structlog
from msgspec import Struct

from enginehouse.core.ledger.record import FREE, MOST_MONEY, PICODOLLARS, Money, PriceRow, UsageRecord
from enginehouse.settings.schema import DatedPriceSettings, PriceSettings
from enginehouse.types import Deployment, EngineName

__all__ = ["Prices", "provider_of"]

log = structlog.get_logger()

_QUARTER = 15 * 60
"""Seconds for which a looked-up price is kept: the finest grain in which providers' prices change by the clock."""
_QUARTER_US = _QUARTER * 1_000_000
_PROVIDERS = {
    EngineName.OPENAI: ("openai", "api.openai.com"),
    EngineName.ANTHROPIC: ("anthropic", "api.anthropic.com"),
}


class _Tariff(Protocol):
    """A price list's own arithmetic, in picodollars: (input, output)."""

    def __call__(self, fresh: int, cached: int, output: int, /) -> tuple[int, int]: ...


class _Rates(Struct, frozen=True, kw_only=True):
    """A price ready for use."""

    row: PriceRow
    tariff: _Tariff
    per_hour: Decimal | None = None


class Prices:
    """Finds prices.

    Args:
        models: each model's own price in the settings, by id.
        dated: prices of the settings that begin on a day.
    """

    def __init__(self, models: Mapping[str, PriceSettings], dated: Iterable[DatedPriceSettings] = ()) -> None:
        self._own = {model: price for model, price in models.items() if _says_something(price)}
        self._dated = sorted((price for price in dated if _says_something(price)), key=lambda p: p.since)
        self._find = lru_cache(maxsize=1024)(self._looked_up)
        self._warned: set[str] = set()

    def money(self, record: UsageRecord) -> Money | None:
        """What a request cost; None when nobody knows its price, which is logged once a model."""
        if record.cache or record.upstream_us is None:
            return FREE
        return self.money_for(
            record.model,
            record.provider,
            record.upstream_model,
            record.time,
            record.input_tokens,
            record.cached_input_tokens,
            record.output_tokens + record.reasoning_tokens,
            record.upstream_us,
            record.slots,
        )

    def money_for(
        self,
        model: str,
        provider: str,
        upstream_model: str,
        time: int,
        fresh: int,
        cached: int,
        output: int,
        upstream_us: int,
        slots: int,
        /,
    ) -> Money | None:
        """What an engine's work costs, for who has no record of it yet; None when nobody knows the price.

        Args:
            model: our id.
            provider: whose public list counts; empty for none.
            upstream_model: the provider's name for it; the id when empty.
            time: when the request came, in microseconds since 1970.
            fresh: input tokens that were read anew.
            cached: input tokens that the engine had read before.
            output: tokens that were written, reasoning among them.
            upstream_us: microseconds that the engine had it.
            slots: sequences that the engine runs at once; they share a price by the hour.
        """
        rates = self._find(model, provider, upstream_model, time // _QUARTER_US)
        if rates is None:
            self._warn(model)
            return None
        paid_in, paid_out = rates.tariff(fresh, cached, output)
        total = paid_in + paid_out
        if rates.per_hour is not None:
            total += _by_time(upstream_us, slots, rates.per_hour)
        if total > MOST_MONEY:
            paid_in, paid_out, total = (min(amount, MOST_MONEY) for amount in (paid_in, paid_out, total))
        return Money(input=paid_in, output=paid_out, total=total, price=rates.row)

    def per_token(
        self, model: str, provider: str, upstream_model: str, when: datetime, *, longest: int, batch: bool = False
    ) -> PriceRow | None:
        """The price as one number for each kind of token; None when it is unknown, or is not as simple as that.

        Args:
            model: our id.
            provider: whose public list counts; empty for none.
            upstream_model: the provider's name for it; the id when empty.
            when: whose day's price.
            longest: input tokens of the longest request it shall hold for; prices in tiers depend on that.
            batch: the price in batches, of which lists know and settings do not.
        """
        stated = self._in_settings(model, when.date())
        if stated is not None:
            return None if batch or stated.per_hour is not None else stated.row
        if not provider:
            return None
        return _listed_per_token(model, provider, upstream_model or model, when, longest, batch=batch)

    def _looked_up(self, model: str, provider: str, upstream_model: str, quarter: int) -> _Rates | None:
        when = datetime.fromtimestamp(quarter * _QUARTER, UTC)
        if (stated := self._in_settings(model, when.date())) is not None:
            return stated
        return _listed(model, provider, upstream_model or model, when) if provider else None

    def _in_settings(self, model: str, day: date) -> _Rates | None:
        dated = [p for p in self._dated if p.model == model and p.since <= day]
        if dated:
            return _stated(model, dated[-1], "settings prices", dated[-1].since)
        return _stated(model, self._own[model], "settings", None) if model in self._own else None

    def _warn(self, model: str) -> None:
        if model not in self._warned:
            self._warned.add(model)
            log.warning("price_unknown", model=model, hint=f"set models.{model}.price, or an entry in prices")


def provider_of(deployment: Deployment) -> str:
    """Whose public price list counts for a deployment; empty for what runs here or at an unknown place."""
    return _provider(deployment.engine, deployment.base_url)


@lru_cache(maxsize=256)
def _provider(engine: EngineName, base_url: str | None) -> str:
    known = _PROVIDERS.get(engine)
    if known is None:
        return ""
    name, host = known
    if base_url is None or urlsplit(base_url).hostname == host:
        return name
    from genai_prices.data_snapshot import get_snapshot  # 40 MB that only users of providers need

    try:
        return get_snapshot().find_provider(None, None, base_url).id
    except LookupError:
        return ""


def _says_something(price: PriceSettings) -> bool:
    return any((price.input_per_1k, price.output_per_1k, price.cached_input_per_1k, price.per_hour))


def _stated(model: str, price: PriceSettings, source: str, since: date | None) -> _Rates:
    """A price of the settings. Of one that names tokens, what it leaves out is not charged for."""
    cached = price.cached_input_per_1k or price.input_per_1k
    row = _row(
        model=model,
        source=source,
        since=since.isoformat() if since else "",
        input_per_1k=price.input_per_1k,
        cached_input_per_1k=cached,
        output_per_1k=price.output_per_1k,
        per_hour=price.per_hour,
    )
    per_hour = Decimal(price.per_hour) if price.per_hour else None
    return _Rates(row=row, tariff=_flat(price.input_per_1k, cached, price.output_per_1k), per_hour=per_hour)


def _listed(model: str, provider: str, upstream_model: str, when: datetime) -> _Rates | None:
    """A price of a provider's list, as genai-prices has it."""
    from genai_prices import Usage, __version__
    from genai_prices.data_snapshot import get_snapshot

    try:
        _, entry = get_snapshot().find_provider_model(upstream_model, None, provider, None)
        price = entry.get_prices(when)
    except LookupError:
        return None

    def tariff(input_tokens: int, cached: int, output: int) -> tuple[int, int]:
        used = Usage(input_tokens=input_tokens + cached, cache_read_tokens=cached, output_tokens=output)
        cost = price.calc_price(used)
        return _rounded(cost["input_price"] * PICODOLLARS), _rounded(cost["output_price"] * PICODOLLARS)

    source = f"genai-prices {__version__} {provider}/{entry.id}"
    texts = [
        str((Decimal(rate) / 1000).normalize() + 0) if isinstance(rate, Decimal) else None
        for name in ("input_mtok", "cache_read_mtok", "output_mtok")
        for rate in [getattr(price, name, None)]
    ]
    tiered = any(
        not isinstance(getattr(price, name, None), Decimal | None) for name in ("input_mtok", "output_mtok")
    )
    row = _row(
        model=model,
        source=f"{source} (tiers)" if tiered else source,
        since="",
        input_per_1k=texts[0],
        cached_input_per_1k=texts[1] or texts[0],
        output_per_1k=texts[2],
        per_hour=None,
    )
    flat = _flat(row.input_per_1k, row.cached_input_per_1k, row.output_per_1k)
    return _Rates(row=row, tariff=tariff if tiered else flat)


def _listed_per_token(
    model: str, provider: str, upstream_model: str, when: datetime, longest: int, *, batch: bool
) -> PriceRow | None:
    """A price of a provider's list for requests that are not longer than that."""
    from genai_prices import __version__
    from genai_prices.data_snapshot import get_snapshot

    try:
        _, entry = get_snapshot().find_provider_model(upstream_model, None, provider, None)
    except LookupError:
        return None
    price = entry.get_prices(when, {"processing": "batch"} if batch else None)
    rates = [getattr(price, name, None) for name in ("input_mtok", "cache_read_mtok", "output_mtok")]
    if (batch and price == entry.get_prices(when)) or any(_tier(rate) < longest for rate in rates):
        return None
    texts = [_per_1k(rate) for rate in rates]
    return _row(
        model=model,
        source=f"genai-prices {__version__} {provider}/{entry.id}{' (batch)' if batch else ''}",
        since="",
        input_per_1k=texts[0],
        cached_input_per_1k=texts[1] or texts[0],
        output_per_1k=texts[2],
        per_hour=None,
    )


def _tier(rate: object) -> float:
    """Input tokens up to which a rate is its first one."""
    tiers = getattr(rate, "tiers", None)
    return tiers[0].start if tiers else math.inf


def _per_1k(rate: object) -> str | None:
    """A rate for a million tokens as a decimal string for a thousand; of one in tiers the first."""
    first = getattr(rate, "base", rate)
    return str((first / 1000).normalize() + 0) if isinstance(first, Decimal) else None


def _flat(input_per_1k: str | None, cached_per_1k: str | None, output_per_1k: str | None) -> _Tariff:
    fresh, cached, written = map(_per_token, (input_per_1k, cached_per_1k, output_per_1k))
    if isinstance(fresh, int) and isinstance(cached, int) and isinstance(written, int):
        return lambda input_tokens, cached_tokens, output: (
            input_tokens * fresh + cached_tokens * cached,
            output * written,
        )

    def tariff(input_tokens: int, cached_tokens: int, output: int) -> tuple[int, int]:
        return _rounded(input_tokens * fresh + cached_tokens * cached), _rounded(output * written)

    return tariff


def _row(**fields: str | None) -> PriceRow:
    digest = hashlib.sha256(msgspec.json.encode(fields)).hexdigest()[:24]
    return msgspec.convert({**fields, "id": digest}, PriceRow)


def _per_token(per_1k: str | None) -> int | Decimal:
    """Picodollars, whole where they are: that is so of every list price, and much quicker to reckon with."""
    amount = Decimal(per_1k or 0) * PICODOLLARS / 1000
    return int(amount) if amount == int(amount) else amount


def _by_time(upstream_us: int, slots: int, per_hour: Decimal) -> int:
    hours = Decimal(upstream_us) / 3_600_000_000
    return _rounded(hours * per_hour / max(1, slots) * PICODOLLARS)


def _rounded(amount: int | Decimal) -> int:
    return amount if isinstance(amount, int) else int(amount.to_integral_value(ROUND_HALF_EVEN))
