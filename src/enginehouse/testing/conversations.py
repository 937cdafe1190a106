"""Rulers of a model that nobody has to load: a token is a word, and a template puts four around each turn."""

from msgspec import Struct

from enginehouse.core.sessions import Count
from enginehouse.errors import ModelNotFound
from enginehouse.types import Principal
from enginehouse.types.generation import Generation, Text, ToolCall, ToolResult, Turn

__all__ = ["WordRuler", "WordRulers", "words_in"]

AROUND = 4


def words_in(turn: Turn) -> int:
    """Words of a turn, of its calls and their results."""
    total = 0
    for part in turn.parts:
        match part:
            case Text():
                total += len(part.text.split())
            case ToolCall():
                total += 1 + len(part.arguments.split())
            case ToolResult():
                total += sum(len(inner.text.split()) for inner in part.parts if isinstance(inner, Text))
            case _:
                pass
    return total


class WordRuler(Struct, frozen=True, kw_only=True):
    """Satisfies `Ruler`."""

    model: str
    context_length: int | None = None
    tokenizer: str = "words"

    async def text(self, turn: Turn) -> Count:
        """Its words."""
        return Count(words_in(turn), exact=True)

    async def prompt(self, generation: Generation, limit: int) -> Count:
        """All words, and what is around them."""
        del limit
        return Count(sum(words_in(turn) + AROUND for turn in generation.turns), exact=True)


class WordRulers:
    """Satisfies `Rulers`.

    Args:
        lengths: names of models, with the tokens of their contexts; the first is the default.
    """

    def __init__(self, **lengths: int | None) -> None:
        self.lengths: dict[str, int | None] = lengths or {"parrot": None}

    def of(self, principal: Principal, model: str | None, request_id: str) -> WordRuler:
        """That of a model.

        Raises:
            ModelNotFound: there is none of that name.
        """
        del principal, request_id
        name = model or next(iter(self.lengths))
        if name not in self.lengths:
            raise ModelNotFound(name)
        return WordRuler(model=name, context_length=self.lengths[name])
