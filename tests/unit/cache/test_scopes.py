"""What two questions must agree in to be one: pairs that differ in a single thing never share, in order they do.

Each example is a request and its neighbours, one for each thing; 720 examples are more than 10,000 pairs.
"""

import asyncio
import copy
import json
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from enginehouse.core.cache.cache import Worth
from enginehouse.core.cache.questions import Written
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.types import Caching, Deployment, EngineName, Kind, Model, Operation, Principal, Request, Timings
from enginehouse.types.answer import Answer, Choice, Finish
from enginehouse.types.generation import Text
from tests.unit.cache.made import Clock, cache_of

EXAMPLES = 720
PIXEL = "data:image/png;base64,iVBORw0KGgo="
ANSWER = Answer(choices=(Choice(parts=(Text(text="so"),), reason=Finish.STOP),))
SHARING = {"sharing": "tenant", "tenants": [{"id": "t", "trusted": True}, {"id": "t2", "trusted": True}]}
codec = OpenAIChat()


def model(name="m", version=None, **place):
    deployment = Deployment(id=name, model=name, kind=Kind.CHAT, engine=EngineName.OPENAI, **place)
    return Model(id=name, kind=Kind.CHAT, deployments=(deployment,), version=version)


MODEL = model()
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=40).filter(str.strip)


@st.composite
def bodies(draw):
    body = {"model": "m", "messages": [{"role": "system", "content": draw(words)}]}
    for _ in range(draw(st.integers(0, 2))):
        body["messages"] += [
            {"role": "user", "content": draw(words)},
            {"role": "assistant", "content": draw(words)},
        ]
    body["messages"].append({"role": "user", "content": draw(words)})
    some = {
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0.1, 1),
        "stop": st.lists(words, min_size=1, max_size=2),
        "max_tokens": st.integers(1, 9999),
        "seed": st.integers(0, 2**70),
        "frequency_penalty": st.floats(-2, 2),
        "logit_bias": st.just({"1": 2}),
        "tools": st.just([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]),
        "response_format": st.just({"type": "json_object"}),
        "user": words,
    }
    for name in draw(st.sets(st.sampled_from(sorted(some)), max_size=4)):
        body[name] = draw(some[name])
    return body


def said(role, text):
    return {"role": role, "content": text}


def tool(name):
    return {"type": "function", "function": {"name": name}}


def changed(body, name, value, other):
    return {**body, name: value if body.get(name) != value else other}


def neighbours(body, rng):
    """Name → a body that differs in that thing alone."""
    first, *middle, last = body["messages"]
    more = {**first, "content": first["content"] + rng.choice(" .x\u200b")}
    turn = [said("user", "before"), said("assistant", "that")]
    picture = {**last, "content": [{"type": "text", "text": last["content"]}, picture_of(PIXEL)]}
    other = {
        **last,
        "content": [{"type": "text", "text": last["content"]}, picture_of(PIXEL.replace("go=", "goA"))],
    }
    return {
        "system text": {**body, "messages": [more, *middle, last]},
        "history turn": {**body, "messages": [first, *middle, *turn, last]},
        "role": {**body, "messages": [said("developer", first["content"]), *middle, last]},
        "question": {**body, "messages": [first, *middle, said("user", last["content"] + "?")]},
        "tools": changed(body, "tools", [tool("g")], [tool("h")]),
        "response format": changed(body, "response_format", {"type": "text"}, {"type": "json_object"}),
        "temperature": changed(body, "temperature", 0.123, 0.124),
        "stop": changed(body, "stop", ["##"], ["#"]),
        "seed": changed(body, "seed", 2**65 + 1, 2**65 + 2),
        "n": changed(body, "n", 2, 3),
        "max_tokens": changed(body, "max_tokens", 10_001, 10_002),
        "unknown field": {**body, "odd": 1},
        "image": {**body, "messages": [first, *middle, picture]},
        "other image": {**body, "messages": [first, *middle, other]},
    }


def picture_of(url):
    return {"type": "image_url", "image_url": {"url": url}}


def asked(body, principal, **caching):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(
        operation=Operation.CHAT,
        model="m",
        principal=principal,
        request_id="r",
        body=raw,
        timings=Timings(),
        caching=Caching(**caching),
    )
    return request, Written("openai.chat", raw, lambda: codec.read_request(raw).generation)


ANN = Principal(user="ann", tenant="t", key="k1")
CALLERS = {
    "tenant": Principal(user="ann", tenant="t2", key="k1"),
    "no tenant": Principal(user="ann", key="k1"),
    "user": Principal(user="bob", tenant="t", key="k1"),
    "key": Principal(user="ann", tenant="t", key="k2"),
}


