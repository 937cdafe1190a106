"""The commonest requests and answers of OpenAI's completions, nothing but words: read once, and understood at once.

What is not plain is nothing here: it is read as everything is (`chat_request`, `completions_request`,
`chat_stream`), which also says what is wrong with it. What is plain means the same both ways.
"""

from collections.abc import Iterable
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from enginehouse.dialects.base import Head
from enginehouse.dialects.openai.chat_stream import write_chat_answer
from enginehouse.dialects.openai.completions_stream import write_completions_answer
from enginehouse.dialects.openai.shapes import Counts, finish_of
from enginehouse.types import Usage
from enginehouse.types.answer import Answer, Choice, Event, Finish
from enginehouse.types.generation import Dialect, Text
from enginehouse.types.keyed import brief

__all__ = [
    "PlainAnswer",
    "PlainRequest",
    "Retelling",
    "read_plain_answer",
    "read_plain_chat",
    "read_plain_completion",
]

_CHARACTERS = 4
"""Of a token, as `core.gateway.meter` guesses."""

_Count: TypeAlias = Annotated[int, Meta(ge=0)] | UnsetType | None
_Temperature: TypeAlias = Annotated[int, Meta(ge=0, le=2)] | Annotated[float, Meta(ge=0, le=2)] | UnsetType | None
_Probability: TypeAlias = Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(ge=0, le=1)] | UnsetType | None
_Penalty: TypeAlias = Annotated[int, Meta(ge=-2, le=2)] | Annotated[float, Meta(ge=-2, le=2)] | UnsetType | None


class PlainRequest(Struct, frozen=True, gc=False):
    """A plain request, understood."""

    model: str
    """As the caller named it."""
    stream: bool
    wants_usage: bool
    """Whether a stream shall tell the tokens."""
    canonical: bytes
    """All that may change the answer but the model, in one way of writing: what `core.cache.questions` writes."""
    anonymous: bytes
    """The same without the caller's name for its end user: what `core.ledger.digests` writes of a body that is not
    too long to be read there (`canonical_plain`)."""
    brief: bytes
    """`canonical` as keyed digests are made of it."""
    anonymous_brief: bytes
    """`anonymous` likewise."""
    prompt_tokens: int
    """A guess: a quarter of the characters."""
    max_tokens: int | None
    """Most of the answer, where the caller says."""
    temperature: float | None
    words: str | None
    """Of the last turn, where it is a user's; None where it is not, and of a text that is only gone on with."""


class _StreamOptions(Struct, forbid_unknown_fields=True):
    include_usage: bool | None = None


class _Message(Struct, forbid_unknown_fields=True):
    """Its fields stand in the order of the alphabet, as do those below: so they are written."""

    content: str
    role: Literal["system", "developer", "user", "assistant"]


class _Told(Struct, forbid_unknown_fields=True, kw_only=True):
    """What has no part in the canonical form: taken out before the rest is written."""

    model: str | UnsetType
    stream: bool | UnsetType | None = UNSET
    stream_options: _StreamOptions | UnsetType | None = UNSET


class _Chat(_Told, forbid_unknown_fields=True, kw_only=True):
    """What is not given is left out, and what is given is written as it was: 1 is not 1.0, nor null nothing."""

    frequency_penalty: _Penalty = UNSET
    max_completion_tokens: _Count = UNSET
    max_tokens: _Count = UNSET
    messages: Annotated[list[_Message], Meta(min_length=1)]
    n: Literal[1, None] | UnsetType = UNSET
    presence_penalty: _Penalty = UNSET
    seed: int | UnsetType | None = UNSET
    stop: str | list[str] | UnsetType | None = UNSET
    temperature: _Temperature = UNSET
    top_p: _Probability = UNSET
    user: str | UnsetType | None = UNSET


class _Completion(_Told, forbid_unknown_fields=True, kw_only=True):
    """The same of a text to be gone on with."""

    frequency_penalty: _Penalty = UNSET
    max_tokens: _Count = UNSET
    n: Literal[1, None] | UnsetType = UNSET
    presence_penalty: _Penalty = UNSET
    prompt: str
    seed: int | UnsetType | None = UNSET
    stop: str | list[str] | UnsetType | None = UNSET
    temperature: _Temperature = UNSET
    top_p: _Probability = UNSET
    user: str | UnsetType | None = UNSET


_chat = msgspec.json.Decoder(_Chat).decode
_completion = msgspec.json.Decoder(_Completion).decode
_written = msgspec.json.Encoder().encode


