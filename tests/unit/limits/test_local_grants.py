"""Limits counted without waiting: in one step the same as by the general way in three, and undone as never been."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.core.identity import LOCAL
from enginehouse.core.limits import NO_BOUNDS, Limits, settle_all
from enginehouse.errors import RateLimitExceeded
from enginehouse.settings.schema import LimitSettings
from enginehouse.stores.kv import MemoryTallies
from enginehouse.types import Principal, Rate, Rates

CHAT = "/v1/chat/completions"
SECOND = 1_000_000
BEGIN = 1_700_000_000 * SECOND


class House:
    """One process's limits, on a clock that a test moves."""

    def __init__(self, tier="5/minute, 100 tokens/minute, 3 at once", **changes):
        self.now = BEGIN
        self.tallies = MemoryTallies(lambda: self.now)
        self.limits = Limits(LimitSettings.model_validate({"tiers": {"gold": tier}, **changes}), self.tallies)

    def state(self):
        """All that counts by now."""
        for parts in self.tallies._windows.values():
            parts.forget(self.now)
        windows = {
            key: (list(parts._counts.items()), parts.used, parts.reset(self.now), parts.over)
            for key, parts in self.tallies._windows.items()
            if parts.used
        }
        return windows, {key: len(held) for key, held in self.tallies._seats.items() if held}

    def take(self, who, tokens):
        """At once; None when it is refused."""
        return self.limits.now(who, CHAT).take([tokens])[0]

    async def general(self, who, tokens):
        """The same by the general way."""
        grant = await self.limits.grant(who, CHAT)
        try:
            await grant.expect(tokens)
        except RateLimitExceeded:
            await grant.settle()
            raise
        return grant


ANN = Principal(user="ann", tier="gold")
OWN = Rates(requests=Rate(3, 10), tokens=Rate(60, 7), concurrent=2)
WHO = [
    ANN,
    Principal(user="ann", tier="gold", key="k1", limits=OWN),
    Principal(user="ben", tier="gold", key="k2", limits=Rates(tokens=Rate(1000, 3600))),
]
TIERS = st.sampled_from(
    [
        "5/minute, 100 tokens/minute, 3 at once",
        "4/minute",
        "100 tokens/7 seconds",
        "2 at once",
        "30/minute, 5 at once",
        "unlimited",
    ]
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.sampled_from(WHO), st.sampled_from([-5, 0, 1, 20, 60, 61, 100, 5000])),
        st.tuples(st.just("settle"), st.integers(0, 5), st.sampled_from([0, 1, 20, 70, 3000])),
        st.tuples(st.just("undo"), st.sampled_from(WHO), st.sampled_from([0, 30])),
        st.tuples(st.just("wait"), st.just(0), st.integers(0, 20 * SECOND)),
    ),
    max_size=40,
)


@given(TIERS, STEPS, st.booleans())
def test_by_both_ways_everything_is_counted_alike(tier, steps, everybody):
    async def run():
        changes = {"requests": 6, "window": 30} if everybody else {}
        one, other = House(tier, **changes), House(tier, **changes)
        grants = []
        for what, which, number in steps:
            if what == "take":
                before, grant = one.state(), one.take(which, number)
                if grant is None:
                    assert one.state() == before
                    assert await _refusal(one, which, number) == await _refusal(other, which, number)
                else:
                    general = await other.general(which, number)
                    assert grant.headers == general.headers
                    grants.append((grant, general))
            elif what == "settle" and which < len(grants):
                grant, general = grants.pop(which)
                grant.settle_now(number)
                general.spent(number)
                await general.settle()
            elif what == "undo":
                before, grant = one.state(), one.take(which, number)
                if grant is not None:
                    grant.undo_now()
                assert one.state() == before
            elif what == "wait":
                one.now += number
                other.now += number
            assert one.state() == other.state()

    asyncio.run(run())


TOGETHER = st.lists(st.sampled_from([-5, 0, 1, 5, 20, 60, 101]), min_size=1, max_size=6)
TURNS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.sampled_from(WHO), TOGETHER),
        st.tuples(st.just("settle"), st.integers(1, 5), st.lists(st.sampled_from([0, 1, 20, 70]), min_size=5)),
        st.tuples(st.just("wait"), st.just(0), st.integers(0, 70 * SECOND)),
    ),
    max_size=30,
)
MANY = st.sampled_from(["500/minute, 900 tokens/minute", "40/minute, 12 at once", "300 tokens/7 seconds"])


@given(TIERS | MANY, TURNS)
def test_together_everything_is_counted_as_one_after_the_other(tier, turns):
    one, other = House(tier), House(tier)
    grants = []
    for what, which, numbers in turns:
        if what == "take":
            together = one.limits.now(which, CHAT).take(numbers)
            alone = [other.take(which, number) for number in numbers]
            for first, second in zip(together, alone, strict=True):
                assert (first is None) == (second is None)
                if first is not None:
                    assert first.lines == second.lines
                    assert first.headers == second.headers
                    grants.append((first, second))
        elif what == "settle":
            ended, grants = grants[:which], grants[which:]
            settle_all([(grant, number) for (grant, _), number in zip(ended, numbers, strict=False)])
            for (_, grant), number in zip(ended, numbers, strict=False):
                grant.settle_now(number)
        else:
            one.now += numbers
            other.now += numbers
        assert one.state() == other.state()


