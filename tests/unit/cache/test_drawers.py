"""Plain questions come to the same by drawers, which do not wait, as by the way of every question."""

import asyncio
import json
import random
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.core.cache import rules
from enginehouse.core.cache.answers import joined
from enginehouse.core.cache.cache import Worth
from enginehouse.core.cache.drawers import drawer_of
from enginehouse.core.cache.flights import Landed, Lead, Turn
from enginehouse.core.cache.patterns import REFUSED, SECRET
from enginehouse.core.catalogue import Catalogue, from_settings
from enginehouse.core.gateway import Recall
from enginehouse.core.gateway.flows import Frames
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.dialects.openai.completions import OpenAICompletions
from enginehouse.dialects.openai.plain import (
    PlainAnswer,
    Retelling,
    read_plain_answer,
    read_plain_chat,
    read_plain_completion,
)
from enginehouse.errors import UpstreamDied
from enginehouse.settings.schema import Settings
from enginehouse.stores.kv import MemoryAnswers
from enginehouse.types import Operation, Principal, Priority, Request, Timings, Usage
from enginehouse.types.answer import Answer, Choice, Finish, Score, events_of, fold
from enginehouse.types.generation import Dialect, Generation, Refusal, Text
from tests.answers_contract import entry as some_entry
from tests.unit.cache.made import ANN, BOB, NOW, Clock, cache_of, chat
from tests.unit.core.way import ELSEWHERE, wording

CATALOGUE = Catalogue(
    from_settings(
        Settings.model_validate({"models": {"m": ELSEWHERE, "other": ELSEWHERE}, "default_models": False})
    )
)
MODEL = CATALOGUE.resolve("m")
HEAD = {"id": "1", "created": 0.0}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}
WORTH = Worth(tokens=10, cost=5, seconds=0.5)
DIALECTS = {
    Operation.CHAT: (Dialect.OPENAI_CHAT, OpenAIChat(), read_plain_chat),
    Operation.COMPLETION: (Dialect.OPENAI_COMPLETIONS, OpenAICompletions(), read_plain_completion),
}


def told(text="hello", reason="stop", number=1, usage=USAGE):
    """An engine's answer, in which both dialects can read."""
    message = {"role": "assistant", "content": text}
    choice = {"message": message, "text": text, "finish_reason": reason}
    return json.dumps(
        {"id": "x", "model": "em", "choices": [{"index": i, **choice} for i in range(number)], "usage": usage}
    ).encode()


def text(prompt="Once", **more):
    """A text completion's body."""
    return json.dumps({"model": "m", "prompt": prompt, **more}).encode()


class Recorded:
    """As much of the ledger's entry as the cache asks for."""

    said = None
    cache = ""

    def resolved(self, model, deployment):
        """It is."""

    async def settled(self):
        """It is."""

    def so_far(self):
        tokens = {"input_tokens": 5, "cached_input_tokens": 2, "output_tokens": 3, "reasoning_tokens": 0}
        return SimpleNamespace(model="m", cost=5, upstream_us=500_000, **tokens)


class Asks:
    """One cache, and who asks by it."""

    def __init__(self, clock, meaning=None, **settings):
        self.clock = clock
        self.cache = cache_of(clock, meaning=meaning, **settings)
        self.recall = Recall(self.cache)

    async def generally(self, principal, operation, body, outcome, priority=Priority.NORMAL):
        """By the general way."""
        dialect, codec, _ = DIALECTS[operation]
        request = Request(
            operation=operation,
            model="m",
            principal=principal,
            request_id="r",
            body=body,
            priority=priority,
            timings=Timings(),
        )
        flow = Frames(request, wording(body, codec=codec, dialect=dialect))
        found = b""
        try:
            async with self.recall.recalled(request, MODEL, flow, Recorded()) as pieces:
                if pieces is not None:
                    found = b"".join([piece async for piece in pieces])
                elif isinstance(outcome, BaseException):
                    raise outcome
                elif flow.heard is not None:
                    flow.heard.events, flow.heard.complete = codec.read_answer(outcome), True
        except (UpstreamDied, asyncio.CancelledError):
            pass
        return request.timings.cache, request.timings.age, found

    async def at_once(self, principal, operation, body, outcome):
        """By a drawer; by the general way where that would wait."""
        dialect, codec, read = DIALECTS[operation]
        drawer = self.recall.drawer(principal, MODEL, dialect, operation)
        look = drawer and drawer.look(read(body), self.clock())
        if look is None or look.waits:
            return await self.generally(principal, operation, body, outcome)
        look.note("r")
        if look.entry is not None:
            return look.tier, look.age, look.retold(**HEAD)
        assert look.lead()
        match outcome:
            case asyncio.CancelledError():
                look.leave()
            case UpstreamDied():
                look.land(None)
            case _:
                answer = read_plain_answer(outcome) or fold(joined(codec.read_answer(outcome)))
                look.land(look.keep(answer, WORTH))
        return look.tier, None, b""

    def state(self):
        """All that there is to see of it but how long it took."""
        cache, answers = self.cache, self.cache.answers
        said = cache.stats.told()
        return {
            "entries": {key: one for shard in answers._entries for key, one in shard.items()},
            "used": [sorted(shard) for shard in answers._used],
            "line": bytes(answers._line),
            "held": (answers._count, answers._bytes, answers._evicted),
            "stats": {
                **said,
                "latency_ms": {name: sum(one.counted.counts) for name, one in cache.stats.stages.items()},
            },
            "decisions": list(cache.decisions._kept),
            "flights": dict(cache.flights._open),
        }


