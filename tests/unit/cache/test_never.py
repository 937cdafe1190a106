"""The table of what is never cached: each kind by an example that would be cached if it were not for that kind."""

import json

import pytest
from msgspec import structs

from enginehouse.core.cache.cache import Worth
from enginehouse.core.cache.questions import Written
from enginehouse.core.cache.rules import EXACT_ONLY, NEVER, UNFIT, volatile
from enginehouse.core.cache.types import Match
from enginehouse.dialects.anthropic.messages import AnthropicMessages
from enginehouse.dialects.ollama.chat import OllamaChat
from enginehouse.dialects.ollama.generate import OllamaGenerate
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.dialects.openai.completions import OpenAICompletions
from enginehouse.dialects.openai.responses import OpenAIResponses
from enginehouse.types import Caching, Operation, Principal, Request, Timings
from enginehouse.types.answer import Answer, Choice, Finish
from enginehouse.types.generation import Refusal, Text, Thinking, ToolCall
from tests.unit.cache.made import Clock, cache_of
from tests.unit.cache.test_scopes import MODEL

CODECS = {
    "openai.chat": OpenAIChat(),
    "openai.completions": OpenAICompletions(),
    "openai.responses": OpenAIResponses(),
    "anthropic.messages": AnthropicMessages(),
    "ollama.chat": OllamaChat(),
    "ollama.generate": OllamaGenerate(),
}
USER = {"role": "user", "content": "What is the capital of France?"}
CHAT = {"model": "m", "messages": [USER]}
ANTHROPIC = {**CHAT, "max_tokens": 9}
RESPONSES = {"model": "m", "input": "What is the capital of France?"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {
    "role": "assistant",
    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "9"}


def user(content):
    return {**CHAT, "messages": [{"role": "user", "content": content}]}


def image(url):
    return user([{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": url}}])


ASKED_NEVER = [
    ("nothing_asked", "ollama.chat", {"model": "m", "messages": []}),
    ("conversation", "openai.chat", {**CHAT, "previous_response_id": "r1"}),
    ("conversation", "openai.chat", {**CHAT, "conversation": "c1"}),
    ("conversation", "openai.chat", {**CHAT, "session_id": "s1"}),
    ("conversation", "openai.chat", {**CHAT, "thread_id": "s1"}),
    ("stored_prompt", "openai.chat", {**CHAT, "prompt": {"id": "p1"}}),
    ("container", "anthropic.messages", {**ANTHROPIC, "container": "c1"}),
    ("background", "openai.chat", {**CHAT, "background": True}),
    ("stored_elsewhere", "openai.chat", {**CHAT, "store": True}),
    ("mcp_servers", "anthropic.messages", {**ANTHROPIC, "mcp_servers": [{"type": "url", "url": "http://a"}]}),
    ("web_search", "openai.chat", {**CHAT, "web_search_options": {"search_context_size": "low"}}),
    ("web_search", "openai.chat", {**CHAT, "plugins": [{"id": "web"}]}),
    ("retrieval", "openai.chat", {**CHAT, "data_sources": [{"type": "index"}]}),
    ("server_tools", "openai.responses", {**RESPONSES, "tools": [{"type": "web_search"}]}),
    ("server_tools", "anthropic.messages", {**ANTHROPIC, "tools": [{"type": "web_search_20250305", "name": "w"}]}),
    ("audio_answer", "openai.chat", {**CHAT, "modalities": ["text", "audio"], "audio": {"voice": "a"}}),
    (
        "foreign_parts",
        "openai.chat",
        user([{"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}]),
    ),
    ("foreign_parts", "openai.chat", user([{"type": "file", "file": {"file_id": "f1"}}])),
    ("image_by_reference", "openai.chat", image("https://example.com/a.png")),
    ("cached_by_hand", "openai.chat", {**CHAT, "cached_content": "projects/1"}),
    ("not_understood", "openai.responses", {**RESPONSES, "previous_response_id": "r1"}),
    ("not_understood", "openai.chat", {**CHAT, "tool_choice": 7}),
    ("no_form", "openai.chat", b"{]"),
    ("no_form", "openai.chat", b"[1]"),
]
ASKED_EXACTLY = [
    ("temperature", "openai.chat", {**CHAT, "temperature": 0.9}),
    ("time_dependent", "openai.chat", user("What is the weather today?")),
    ("no_words", "openai.chat", user("?!")),
    ("long_question", "openai.chat", user("word " * 1000)),
    ("tools", "openai.chat", {**CHAT, "tools": [TOOL]}),
    ("functions", "openai.chat", {**CHAT, "functions": [{"name": "f"}]}),
    ("tool_call_in_history", "openai.chat", {**CHAT, "messages": [USER, CALL, RESULT, USER]}),
    (
        "image",
        "openai.chat",
        {**CHAT, "messages": [*image("data:image/png;base64,iVBORw0KGgoA")["messages"], USER]},
    ),
    ("several_answers", "openai.chat", {**CHAT, "n": 2}),
    ("best_of", "openai.chat", {**CHAT, "best_of": 2}),
    ("seed", "openai.chat", {**CHAT, "seed": 0}),
    ("logprobs", "openai.chat", {**CHAT, "logprobs": True}),
    ("logit_bias", "openai.chat", {**CHAT, "logit_bias": {"1": 5}}),
    ("grammar", "openai.chat", {**CHAT, "grammar": "root ::= x"}),
    ("prediction", "openai.chat", {**CHAT, "prediction": {"type": "content", "content": "x"}}),
    ("personal", "openai.chat", user("Where is my order?")),
]
NOT_APART = [
    ("prompt", "openai.completions", {"model": "m", "prompt": "Once"}),
    ("token_context", "ollama.generate", {"model": "m", "prompt": "hi", "context": [1, 2]}),
    ("template", "ollama.generate", {"model": "m", "prompt": "hi", "template": "{{ .Prompt }}"}),
    ("prefilled", "openai.chat", {**CHAT, "messages": [USER, {"role": "assistant", "content": "It is"}]}),
    ("tool_result", "openai.chat", {**CHAT, "messages": [USER, CALL, RESULT]}),
    ("image", "openai.chat", image("data:image/png;base64,iVBORw0KGgoA")),
]
GOOD = Choice(parts=(Text(text="Paris."),), reason=Finish.STOP)


def says(text, reason=Finish.STOP):
    return structs.replace(GOOD, parts=(Text(text=text),), reason=reason)


ANSWERED = [
    ("no_answer", ()),
    ("unfinished", (structs.replace(GOOD, reason=None),)),
    ("truncated", (says("Par", Finish.LENGTH),)),
    ("filtered", (says("Par", Finish.CONTENT_FILTER),)),
    ("calls_tools", (says("", Finish.TOOL_CALLS),)),
    ("calls_tools", (structs.replace(GOOD, parts=(ToolCall(id="c", name="f", arguments="{}"),)),)),
    ("refused", (structs.replace(GOOD, parts=(Refusal(text="no"),)),)),
    ("refused_in_words", (says("I'm sorry, but I can't help with that."),)),
    ("refused_in_words", (says("I cannot assist with this request."),)),
    ("refused_in_words", (says("As an AI language model, I have no opinion."),)),
    ("empty", (says(" \n"),)),
    ("empty", (structs.replace(GOOD, parts=(Thinking(text="hmm"),)),)),
    ("fewer_answers", (GOOD, GOOD)),
    ("holds_secret", (says("Use sk-abcdefghijklmnopqrstuvwxyz"),)),
    ("holds_secret", (says("-----BEGIN RSA PRIVATE KEY-----"),)),
    ("broken_text", (says("Par\ufffd"),)),
]


class Willing:
    """Takes any two questions of a scope for one."""

    def __init__(self):
        self.asked, self.put_away = [], []

    async def find(self, scope, question, *, max_error=None, without=frozenset()):
        self.asked.append(question)
        found = [entry for where, entry in self.put_away if where == scope and entry not in without]
        return Match(entry=found[-1], probability=0.0) if found else None

    async def put(self, scope, question, entry_id, *, answer=""):
        self.put_away.append((scope, entry_id))

    async def forget(self, entry_ids):
        self.put_away = [one for one in self.put_away if one[1] not in entry_ids]


async def sought(cache, family, body, principal=Principal(user="u"), **caching):  # noqa: B008 - frozen
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
    question = Written(family, raw, lambda: CODECS[family].read_request(raw).generation)
    seeking = await cache.seek(request, MODEL, question)
    await cache.seek_meaning(seeking)
    return seeking


@pytest.mark.parametrize(("kind", "family", "body"), ASKED_NEVER)
async def test_it_is_neither_looked_for_nor_kept(kind, family, body):
    cache = cache_of(Clock())
    seeking = await sought(cache, family, body)
    assert (seeking.tier, seeking.reason) == ("bypass", kind)
    assert await cache.keep(seeking, Answer(choices=(GOOD,)), Worth()) is None
    assert (await cache.answers.holding()).entries == 0


@pytest.mark.parametrize(("kind", "family", "body"), [*ASKED_EXACTLY, *NOT_APART])
async def test_only_the_very_same_question_is_answered(kind, family, body):
    """It is kept and found again, but nobody asks for what means the same, and nothing is put away for that."""
    meaning = Willing()
    cache = cache_of(Clock(), meaning=meaning)
    seeking = await sought(cache, family, body)
    assert seeking.tier == "miss"
    wanted = kind if (kind, family, body) in ASKED_EXACTLY else "not_apart"
    assert seeking.reason == wanted
    assert wanted != "not_apart" or EXACT_ONLY[kind](seeking.generation)
    entry = await cache.keep(seeking, Answer(choices=(GOOD,) * body.get("n", 1)), Worth())
    assert entry is not None
    assert (entry.scope, meaning.asked) == (b"", [])
    assert (await sought(cache, family, body)).tier == "exact"


@pytest.mark.parametrize(("kind", "choices"), ANSWERED)
async def test_such_an_answer_is_not_kept(kind, choices):
    cache = cache_of(Clock())
    seeking = await sought(cache, "openai.chat", CHAT)
    assert await cache.keep(seeking, Answer(choices=choices), Worth()) is None
    assert cache.stats.told()["not_stored_by_reason"] == {kind: 1}
    assert (await cache.answers.holding()).entries == 0


async def test_what_shall_be_json_and_is_none_is_not_kept():
    cache = cache_of(Clock())
    body = {**CHAT, "response_format": {"type": "json_object"}}
    assert await cache.keep(await sought(cache, "openai.chat", body), Answer(choices=(GOOD,)), Worth()) is None
    good = Answer(choices=(says('{"a":1}'),))
    assert await cache.keep(await sought(cache, "openai.chat", body), good, Worth()) is not None


@pytest.mark.parametrize(
    ("reason", "settings", "more"),
    [
        ("model", {"skip_models": ["m*"]}, {}),
        ("service", {}, {"principal": Principal(user="s", role="service")}),
        ("caller", {}, {"read": False, "write": False}),
    ],
)
async def test_whole_models_and_callers_may_be_left_out(reason, settings, more):
    seeking = await sought(cache_of(Clock(), **settings), "openai.chat", CHAT, **more)
    assert (seeking.tier, seeking.reason) == ("bypass", reason)


async def test_a_long_answer_is_not_kept():
    cache = cache_of(Clock(), max_entry_bytes=2000)
    seeking = await sought(cache, "openai.chat", CHAT)
    assert await cache.keep(seeking, Answer(choices=(says("x" * 3000),)), Worth()) is None
    assert cache.stats.told()["not_stored_by_reason"] == {"too_large": 1}


async def test_a_question_about_now_is_soon_asked_again():
    clock = Clock()
    cache = cache_of(clock, volatile_ttl=60)
    body = user("What is the latest news?")
    await cache.keep(await sought(cache, "openai.chat", body), Answer(choices=(GOOD,)), Worth())
    clock.now += 59
    assert (await sought(cache, "openai.chat", body)).tier == "exact"
    clock.now += 1
    assert (await sought(cache, "openai.chat", body)).tier == "miss"


async def test_the_examples_would_be_cached_were_it_not_for_their_kind():
    for family, body in {
        "openai.chat": CHAT,
        "openai.responses": RESPONSES,
        "anthropic.messages": ANTHROPIC,
    }.items():
        meaning = Willing()
        cache = cache_of(Clock(), meaning=meaning)
        entry = await cache.keep(await sought(cache, family, body), Answer(choices=(GOOD,)), Worth())
        assert entry is not None
        assert entry.scope
        assert meaning.asked == ["What is the capital of France?"]


def test_every_kind_of_the_tables_has_an_example():
    assert {kind for kind, *_ in ASKED_NEVER} >= NEVER.keys()
    assert {kind for kind, *_ in [*ASKED_EXACTLY, *NOT_APART]} >= EXACT_ONLY.keys()
    assert {kind for kind, *_ in ANSWERED} | {"no_json"} == UNFIT.keys()
    kinds = {kind for table in (ASKED_NEVER, ASKED_EXACTLY, NOT_APART, ANSWERED) for kind, *_ in table}
    assert len(kinds) >= 40


@pytest.mark.parametrize(
    "text",
    [
        "How does photosynthesis work?",
        "What is the date of the battle of Hastings?",
        "Name the days of the week",
        "Explain currents in a wire",
        "How is the time complexity of quicksort derived?",
    ],
)
def test_other_questions_are_not_about_now(text):
    assert not volatile(text)


@pytest.mark.parametrize(
    "text",
    ["Who is the current president?", "what time is it", "Wie wird das Wetter morgen?", "gold price of 3 days ago"],
)
def test_questions_about_now_are_told(text):
    assert volatile(text)


@pytest.mark.parametrize(("text", "lasts"), [("How does photosynthesis work?", True), ("Who won today?", False)])
async def test_what_a_question_is_about_is_read_when_it_matters(text, lasts):
    clock, read = Clock(), []
    cache = cache_of(clock, volatile_ttl=60, exact_ttl=3600)
    entry = await cache.keep(await sought(cache, "openai.chat", user(text)), Answer(choices=(GOOD,)), Worth())

    def words():
        read.append(text)
        return text

    assert cache.counts(entry, clock.now + 59, words)
    assert not read
    assert cache.counts(entry, clock.now + 60, words) is lasts
    assert cache.counts(entry, clock.now + 61, words) is lasts
    assert len(read) == (1 if lasts else 2)
    assert not cache.counts(entry, clock.now + 3600, words)


async def test_it_is_not_read_where_nobody_may_be_older_anyway():
    clock = Clock()
    cache = cache_of(clock, volatile_ttl=60, exact_ttl=60)
    entry = await cache.keep(await sought(cache, "openai.chat", CHAT), Answer(choices=(GOOD,)), Worth())
    assert entry.timely is None
