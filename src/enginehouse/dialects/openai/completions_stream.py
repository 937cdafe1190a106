"""Streams and whole answers of OpenAI's text completions, written from events."""

from collections.abc import Iterable

import msgspec

from enginehouse.dialects.base import Head
from enginehouse.dialects.openai.chunks import ChunkWriter
from enginehouse.dialects.openai.shapes import reason_of, usage_json
from enginehouse.errors import UpstreamDied
from enginehouse.types import Usage
from enginehouse.types.answer import (
    Choice,
    Counted,
    Event,
    Finish,
    Finished,
    RefusalDelta,
    Score,
    TextDelta,
    ThinkingDelta,
    ToolCallBegan,
    ToolCallDelta,
    fold,
)
from enginehouse.types.generation import Json, Refusal, Text

__all__ = ["CompletionsWriter", "write_completions_answer"]


class CompletionsWriter(ChunkWriter):
    """Chunks out of events. There is no place for thoughts, nor for calls of tools, which nobody can have given."""

    def __init__(self, head: Head) -> None:
        super().__init__(head, id=f"cmpl-{head.id}", kind="text_completion")
        self._offsets: dict[int, int] = {}

    def write(self, event: Event) -> bytes:
        """The chunk of one event."""
        match event:
            case Counted():
                return self._counted(event)
            case TextDelta():
                return self._more(event.choice, event.text, event.scores)
            case RefusalDelta():
                return self._more(event.choice, event.text)
            case Finished():
                self._open[event.choice] = False
                return self._chunk(_choice(event.choice, "", reason=_reason_of(event.reason)))
            case ThinkingDelta() | ToolCallBegan() | ToolCallDelta():
                self._open.setdefault(event.choice, True)
                return b""
            case _:
                return b""

    def _more(self, index: int, text: str, scores: tuple[Score, ...] = ()) -> bytes:
        self._open[index] = True
        offset = self._offsets.get(index, 0)
        self._offsets[index] = offset + sum(len(score.token) for score in scores)
        return self._chunk(_choice(index, text, scores=_scores_json(scores, offset)))


def write_completions_answer(events: Iterable[Event], head: Head) -> bytes:
    """A whole answer."""
    answer = fold(events)
    if not answer.choices:
        raise UpstreamDied("The engine's answer is not complete.")
    return msgspec.json.encode(
        {
            "id": f"cmpl-{head.id}",
            "object": "text_completion",
            "created": int(head.created),
            "model": head.model,
            "choices": [_whole(choice, index) for index, choice in enumerate(answer.choices)],
            "usage": usage_json(answer.usage or Usage()),
        }
    )


def _whole(choice: Choice, index: int) -> Json:
    if choice.reason is None:
        raise UpstreamDied("The engine's answer is not complete.")
    text = "".join([part.text for part in choice.parts if isinstance(part, Text | Refusal)])
    return _choice(index, text, reason=_reason_of(choice.reason), scores=_scores_json(choice.scores, 0))


def _choice(index: int, text: str, *, reason: str | None = None, scores: Json | None = None) -> Json:
    return {"index": index, "text": text, "logprobs": scores, "finish_reason": reason}


def _reason_of(finish: Finish) -> str:
    return "stop" if finish is Finish.TOOL_CALLS else reason_of(finish)


def _scores_json(scores: tuple[Score, ...], offset: int) -> Json | None:
    """Lists side by side, None when there is nothing to tell; `offset` is where the first token begins."""
    if not scores:
        return None
    offsets: list[int] = []
    for score in scores:
        offsets.append(offset)
        offset += len(score.token)
    tops = [{other.token: other.logprob for other in score.top} for score in scores]
    return {
        "tokens": [score.token for score in scores],
        "token_logprobs": [score.logprob for score in scores],
        "top_logprobs": tops if any(tops) else None,
        "text_offset": offsets,
    }
