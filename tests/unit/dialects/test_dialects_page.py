"""The tables of docs/dialects.md say what the codecs do: each cell is tried out here."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from enginehouse.dialects.anthropic.messages import AnthropicMessages
from enginehouse.dialects.base import Head
from enginehouse.dialects.ollama.chat import OllamaChat
from enginehouse.dialects.ollama.generate import OllamaGenerate
from enginehouse.dialects.openai.chat import OpenAIChat
from enginehouse.dialects.openai.completions import OpenAICompletions
from enginehouse.dialects.openai.responses import OpenAIResponses
from enginehouse.dialects.shapes import BINDING
from enginehouse.errors import InvalidRequest
from enginehouse.types import Usage
from enginehouse.types.answer import Answer, Choice, Finish, Score, Timed, events_of, fold
from enginehouse.types.generation import (
    Choosing,
    Dialect,
    Generation,
    Image,
    JsonAnswer,
    Prompt,
    Reasoning,
    RedactedThinking,
    Refusal,
    Role,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)

PAGE = (Path(__file__).parents[3] / "docs" / "dialects.md").read_text()
HEAD = Head(id="1", model="m", created=7)
CODECS = {
    "OpenAI chat": OpenAIChat(),
    "the same, extended": OpenAIChat(extended=True),
    "OpenAI completions": OpenAICompletions(extended=True),
    "OpenAI Responses": OpenAIResponses(),
    "Anthropic Messages": AnthropicMessages(),
    "Ollama chat": OllamaChat(),
    "Ollama generate": OllamaGenerate(),
}
USER = Turn(role=Role.USER, parts=(Text(text="hi"),))
PLAIN = Generation(model="m", turns=(USER,))
BARE = Generation(model="m", prompt=Prompt(texts=("hi",)))
SCHEMA = {"type": "object"}
WORDS = Text(text="a")
CALL = ToolCall(id="c", name="f", arguments="{}")


def said(*parts):
    return {"turns": (USER, Turn(role=Role.ASSISTANT, parts=parts), USER)}


def result(**fields):
    done = ToolResult(call_id="c", name="f", parts=(Text(text="1"),), **fields)
    return {"turns": (*said(CALL)["turns"][:2], Turn(role=Role.TOOL, parts=(done,))), "tools": (Tool(name="f"),)}


def user(*parts):
    return {"turns": (Turn(role=Role.USER, parts=(Text(text="hi"), *parts)),)}


@dataclass
class Row:
    """A word of ours, and what it is compared with: the same request without it."""

    name: str
    fields: dict
    without: dict


def row(name, fields, without=None):
    return Row(name, fields, without or {})


def sampled(name, **fields):
    return row(name, {"sampling": Sampling(**fields)})


TOOLS = {"tools": (Tool(name="f"),)}
REQUESTS = [
    row("system text", {"turns": (Turn(role=Role.SYSTEM, parts=(Text(text="x"),)), USER)}),
    row("a conversation of several turns", said(Text(text="a"))),
    row("a bare prompt, gone on with as it stands", {"prompt": BARE.prompt, "turns": ()}, {"turns": ()}),
    row("several prompts", {"prompt": Prompt(texts=("a", "b")), "turns": ()}),
    row("token ids", {"prompt": Prompt(texts=((1, 2),)), "turns": ()}),
    row("a suffix", {"prompt": Prompt(texts=("a",), suffix="b"), "turns": ()}),
    row("`echo`", {"prompt": Prompt(texts=("a",), echo=True), "turns": ()}),
    row("an image, base64", user(Image(data="iVBORw0KGgo=", media_type="image/png"))),
    row("an image, by its URL", user(Image(url="https://x.test/i.png"))),
    row("tools", TOOLS),
    row("a tool has to be called", TOOLS | {"tool_choice": ToolChoice(mode=Choosing.REQUIRED)}, TOOLS),
    row("this tool has to be called", TOOLS | {"tool_choice": ToolChoice(mode=Choosing.NAMED, name="f")}, TOOLS),
    row("no tool may be called", TOOLS | {"tool_choice": ToolChoice(mode=Choosing.NONE)}, TOOLS),
    row("one call at a time", TOOLS | {"tool_choice": ToolChoice(parallel=False)}, TOOLS),
    row("calls and their results", result(), TOOLS),
    row("a result that is a failure", result(is_error=True), result()),
    row("thoughts of earlier turns", said(Thinking(text="hm"), WORDS), said(WORDS)),
    row("sealed thoughts of earlier turns", said(Thinking(text="hm", signature="s"), WORDS), said(WORDS)),
    row("words for not answering, in earlier turns", said(WORDS, Refusal(text="no")), said(WORDS)),
    row("who speaks (`name`)", {"turns": (Turn(role=Role.USER, parts=(Text(text="hi"),), name="ann"),)}),
    row("JSON, any object", {"answer": JsonAnswer()}),
    row("JSON under a schema", {"answer": JsonAnswer(schema=SCHEMA)}),
    row("how hard to think", {"reasoning": Reasoning(effort="low")}),
    row("tokens to think with", {"reasoning": Reasoning(enabled=True, budget=2000)}),
    row("not to think", {"reasoning": Reasoning(enabled=False)}),
    sampled("temperature up to 1", temperature=0.5),
    sampled("temperature above 1", temperature=1.5),
    sampled("`top_p`", top_p=0.5),
    sampled("`top_k`", top_k=5),
    sampled("`min_p`", min_p=0.1),
    sampled("most tokens of the answer", max_tokens=9),
    sampled("stop sequences", stop=("x",)),
    sampled("seed", seed=1),
    sampled("presence penalty", presence_penalty=1.0),
    sampled("frequency penalty", frequency_penalty=1.0),
    sampled("repeat penalty", repeat_penalty=1.5),
    sampled("several answers (`n`)", n=2),
    sampled("log probabilities", logprobs=2),
    row("the caller's own user", {"user": "ann"}),
]  # fmt: skip


def written(codec, fields):
    """A request of a client of another dialect, of the kind that this one takes."""
    bare = isinstance(codec, OpenAICompletions) and "turns" not in fields
    elsewhere = Dialect.OPENAI_CHAT if isinstance(codec, OllamaChat | OllamaGenerate) else Dialect.OLLAMA_CHAT
    said = msgspec.structs.replace(BARE if bare else PLAIN, dialect=elsewhere, **fields)
    return codec.write_request(said, stream=False)


def fate(codec, asked):
    try:
        request = written(codec, asked.fields)
    except InvalidRequest:
        return "refused"
    if asked.fields.get("prompt") and (b'"messages"' in request or b'"input"' in request):
        return "as a turn"
    try:
        return "left out" if request == written(codec, asked.without) else "yes"
    except InvalidRequest:
        return "yes"


OPEN = Usage(input=3, output=4)


def told(*parts, **fields):
    reason = fields.pop("reason", Finish.STOP)
    choice = Choice(parts=parts or (Text(text="a"),), reason=reason, **fields)
    return Answer(id="x", model="m", choices=(choice,), usage=OPEN)


ANSWERS = [
    ("words", told(Text(text="a")), lambda answer: answer.choices[0].text() == "a"),
    ("thoughts", told(Thinking(text="hm"), Text(text="a")), lambda answer: answer.choices[0].thinking() == "hm"),
    (
        "the seal of thoughts",
        told(Thinking(text="hm", signature="s"), Text(text="a")),
        lambda answer: any(getattr(part, "signature", None) == "s" for part in answer.choices[0].parts),
    ),
    (
        "thoughts that only their maker can read",
        told(RedactedThinking(data="x"), Text(text="a")),
        lambda answer: any(isinstance(part, RedactedThinking) for part in answer.choices[0].parts),
    ),
    ("words for not answering", told(Refusal(text="no")), lambda answer: answer.choices[0].refusal() == "no"),
    ("tool calls", told(CALL, reason=Finish.TOOL_CALLS), lambda answer: len(answer.choices[0].tool_calls()) == 1),
    (
        "cut off at the token limit",
        told(reason=Finish.LENGTH),
        lambda answer: answer.choices[0].reason is Finish.LENGTH,
    ),
    (
        "ended by somebody's rules",
        told(reason=Finish.CONTENT_FILTER),
        lambda answer: answer.choices[0].reason is Finish.CONTENT_FILTER,
    ),
    (
        "which stop sequence it was",
        told(reason=Finish.STOP_SEQUENCE, stop_sequence="x"),
        lambda answer: answer.choices[0].stop_sequence == "x",
    ),
    (
        "log probabilities",
        told(scores=(Score(token="a", logprob=-1.0),)),
        lambda answer: [score.token for score in answer.choices[0].scores] == ["a"],
    ),
    ("tokens read and written", told(), lambda answer: answer.usage == OPEN),
    (
        "tokens from the maker's cache",
        msgspec.structs.replace(told(), usage=Usage(input=3, cached_input=2, output=4)),
        lambda answer: answer.usage.cached_input == 2,
    ),
    (
        "tokens of thoughts",
        msgspec.structs.replace(told(), usage=Usage(input=3, output=4, reasoning=2)),
        lambda answer: answer.usage.reasoning == 2,
    ),
    (
        "seconds, as the engine measured them",
        msgspec.structs.replace(told(), timed=Timed(load=1.0, prompt=1.0, output=1.0)),
        lambda answer: answer.timed is not None,
    ),
    (
        "several answers",
        Answer(choices=(told().choices[0], told().choices[0]), usage=OPEN),
        lambda answer: len(answer.choices) == 2,
    ),
]  # fmt: skip


def arrives(codec, answer, holds):
    body = codec.write_answer(events_of(answer), HEAD)
    if holds(fold(codec.read_answer(body))):
        return "yes"
    return (
        "as words" if b'"no"' in body and b'"no"' not in codec.write_answer(events_of(told()), HEAD) else "left out"
    )


def table(names, rows):
    lines = [f"| | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
    return "\n".join([*lines, *[f"| {name} | {' | '.join(cells)} |" for name, cells in rows]])


def requests_table():
    return table(CODECS, [(asked.name, [fate(codec, asked) for codec in CODECS.values()]) for asked in REQUESTS])


def answers_table():
    codecs = {name: codec for name, codec in CODECS.items() if name != "the same, extended"}
    return table(
        codecs,
        [(name, [arrives(codec, answer, holds) for codec in codecs.values()]) for name, answer, holds in ANSWERS],
    )


@pytest.mark.parametrize("made", [requests_table, answers_table])
def test_the_page_says_what_the_codecs_do(made):
    assert made() in PAGE, made()


def test_the_page_names_what_can_be_said_in_one_dialect_only():
    for dialect, names in BINDING.items():
        if names:
            assert f"| {dialect.value} | {', '.join(f'`{name}`' for name in sorted(names))} |" in PAGE
