"""Sums up what no longer fits a context, so that the model goes on knowing of it.

A summary belongs to the message up to which it reaches, and holds on every branch that goes on from there. When
something would fall out, everything older than the newest half of the context is summed up at once, so that it need
not be done again at the next turn.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

import structlog
from msgspec import structs

from enginehouse.core.sessions.context import Context, Draft, Ruler, built, exchanges
from enginehouse.core.sessions.conversation import Message
from enginehouse.errors import EnginehouseError
from enginehouse.types import Principal

__all__ = ["Ask", "SumsUp", "built_with_summary", "since_summary"]

log = structlog.get_logger()

Ask: TypeAlias = Callable[[str | None, Sequence[Message]], Awaitable[str]]
"""From the summary of what came before, and what was said since, to the summary of all of it."""


class SumsUp(Protocol):
    """Asks a model for summaries."""

    async def __call__(
        self, principal: Principal, model: str, request_id: str, before: str | None, said: Sequence[Message]
    ) -> str:
        """What was said, in short, with what was summed up before.

        Raises:
            EnginehouseError: the model cannot be had, or does not answer.
        """
        ...


def since_summary(draft: Draft) -> Draft:
    """With the last summary there is in the place of what it sums up."""
    now = len(exchanges(draft.branch)[-1])
    for index in range(len(draft.branch) - now - 1, -1, -1):
        if draft.branch[index].summary is not None:
            return structs.replace(draft, branch=draft.branch[index + 1 :], summary=draft.branch[index].summary)
    return draft


async def built_with_summary(
    ruler: Ruler, draft: Draft, limit: int, known: Mapping[str, int], ask: Ask
) -> tuple[Context, Message | None]:
    """A context in which nothing is left out without a word, and the message that has a new summary, if one has.

    A model that does not sum up stops nothing: then the context is as it is without.

    Raises:
        ContextLengthExceeded: the system prompt and the question alone do not fit.
    """
    draft = since_summary(draft)
    context = await built(ruler, draft, limit, known)
    known = {**known, **context.counted}
    last = _last(draft, context.left_out)
    if last is None:
        return context, None
    half = await _half(ruler, draft, limit, known)
    last = _last(draft, half) or last
    until = draft.branch.index(last) + 1
    try:
        summary = await ask(draft.summary, draft.branch[:until])
        shorter = structs.replace(draft, branch=draft.branch[until:], summary=summary)
        again = await built(ruler, shorter, limit, known)
    except EnginehouseError as error:
        log.warning("session_not_summed_up", error=error.message)
        return context, None
    made = structs.replace(last, summary=summary)
    return structs.replace(again, counted={**context.counted, **again.counted}), made


async def _half(ruler: Ruler, draft: Draft, limit: int, known: Mapping[str, int]) -> Sequence[str]:
    """What would be left out of half the context; nothing where not even the question fits that."""
    try:
        return (await built(ruler, draft, limit // 2, known)).left_out
    except EnginehouseError:
        return ()


def _last(draft: Draft, left_out: Sequence[str]) -> Message | None:
    """The newest message of an earlier exchange that is left out."""
    now = len(exchanges(draft.branch)[-1])
    gone = set(left_out)
    return next((message for message in reversed(draft.branch[:-now]) if message.id in gone), None)
