"""What shall not be served any more: by purge, by feedback, here and elsewhere, now and after a restart."""

import asyncio

import pytest

from enginehouse.core.cache.cache import Worth
from enginehouse.core.cache.chores import Chores
from enginehouse.core.cache.managing import Managing
from enginehouse.core.cache.rulings import Rulings
from enginehouse.core.cache.sources import KeptRulings
from enginehouse.errors import NotFound, StoreUnavailable
from enginehouse.stores.sql import database_url, open_database, prepare
from enginehouse.types import Principal
from enginehouse.types.answer import Answer
from tests.unit.cache.made import Clock, cache_of
from tests.unit.cache.test_never import CHAT, GOOD, Willing, sought, user

ANN, BOB, ADMIN = (Principal(user=u, role=r) for u, r in (("ann", "user"), ("bob", "user"), ("root", "admin")))


class Board:
    """Where replicas read each other's rulings."""

    def __init__(self):
        self.rulings, self.away = [], False

    async def add(self, ruling):
        self._there()
        self.rulings.append(ruling)

    async def since(self, at):
        self._there()
        return [ruling for ruling in self.rulings if ruling.at > at]

    def _there(self):
        if self.away:
            raise StoreUnavailable("away")


async def ask(cache, body=CHAT, principal=ANN, **caching):
    """The tier it comes from; what is missed is answered and kept."""
    seeking = await sought(cache, "openai.chat", body, principal, **caching)
    cache.note(seeking)
    if seeking.entry is None:
        await cache.keep(seeking, Answer(choices=(GOOD,)), Worth(tokens=5))
    return seeking.tier


PURGES = [
    ({}, {"ann", "bob", "tagged"}),
    ({"model": "m"}, {"ann", "bob", "tagged"}),
    ({"model": "other"}, set()),
    ({"user": "ann"}, {"ann", "tagged"}),
    ({"user": "bob"}, {"bob"}),
    ({"tag": "t"}, {"tagged"}),
    ({"tag": "u"}, set()),
    ({"tenant": "x"}, set()),
    ({"tier": "exact"}, {"ann", "bob", "tagged"}),
    ({"tier": "semantic"}, set()),
    ({"older_than": 5.0}, {"ann"}),
    ({"older_than": 50.0}, set()),
]


@pytest.mark.parametrize(("which", "gone"), PURGES)
async def test_a_purge_takes_what_it_names_and_nothing_else(which, gone):
    clock = Clock()
    cache = cache_of(clock)
    await ask(cache, user("one"))
    clock.now += 10
    await ask(cache, user("two"), BOB)
    await ask(cache, user("three"), tags=("t",))
    clock.now += 1
    _, cleared = await Managing(cache).clear(**which)
    assert cleared == len(gone)
    asked = {"ann": (user("one"), ANN), "bob": (user("two"), BOB), "tagged": (user("three"), ANN)}
    missed = {name for name, (body, who) in asked.items() if await ask(cache, body, who) == "miss"}
    assert missed == gone


async def test_one_entry_goes_by_its_id():
    cache = cache_of(Clock())
    await ask(cache, user("one"))
    await ask(cache, user("two"))
    seeking = await sought(cache, "openai.chat", user("one"), ANN)
    assert (await Managing(cache).clear(entry=seeking.entry.id))[1] == 1
    assert await ask(cache, user("two")) == "exact"
    assert await ask(cache, user("one")) == "miss"


async def test_what_was_being_answered_while_it_was_purged_is_not_served():
    clock = Clock()
    cache = cache_of(clock)
    seeking = await sought(cache, "openai.chat", CHAT, ANN)
    clock.now += 1
    await cache.rulings.purge(model="m")
    clock.now += 1
    await cache.keep(seeking, Answer(choices=(GOOD,)), Worth())
    assert await ask(cache) == "miss"
    assert await ask(cache) == "exact"


async def test_replicas_hear_each_other():
    clock, board = Clock(), Board()
    here, there = (cache_of(clock, rulings=Rulings(board, clock=clock)) for _ in range(2))
    await ask(there)
    await here.rulings.purge(user="ann")
    assert await ask(there) == "exact"
    await there.rulings.look()
    assert await ask(there) == "miss"


async def test_a_purge_counts_here_though_nobody_else_can_hear_it():
    clock, board = Clock(), Board()
    cache = cache_of(clock, rulings=Rulings(board, clock=clock))
    await ask(cache)
    board.away = True
    with pytest.raises(StoreUnavailable):
        await cache.rulings.purge()
    assert await ask(cache) == "miss"


async def test_a_purge_is_forgotten_when_nothing_it_is_about_can_be_left():
    clock = Clock()
    rulings = Rulings(clock=clock, longest=100)
    await rulings.purge()
    clock.now += 101
    await rulings.purge(user="x")
    assert len(rulings._purges) == 1


async def test_an_answer_called_wrong_is_not_told_again_and_not_kept_again(tmp_path):
    clock = Clock()
    async with open_database(database_url("", tmp_path)) as database:
        await prepare(database)
        rulings = Rulings(KeptRulings(database), clock=clock)
        cache = cache_of(clock, rulings=rulings)
        await ask(cache)
        assert await ask(cache) == "exact"
        await Managing(cache).wrong(ANN, "r")
        assert [await ask(cache) for _ in range(2)] == ["miss", "miss"]
        assert await ask(cache, user("another")) == "miss"
        assert await ask(cache, user("another")) == "exact"
        again = Rulings(KeptRulings(database), clock=clock)
        await again.open()
        reborn = cache_of(clock, rulings=again)
        clock.now += 10**8
        assert [await ask(reborn) for _ in range(2)] == ["miss", "miss"]


