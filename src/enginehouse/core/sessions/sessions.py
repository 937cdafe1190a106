"""Sessions: conversations that the service keeps, and one turn at a time in each of them."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice

import structlog
from msgspec import Struct, structs
from sqlalchemy import Connection

from enginehouse.core.sessions.branches import Branches
from enginehouse.core.sessions.context import Context, Draft, Ruler, Rulers, built, room
from enginehouse.core.sessions.conversation import Content, Message, Owner, Status, check_id, named_by_us, new_id
from enginehouse.core.sessions.line import Line, Place
from enginehouse.core.sessions.steps import Begun, Steps, Verdict
from enginehouse.core.sessions.summary import SumsUp, built_with_summary
from enginehouse.core.sessions.turn import Question, Turn
from enginehouse.errors import CallerGone, EnginehouseError, InvalidRequest, StoreError
from enginehouse.settings.schema import SessionSettings
from enginehouse.stores.kv import HotCopies
from enginehouse.stores.sql import Database
from enginehouse.stores.sql import sessions as sql
from enginehouse.types import Principal
from enginehouse.types import generation as words
from enginehouse.types.generation import Role, Text

__all__ = ["Sessions"]

log = structlog.get_logger()

_NAME = 128
_NOTE = 2.0
"""Seconds between two notes of what has come of running answers."""
_MOST_NOTED = 100
"""Answers in one note: a thousand at a time would hold up every stream."""


class _Opened(Struct, frozen=True, kw_only=True):
    """A turn that is being answered."""

    place: Place
    begun: Begun
    branch: tuple[Message, ...]
    tokenizer: str
    counted: Mapping[str, int]


class Sessions:
    """Where turns are taken; `start` comes before the first, and `run` has to run beside them.

    Args:
        database: where conversations are; it is the truth.
        rulers: measure prompts.
        settings: limits, and what becomes of two requests at a time.
        hot: branches at hand.
        sums_up: what no longer fits, where the settings name a model for it.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        rulers: Rulers,
        settings: SessionSettings,
        hot: HotCopies,
        *,
        sums_up: SumsUp | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._rulers = database, rulers
        self._settings, self._clock = settings, clock
        self._branches, self._sums_up = Branches(database, hot), sums_up
        self._steps = Steps(settings, clock)
        self._line = Line(database, lambda: self._steps)
        self._running: dict[str, Turn] = {}
        self._owed: dict[str, tuple[_Opened, Verdict]] = {}

    def adopt(self, settings: SessionSettings) -> None:
        """New settings count from the next turn on."""
        self._settings = settings
        self._steps = Steps(settings, self._clock)

    @asynccontextmanager
    async def turn(self, principal: Principal, question: Question) -> AsyncGenerator[Turn]:
        """A turn in a session, which is made if there is none of that id yet.

        Waits until the turns that came before it in this session have ended, on whichever replica, or is refused
        then (`sessions.concurrent`). Inside, the question is durable and the answer is there as `running`.

        A session of somebody else is not found, as one that there is not: ids that callers choose are each owner's
        own, and ids of the service's choice (`ses_…`) cannot be made by asking for them.

        Raises:
            NotFound: no such session, or no such parent.
            ModelNotFound, PermissionDenied: no such model, or not for this caller.
            InvalidRequest: what is said cannot be, or cannot follow its parent.
            Conflict: another turn is being answered, or too many wait; or the session is full.
            ContextLengthExceeded: system prompt and question alone do not fit; nothing is kept of the turn then.
            EnginehouseError: the model is wanted for counting and cannot be had.
            StoreUnavailable: the database is away.
        """
        said = _said(question)
        make = question.session_id is None or not named_by_us(check_id(question.session_id))
        session_id = question.session_id or new_id("ses")
        async with self._line.place(Owner.of(principal), session_id, make=make) as place:
            name = question.model or place.arrived.session.model or None
            ruler = self._rulers.of(principal, name, question.request_id)
            begun = await self._begin(place, question, said, name or ruler.model)
            turn = await self._opened(principal, place, question, begun, ruler)
            async with self._answering(turn):
                yield turn

    async def start(self) -> None:
        """Before the first turn: answers whose writers died are marked as interrupted.

        Raises:
            StoreUnavailable: the database is away.
        """
        if self._database.embedded:  # it belongs to one process: whoever had a turn before is dead
            await self._database.write(sql.forget_turns)
        await self._bury()

    async def run(self) -> None:
        """Keep this process's turns alive, note what has come of their answers, and end those of dead replicas."""
        while True:
            await asyncio.sleep(min(_NOTE, self._settings.lease / 3))
            try:
                await self.look_after()
            except StoreError as error:
                log.warning("sessions_not_kept", error=error.message)

    async def look_after(self) -> None:
        """One round of `run`.

        Raises:
            StoreUnavailable: the database is away.
        """
        turns, notes = self._line.turns, self._notes()
        if turns:
            await self._database.write(partial(self._steps.renew, turns))
        if notes:
            await self._database.write(partial(self._steps.note, notes))
        for opened, verdict in list(self._owed.values()):
            await self._end(opened, verdict)
        await self._bury()

    def _notes(self) -> list[tuple[str, Content]]:
        """What has come of the answers that have gone longest without a note; the next round begins with others."""
        some = list(islice(self._running.items(), _MOST_NOTED))
        for message, turn in some:
            del self._running[message]
            self._running[message] = turn
        return [(message, turn.so_far) for message, turn in some]

    async def _bury(self) -> None:
        for key in await self._database.read(self._steps.lost):
            await self._database.write(partial(self._steps.bury, key))

    async def _begin(self, place: Place, question: Question, said: tuple[words.Turn, ...], model: str) -> Begun:
        begin = partial(
            self._steps.begin,
            place.key,
            place.turn,
            said,
            model=model,
            system=question.system,
            parent=question.parent,
        )
        while True:
            await self._line.until_first(place)
            begun = await self._database.write(begin)
            if begun is not None:
                return begun

    async def _opened(
        self, principal: Principal, place: Place, question: Question, begun: Begun, ruler: Ruler
    ) -> Turn:
        """With its context; a turn that cannot have one never was."""
        try:
            branch, context = await self._context(principal, question, begun, ruler)
        except BaseException:
            await self._undo(place, begun)
            raise
        opened = _Opened(
            place=place, begun=begun, branch=branch, tokenizer=ruler.tokenizer, counted=context.counted
        )
        return Turn(begun, context, partial(self._end, opened), partial(self._undo, place, begun))

    async def _context(
        self, principal: Principal, question: Question, begun: Begun, ruler: Ruler
    ) -> tuple[tuple[Message, ...], Context]:
        """The branch up to the question, and what of it the model is to read."""
        branch = await self._branches.of(begun)
        ids = [message.id for message in branch]
        known = await self._database.read(lambda connection: sql.counts(connection, ruler.tokenizer, ids))
        draft = Draft(
            system=begun.session.system,
            branch=branch,
            asked=max(1, len(begun.asked)),
            tools=question.tools,
        )
        limit = room(ruler.context_length, question.max_tokens, self._settings.answer_tokens)
        model = self._settings.summary_model
        if model is None or self._sums_up is None or limit is None:
            return branch, await built(ruler, draft, limit, known)
        ask = partial(self._sums_up, principal, model, question.request_id)
        context, summed = await built_with_summary(ruler, draft, limit, known, ask)
        if summed is None:
            return branch, context
        await self._database.write(partial(self._steps.sum_up, begun.session.key, summed))
        return tuple(summed if message.id == summed.id else message for message in branch), context

    @asynccontextmanager
    async def _answering(self, turn: Turn) -> AsyncGenerator[None]:
        """However it is left, its answer says so."""
        status, code = Status.INTERRUPTED, None
        self._running[turn.message_id] = turn
        try:
            yield
        except CallerGone:
            raise
        except EnginehouseError as error:
            status, code = Status.FAILED, error.code
            raise
        finally:
            del self._running[turn.message_id]
            try:
                await turn.answered(status=status, error=code)
            except StoreError as error:
                log.warning("session_answer_not_kept", message_id=turn.message_id, error=error.message)

    async def _end(self, opened: "_Opened", verdict: Verdict) -> None:
        place, begun = opened.place, opened.begun

        def work(connection: Connection) -> int | None:
            version = self._steps.end(place.key, place.turn, begun.answer.id, verdict, connection)
            if version is not None:
                sql.keep_counts(connection, opened.tokenizer, opened.counted)
            return version

        try:
            version = await self._database.write(work)
        except BaseException:
            self._owed[begun.answer.id] = (opened, verdict)
            raise
        self._owed.pop(begun.answer.id, None)
        await self._branches.ended(begun, opened.branch, verdict, version)
        place.left = True
        self._line.moved(place.key)

    async def _undo(self, place: Place, begun: Begun) -> None:
        undo = partial(self._steps.undo, place.key, place.turn, begun, place.arrived.made)
        await self._database.write(undo)
        place.left = True
        self._line.moved(place.key)


def _said(question: Question) -> tuple[words.Turn, ...]:
    """What is new, as turns.

    Raises:
        InvalidRequest: somebody speaks who may not, or nobody says anything.
    """
    said = question.said
    turns = (words.Turn(role=Role.USER, parts=(Text(text=said),)),) if isinstance(said, str) and said else said
    if isinstance(turns, str):
        raise InvalidRequest("prompt: say something.", param="prompt")
    for turn in turns:
        if turn.role not in {Role.USER, Role.TOOL}:
            raise InvalidRequest(f"messages: {turn.role.value!r} cannot ask; user and tool can.", param="messages")
        if not turn.parts:
            raise InvalidRequest("messages: one of them says nothing.", param="messages")
        if len(turn.name) > _NAME or not turn.name.isprintable():
            raise InvalidRequest(f"messages: a name has at most {_NAME} printable characters.", param="messages")
    if not turns and question.parent is None:
        raise InvalidRequest("prompt: say something.", param="prompt")
    return tuple(structs.replace(turn, extra={}) for turn in turns)