class Counting:
    """A meaning that is asked, and finds nothing."""

    def __init__(self):
        self.asked = 0

    async def find(self, scope, question, **how):
        self.asked += 1

    async def put(self, scope, question, entry_id, *, answer=""):
        """Nothing."""

    async def forget(self, entry_ids):
        """Nothing."""

    def stats(self):
        return {}


QUESTIONS = [
    (Operation.CHAT, chat("What is a lake?")),
    (Operation.CHAT, chat("What is a lake?", temperature=0.9)),
    (Operation.CHAT, chat("What is a lake?", user="ann", max_tokens=5)),
    (Operation.CHAT, chat("What is the weather today?", temperature=1)),
    (Operation.CHAT, json.dumps({"model": "m", "messages": [{"role": "assistant", "content": "I"}]}).encode()),
    (Operation.CHAT, chat("")),
    (Operation.COMPLETION, text()),
    (Operation.COMPLETION, text("Now today", seed=3)),
]
OUTCOMES = [
    *[told()] * 4,
    told("Other."),
    told("long " * 200),
    told("", usage=None),
    told("cut", "length"),
    told("x", "content_filter"),
    told("I'm sorry, but I can't help."),
    told("sk-" + "a" * 30),
    told("two", number=2),
    told("much", usage={"prompt_tokens": 2**70}),
    UpstreamDied("gone"),
    asyncio.CancelledError(),
]
SETTINGS = [{}, {}, {"max_bytes": 2600}, {"max_entry_bytes": 900}, {"exact_ttl": 0}, {"volatile_ttl": 0}]


def some_steps(chance):
    """Thirty requests of two callers, time that passes, and what people do to a cache."""
    for _ in range(30):
        die = chance.random()
        if die < 0.1:
            yield chance.choice([1.0, 50.0, 70.0, 90_000.0])
        elif die < 0.15:
            yield chance.choice(["purge", "purge ann", "wrong", "sweep"])
        else:
            question = chance.choice(QUESTIONS[:3] if die < 0.6 else QUESTIONS)
            yield chance.choice([ANN, ANN, BOB]), question, chance.choice(OUTCOMES)


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("by_meaning", [False, True], ids=["exact", "with meaning"])
async def test_both_ways_leave_the_same(seed, by_meaning):
    chance, clock = random.Random(seed), Clock()
    more = chance.choice(SETTINGS)
    left, right = [Asks(clock, Counting() if by_meaning else None, **more) for _ in range(2)]
    for step in some_steps(chance):
        match step:
            case float():
                clock.now += step
            case str():
                for one in (left, right):
                    await managed(one.cache, step)
            case principal, (operation, body), outcome:
                by_right = right.generally if chance.random() < 0.25 else right.at_once
                asked = (principal, operation, body, outcome)
                assert await left.generally(*asked) == await by_right(*asked)
        assert left.state() == right.state()
    if by_meaning:
        assert left.cache.meaning.asked == right.cache.meaning.asked


async def managed(cache, step):
    match step:
        case "purge":
            await cache.rulings.purge(model="m")
        case "purge ann":
            await cache.rulings.purge(user="ann", tenant="team", older_than=10)
        case "wrong":
            kept = [one.id for shard in cache.answers._entries for one in shard.values()]
            for entry in kept[:1]:
                await cache.rulings.call_wrong(entry, entry)
        case "sweep":
            await cache.sweep()


def looked(asks, body=QUESTIONS[0][1], principal=ANN, **more):
    return asks.recall.drawer(principal, MODEL, Dialect.OPENAI_CHAT, Operation.CHAT).look(
        read_plain_chat(body), asks.clock(), **more
    )


async def test_a_look_changes_nothing():
    asks = Asks(Clock())
    await asks.generally(ANN, *QUESTIONS[0], told())
    asks.clock.now += 90_000
    for body in (QUESTIONS[0][1], QUESTIONS[1][1]):
        before = asks.state()
        looked(asks, body)
        assert asks.state() == before


