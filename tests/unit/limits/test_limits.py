"""Limits: which count for whom, what a refusal says, and what happens when the store is away."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.core.identity import ANONYMOUS, LOCAL
from enginehouse.core.limits import Limits
from enginehouse.core.limits.rules import INFERENCE, Rules
from enginehouse.core.limits.telling import span
from enginehouse.errors import RateLimitExceeded, StoreUnavailable
from enginehouse.settings.schema import LimitSettings
from enginehouse.stores.kv import MemoryTallies
from enginehouse.types import Principal, Rate, Rates

CHAT = "/v1/chat/completions"
GENERATE = "/v1/llm/generate"
ANN = Principal(user="ann", tier="gold")


def settings(**changes):
    return LimitSettings.model_validate(changes)


def limits(now=None, **changes):
    clock = now or [0]
    return Limits(settings(**changes), MemoryTallies(lambda: clock[-1]))


async def passes(house, principal=ANN, endpoint=CHAT, times=1):
    """How many of so many, one after the other."""
    count = 0
    for _ in range(times):
        try:
            async with house.admit(principal, endpoint):
                count += 1
        except RateLimitExceeded:
            pass
    return count


def told(principal, endpoint=CHAT, **changes):
    return {(rule.what, rule.count, rule.seconds) for rule in Rules(settings(**changes)).of(principal, endpoint)}


@pytest.mark.parametrize(("tier", "count"), [("premium", 1000), ("standard", 100), ("basic", 10)])
def test_tiers_are_as_documented(tier, count):
    assert told(Principal(user="ann", tier=tier)) == {("requests", count, 3600)}


@pytest.mark.parametrize(
    ("path", "count"), [(GENERATE, 10), ("/v1/llm/generate-embeddings", 20), ("/v1/vector/search", 100)]
)
def test_endpoints_are_as_documented(path, count):
    assert told(ANN, path) == {("requests", 100, 3600), ("requests", count, 60)}


def test_the_queued_chat_has_its_hourly_limit():
    path = "/api/v1/inference/chat"
    assert told(ANN, path) == {("requests", 100, 3600)}
    assert told(ANN, path, requests_per_hour=7) == {("requests", 100, 3600), ("requests", 7, 3600)}
    assert ("requests", 5, 60) in told(ANN, path, endpoints={path: "5/minute"})


def test_an_unknown_tier_is_no_way_out():
    for tier in ("admin", "internal", "PREMIUM", "", "unheard-of"):
        assert told(Principal(user="ann", tier=tier)) == {("requests", 100, 3600)}
    assert told(ANONYMOUS) == {("requests", 10, 3600)}


def test_admins_have_the_limits_that_are_said_of_them():
    assert told(LOCAL, GENERATE) == set()
    assert told(LOCAL, GENERATE, tiers={"admin": "5/hour"}) == {("requests", 5, 3600)}
    assert told(LOCAL, GENERATE, requests=60) == {("requests", 60, 60.0)}


def test_what_is_left_out_keeps_its_default_and_nothing_is_no_limit():
    tiers = {"gold": "1/second, 9 tokens/day, 2 at once", "standard": "unlimited"}
    assert told(ANN, tiers=tiers) == {("requests", 1, 1), ("tokens", 9, 86_400), ("concurrent", 2, 0)}
    assert told(Principal(user="a", tier="standard"), tiers=tiers) == set()
    assert told(Principal(user="a", tier="basic"), tiers=tiers) == {("requests", 10, 3600)}


def test_a_keys_own_limits_come_on_top():
    holder = Principal(user="ann", tier="basic", key="k1", limits=Rates(tokens=Rate(50, 60), concurrent=1))
    assert told(holder) == {("requests", 10, 3600), ("tokens", 50, 60), ("concurrent", 1, 0)}


def test_every_path_at_which_models_are_asked_is_covered():
    rules = Rules(settings(endpoints={"/v1/other": "1/hour"}))
    assert all(rules.covers(path) for path in (*INFERENCE, "/v1/vector/search", "/v1/other"))
    assert not any(rules.covers(path) for path in ("/v1/models", "/health", "/v1/keys", "/v1/llm/usage"))


@pytest.mark.parametrize(
    "changes",
    [
        {"requests": 100},
        {"tiers": {"gold": "100/hour"}},
        {"endpoints": {CHAT: "100/hour"}, "tiers": {"gold": "unlimited"}},
    ],
)
async def test_of_two_hundred_at_once_a_hundred_pass(changes):
    house, gate = limits(**changes), asyncio.Event()
    refused = []

    async def call():
        try:
            async with house.admit(ANN, CHAT):
                await gate.wait()
                return 1
        except RateLimitExceeded as error:
            refused.append(error)
            return 0

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call()) for _ in range(200)]
        await asyncio.sleep(0)
        gate.set()
    assert sum(task.result() for task in tasks) == 100
    assert all(error.retry_after > 0 for error in refused)


async def test_users_are_apart_and_a_users_keys_are_together():
    house = limits(tiers={"gold": "2/hour"})
    keys = [Principal(user="ann", tier="gold", key=f"k{n}") for n in range(3)]
    assert [await passes(house, key) for key in keys] == [1, 1, 0]
    assert await passes(house, Principal(user="bob", tier="gold"), times=3) == 2


async def test_keys_of_one_user_have_their_own():
    house = limits(tiers={"gold": "unlimited"})
    one, two = (Principal(user="ann", tier="gold", key=k, limits=Rates(requests=Rate(1, 60))) for k in "ab")
    assert [await passes(house, key, times=2) for key in (one, two)] == [1, 1]


async def test_endpoints_are_apart():
    house = limits(endpoints={GENERATE: "1/minute", CHAT: "1/minute"})
    assert [await passes(house, endpoint=path, times=2) for path in (GENERATE, CHAT)] == [1, 1]


async def test_a_refusal_tells_when_and_the_time_is_true():
    now = [0]
    house = limits(now, tiers={"gold": "1/minute"})
    assert await passes(house) == 1
    now.append(20_000_000)
    with pytest.raises(RateLimitExceeded) as refused:
        async with house.admit(ANN, CHAT):
            pass
    error = refused.value
    assert error.retry_after == 41
    assert "1 requests in 1m0s" in error.message
    assert "'gold'" in error.message
    assert dict(error.told) == {
        "x-ratelimit-limit-requests": "1",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "41s",
    }
    now.append(now[-1] + error.retry_after * 1_000_000)
    assert await passes(house) == 1


async def test_answers_tell_how_the_tightest_limit_stands():
    house = limits(tiers={"gold": "10/hour, 1000 tokens/minute"}, endpoints={CHAT: "5/minute"})
    async with house.admit(ANN, CHAT) as grant:
        headers = {name.decode(): value.decode() for name, value in grant.headers}
        grant.spent(400)
    assert headers["x-ratelimit-limit-requests"] == "5"
    assert headers["x-ratelimit-remaining-requests"] == "4"
    assert headers["x-ratelimit-reset-requests"] in {"1m0s", "1m1s"}
    assert headers["x-ratelimit-limit-tokens"] == "1000"
    assert headers["x-ratelimit-remaining-tokens"] == "1000"
    assert headers["x-ratelimit-reset-tokens"] == "0ms"
    async with house.admit(ANN, CHAT) as grant:
        assert dict(grant.headers)[b"x-ratelimit-remaining-tokens"] == b"600"


async def test_who_has_no_limits_is_told_of_none():
    async with limits().admit(LOCAL, CHAT) as grant:
        grant.spent(10**9)
        await grant.expect(10**9)
        assert grant.headers == []


async def test_tokens_count_when_they_are_spent():
    now = [0]
    house = limits(now, tiers={"gold": "100 tokens/minute"})
    async with house.admit(ANN, CHAT) as grant:
        grant.spent(40)
        grant.spent(120)
    assert await passes(house) == 0
    now.append(61_000_001)
    assert await passes(house) == 1


async def test_what_is_expected_is_reserved_and_comes_back():
    house = limits(tiers={"gold": "100 tokens/minute"})
    async with house.admit(ANN, CHAT) as first:
        await first.expect(60)
        async with house.admit(ANN, CHAT) as second:
            with pytest.raises(RateLimitExceeded, match="100 tokens"):
                await second.expect(60)
            await second.expect(40)
        first.spent(10)
    async with house.admit(ANN, CHAT) as third:
        await third.expect(90)
        with pytest.raises(RateLimitExceeded):
            await third.expect(1)


async def test_a_request_larger_than_the_limit_may_run_alone():
    house = limits(tiers={"gold": "100 tokens/minute"})
    async with house.admit(ANN, CHAT) as grant:
        await grant.expect(5000)
        assert await passes(house) == 0
    assert await passes(house) == 1


@pytest.mark.parametrize("end", [None, RuntimeError, asyncio.CancelledError])
async def test_a_seat_is_free_again_however_it_ends(end):
    house = limits(tiers={"gold": "1 at once"})
    try:
        async with house.admit(ANN, CHAT):
            with pytest.raises(RateLimitExceeded, match="same time") as refused:
                async with house.admit(ANN, CHAT):
                    pass
            assert refused.value.retry_after == 1
            if end is not None:
                raise end
    except (RuntimeError, asyncio.CancelledError):
        pass
    assert await passes(house) == 1


async def test_a_refused_request_takes_nothing():
    house = limits(tiers={"gold": "3/hour"}, endpoints={GENERATE: "1/hour"})
    assert await passes(house, endpoint=GENERATE, times=50) == 1
    assert await passes(house, times=50) == 2


async def test_new_limits_count_from_the_next_request_on():
    house = limits(tiers={"gold": "1/hour"})
    assert await passes(house, times=2) == 1
    house.adopt(settings(tiers={"gold": "3/hour"}))
    assert await passes(house, times=5) == 2


@given(
    st.lists(st.sampled_from(["enter", "leave", "expect", "spend"]), max_size=60),
    st.integers(1, 4),
    st.integers(20, 100),
)
def test_whatever_is_asked_seats_and_tokens_are_never_more_than_there_are(steps, seats, tokens):
    async def run():
        house = limits(tiers={"gold": f"{seats} at once, {tokens} tokens/hour"})
        inside, reserved, spent = [], 0, 0
        for step in steps:
            try:
                if step == "enter":
                    context = house.admit(ANN, CHAT)
                    inside.append([context, await context.__aenter__(), 0])
                elif step == "leave" and inside:
                    context, _, mine = inside.pop(0)
                    await context.__aexit__(None, None, None)
                    reserved -= mine
                elif step == "expect" and inside:
                    await inside[-1][1].expect(9)
                    inside[-1][2] += 9
                    reserved += 9
                elif step == "spend" and inside and inside[0][2]:
                    context, grant, mine = inside.pop(0)
                    grant.spent(mine)
                    await context.__aexit__(None, None, None)
                    reserved -= mine
                    spent += mine
            except RateLimitExceeded:
                pass
            assert len(inside) <= seats
            assert reserved + spent <= tokens
        for context, _, _ in inside:
            await context.__aexit__(None, None, None)

    asyncio.run(run())


# The store is away ---------------------------------------------------------------------------------------


class Gone:
    """Tallies and store of a Redis that is away."""

    def __init__(self):
        self.up, self.settled = False, []

    async def take(self, asked):
        raise StoreUnavailable("gone")

    async def settle(self, spent):
        self.settled.append(spent)


def shared(gone, **changes):
    return Limits(settings(tiers={"gold": "2/hour, 1 at once"}, **changes), MemoryTallies(), gone, gone)


async def test_each_replica_counts_for_itself_then():
    gone = Gone()
    house = shared(gone)
    assert await passes(house, times=5) == 2
    with pytest.raises(StoreUnavailable, match="counts limits for itself"):
        await house.ask()
    gone.up = True
    await house.ask()


async def test_or_refuses():
    house = shared(Gone(), on_store_failure="deny")
    with pytest.raises(StoreUnavailable) as refused:
        await passes(house)
    assert refused.value.retry_after
    with pytest.raises(StoreUnavailable, match="refused"):
        await house.ask()
    async with house.admit(LOCAL, CHAT):
        pass


class Leaving(MemoryTallies):
    """Goes away after the first."""

    up, gone = True, False

    async def take(self, asked):
        if self.gone:
            raise StoreUnavailable("gone")
        self.gone = True
        return await super().take(asked)


@pytest.mark.parametrize(("mode", "passes_"), [("local", True), ("deny", False)])
async def test_a_store_that_leaves_in_the_middle(mode, passes_):
    leaving = Leaving()
    house = Limits(
        settings(tiers={"gold": "100 tokens/hour"}, on_store_failure=mode), MemoryTallies(), leaving, leaving
    )
    async with house.admit(ANN, CHAT) as grant:
        if passes_:
            await grant.expect(10)
        else:
            with pytest.raises(StoreUnavailable):
                await grant.expect(10)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0ms"), (0.2, "200ms"), (1, "1s"), (59.5, "1m0s"), (360, "6m0s"), (3600, "1h0m0s"), (86_400, "24h0m0s")],
)
def test_times_are_written_as_clients_read_them(seconds, words):
    assert span(seconds) == words
