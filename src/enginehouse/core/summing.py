"""Summaries of conversations, asked of a model through the gateway, as any caller would ask."""

from collections.abc import Iterator, Sequence

from enginehouse.core.gateway import Gateway
from enginehouse.core.sessions import Message, Rulers
from enginehouse.errors import UpstreamRefused
from enginehouse.types import Operation, Principal, Request, Timings
from enginehouse.types.answer import Fold
from enginehouse.types.generation import Generation, Role, Sampling, Text, ToolCall, ToolResult, Turn

__all__ = ["Summaries"]

_TOKENS = 256
"""Of a summary."""
_SHARE = 2
"""Characters of a transcript for each token of the model's context: half of what usually fits."""
_USUAL = 4096
_TASK = (
    "Sum up the conversation so that it can be gone on with: who the user is, what is wanted, what was found, "
    "decided and promised, with all names and numbers. Write at most 150 words and nothing else."
)


class Summaries:
    """Satisfies `SumsUp`. What it takes is the caller's, as the conversation is.

    Args:
        gateway: the way of every request.
        rulers: say how much a model can read at once.
    """

    def __init__(self, gateway: Gateway, rulers: Rulers) -> None:
        self._gateway, self._rulers = gateway, rulers

    async def __call__(
        self, principal: Principal, model: str, request_id: str, before: str | None, said: Sequence[Message]
    ) -> str:
        """What was said, in short; what is too long to be read at once is summed up piece by piece."""
        length = self._rulers.of(principal, model, request_id).context_length or _USUAL
        summary = before or ""
        for piece in _pieces("\n".join(_transcript(said)), length * _SHARE):
            told = f"What came before: {summary}\n\n{piece}" if summary else piece
            summary = await self._ask(principal, model, request_id, told)
        return summary

    async def _ask(self, principal: Principal, model: str, request_id: str, told: str) -> str:
        request = Request(
            operation=Operation.CHAT,
            model=model,
            principal=principal,
            request_id=request_id,
            face="sessions",
            timings=Timings(),
        )
        turns = (_turn(Role.SYSTEM, _TASK), _turn(Role.USER, told))
        generation = Generation(model=model, turns=turns, sampling=Sampling(max_tokens=_TOKENS, temperature=0.0))
        fold = Fold()
        async with self._gateway.events(request, generation) as answering:
            async for event in answering.pieces:
                fold.add(event)
        choices = fold.answer().choices
        summary = choices[0].text().strip() if choices else ""
        if not summary:
            raise UpstreamRefused(f"{model!r} summed up nothing.")
        return summary


def _turn(role: Role, text: str) -> Turn:
    return Turn(role=role, parts=(Text(text=text),))


def _transcript(said: Sequence[Message]) -> Iterator[str]:
    for message in said:
        for part in message.parts:
            match part:
                case Text():
                    yield f"{message.role.value}: {part.text}"
                case ToolCall():
                    yield f"{message.role.value} calls {part.name}: {part.arguments}"
                case ToolResult():
                    words = " ".join(inner.text for inner in part.parts if isinstance(inner, Text))
                    yield f"{part.name or 'tool'} answers: {words}"
                case _:
                    pass


def _pieces(text: str, size: int) -> Iterator[str]:
    for start in range(0, len(text), size):
        yield text[start : start + size]
