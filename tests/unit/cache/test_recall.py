"""The way of a request past the cache: what is answered from it, and what an engine is asked."""

import asyncio
import json

import pytest

from enginehouse.api.caching import caching_of
from enginehouse.core.cache.types import Match
from enginehouse.core.ledger.prices import Prices
from enginehouse.errors import InvalidRequest, UpstreamDied
from enginehouse.settings.schema import PriceSettings
from enginehouse.testing import FakeBooks, FakeEmbedder, FakeLauncher, simulate
from enginehouse.types import Caching, EngineName, Operation, Principal, Priority
from tests.unit.cache.made import ANN, BOB, Clock, chat, recall_of
from tests.unit.core.way import ELSEWHERE, STREAM, USER, Server, Servers, answer, open_gateway, request, wording

TEXT = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'
END = (
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\ndata: [DONE]\n\n'
)
PRICE = PriceSettings(input_per_1k="1", output_per_1k="2")


def whole(text="hello", reason="stop"):
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    return json.dumps({"id": "x", "choices": [choice], "usage": usage}).encode()


def text_of(body):
    return json.loads(body)["choices"][0]["message"]["content"]


def told(stream):
    """The words of a stream of chunks."""
    frames = [part.removeprefix("data: ") for part in stream.decode().split("\n\n") if part.startswith("data: {")]
    return "".join(
        choice["delta"].get("content") or "" for frame in frames for choice in json.loads(frame)["choices"]
    )


def on_the_way(*turns, recall=None, models=None, **more):
    """Run an async test with a gateway, its server and its cache."""

    def wrap(test):
        def run():
            async def main():
                server, memory, books = Server(*turns), recall() if recall else recall_of(Clock()), FakeBooks()
                launchers = {EngineName.OPENAI: Servers(m=server)}
                async with open_gateway(
                    models or {"m": ELSEWHERE}, launchers, recall=memory, books=books, **more
                ) as way:
                    await test(way, server, memory.cache, books)

            simulate(main())

        run.__name__ = test.__name__
        return run

    return wrap


@on_the_way([whole()])
async def test_the_same_question_is_answered_once(way, server, cache, books):
    first, second = request(), request()
    told_first, told_second = await answer(way, first), await answer(way, second)
    assert (first.timings.cache, second.timings.cache) == ("miss", "exact")
    assert text_of(told_first) == text_of(told_second) == "hello"
    assert len(server.calls) == 1


@on_the_way([whole()], prices=Prices({"m": PRICE}, ()))
async def test_a_kept_answer_costs_a_request_and_no_tokens(way, server, cache, books):
    await answer(way, request())
    await answer(way, request())
    engine, kept = books.kept.values()
    assert (engine.cache, engine.input_tokens, engine.cost) == ("", 3, 7 * 10**9)
    assert (kept.cache, kept.input_tokens, kept.output_tokens, kept.cost) == ("exact", 0, 0, 0)
    assert (kept.outcome, kept.model) == ("completed", "m")
    saved = cache.stats.told()["saved"]
    assert (saved["tokens"], saved["cost"]) == (5, 0.007)