async def _refusal(house, who, tokens):
    with pytest.raises(RateLimitExceeded) as refused:
        await house.general(who, tokens)
    return refused.value.message, refused.value.told, refused.value.retry_after


@pytest.mark.parametrize(
    ("tier", "changes"),
    [
        ("5/minute, 100 tokens/minute, 3 at once", {}),
        ("5/minute", {"endpoints": {CHAT: "4/second"}}),
        ("5/second", {"endpoints": {CHAT: "5/minute, 7 tokens/second"}}),
        ("9 tokens/2 seconds", {}),
        ("9 at once", {}),
        ("unlimited", {}),
    ],
)
def test_lines_are_the_headers_ready_to_be_written(tier, changes):
    house = House(tier, **changes)
    for pause in (0, 300_000, 700_000, SECOND):
        house.now += pause
        grant = house.take(ANN, 3)
        written = b"".join(b"%b: %b\r\n" % header for header in grant.headers)
        assert grant.lines == written
        assert bool(grant.lines) == bool(grant.headers)
        grant.settle_now(1)


def test_lines_tell_of_the_state_before_what_is_expected():
    grant = House().take(ANN, 60)
    assert grant.lines.split(b"\r\n") == [
        b"x-ratelimit-limit-requests: 5",
        b"x-ratelimit-remaining-requests: 4",
        b"x-ratelimit-reset-requests: 1m1s",
        b"x-ratelimit-limit-tokens: 100",
        b"x-ratelimit-remaining-tokens: 100",
        b"x-ratelimit-reset-tokens: 0ms",
        b"",
    ]


def test_lines_tell_of_the_limit_of_which_the_least_is_left():
    house = House("10/hour", endpoints={CHAT: "5/second"})
    told = []
    for _ in range(8):
        told.append(house.take(ANN, 0).lines.split(b"\r\n")[:2])
        house.now += 2 * SECOND
    limits, remaining = zip(*[[int(line.split(b": ")[1]) for line in two] for two in told], strict=True)
    assert limits == (5, 5, 5, 5, 5, 5, 10, 10)
    assert remaining == (4, 4, 4, 4, 4, 4, 3, 2)


async def test_a_grant_of_one_step_may_go_on_by_the_general_way():
    house = House()
    grant = house.take(ANN, 60)
    assert grant.counts_tokens
    with pytest.raises(RateLimitExceeded, match="100 tokens"):
        await grant.expect(50)
    await grant.expect(30)
    grant.spent(10)
    grant.settle_now(5)
    again = house.take(ANN, 85)
    assert again is not None
    assert house.take(ANN, 1) is None
    await again.settle()
    assert house.take(ANN, 85) is not None


def test_where_nothing_is_limited_nothing_is_counted():
    house = House("unlimited")
    for who, path in ((ANN, CHAT), (LOCAL, CHAT), (ANN, "/v1/models")):
        bounds = house.limits.now(who, path)
        assert bounds.is_open
        assert bounds.bounds is NO_BOUNDS
        grant = bounds.take([10**9])[0]
        grant.settle_now(10**9)
        grant.undo_now()
        assert (grant.headers, grant.lines, grant.counts_tokens) == ([], b"", False)
    assert house.state() == ({}, {})


def test_what_is_counted_elsewhere_is_not_taken_here():
    class Elsewhere:
        """Tallies of a store."""

    settings = LimitSettings.model_validate({"tiers": {"gold": "5/minute", "free": "unlimited"}})
    memory = MemoryTallies()
    for limits in (Limits(settings, memory, Elsewhere()), Limits(settings, Elsewhere())):
        assert limits.now(ANN, CHAT) is None
        assert limits.now(Principal(user="ann", tier="free"), CHAT).is_open
    assert memory._windows == {}


def test_new_settings_count_at_once():
    house = House()
    bounds = house.limits.now(ANN, CHAT)
    assert house.limits.now(ANN, CHAT) is bounds
    house.limits.adopt(LimitSettings.model_validate({"tiers": {"gold": "1/minute"}}))
    assert [bool(house.take(ANN, 0)) for _ in range(2)] == [True, False]


@given(TIERS, STEPS)
def test_between_any_two_requests_what_counts_no_more_may_be_forgotten(tier, steps):
    """A grant that was taken before the sweep is settled, or undone, as one of after it."""
    one, other, grants = House(tier), House(tier), []
    for what, which, number in steps:
        one.tallies._sweep(one.now)
        if what == "take":
            took = one.take(which, number), other.take(which, number)
            assert (took[0] is None) == (took[1] is None)
            if took[0] is not None:
                assert took[0].lines == took[1].lines
                grants.append(took)
        elif what == "settle" and which < len(grants):
            for grant in grants.pop(which):
                grant.settle_now(number)
        elif what == "undo" and grants:
            for grant in grants.pop():
                grant.undo_now()
        elif what == "wait":
            one.now += number
            other.now += number
        assert one.state() == other.state()