async def outcome(cache, body, principal=ANN, which=MODEL, **caching):
    request, question = asked(body, principal, **caching)
    return await cache.seek(request, which, question)


async def kept(cache, body, principal=ANN, which=MODEL, **caching):
    seeking = await outcome(cache, body, principal, which, **caching)
    answer = structs.replace(ANSWER, choices=ANSWER.choices * json.loads(json.dumps(body)).get("n", 1))
    if body.get("response_format") == {"type": "json_object"}:
        choice = structs.replace(ANSWER.choices[0], parts=(Text(text="{}"),))
        answer = structs.replace(answer, choices=(choice,) * len(answer.choices))
    assert await cache.keep(seeking, answer, Worth()) is not None, seeking.reason
    return seeking


pairs = []


async def never_shared(body, seed):
    cache = cache_of(Clock(), sharing="key")
    await kept(cache, body)
    assert (await outcome(cache, body)).tier == "exact"
    for name, other in neighbours(body, random.Random(seed)).items():
        assert (await outcome(cache, other)).tier == "miss", name
        await kept(cache, other)
        assert (await outcome(cache, other)).tier == "exact", name
        pairs.append(name)
    for name, caller in CALLERS.items():
        assert (await outcome(cache, body, caller)).tier == "miss", name
        pairs.append(name)
    for name, which in MODELS.items():
        assert (await outcome(cache, body, which=which)).tier == "miss", name
        pairs.append(name)
    assert (await outcome(cache, body, namespace="n")).tier == "miss"
    for epoch in ({"epoch": "2"}, {"epochs": {"m": "2"}}, {"tenants": [{"id": "t", "epoch": "2"}]}):
        cache.adopt(cache.settings.model_validate({"sharing": "key", **epoch}))
        assert (await outcome(cache, body)).tier == "miss", epoch
        pairs.append("epoch")
    cache.adopt(cache.settings.model_validate({"sharing": "key"}))
    assert (await outcome(cache, body)).tier == "exact"


MODELS = {
    "model": model("m2"),
    "version": model(version="2"),
    "file": model(source="other.gguf"),
    "flags": model(flags=("--temp", "1")),
    "server": model(base_url="http://elsewhere"),
    "defaults": model(defaults=(("temperature", "0.1"),)),
}


@settings(max_examples=EXAMPLES)
@given(bodies(), st.integers())
def test_what_differs_in_one_thing_is_never_shared(body, seed):
    asyncio.run(never_shared(body, seed))


def test_these_were_more_than_ten_thousand_pairs():
    assert len(pairs) > 10_000
    assert len(set(pairs)) >= 25


def shuffled(value, rng):
    match value:
        case dict():
            items = list(value.items())
            rng.shuffle(items)
            return {name: shuffled(inner, rng) for name, inner in items}
        case list():
            return [shuffled(inner, rng) for inner in value]
        case _:
            return value