async def test_what_is_noted_is_in_use():
    asks = Asks(Clock(), max_bytes=1900)
    await asks.generally(ANN, Operation.CHAT, chat("first"), told())
    await asks.generally(ANN, Operation.CHAT, chat("second"), told())
    looked(asks, chat("first")).note("r")
    await asks.generally(ANN, Operation.CHAT, chat("third"), told())
    assert looked(asks, chat("first")).tier == "exact"
    assert looked(asks, chat("second")).tier == "miss"


@pytest.mark.parametrize(
    ("principal", "more", "reason"),
    [
        (ANN, {"skip_models": ("other", "m*")}, "model"),
        (Principal(user="s", role="service"), {}, "service"),
        (ANN, {"enabled": False}, None),
    ],
)
async def test_where_nobody_looks_nothing_is_found_or_kept(principal, more, reason):
    asks, other = Asks(Clock(), **more), Asks(Clock(), **more)
    look = looked(asks, principal=principal)
    assert (look.tier, look.reason, look.waits, look.lead()) == ("bypass", reason or "", False, True)
    look.note("r")
    assert look.keep(read_plain_answer(told()), WORTH) is None
    look.land(None)
    assert look.retold(**HEAD) is None
    if reason is not None:
        await other.generally(principal, *QUESTIONS[0], told())
    assert asks.state() == other.state()


@pytest.mark.parametrize("tenant", [{"sharing": "tenant"}, {"sharing": "tenant", "trusted": True}])
def test_shared_answers_are_left_to_the_general_way(tenant):
    asks = Asks(Clock(), tenants=[{"id": "team", **tenant}])
    drawer = asks.recall.drawer(ANN, MODEL, Dialect.OPENAI_CHAT, Operation.CHAT)
    assert drawer is None
    alone = asks.recall.drawer(Principal(user="ann"), MODEL, Dialect.OPENAI_CHAT, Operation.CHAT)
    assert alone is not None


def test_so_are_answers_in_another_process():
    cache = cache_of(Clock(), answers=SimpleNamespace(adopt=lambda _: None))
    assert drawer_of(cache, ANN, MODEL, Dialect.OPENAI_CHAT, Operation.CHAT) is None


@pytest.mark.parametrize("sharing", ["user", "key"])
def test_a_drawer_is_of_one_caller_one_model_one_operation(sharing):
    asks = Asks(Clock(), sharing=sharing)
    callers = [ANN, BOB, Principal(user="ann"), Principal(user="ann", tenant="team", key="k")]
    plain, found = read_plain_chat(QUESTIONS[0][1]), set()
    for caller in callers:
        for model in (MODEL, CATALOGUE.resolve("other")):
            for operation, (dialect, _, _) in DIALECTS.items():
                drawer = asks.recall.drawer(caller, model, dialect, operation)
                found.add(drawer.look(plain, NOW).key)
    assert len(found) == 4 * (4 if sharing == "key" else 3)


async def test_new_settings_want_new_drawers():
    asks = Asks(Clock())
    await asks.generally(ANN, *QUESTIONS[0], told())
    drawer = asks.recall.drawer(ANN, MODEL, Dialect.OPENAI_CHAT, Operation.CHAT)
    assert drawer.current
    asks.cache.adopt(asks.cache.settings.model_copy(update={"epoch": "2"}))
    assert not drawer.current
    assert looked(asks).tier == "miss"