def read_plain_chat(body: bytes) -> PlainRequest | None:
    """A chat completion that asks for one answer in words to turns of words; None when it is not plain."""
    try:
        asked = _chat(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    size = 0
    for message in asked.messages:
        size += len(message.content)
    last = asked.messages[-1]
    limit = asked.max_completion_tokens
    if limit is None or limit is UNSET:
        limit = asked.max_tokens
    return _understood(asked, size, limit, last.content if last.role == "user" else None)


def read_plain_completion(body: bytes) -> PlainRequest | None:
    """A text completion that asks for one text to be gone on with in one way; None when it is not plain."""
    try:
        asked = _completion(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return _understood(asked, len(asked.prompt), asked.max_tokens, None)


def _understood(
    asked: _Chat | _Completion, size: int, limit: int | UnsetType | None, words: str | None
) -> PlainRequest:
    model, stream, options = asked.model, bool(asked.stream), asked.stream_options
    assert model is not UNSET, "without a model it is not plain"
    asked.model = asked.stream = asked.stream_options = UNSET
    canonical = anonymous = _written(asked)
    if asked.user is not UNSET:
        asked.user = UNSET
        anonymous = _written(asked)
    temperature, asked_briefly = asked.temperature, brief(canonical)
    return PlainRequest(
        model,
        stream,
        not stream or bool(options and options.include_usage),
        canonical,
        anonymous,
        asked_briefly,
        asked_briefly if anonymous is canonical else brief(anonymous),
        -(-size // _CHARACTERS),
        None if limit is UNSET else limit,
        None if temperature is UNSET else temperature,
        words,
    )


class Retelling:
    """Writes a whole answer again and again: but for its head it is the same each time.

    Args:
        dialect: chat or text completions.
    """

    def __init__(self, dialect: Dialect) -> None:
        chat = dialect is Dialect.OPENAI_CHAT
        self._write = write_chat_answer if chat else write_completions_answer
        kind = "chat.completion" if chat else "text_completion"
        self._id = "chatcmpl-" if chat else "cmpl-"
        self._middle = b',"object":%s,"created":' % _written(kind)
        self._head = len(self.whole(b"", id="", created=0, model=""))

    def rest(self, events: Iterable[Event]) -> bytes:
        """What follows the head.

        Raises:
            UpstreamDied: a choice has not finished.
        """
        return self._write(events, Head(id="", model="", created=0))[self._head :]

    def whole(self, rest: bytes, *, id: str, created: float, model: str) -> bytes:  # noqa: A002 - the field's name
        """The body, as the dialect's codec writes it.

        Args:
            rest: of an answer of this dialect.
            id: unique, without the dialect's prefix.
            created: Unix seconds.
            model: as the caller named it.
        """
        return b'{"id":%s%s%d,"model":%s%s' % (
            _written(self._id + id),
            self._middle,
            int(created),
            _written(model),
            rest,
        )


class PlainAnswer(Struct, frozen=True):
    """A whole answer of one choice that holds words and nothing else."""

    id: str
    model: str
    """As the engine calls it."""
    text: str
    reason: Finish
    usage: Usage | None
    """None when the engine did not count."""

    def answer(self) -> Answer:
        """In the words that all dialects share."""
        parts = (Text(text=self.text),) if self.text else ()
        choice = Choice(parts=parts, reason=self.reason)
        return Answer(id=self.id, model=self.model, choices=(choice,), usage=self.usage)

    def taken(self, prompt_tokens: int) -> Usage:
        """What it took: as the engine counted, else by our own count, marked as an estimate.

        Args:
            prompt_tokens: a guess, for an engine that did not count.
        """
        if self.usage is not None:
            return self.usage
        return Usage(input=prompt_tokens, output=1 if self.text else 0, estimated=True)


class _Said(Struct):
    """A message; whose words are not all there is to it is not plain."""

    content: str | None = None
    refusal: None = None
    reasoning_content: None = None
    reasoning: None = None
    tool_calls: Annotated[list[None], Meta(max_length=0)] | None = None


class _Choice(Struct):
    """`message` is chat's, `text` that of text completions."""

    finish_reason: Annotated[str, Meta(min_length=1)]
    index: Literal[0] = 0
    message: _Said | None = None
    text: str | None = None
    delta: None = None
    stop_reason: int | None = None
    logprobs: None = None


class _Whole(Struct):
    choices: Annotated[list[_Choice], Meta(min_length=1, max_length=1)]
    id: str = ""
    model: str = ""
    usage: Counts | None = None
    error: None = None


_whole = msgspec.json.Decoder(_Whole).decode


def read_plain_answer(body: bytes) -> PlainAnswer | None:
    """A whole answer of an engine to a plain request; None when it is not plain, or none at all."""
    try:
        whole = _whole(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    choice, counts, said = whole.choices[0], whole.usage, whole.choices[0].message
    return PlainAnswer(
        whole.id,
        whole.model,
        (said and said.content) or choice.text or "",
        finish_of(choice.finish_reason, called=False),
        None if counts is None else counts.usage(),
    )
