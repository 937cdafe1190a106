"""One turn of a conversation, while it is being answered."""

from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from enginehouse.core.sessions.context import Context
from enginehouse.core.sessions.conversation import Content, Message, Session, Status
from enginehouse.core.sessions.steps import Begun, Verdict
from enginehouse.types import Usage
from enginehouse.types import generation as words
from enginehouse.types.answer import Event, Fold
from enginehouse.types.generation import Foreign, Text, Tool

__all__ = ["Question", "Turn"]


class Question(Struct, frozen=True, kw_only=True):
    """What is asked in a session.

    To edit a question is to ask the new one with the `parent` of the old one; to have another answer is to give a
    `parent`, the question or one of its answers, and to say nothing.
    """

    said: str | tuple[words.Turn, ...] = ()
    """A user's words; or turns of user and tools. Nothing has the `parent`'s question answered anew."""
    session_id: str | None = None
    """None begins a session with an id of the service's choice."""
    model: str | None = None
    """None goes on with the session's model, else takes the default one."""
    system: str | None = None
    """The session's system prompt from now on; None leaves it as it is."""
    max_tokens: int | None = None
    """Most tokens of the answer; the context keeps so many free."""
    parent: str | None = None
    """The message to follow: an answer, or `root` for none; None goes on where the session ends."""
    tools: tuple[Tool | Foreign, ...] = ()
    """What the model may call; they take their part of the context."""
    request_id: str = ""


class Turn:
    """A turn that has begun: its question is durable, its answer is there as `running`.

    Give it the answer's events as they come (`add`), and say how it ended (`answered`) before the caller is told.
    A turn that is left without that marks its answer: `failed` where an error of the service left it, else
    `interrupted`; what the answer holds is then `so_far`.
    """

    def __init__(
        self,
        begun: Begun,
        context: Context,
        end: Callable[[Verdict], Awaitable[None]],
        undo: Callable[[], Awaitable[None]],
    ) -> None:
        self.session: Session = begun.session
        self.asked: tuple[Message, ...] = begun.asked
        """The new messages; nothing where an answer is given anew."""
        self.answer: Message = begun.answer
        self.context = context
        self._end, self._undo = end, undo
        self._fold = Fold()
        self._settled = False

    @property
    def messages(self) -> tuple[words.Turn, ...]:
        """What the model is to read: `Generation.turns`."""
        return self.context.turns

    @property
    def model(self) -> str:
        """Who is to answer, as it was asked for."""
        return self.answer.model

    @property
    def message_id(self) -> str:
        """The id of the answer to come."""
        return self.answer.id

    @property
    def settled(self) -> bool:
        """Whether it is said how it ended."""
        return self._settled

    @property
    def so_far(self) -> Content:
        """What has come of the answer."""
        choices = self._fold.answer().choices
        return choices[0].parts if choices else ()

    def add(self, event: Event) -> None:
        """The next event of the answer. Now and then what came is kept, so that a dead process leaves it behind."""
        self._fold.add(event)

    async def answered(
        self,
        answer: str | Sequence[words.Part] | None = None,
        *,
        usage: Usage | None = None,
        finish_reason: str | None = None,
        status: Status = Status.COMPLETE,
        error: str | None = None,
    ) -> None:
        """The answer has ended; when this returns, it is durable, and the next turn may begin.

        Args:
            answer: all of it; what was added when left out.
            usage: what it took.
            finish_reason: why the model stopped, in OpenAI's words.
            status: `complete`, or `stopped` by its reader, or `failed`.
            error: code of the error, where it failed.

        Raises:
            StoreUnavailable: it is not durable yet; it will be tried again until it is.
        """
        if self._settled:
            return
        parts = (
            (Text(text=answer),) if isinstance(answer, str) else self.so_far if answer is None else tuple(answer)
        )
        self._settled = True
        await self._end(Verdict(parts=parts, status=status, usage=usage, finish_reason=finish_reason, error=error))

    async def withdrawn(self) -> None:
        """The turn shall never have been, for a request that was refused before anything was generated.

        Raises:
            StoreUnavailable: the database is away; the answer will be marked as interrupted.
        """
        if not self._settled:
            await self._undo()
            self._settled = True
