"""The price that counted on the day, and exact arithmetic."""

from datetime import UTC, date, datetime
from decimal import Decimal

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.core.ledger.prices import Prices, provider_of
from enginehouse.core.ledger.record import dollars
from enginehouse.settings.schema import DatedPriceSettings, PriceSettings
from enginehouse.types import Deployment, EngineName, Kind
from tests.ledger_contract import record


def used(model="m", when=datetime(2026, 1, 15, tzinfo=UTC), **changes):
    base = {"input_tokens": 1000, "output_tokens": 500, "model": model, "time": int(when.timestamp()) * 1_000_000}
    return record(**base | changes)


def cost(prices, one):
    money = prices.money(one)
    return None if money is None else dollars(money.total)


def test_a_models_own_price():
    prices = Prices({"m": PriceSettings(input_per_1k="0.03", output_per_1k="0.06")})
    money = prices.money(used(input_tokens=100, output_tokens=30, reasoning_tokens=20))
    assert (dollars(money.input), dollars(money.output)) == (Decimal("0.003"), Decimal("0.003"))
    assert cost(prices, used(input_tokens=0, output_tokens=0, cached_input_tokens=1000)) == Decimal("0.03")


@given(
    tokens=st.tuples(*[st.integers(0, 10**9)] * 4),
    took=st.integers(0, 10**12),
    slots=st.integers(0, 8),
    price=st.fixed_dictionaries(
        {},
        optional={
            name: st.decimals("0", "1e6", places=13).map("{:f}".format)
            for name in ("input_per_1k", "cached_input_per_1k", "output_per_1k", "per_hour")
        },
    ),
)
def test_a_price_before_there_is_a_record_is_that_of_the_record(tokens, took, slots, price):
    """And both are the exact amount, rounded once, for a database's 64 bits."""
    prices = Prices({"m": PriceSettings(**price)})
    fresh, cached, written, thought = tokens
    one = used(
        input_tokens=fresh,
        cached_input_tokens=cached,
        output_tokens=written,
        reasoning_tokens=thought,
        upstream_us=took,
        slots=slots,
    )
    money = prices.money_for("m", "", "", one.time, fresh, cached, written + thought, took, slots)
    assert money == prices.money(one)
    if money is not None:
        read = {"input_per_1k": fresh, "cached_input_per_1k": cached}
        stated = {**price, "cached_input_per_1k": price.get("cached_input_per_1k", price.get("input_per_1k"))}
        expected = sum(count * Decimal(stated.get(name) or 0) * 10**9 for name, count in read.items())
        assert abs(money.input - min(expected, 10**18)) <= 1 / 2
        assert 0 <= max(money.input, money.output) <= money.total <= 10**18


def test_nothing_costs_more_than_a_database_can_hold():
    prices = Prices({"m": PriceSettings(input_per_1k="1500000", output_per_1k="1")})
    money = prices.money(used(input_tokens=1000, output_tokens=1000))
    assert (money.input, money.output, money.total) == (10**18, 10**12, 10**18)


def test_dated_prices_come_first_and_begin_on_their_day():
    dated = [
        DatedPriceSettings(model="m", since=date(2026, 3, 1), input_per_1k="3"),
        DatedPriceSettings(model="m", since=date(2026, 2, 1), input_per_1k="2"),
        DatedPriceSettings(model="other", since=date(2020, 1, 1), input_per_1k="9"),
    ]
    prices = Prices({"m": PriceSettings(input_per_1k="1")}, dated)
    days = {"2026-01-31T23:59:59": 1, "2026-02-01": 2, "2026-02-28": 2, "2026-03-01": 3, "2027-01-01": 3}
    for when, expected in days.items():
        assert cost(prices, used(when=datetime.fromisoformat(when).replace(tzinfo=UTC))) == expected
    row = prices.money(used(when=datetime(2026, 2, 1, tzinfo=UTC))).price
    assert (row.source, row.since, row.input_per_1k) == ("settings prices", "2026-02-01", "2")


