"""What a model is told: the schema, where its engine cannot hold it to one, and what was wrong the last time."""

from collections.abc import Sequence

import msgspec

from enginehouse.core.structured.schema import Flaw
from enginehouse.types.generation import Generation, Json, Role, Text, Turn

__all__ = ["corrected", "instructed"]

_ASK = (
    "Answer with one JSON value that is valid under the JSON schema below, and with nothing else: "
    "no explanation, no code fence, no comment.\n\nJSON schema:\n"
)
_AGAIN = (
    "This does not meet the JSON schema:\n{flaws}\n\nAnswer again with the whole corrected JSON, and nothing else."
)
_MAX_SAID = 8_000
"""Characters of a wrong answer that are shown to the model again."""
_MAX_TOLD = 5


def instructed(generation: Generation, schema: Json) -> Generation:
    """The same question with the schema in words; what the caller's own system text says comes first."""
    asking = _ASK + msgspec.json.encode(schema).decode()
    first, rest = generation.turns[:1], generation.turns[1:]
    if first and first[0].role in {Role.SYSTEM, Role.DEVELOPER}:
        said = msgspec.structs.replace(first[0], parts=(*first[0].parts, Text(text=f"\n\n{asking}")))
        return msgspec.structs.replace(generation, answer=None, turns=(said, *rest))
    system = Turn(role=Role.SYSTEM, parts=(Text(text=asking),))
    return msgspec.structs.replace(generation, answer=None, turns=(system, *generation.turns))


def corrected(generation: Generation, said: str, flaws: Sequence[Flaw]) -> Generation:
    """The same question, with the last answer and what was wrong with it; without one, the question alone."""
    if not said.strip():
        return generation
    told = "\n".join([f"- at {flaw.path or 'the top'}: {flaw.message}" for flaw in flaws[:_MAX_TOLD]])
    last = Turn(role=Role.ASSISTANT, parts=(Text(text=said[:_MAX_SAID]),))
    again = Turn(role=Role.USER, parts=(Text(text=_AGAIN.format(flaws=told)),))
    return msgspec.structs.replace(generation, turns=(*generation.turns, last, again))
