"""Conversations in memory, for tests of what is said in them: one list of messages a session."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count

from msgspec import structs

from enginehouse.core.sessions import Context, Message, Question, Session, Status, Turn
from enginehouse.core.sessions.conversation import Content, Owner
from enginehouse.core.sessions.steps import Begun, Verdict
from enginehouse.types import Principal
from enginehouse.types.generation import Role, Text

__all__ = ["FakeSessions"]


class FakeSessions:
    """Takes turns as `core.sessions.Sessions` does, without waiting for others.

    Args:
        model: which answers when a question names none.
        pause: seconds that it takes to keep an answer.
        wait: seconds until a question has its turn.
    """

    def __init__(self, model: str = "tiny", pause: float = 0.0, wait: float = 0.0) -> None:
        self.model = model
        self.pause, self.wait = pause, wait
        self.messages: defaultdict[str, list[Message]] = defaultdict(list)
        """By session id, in order; an answer is there from the beginning of its turn."""
        self._numbers = count(1)

    @asynccontextmanager
    async def turn(self, principal: Principal, question: Question) -> AsyncGenerator[Turn]:
        """A turn; an answer that nobody says the end of is interrupted."""
        await asyncio.sleep(self.wait)
        session_id = question.session_id or "ses_1"
        said = self.messages[session_id]
        assert isinstance(question.said, str)
        asked = self._message(len(said), Role.USER, parts=(Text(text=question.said),))
        answer = self._message(len(said) + 1, Role.ASSISTANT, status=Status.RUNNING)
        answer = structs.replace(answer, model=question.model or self.model)
        said += [asked, answer]

        async def end(verdict: Verdict) -> None:
            await asyncio.sleep(self.pause)
            at = said.index(next(message for message in said if message.id == answer.id))
            said[at] = _ended(answer, verdict)

        async def undo() -> None:
            said[:] = [message for message in said if message.id not in {asked.id, answer.id}]

        owner = Owner.of(principal)
        session = Session(key=session_id, id=session_id, owner=owner, created=0, updated=0)
        begun = Begun(session=session, before=session, asked=(asked,), answer=answer)
        turns = tuple(message.turn() for message in said[:-1])
        turn = Turn(begun, Context(turns=turns, tokens=0, exact=False, limit=None), end, undo)
        try:
            yield turn
        finally:
            await turn.answered(status=Status.INTERRUPTED)

    def _message(self, before: int, role: Role, parts: Content = (), status: Status = Status.COMPLETE) -> Message:
        number = next(self._numbers)
        return Message(
            id=f"m{number}",
            number=before + 1,
            parent=None,
            depth=before + 1,
            role=role,
            parts=parts,
            status=status,
            created=0,
        )


def _ended(answer: Message, verdict: Verdict) -> Message:
    return structs.replace(
        answer,
        parts=verdict.parts,
        status=verdict.status,
        usage=verdict.usage,
        finish_reason=verdict.finish_reason,
        error=verdict.error,
    )