def test_a_price_by_the_hour_is_shared_by_the_slots():
    prices = Prices({"m": PriceSettings(per_hour="3.6")})
    assert cost(prices, used(upstream_us=10_000_000)) == Decimal("0.01")
    assert cost(prices, used(upstream_us=10_000_000, slots=4)) == Decimal("0.0025")
    assert cost(prices, used(upstream_us=None)) == 0


def test_an_unknown_price_is_none_and_told_once_a_model():
    prices = Prices({"m": PriceSettings()})
    with structlog.testing.capture_logs() as logs:
        assert [cost(prices, used(name)) for name in ("m", "m", "n", "m")] == [None] * 4
    assert [line["model"] for line in logs] == ["m", "n"]


def test_zero_is_a_price():
    assert cost(Prices({"m": PriceSettings(input_per_1k="0", output_per_1k="0")}), used()) == 0


@pytest.mark.parametrize(
    ("provider", "upstream", "changes", "expected"),
    [
        ("openai", "gpt-4o-mini", {"input_tokens": 600, "cached_input_tokens": 400}, "0.00042"),
        ("openai", "gpt-4", {}, "0.06"),
        ("openai", "text-embedding-3-small", {"output_tokens": 0}, "0.00002"),
        ("anthropic", "claude-sonnet-4-5", {}, "0.0105"),
        ("anthropic", "claude-sonnet-4-5", {"input_tokens": 299_000, "cached_input_tokens": 1000}, "1.80585"),
        ("openai", "no-such-model", {}, None),
        ("", "gpt-4", {}, None),
    ],
)
def test_known_providers_have_a_list(provider, upstream, changes, expected):
    found = cost(Prices({}), used("ours", provider=provider, upstream_model=upstream, **changes))
    assert found == (None if expected is None else Decimal(expected))


def test_a_price_of_ours_comes_before_the_list():
    prices = Prices({"gpt-4": PriceSettings(input_per_1k="1", output_per_1k="1")})
    assert cost(prices, used("gpt-4", provider="openai")) == Decimal("1.5")


def test_the_same_price_is_one_row_and_another_is_another():
    def row(price):
        return Prices({"m": PriceSettings(input_per_1k=price)}).money(used()).price.id

    assert row("1") == row("1") != row("2")


@pytest.mark.parametrize(
    ("engine", "base_url", "provider"),
    [
        (EngineName.OPENAI, None, "openai"),
        (EngineName.OPENAI, "https://api.openai.com/v1", "openai"),
        (EngineName.OPENAI, "https://api.groq.com/openai/v1", "groq"),
        (EngineName.OPENAI, "http://127.0.0.1:8001/v1", ""),
        (EngineName.OPENAI, "http://api.openai.com.evil.example/v1", ""),
        (EngineName.ANTHROPIC, None, "anthropic"),
        (EngineName.LLAMA_SERVER, None, ""),
        (EngineName.ONNX, None, ""),
        (EngineName.OLLAMA, "http://ollama:11434", ""),
    ],
)
def test_whose_list_counts_is_told_by_the_place(engine, base_url, provider):
    deployment = Deployment(id="m", model="m", kind=Kind.CHAT, engine=engine, base_url=base_url)
    assert provider_of(deployment) == provider


money = st.decimals(min_value=0, max_value=100, places=6)


@given(price_in=money, price_out=money, parts=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6))))
def test_sums_of_costs_are_the_cost_of_sums(price_in, price_out, parts):
    """Prices with up to six digits a thousand tokens lose nothing, however requests are cut up."""
    prices = Prices({"m": PriceSettings(input_per_1k=f"{price_in:f}", output_per_1k=f"{price_out:f}")})
    each = [used(input_tokens=a, output_tokens=b) for a, b in parts]
    whole = (
        Decimal(sum(a for a, _ in parts)) * price_in / 1000 + Decimal(sum(b for _, b in parts)) * price_out / 1000
    )
    if price_in or price_out:
        assert sum((dollars(prices.money(one).total) for one in each), Decimal(0)) == whole


def test_a_charged_record_survives_the_spool():
    one = used().charged(Prices({"m": PriceSettings(input_per_1k="0.0000001")}).money(used()))
    assert msgspec.json.decode(msgspec.json.encode(one), type=type(one)) == one
