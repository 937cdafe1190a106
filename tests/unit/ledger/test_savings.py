"""The report of savings, with figures that were worked out by hand, and its route."""

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest

from enginehouse.api.dispatch import FrontDoor
from enginehouse.api.framework import framework_app
from enginehouse.api.usage import savings_router
from enginehouse.core.ledger.books import SqlBooks
from enginehouse.core.ledger.prices import Prices
from enginehouse.core.ledger.savings import Savings
from enginehouse.settings.schema import DatedPriceSettings, PriceSettings, ServerSettings
from enginehouse.stores.sql import database_url, open_database, prepare
from enginehouse.testing import Caller
from enginehouse.types import Deployment, EngineName, Kind, Model, Principal
from tests.ledger_contract import january, record

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DOLLAR = 10**12
PRICES = {
    "big": PriceSettings(input_per_1k="0.01", cached_input_per_1k="0.005", output_per_1k="0.03"),
    "small": PriceSettings(input_per_1k="0.001", cached_input_per_1k="0.0005", output_per_1k="0.002"),
    "tiny": PriceSettings(input_per_1k="0.0001", output_per_1k="0.0002"),
    "hourly": PriceSettings(per_hour="0.0001"),
    "half": PriceSettings(input_per_1k="0.00001"),
}
WORK = {"input_tokens": 10_000, "cached_input_tokens": 2000, "output_tokens": 900, "reasoning_tokens": 100}
# 10 * 0.01 + 2 * 0.005 + 1 * 0.03 = 0.14 dollars
BIG = {"model": "big", **WORK, "cost": 140 * DOLLAR // 1000}


def model(id_, context=8192, capabilities=("chat",), kind=Kind.CHAT, **deployment):
    made = Deployment(
        id=id_, model=id_, kind=kind, engine=EngineName.OPENAI, base_url="http://here:1", **deployment
    )
    return Model(id=id_, kind=kind, deployments=(made,), context_length=context, capabilities=capabilities)


def at_openai(id_, upstream, **stated):
    made = Deployment(id=id_, model=id_, kind=Kind.CHAT, engine=EngineName.OPENAI, upstream_model=upstream)
    return Model(id=id_, kind=Kind.CHAT, deployments=(made,), **{"context_length": 8192, **stated})


MODELS = (model("big"), model("small"))


@pytest.fixture
async def database(tmp_path):
    async with open_database(database_url("", tmp_path)) as opened:
        await prepare(opened)
        yield opened


@pytest.fixture
def report(database):
    async def of(records, models=MODELS, prices=PRICES, question=None, *, dated=(), bounds=None, **more):
        await SqlBooks(database).write(records)
        savings = Savings(database, lambda: models, lambda: Prices(prices, dated), lambda: 86_400.0, **bounds or {})
        return await savings.report(question or january(), NOW, **more)

    return of


# Caching -------------------------------------------------------------------------------------------------


async def test_repeats_are_charged_nothing_with_a_cache(report):
    asked = [record(hour=h, digest="d", cost=DOLLAR, total_us=1) for h in range(3)]
    others = [record(hour=h, digest="d", user_id="bob", cost=DOLLAR * 2, total_us=1) for h in (4, 30)]
    found = (await report([*asked, *others, record(hour=5)])).caching
    # ann repeats twice; bob's second comes a day and two hours later. For the tenant, bob's first is a repeat too,
    # and his second comes too late for ann's first.
    assert found.saved == {"user": Decimal(2), "tenant": Decimal(4)}
    assert (found.examined_requests, found.requests_without_digest, found.after) == (6, 1, None)
    tenant, user = found.lines
    assert (tenant.scope, tenant.requests, tenant.input_tokens, tenant.saved) == ("tenant", 3, 30, Decimal(4))
    assert (user.scope, user.instead, user.basis, user.would_cost) == ("user", "cache", "records", 0)
    assert user.arithmetic == "2 repeats were charged 2; 2 - 0 = 2"


async def test_what_failed_or_was_cached_already_is_no_answer_to_keep(report):
    kept = {"digest": "d", "total_us": 1}
    rows = [
        record(outcome="failed", **kept),
        record(hour=1, cache="exact", cost=0, **kept),
        record(hour=2, outcome="cancelled", **kept),
        record(hour=3, **kept),
    ]
    found = await report(rows)
    assert (found.caching.examined_requests, found.caching.lines) == (1, [])
    assert found.recorded.cached_requests == 1


async def test_the_look_at_records_is_bounded_and_says_so(report):
    rows = [record(day=d, digest="d", cost=DOLLAR, total_us=1) for d in range(10)]
    rows += [record(day=9, hour=1, digest="d", cost=DOLLAR, total_us=1)]
    found = await report(rows, bounds={"most_scanned": 3, "most_summed": 5})
    assert (found.caching.examined_requests, found.caching.after) == (3, "2024-01-08T00:00:00Z")
    assert found.caching.saved["user"] == 1
    assert (found.recorded.requests, found.recorded.after) == (5, "2024-01-06T00:00:00Z")


# Cheaper models ------------------------------------------------------------------------------------------


async def test_a_cheaper_equal_is_named_with_its_arithmetic(report):
    found = (await report([record(**BIG), record(hour=1, **BIG)])).cheaper_models
    # 20 * 0.001 + 4 * 0.0005 + 2 * 0.002 = 0.026; 0.28 - 0.026 = 0.254
    [line] = found.lines
    assert (line.model, line.instead, line.basis, line.requests) == ("big", "small", "prices", 2)
    assert (line.cost, line.would_cost, line.saved) == (Decimal("0.28"), Decimal("0.026"), Decimal("0.254"))
    assert (line.input_tokens, line.cached_input_tokens, line.output_tokens) == (20_000, 4000, 2000)
    assert line.prices is not None
    assert (line.prices.input_per_1k, line.prices.source) == ("0.001", "settings")
    assert line.arithmetic == (
        "(20000 * 0.001 + 4000 * 0.0005 + 2000 * 0.002) / 1000 = 0.026; 0.28 - 0.026 = 0.254"
    )
    assert found.saved == Decimal("0.254")


async def test_of_several_the_cheapest_counts_once(report):
    found = (await report([record(**BIG)], (*MODELS, model("tiny")))).cheaper_models
    # tiny: 10 * 0.0001 + 2 * 0.0001 + 1 * 0.0002 = 0.0014
    assert [(line.instead, line.saved) for line in found.lines] == [
        ("tiny", Decimal("0.1386")),
        ("small", Decimal("0.127")),
    ]
    assert found.saved == Decimal("0.1386")


@pytest.mark.parametrize(
    "other",
    [
        model("small", context=4096),
        model("small", context=None),
        model("small", kind=Kind.EMBEDDING),
        model("small", capabilities=("embedding",)),
        model("hourly"),
        model("half"),
        model("unpriced"),
    ],
)
async def test_what_is_no_equal_or_has_no_known_price_is_not_named(report, other):
    assert (await report([record(**BIG)], (model("big"), other))).cheaper_models.lines == []


async def test_without_a_stated_context_the_longest_request_stands_for_it(report):
    big = model("big", context=None)
    # 10000 + 2000 + 900 + 100 tokens
    enough, little = model("small", context=13_000), model("small", context=12_999)
    assert len((await report([record(**BIG)], (big, enough))).cheaper_models.lines) == 1
    assert (await report([], (big, little))).cheaper_models.lines == []


async def test_who_may_not_use_a_model_does_not_hear_of_it(report):
    found = await report([record(**BIG)], may_use=lambda model: model.id != "small")
    assert found.cheaper_models.lines == []


async def test_a_model_that_left_the_catalogue_is_told(report):
    found = (await report([record(**BIG | {"model": "gone"})])).cheaper_models
    assert (found.not_compared, found.lines) == (["gone"], [])


async def test_unpriced_and_cached_requests_are_compared_with_nothing(report):
    rows = [record(**BIG | {"cost": None}), record(**BIG | {"cost": 0}, cache="exact")]
    found = await report(rows)
    assert found.cheaper_models.lines == []
    assert (found.recorded.unpriced_requests, found.recorded.requests) == (1, 2)
    [line] = (await report([record(**BIG)])).cheaper_models.lines
    assert (line.requests, line.input_tokens) == (1, 10_000)


async def test_of_several_places_the_dearest_counts(report):
    """A request may end up at any of them."""
    cheap, dear = at_openai("x", "gpt-4o-mini"), at_openai("x", "gpt-4o")
    for first, second in ((cheap, dear), (dear, cheap)):
        both = msgspec.structs.replace(
            first, deployments=(*first.deployments, *second.deployments), capabilities=("chat",)
        )
        [line] = (await report([record(**BIG)], (model("big"), both))).cheaper_models.lines
        assert line.prices is not None
        assert line.prices.source.endswith("openai/gpt-4o")
    unknown = msgspec.structs.replace(both, deployments=(*both.deployments, *at_openai("x", "no-such").deployments))
    assert (await report([], (model("big"), unknown))).cheaper_models.lines == []


async def test_the_price_of_the_last_day_counts(report):
    later = DatedPriceSettings.model_validate({"model": "small", "since": "2024-02-01", "input_per_1k": "0"})
    then = DatedPriceSettings.model_validate(
        {"model": "small", "since": "2024-01-15", "input_per_1k": "0.002", "output_per_1k": "0"}
    )
    found = await report([record(**BIG)], dated=(later, then))
    # 12 * 0.002 = 0.024
    assert found.cheaper_models.lines[0].would_cost == Decimal("0.024")
    assert found.priced_at == "2024-01-31"


# Batching ------------------------------------------------------------------------------------------------


def mini(day=datetime(2026, 11, 10, tzinfo=UTC), **changes):
    """A million tokens read and as many written by gpt-4o-mini, at its list price: 0.15 + 0.6 dollars."""
    stated = {"model": "mini", "provider": "openai", "upstream_model": "gpt-4o-mini", "time": 0}
    tokens = {"input_tokens": 10**6, "output_tokens": 10**6, "cost": 750 * DOLLAR // 1000}
    stamp = f"{int(day.timestamp() * 1000):012x}"
    return record(id=f"{stamp}{len(changes):020x}", **stated | tokens | changes)


AUTUMN = {
    "start": int(datetime(2026, 11, 1, tzinfo=UTC).timestamp()),
    "end": int(datetime(2026, 12, 1, tzinfo=UTC).timestamp()),
}


async def test_a_listed_batch_price_counts(report):
    found = (await report([mini()], (), {}, january(**AUTUMN))).batching
    # The list's batch price is 0.075 and 0.3 dollars a million.
    [line] = found.lines
    assert (line.basis, line.cost, line.would_cost, line.saved) == (
        "prices",
        Decimal("0.75"),
        Decimal("0.375"),
        found.saved,
    )
    assert (
        line.arithmetic
        == "(1000000 * 0.000075 + 0 * 0.000075 + 1000000 * 0.0003) / 1000 = 0.375; 0.75 - 0.375 = 0.375"
    )
    assert line.prices is not None
    assert line.prices.source.endswith("openai/gpt-4o-mini (batch)")


async def test_streams_failures_and_local_models_cannot_be_batched(report):
    rows = [mini(stream=True), mini(outcome="failed", stream=False), mini(provider="", error="", stream=False)]
    found = (await report(rows, (), {}, january(**AUTUMN))).batching
    assert (found.lines, found.eligible_requests) == ([], 0)


async def test_without_a_known_batch_price_nothing_is_made_up(report):
    own = {"mini": PRICES["big"]}
    found = (await report([mini()], (), own, january(**AUTUMN))).batching
    [line] = found.lines
    assert (line.basis, line.would_cost, line.saved, found.saved) == ("unknown", None, None, 0)
    assert found.eligible_requests == 1


async def test_an_assumed_discount_is_marked(report):
    own, share = {"mini": PRICES["big"]}, Decimal("0.4")
    found = (await report([mini()], (), own, january(**AUTUMN), batch_discount=share)).batching
    [line] = found.lines
    assert (line.basis, line.saved, found.batch_discount) == ("assumed", Decimal("0.3"), share)
    assert line.arithmetic == "0.75 * (1 - 0.4) = 0.45; 0.75 - 0.45 = 0.3"


def test_a_price_in_tiers_is_one_number_below_its_first_tier():
    prices, when = Prices({}), NOW

    def of(longest, *, batch=False):
        return prices.per_token("s", "anthropic", "claude-sonnet-4-5", when, longest=longest, batch=batch)

    below, batched = of(200_000), of(200_000, batch=True)
    assert below is not None
    assert batched is not None
    assert (below.input_per_1k, below.output_per_1k) == ("0.003", "0.015")
    assert (batched.input_per_1k, batched.output_per_1k) == ("0.0015", "0.0075")
    assert of(200_001) is None
    assert prices.per_token("s", "openai", "no-such-model", when, longest=0) is None


async def test_a_listed_model_may_be_the_cheaper_one(report):
    found = await report([record(**BIG)], (model("big"), at_openai("mini", "gpt-4o-mini", capabilities=("chat",))))
    [line] = found.cheaper_models.lines
    assert line.instead == "mini"
    assert line.prices is not None
    assert line.prices.source.startswith("genai-prices")


# The route -----------------------------------------------------------------------------------------------


class Known:
    """An identity that everybody has."""

    def __init__(self, principal):
        self._principal = principal

    open = False

    async def principal(self, *_):
        return self._principal


PATH = "/v1/llm/savings?start_date=2024-01-01&end_date=2024-01-31"
ANN, ADMIN = Principal(user="ann"), Principal(user="root", role="admin")


@pytest.fixture
async def ask(database):
    rows = [record(**BIG, digest="d", total_us=1), record(hour=1, user_id="bob", **BIG, digest="d", total_us=1)]
    await SqlBooks(database).write(rows)
    rest = framework_app(
        [savings_router(Savings(database, lambda: MODELS, lambda: Prices(PRICES), lambda: 86_400.0))]
    )

    async def call(path, principal=ADMIN):
        door = FrontDoor({}, rest, Known(principal), ServerSettings())
        return await Caller(door, "GET", path, b"", {}).run()

    return call


async def test_the_answer_shows_every_figure(ask):
    answer = await ask(PATH)
    assert answer.status == 200
    body = answer.json()
    assert (body["start"], body["end"], body["user"]) == ("2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z", None)
    assert body["recorded"] == {
        "requests": 2,
        "cost": 0.28,
        "unpriced_requests": 0,
        "cached_requests": 0,
        "after": None,
    }
    assert body["caching"]["saved"] == {"user": 0, "tenant": 0.14}
    assert body["cheaper_models"]["saved"] == 0.254
    assert body["cheaper_models"]["lines"][0]["prices"]["output_per_1k"] == "0.002"
    assert any("prompt cache" in line for line in body["unknown"])
    assert msgspec.json.decode(answer.body)["assumptions"]


async def test_others_see_their_own_only(ask):
    body = (await ask(PATH, ANN)).json()
    assert (body["user"], body["recorded"]["requests"], body["caching"]["saved"]) == ("ann", 1, {"user": 0})
    refused = await ask(PATH + "&user_id=bob", ANN)
    assert (refused.status, refused.json()["error"]["code"]) == (403, "permission_denied")
    only_big = Principal(user="ann", models=("big",))
    assert (await ask(PATH, only_big)).json()["cheaper_models"]["lines"] == []


@pytest.mark.parametrize("wrong", ["1.5", "-0.1", "NaN", "half"])
async def test_a_discount_is_a_share(ask, wrong):
    answer = await ask(f"{PATH}&batch_discount={wrong}")
    assert (answer.status, answer.json()["error"]["param"]) == (400, "batch_discount")
    assert (await ask(f"{PATH}&batch_discount=0.5")).json()["batching"]["batch_discount"] == 0.5