@on_the_way([whole()])
async def test_the_caller_is_told_that_its_prompt_was_not_read_again(way, server, cache, books):
    await answer(way, request())
    usage = json.loads(await answer(way, request()))["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (3, 2)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 3


@on_the_way([whole()])
async def test_a_body_is_told_again_as_a_stream(way, server, cache, books):
    await answer(way, request())
    again = await answer(way, request(STREAM, stream=True))
    assert told(again) == "hello"
    assert again.endswith(b"data: [DONE]\n\n")


@on_the_way([TEXT % b"hel", TEXT % b"lo" + END])
async def test_a_stream_is_told_again_as_a_body(way, server, cache, books):
    streamed = await answer(way, request(STREAM, stream=True))
    again = await answer(way, request())
    assert text_of(again) == told(streamed) == "hello"
    assert len(server.calls) == 1


@on_the_way([whole("one two three")], recall=lambda: recall_of(Clock(), replay="paced", replay_speed=2))
async def test_a_paced_stream_takes_its_time(way, server, cache, books):
    await answer(way, request())
    clock = asyncio.get_running_loop().time
    began = clock()
    asked = request(STREAM, stream=True)
    async with way.frames(asked, wording(STREAM)) as answering:
        pieces = [(clock() - began, piece) async for piece in answering.pieces]
    assert [told(piece) for _, piece in pieces if told(piece)] == ["one", " two", " three"]
    assert pieces[-1][0] == pytest.approx(1.5)


@on_the_way([whole()], [whole("other")])
async def test_who_does_not_want_to_read_hears_anew_and_keeps_it(way, server, cache, books):
    await answer(way, request())
    asked = request(caching=Caching(read=False))
    assert text_of(await answer(way, asked)) == "other"
    assert asked.timings.cache == "miss"
    assert text_of(await answer(way, request())) == "other"


@on_the_way([whole()], [whole("other")])
async def test_who_does_not_want_to_write_leaves_nothing(way, server, cache, books):
    await answer(way, request(caching=Caching(write=False)))
    assert text_of(await answer(way, request())) == "other"


@on_the_way([whole()], [whole("other")])
async def test_who_wants_neither_is_not_looked_for(way, server, cache, books):
    await answer(way, request())
    asked = request(caching=Caching(read=False, write=False))
    assert text_of(await answer(way, asked)) == "other"
    assert asked.timings.cache == "bypass"


async def test_an_answer_too_old_for_its_asker_is_not_told():
    clock = Clock()
    server, recall = Server([whole()], [whole("other")]), recall_of(clock)
    async with open_gateway({"m": ELSEWHERE}, {EngineName.OPENAI: Servers(m=server)}, recall=recall) as way:
        await answer(way, request())
        clock.now += 50
        young = request(caching=Caching(max_age=60))
        await answer(way, young)
        assert (young.timings.cache, young.timings.age) == ("exact", 50)
        assert text_of(await answer(way, request(caching=Caching(max_age=40)))) == "other"


async def test_an_answer_lives_its_time_and_no_hit_makes_it_longer():
    clock = Clock()
    server, recall = Server([whole()], [whole("other")]), recall_of(clock, exact_ttl=100)
    async with open_gateway({"m": ELSEWHERE}, {EngineName.OPENAI: Servers(m=server)}, recall=recall) as way:
        for _ in range(4):
            assert text_of(await answer(way, request())) == "hello"
            clock.now += 30
        assert text_of(await answer(way, request())) == "other"


@on_the_way([1.0, whole()])
async def test_two_hundred_ask_the_same_and_one_engine_answers(way, server, cache, books):
    asked = [request() for _ in range(200)]
    bodies = await asyncio.gather(*(answer(way, one) for one in asked))
    assert len(server.calls) == 1
    assert {text_of(body) for body in bodies} == {"hello"}
    assert sorted(one.timings.cache for one in asked) == ["exact"] * 199 + ["miss"]


@on_the_way([5.0, whole()], [1.0, whole("second")])
async def test_a_leader_that_leaves_hands_over(way, server, cache, books):
    async with asyncio.TaskGroup() as group:
        leader = group.create_task(answer(way, request()))
        await asyncio.sleep(0.5)
        others = [group.create_task(answer(way, request())) for _ in range(10)]
        await asyncio.sleep(0.5)
        leader.cancel()
    assert {text_of(task.result()) for task in others} == {"second"}
    assert len(server.calls) == 2


@on_the_way([1.0, UpstreamDied("broken")], [1.0, whole("well")], retries=0)
async def test_a_leaders_failure_is_its_own(way, server, cache, books):
    results = await asyncio.gather(*(answer(way, request()) for _ in range(10)), return_exceptions=True)
    failures = [one for one in results if isinstance(one, Exception)]
    assert len(failures) == 1
    assert {text_of(one) for one in results if isinstance(one, bytes)} == {"well"}


@on_the_way([1.0, whole("cut", "length")])
async def test_an_answer_that_is_not_kept_holds_nobody_up(way, server, cache, books):
    clock = asyncio.get_running_loop().time
    began = clock()
    await asyncio.gather(*(answer(way, request()) for _ in range(10)))
    assert len(server.calls) == 10
    assert clock() - began == pytest.approx(2)


@on_the_way([1.0, whole()])
async def test_who_is_urgent_does_not_wait_for_who_is_not(way, server, cache, books):
    await asyncio.gather(answer(way, request()), answer(way, request(priority=Priority.HIGH)))
    assert len(server.calls) == 2


@on_the_way([whole()], models={"m": {**ELSEWHERE, "slots": 1}})
async def test_a_hit_takes_no_slot(way, server, cache, books):
    await answer(way, request())
    server._turns = [[100.0, whole("slow")]]
    slow = asyncio.ensure_future(answer(way, request(chat("other"))))
    await asyncio.sleep(1)
    asked = request()
    await answer(way, asked)
    assert asked.timings.queue is None
    assert not slow.done()
    await slow


@on_the_way([whole()])
async def test_strangers_hear_nothing_of_each_other(way, server, cache, books):
    await answer(way, request(principal=ANN))
    await answer(way, request(principal=BOB))
    await answer(way, request(principal=Principal(user="ann", tenant="elsewhere")))
    assert len(server.calls) == 3


@on_the_way([whole()], recall=lambda: recall_of(Clock(), enabled=False))
async def test_a_cache_that_is_off_does_nothing(way, server, cache, books):
    asked = request()
    await answer(way, asked)
    await answer(way, request())
    assert (asked.timings.cache, len(server.calls)) == ("bypass", 2)


@on_the_way([UpstreamDied("gone")], retries=0)
async def test_failures_are_not_kept(way, server, cache, books):
    for _ in range(2):
        with pytest.raises(UpstreamDied):
            await answer(way, request())
    assert len(server.calls) == 2
    assert (await cache.answers.holding()).entries == 0


class Down:
    """An embedder that is away."""

    async def find(self, scope, question, **how):
        raise UpstreamDied("no embedder")

    async def put(self, scope, question, entry_id, *, answer):
        raise UpstreamDied("no embedder")


@on_the_way([whole()], recall=lambda: recall_of(Clock(), meaning=Down()))
async def test_without_an_embedder_the_very_same_are_answered(way, server, cache, books):
    for body in (chat("What is the capital of France?"), chat("What is France's capital?")):
        tiers = []
        for _ in range(2):
            asked = request(body)
            await answer(way, asked)
            tiers.append(asked.timings.cache)
        assert tiers == ["miss", "exact"]
    assert cache.decisions.of(USER, "r").tier == "exact"


class OnTrial:
    """Would serve anything it knows, and is not believed yet."""

    def __init__(self):
        self.known, self.learnt, self.answers = [], [], []

    async def find(self, scope, question, **how):
        return Match(entry=self.known[-1], probability=0.1, serve=False) if self.known else None

    async def put(self, scope, question, entry_id, *, answer):
        self.known.append(entry_id)
        self.answers.append(answer)

    async def learn(self, scope, question, entry_id, *, kept, fresh):
        self.learnt.append((question, kept, fresh))


@on_the_way([whole("Paris")], [whole("It is Paris.")], recall=lambda: recall_of(Clock(), meaning=OnTrial()))
async def test_on_trial_the_model_is_asked_and_both_answers_are_learnt(way, server, cache, books):
    async with asyncio.TaskGroup() as group:
        chores = group.create_task(cache.chores.run())
        await answer(way, request(chat("What is the capital of France?")))
        await cache.chores.done()
        asked = request(chat("France's capital?"))
        assert text_of(await answer(way, asked)) == "It is Paris."
        await cache.chores.done()
        chores.cancel()
    assert asked.timings.cache == "miss"
    assert cache.meaning.learnt == [("France's capital?", "Paris", "It is Paris.")]
    assert cache.meaning.answers == ["Paris", "It is Paris."]


@on_the_way([whole()], recall=lambda: recall_of(Clock(), exact_ttl=0))
async def test_what_has_no_time_is_not_kept(way, server, cache, books):
    await answer(way, request())
    assert (await cache.answers.holding()).entries == 0


async def test_a_fall_backs_answer_is_not_kept_for_the_model_that_failed():
    models = {"m": {**ELSEWHERE, "fallbacks": ["spare"]}, "spare": ELSEWHERE}
    servers = Servers(m=Server([UpstreamDied("gone")]), spare=Server([whole("spare")]))
    recall = recall_of(Clock())
    async with open_gateway(models, {EngineName.OPENAI: servers}, recall=recall, retries=0) as way:
        assert text_of(await answer(way, request())) == "spare"
    assert recall.cache.stats.told()["not_stored_by_reason"] == {"fallback_model": 1}


async def test_vectors_are_told_again_to_the_last_bit():
    recall, launcher = recall_of(Clock()), FakeLauncher(FakeEmbedder(), load_seconds=0)
    models = {"m": {**ELSEWHERE, "kind": "embedding"}}
    async with open_gateway(models, {EngineName.OPENAI: launcher}, recall=recall) as way:
        asked = [request(operation=Operation.EMBEDDING) for _ in range(2)]
        first, again = [await way.embed(one, ["some", "texts"]) for one in asked]
    assert [one.timings.cache for one in asked] == ["miss", "exact"]
    assert again.embedding == first.embedding
    assert again.record.cache == "exact"


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({}, Caching()),
        ({"cache-control": "no-cache"}, Caching(read=False)),
        ({"cache-control": "No-Store"}, Caching(write=False)),
        ({"cache-control": "no-cache, no-store"}, Caching(read=False, write=False)),
        ({"cache-control": "max-age=60"}, Caching(max_age=60)),
        ({"cache-control": "max-age=0"}, Caching(read=False, max_age=0)),
        ({"cache-control": "max-age=soon"}, Caching()),
        ({"x-enginehouse-cache-namespace": "v2", "accept": "*/*"}, Caching(namespace="v2")),
        ({"x-enginehouse-cache-tags": "a, b,,"}, Caching(tags=("a", "b"))),
    ],
)
def test_callers_say_in_headers_what_they_want(headers, wanted):
    assert caching_of([(name.encode(), value.encode()) for name, value in headers.items()]) == wanted


@pytest.mark.parametrize("value", [b"x" * 129, b"\x01", b",".join([b"t"] * 17)])
def test_what_no_header_may_hold_is_refused(value):
    with pytest.raises(InvalidRequest):
        caching_of([(b"x-enginehouse-cache-tags", value)])
