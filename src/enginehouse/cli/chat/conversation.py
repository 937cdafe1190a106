"""The conversation of a chat: what was said, and what of it is sent with the next question."""

from typing import Any

from msgspec import Struct

from enginehouse.cli.chat.answer import Answer

__all__ = ["Conversation", "Turn"]


class Turn(Struct, frozen=True):
    """One question and, once it is there, its answer."""

    question: str
    answer: str | None = None


class Conversation:
    """All turns with one model; every request carries them all.

    Args:
        model: who is asked; may be changed between turns.
        system: what the model is told before the first turn; empty for nothing.
        temperature: None leaves it to the service.
        max_tokens: most tokens of one answer; None leaves it to the service.
    """

    def __init__(
        self, model: str, *, system: str = "", temperature: float | None = None, max_tokens: int | None = None
    ) -> None:
        self.model = model
        self.system = system
        self.turns: list[Turn] = []
        self._sampling = {"temperature": temperature, "max_tokens": max_tokens}
        self._lost: str | None = None

    def ask(self, question: str) -> None:
        """Begin a turn."""
        self.turns.append(Turn(question))

    def keep(self, answer: Answer) -> None:
        """End the turn with what came, also when it was stopped half-way.

        A turn that ended before a word came is taken back, so that no question stands without an answer;
        `again` still knows it.
        """
        turn = self.turns.pop()
        if answer.text or answer.finish_reason:
            self.turns.append(Turn(turn.question, answer.text))
            self._lost = None
        else:
            self._lost = turn.question

    def again(self) -> str | None:
        """Take back the last turn and return its question; None when there was none."""
        if self._lost is not None:
            return self._lost
        return self.turns.pop().question if self.turns else None

    def clear(self) -> None:
        """Forget all turns; the system text stays."""
        self.turns.clear()
        self._lost = None

    def request(self) -> dict[str, Any]:
        """The body of a streamed chat completion for the turn that has begun."""
        given = {name: value for name, value in self._sampling.items() if value is not None}
        streaming = {"stream": True, "stream_options": {"include_usage": True}}
        return {"model": self.model, "messages": self._messages(), **given, **streaming}

    def _messages(self) -> list[dict[str, str]]:
        messages = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            messages.append({"role": "user", "content": turn.question})
            if turn.answer is not None:
                messages.append({"role": "assistant", "content": turn.answer})
        return messages
