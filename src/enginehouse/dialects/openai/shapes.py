"""Chunks, answers, token counts and errors as OpenAI's completions write them."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from enginehouse.errors import EnginehouseError
from enginehouse.types import Usage
from enginehouse.types.answer import Finish, Score
from enginehouse.types.generation import Json

__all__ = [
    "Chunk",
    "Penalty",
    "Probability",
    "Scores",
    "StreamOptions",
    "error_json",
    "finish_of",
    "reason_of",
    "scores_json",
    "usage_json",
]

Penalty = Annotated[float, Meta(ge=-2, le=2)]
Probability = Annotated[float, Meta(ge=0, le=1)]

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}
_REASONS = {
    "stop": Finish.STOP,
    "length": Finish.LENGTH,
    "tool_calls": Finish.TOOL_CALLS,
    "function_call": Finish.TOOL_CALLS,
    "content_filter": Finish.CONTENT_FILTER,
}


class StreamOptions(Struct):
    """What a client wants of its stream."""

    include_usage: bool | None = None


class Details(Struct):
    """Shares of a count."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


class Counts(Struct):
    """Tokens; the shares are part of the sums."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None

    def usage(self) -> Usage:
        """The same in disjoint columns."""
        cached = kept = reasoning = 0
        if (read := self.prompt_tokens_details) is not None:
            cached, kept = read.cached_tokens or 0, read.cache_write_tokens or 0
        if (written := self.completion_tokens_details) is not None:
            reasoning = min(written.reasoning_tokens or 0, self.completion_tokens)
        return Usage(
            input=max(self.prompt_tokens - cached - kept, 0),
            cached_input=cached,
            cache_write=kept,
            output=self.completion_tokens - reasoning,
            reasoning=reasoning,
        )


class Token(Struct):
    """One token's likelihood."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list["Token"] = []

    def score(self) -> Score:
        """The same in our words."""
        top = tuple(token.score() for token in self.top_logprobs)
        held = None if self.bytes is None else tuple(self.bytes)
        return Score(token=self.token, logprob=self.logprob, bytes=held, top=top)


class Scores(Struct):
    """Likelihoods of a choice's tokens: `content` is chat's way, the lists side by side are text completions'."""

    content: list[Token] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None

    def scores(self) -> tuple[Score, ...]:
        """The same in our words."""
        if self.content is not None:
            return tuple(token.score() for token in self.content)
        tokens, logprobs = self.tokens or [], self.token_logprobs or []
        tops = self.top_logprobs or [None] * len(tokens)
        return tuple(
            Score(token=token, logprob=logprob, top=_alternatives(top))
            for token, logprob, top in zip(tokens, logprobs, tops, strict=False)
        )


def _alternatives(top: dict[str, float] | None) -> tuple[Score, ...]:
    return tuple(Score(token=token, logprob=logprob) for token, logprob in (top or {}).items())


class Function(Struct):
    """A call's name and arguments, or a piece of them."""

    name: str | None = None
    arguments: str | None = None


class Call(Struct):
    """A tool call, or a piece of it."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Delta(Struct):
    """A message, or a piece of it."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Call] | None = None


class ChunkChoice(Struct):
    """One choice of a chunk (`delta`) or of a whole answer (`message`)."""

    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    stop_reason: Any = None
    logprobs: Any = None


class Chunk(Struct):
    """A chunk of a stream, or a whole answer."""

    id: str = ""
    model: str = ""
    choices: list[ChunkChoice] = []
    usage: Counts | None = None
    error: Any = None


def finish_of(reason: str, *, called: bool) -> Finish:
    """Our word for why a choice ended; who was made to call a tool is told `stop` by some servers."""
    finish = _REASONS.get(reason, Finish.STOP)
    return Finish.TOOL_CALLS if called and finish is Finish.STOP else finish


def reason_of(finish: Finish) -> str:
    """OpenAI's word for why a choice ended."""
    return "stop" if finish is Finish.STOP_SEQUENCE else finish.value


def usage_json(usage: Usage) -> Json:
    """Counts with their shares."""
    prompt = usage.input + usage.cached_input + usage.cache_write
    completion = usage.output + usage.reasoning
    counts: Json = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
    if usage.cache_write:
        counts["prompt_tokens_details"]["cache_write_tokens"] = usage.cache_write
    return counts


def scores_json(scores: tuple[Score, ...]) -> Json | None:
    """Likelihoods, None when there are none."""
    return {"content": [_token(score) for score in scores], "refusal": None} if scores else None


def _token(score: Score) -> Json:
    top = [{"token": s.token, "logprob": s.logprob, "bytes": _bytes(s)} for s in score.top]
    return {"token": score.token, "logprob": score.logprob, "bytes": _bytes(score), "top_logprobs": top}


def _bytes(score: Score) -> list[int]:
    return list(score.bytes) if score.bytes is not None else list(score.token.encode())


def error_json(error: EnginehouseError, status: int) -> Json:
    """An error as OpenAI's clients read it."""
    kind = _TYPES.get(status, "server_error")
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}