async def test_a_pair_called_wrong_never_matches_again():
    meaning = Willing()
    cache = cache_of(Clock(), meaning=meaning)
    async with asyncio.TaskGroup() as group:
        chores = group.create_task(cache.chores.run())
        await ask(cache, user("How tall is the Eiffel Tower?"))
        await cache.chores.done()
        other = user("How old is the Eiffel Tower?")
        assert await ask(cache, other) == "semantic"
        await Managing(cache).wrong(ANN, "r")
        assert await ask(cache, other) == "miss"
        assert await ask(cache, user("How high is the Eiffel Tower?")) == "semantic"
        chores.cancel()


async def test_only_who_asked_may_judge():
    cache = cache_of(Clock())
    await ask(cache)
    managing = Managing(cache)
    for who, request_id in ((BOB, "r"), (ANN, "other")):
        with pytest.raises(NotFound):
            await managing.wrong(who, request_id)
        with pytest.raises(NotFound):
            await managing.explain(who, request_id)
    assert (await managing.explain(ANN, "r"))["outcome"] == "miss"
    await managing.wrong(ADMIN, "r")
    assert await ask(cache) == "miss"


async def test_what_was_not_for_the_cache_cannot_be_judged():
    cache = cache_of(Clock())
    await ask(cache, {**CHAT, "store": True})
    with pytest.raises(NotFound):
        await Managing(cache).wrong(ANN, "r")
    assert (await Managing(cache).explain(ANN, "r"))["reason"] == "stored_elsewhere"


async def test_an_entry_that_is_gone_is_forgotten_by_its_meaning():
    meaning = Willing()
    cache = cache_of(Clock(), meaning=meaning)
    async with asyncio.TaskGroup() as group:
        chores = group.create_task(cache.chores.run())
        await ask(cache, user("How tall is the Eiffel Tower?"))
        await cache.chores.done()
        await cache.answers.drop([bytes.fromhex(meaning.put_away[0][1])])
        assert await ask(cache, user("How high is the Eiffel Tower?")) == "miss"
        await cache.chores.done()
        chores.cancel()
    assert len(meaning.put_away) == 1


async def test_what_meaning_finds_in_another_scope_is_not_served():
    """Whatever it says: entries of one scope answer no question of another."""

    class Careless(Willing):
        async def find(self, scope, question, **how):
            return await super().find(self.put_away[-1][0], question, **how) if self.put_away else None

    meaning = Careless()
    cache = cache_of(Clock(), meaning=meaning)
    async with asyncio.TaskGroup() as group:
        chores = group.create_task(cache.chores.run())
        await ask(cache, user("How tall is the Eiffel Tower?"))
        await cache.chores.done()
        assert await ask(cache, user("How high is the Eiffel Tower?"), BOB) == "miss"
        chores.cancel()


async def test_chores_are_bounded_and_one_that_fails_stops_no_other():
    chores, done = Chores(), []

    async def fails():
        raise StoreUnavailable("away")

    async def works():
        done.append(1)

    for chore in (fails, works, *[works] * 2000):
        chores.add(chore)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(chores.run())
        await chores.done()
        task.cancel()
    assert (len(done), chores.skipped) == (999, 1002)


async def test_who_purges_without_end_slows_nobody_down_and_loses_only_what_is_theirs():
    clock = Clock()
    rulings = Rulings(clock=clock)
    cache = cache_of(clock, rulings=rulings)
    for who in (ANN, BOB):
        await ask(cache, CHAT, who)
    for number in range(5000):
        await rulings.purge(user="ann", tenant="", tag=f"tag {number}")
    assert sum(map(len, rulings._purges.values())) <= 64
    assert await ask(cache, CHAT, BOB) == "exact"
    assert await ask(cache, CHAT, ANN) == "miss", "too many to be told apart are one about all"
    clock.now += 1
    assert await ask(cache, CHAT, ANN) == "miss", "what was kept in the moment of a purge went with it"
    assert await ask(cache, CHAT, ANN) == "exact"
    clock.now += rulings.longest + 1
    await rulings.purge(model="other")
    assert list(rulings._purges) == [None]


async def test_what_a_hit_saved_is_told_of_that_request():
    cache = cache_of(Clock())
    await ask(cache)
    managing = Managing(cache)
    assert (await managing.explain(ANN, "r"))["saved"] is None
    await ask(cache)
    assert (await managing.explain(ANN, "r"))["saved"] == {"tokens": 5, "cost": None, "seconds": 0.0}


async def test_statistics_tell_what_happened():
    cache = cache_of(Clock())
    for body in (CHAT, CHAT, CHAT, {**CHAT, "store": True}):
        await ask(cache, body)
    told = await Managing(cache).stats()
    assert (told["hits"], told["misses"], told["bypassed"], told["exact_hits"]) == (2, 1, 1, 2)
    assert told["hit_rate"] == pytest.approx(2 / 3, abs=1e-4)
    assert (told["entries"], told["stored"], told["saved"]["tokens"]) == (1, 1, 10)
    assert told["bypassed_by_reason"] == {"stored_elsewhere": 1}
    assert set(told["latency_ms"]["exact_lookup"]) == {"p50", "p95", "p99"}