@settings(max_examples=300)
@given(bodies(), st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_fields_and_ways_of_writing_do_not_matter(body, rng, plain):
    async def main():
        cache = cache_of(Clock())
        await kept(cache, body)
        other = shuffled(copy.deepcopy(body), rng) | {"stream": True, "stream_options": {"include_usage": True}}
        text = json.dumps(other, ensure_ascii=plain, indent=rng.choice([None, 1, "\t"]))
        assert (await outcome(cache, text.encode(errors="surrogatepass"))).tier == "exact"

    asyncio.run(main())


@settings(max_examples=100)
@given(bodies(), st.integers())
def test_the_scope_of_meaning_is_all_but_the_last_words(body, seed):
    """Two questions of one scope differ in the words of their last turn, and in nothing else."""
    cache = cache_of(Clock())

    def scope_of(body, which=MODEL, principal=ANN):
        request, question = asked(body, principal)
        place = cache._scopes.places(request, which, question).own
        return cache._scopes.apart(place, question)

    own, text = scope_of(body)
    assert text == body["messages"][-1]["content"]
    for name, other in neighbours(body, random.Random(seed)).items():
        found = scope_of(other)
        if name in {"image", "other image"}:
            assert found is None
        else:
            assert (found[0] == own) == (name == "question"), name
    assert all(scope_of(body, which)[0] != own for which in MODELS.values())
    assert all(scope_of(body, principal=caller)[0] != own for name, caller in CALLERS.items() if name != "key")


async def test_a_field_that_stands_there_twice_poisons_no_trusted_tenant():
    cache = cache_of(Clock(), **SHARING)
    twice = (
        b'{"model":"m","messages":[{"role":"user","content":"evil"}],"messages":[{"role":"user","content":"hi"}]}'
    )
    assert (await outcome(cache, twice)).tier == "bypass"
    assert (await outcome(cache, {"model": "m", "messages": [said("user", "hi")]})).tier == "miss"


async def test_a_trusted_tenant_shares_at_once_and_with_nobody_else():
    cache = cache_of(Clock(), **SHARING)
    body = {"model": "m", "messages": [said("user", "hi")], "user": "end user"}
    await kept(cache, body)
    found = await outcome(cache, {**body, "user": "another"}, CALLERS["user"])
    assert found.tier == "exact"
    assert (await outcome(cache, body, CALLERS["tenant"])).tier == "miss"


async def test_who_is_named_as_end_user_matters_where_answers_are_private():
    cache = cache_of(Clock())
    body = {"model": "m", "messages": [said("user", "hi")]}
    await kept(cache, {**body, "user": "a"})
    assert (await outcome(cache, {**body, "user": "b"})).tier == "miss"
    await kept(cache, {**body, "metadata": {"user_id": "a", "trace": "1"}})
    assert (await outcome(cache, {**body, "metadata": {"user_id": "b"}})).tier == "miss"
    assert (await outcome(cache, {**body, "metadata": {"user_id": "a", "trace": "2"}})).tier == "exact"


async def test_another_secret_finds_nothing():
    clock = Clock()
    cache = cache_of(clock)
    body = {"model": "m", "messages": [said("user", "hi")]}
    await kept(cache, body)
    other = cache_of(clock, answers=cache.answers, secret=b"another")
    assert (await outcome(other, body)).tier == "miss"


async def test_a_stranger_without_tenant_shares_with_nobody():
    cache = cache_of(Clock(), sharing="tenant")
    body = {"model": "m", "messages": [said("user", "hi")]}
    await kept(cache, body, Principal(user="a"))
    assert (await outcome(cache, body, Principal(user="b"))).tier == "miss"


# A writer, its tenant, and what a second writer hears --------------------------------------------------------


async def say(cache, user, text):
    """What this user is told: kept, or this new answer."""
    body = {"model": "m", "messages": [said("user", "hi")]}
    seeking = await outcome(cache, body, Principal(user=user, tenant="t"))
    if seeking.entry is not None:
        return "kept"
    await cache.keep(seeking, Answer(choices=(Choice(parts=(Text(text=text),), reason=Finish.STOP),)), Worth())
    return text


async def test_an_answer_is_its_writers_until_a_second_one_is_told_the_same():
    cache = cache_of(Clock(), sharing="tenant")
    assert await say(cache, "eve", "poison") == "poison"
    assert await say(cache, "ann", "good") == "good"
    assert await say(cache, "bob", "good") == "good"
    assert await say(cache, "cid", "") == "kept"
    assert cache.stats.told()["corroborated"] == 1
    assert await say(cache, "eve", "") == "kept"


async def test_who_says_the_same_twice_corroborates_nobody():
    cache = cache_of(Clock(), sharing="tenant", exact_ttl=100)
    assert await say(cache, "eve", "poison") == "poison"
    request = {"model": "m", "messages": [said("user", "hi")]}
    anew = await outcome(cache, request, Principal(user="eve", tenant="t"), read=False)
    await cache.keep(anew, Answer(choices=(Choice(parts=(Text(text="poison"),), reason=Finish.STOP),)), Worth())
    assert await say(cache, "ann", "good") == "good"


# What is remembered of bounds -----------------------------------------------------------------------------


def key_of(cache, model, **more):
    seeking = asyncio.run(seek(cache, model, **more))
    return seeking.places.own.key


async def seek(cache, model, **more):
    body = json.dumps({"model": "m", "messages": [said("user", "hi")]}).encode()
    request = Request(
        operation=Operation.CHAT,
        model="m",
        principal=Principal(user="ann"),
        request_id="r",
        timings=Timings(),
        caching=Caching(**more),
    )
    question = Written("openai.chat", body, lambda: codec.read_request(body).generation)
    return await cache.seek(request, model, question)


def test_a_model_that_was_changed_is_another_under_its_old_name():
    cache = cache_of(Clock())
    first = key_of(cache, MODEL)
    assert key_of(cache, model(version="2")) != first
    assert key_of(cache, MODEL) == first


def test_callers_cannot_have_the_cache_remember_ever_more():
    cache = cache_of(Clock())
    first = key_of(cache, MODEL)

    async def many():
        return {(await seek(cache, MODEL, namespace=str(number))).places.own.key for number in range(5000)}

    assert len(asyncio.run(many())) == 5000
    assert len(cache._scopes._known) <= 4096
    assert key_of(cache, MODEL) == first