async def waiting_for(asks):
    """Somebody who asks the same by the general way, and waits."""
    task = asyncio.ensure_future(asks.generally(ANN, *QUESTIONS[0], told("own")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_who_waits_for_a_leader_has_its_answer():
    asks = Asks(Clock())
    look = looked(asks)
    look.note("r")
    assert look.lead()
    waiting = await waiting_for(asks)
    again = looked(asks)
    assert again.waits
    assert not again.lead()
    assert not looked(asks, priority=Priority.HIGH).waits
    again.leave()
    again.land(None)
    await asyncio.sleep(0)
    assert not waiting.done()
    look.land(look.keep(read_plain_answer(told("mine")), WORTH))
    tier, _, body = await waiting
    assert (tier, json.loads(body)["choices"][0]["message"]["content"]) == ("exact", "mine")
    look.leave()
    assert not looked(asks).waits


@pytest.mark.parametrize("left", [True, False], ids=["left", "failed"])
async def test_who_waits_asks_when_there_is_none(left):
    asks = Asks(Clock())
    look = looked(asks)
    look.lead()
    waiting = await waiting_for(asks)
    if left:
        look.leave()
        assert looked(asks).waits
    else:
        look.land(None)
        assert not looked(asks).waits
    assert (await waiting)[0] == "miss"
    assert looked(asks).tier == "exact"


async def test_one_leads_who_led_by_the_general_way():
    asks = Asks(Clock())
    look = looked(asks)
    flights = asks.cache.flights
    assert await flights.turn(look.flight) is Turn.LEAD
    assert not look.lead()
    flights.land(look.flight, Lead(landed=Landed(some_entry(1), "exact")))
    assert look.lead()


@given(
    st.one_of(
        st.text(max_size=30),
        st.from_regex(SECRET),
        st.from_regex(REFUSED).map(str.title),
        st.from_regex(REFUSED, fullmatch=True).map(lambda t: " \n" + t),
        st.sampled_from(
            [
                *(
                    "",
                    " ",
                    "\u2003\n",
                    "\x1c",
                    "\u200b",
                    "\u017forry, i can't help",
                    "\u0130 can",
                    "As an AI model",
                ),
                *("right, ghost_ ghp_", "risk-free sk-", "bad \ufffd", " " * 600 + "I'm sorry, I", "x" * 500 + "I"),
                *("xoxb-1234567890", "gh" + "p_" + "a" * 36, "AKIA" + "A" * 16, "-----BEGIN RSA PRIVATE KEY-----"),
            ]
        ),
    ),
    st.sampled_from(Finish),
)
def test_what_is_unfit_in_words_is_unfit(said, reason):
    plain = PlainAnswer("x", "m", said, reason, None)
    kind = rules.unfit_words(said, reason)
    assert kind == rules.unfit(plain.answer(), Generation(model=""))
    by_end = {"length": "truncated", "content_filter": "filtered", "tool_calls": "calls_tools"}.get(reason)
    refused = REFUSED.match(said[:500].lstrip().casefold()) and "refused_in_words"
    secret = SECRET.search(said) and "holds_secret"
    broken = "\ufffd" in said and "broken_text"
    assert kind == (by_end or refused or (not said.strip() and "empty") or secret or broken or None)


said = st.text(max_size=9)
choices = st.builds(
    Choice,
    parts=st.lists(st.builds(Text, text=said) | st.builds(Refusal, text=said), max_size=2).map(tuple),
    reason=st.sampled_from(Finish),
    scores=st.just(()) | st.tuples(st.builds(Score, token=said, logprob=st.just(-1.5))),
)
answers = st.builds(
    Answer, choices=st.lists(choices, min_size=1, max_size=3).map(tuple), usage=st.none() | st.just(Usage(input=3))
)


@given(answers, said, st.floats(0, 2e9), st.sampled_from(Operation).filter(DIALECTS.__contains__))
def test_an_answer_is_retold_as_the_codec_writes_it(answer, name, created, operation):
    dialect, codec, _ = DIALECTS[operation]
    retelling, events = Retelling(dialect), events_of(answer)
    body = retelling.whole(retelling.rest(events), id=f"a{name}", created=created, model=name)
    head = wording(model=name).head
    assert body == codec.write_answer(events, msgspec.structs.replace(head, id=f"a{name}", created=created))


async def test_a_hit_is_written_once_and_no_longer_than_its_entry_is_there():
    asks = Asks(Clock())
    await asks.generally(ANN, *QUESTIONS[0], told())
    look = looked(asks)
    assert look.retold(**HEAD) == look.retold(**HEAD)
    assert asks.cache.answers.beside(look.entry) is not None
    await asks.generally(ANN, *QUESTIONS[0], told())
    await asks.cache.answers.put(msgspec.structs.replace(look.entry, tokens=11))
    assert asks.cache.answers.beside(look.entry) is None
    assert asks.cache.answers._bytes_beside == 0
    asks.cache.answers.lay_beside(look.entry, b"of another")
    assert asks.cache.answers.beside(looked(asks).entry) is None


def test_what_lies_beside_entries_is_bounded():
    answers = MemoryAnswers(1 << 30, lambda: 0.0)
    entries = [some_entry(number) for number in range(9)]
    for entry in entries:
        answers.keep(entry)
        answers.lay_beside(entry, b"x" * (1 << 20))
        assert answers._bytes_beside <= 4 << 20
    assert [answers.beside(entry) is not None for entry in entries] == [False] * 5 + [True] * 4
    answers.lay_beside(entries[0], b"x" * (5 << 20))
    assert answers.beside(entries[0]) is None


async def test_an_answer_of_another_version_is_left_to_the_general_way():
    asks = Asks(Clock())
    await asks.generally(ANN, *QUESTIONS[0], told())
    look = looked(asks)
    asks.cache.answers.keep(msgspec.structs.replace(look.entry, answer=b"\x93"))
    assert looked(asks).retold(**HEAD) is None
