"""A request on the fast path whose answer is a stream: its frames pass on in the moment in which they come."""

from collections.abc import Callable, Iterable

from enginehouse.core.cache.answers import joined
from enginehouse.core.gateway.fast.run import COMPLETED, Run, check_taken
from enginehouse.core.gateway.meter import Meter
from enginehouse.dialects.openai.plain import PlainAnswer
from enginehouse.dialects.passing import Passage, asking_for_usage
from enginehouse.errors import EngineError, EnginehouseError, InvalidRequest
from enginehouse.types import Usage
from enginehouse.types.answer import Began, Counted, Event, Finish, Finished, TextDelta, fold

__all__ = ["Streamed", "plain_of"]


class Streamed(Run):
    """One request that wants a stream; `tell` is told of its frames."""

    __slots__ = ("_events", "_last", "_meter", "_passage", "spoken", "tell")

    tell: Callable[[bytes], None]
    """Who passes frames on."""
    spoken: bool
    """Whether the caller has heard anything: then nobody else can answer any more."""

    def _message(self) -> bytes:
        body = super()._message()
        return body if self.asked.wants_usage else asking_for_usage(body)

    def _hearing(self) -> Callable[[bytes], None]:
        self._passage = Passage(self.track.dialect, self.track.codec, wants_usage=self.asked.wants_usage)
        self._meter = Meter()
        self._events: list[Event] = []
        self._last, self.spoken = b"", False
        return self._hear

    def _hear(self, chunk: bytes) -> None:
        """A chunk as the socket gave it."""
        passage = self._passage
        piece, events = passage.feed(chunk)
        self._meter.note_all(events)
        self._events.extend(events)
        if passage.ended:
            self._last = piece
            if self.carried is not None:
                self.carried.leave()
        elif piece:
            if self.ttft is None:
                self._first()
            self.tell(piece)

    def _first(self) -> None:
        self.ttft, self.spoken = self.clock() - self.sent, True

    def pause(self, full: bool) -> None:
        """The caller's side is full, or has drained."""
        if self.carried is not None:
            self.carried.pause(full)

    async def streamed(self) -> bytes:
        """The last frames of the answer, once its record is durable; `tell` has been told of the others.

        Raises:
            GoGenerally: the engine did not answer.
            EngineError: it broke off within its answer.
            LedgerUnavailable: the record can be kept nowhere.
        """
        try:
            carried = await self._sent()
            await carried.over()
            check_taken(carried, b"" if self._passage.ended else await carried.whole())
            if not self._passage.ended:
                self._last, events = self._passage.close()
                self._meter.note_all(events)
                self._events.extend(events)
        except EnginehouseError as error:
            if self.spoken:
                raise
            raise self._given_up(error) from error
        if self.ttft is None:
            self._first()
        self._meter.complete = True
        self.usage = self._meter.usage(self._guess)
        self.answer = plain_of(self._events) or fold(joined(self._events))
        await self._durable(COMPLETED)
        return self._last

    def _taken(self, error: BaseException) -> Usage | None:
        """A refusal costs nothing."""
        if self._meter.heard or not isinstance(error, EngineError | InvalidRequest):
            return self._meter.usage(self._guess)
        return None


def plain_of(events: Iterable[Event]) -> PlainAnswer | None:
    """The answer that they tell, where it is one choice of words: what `fold` makes of them, at less cost."""
    said, began = list[str](), Began(id="", model="")
    reason: Finish | None = None
    usage: Usage | None = None
    for event in events:
        if isinstance(event, TextDelta):
            if event.choice or event.scores or reason is not None:
                return None
            said.append(event.text)
        elif isinstance(event, Counted):
            usage = event.usage
        elif isinstance(event, Finished):
            if event.choice or event.stop_sequence is not None or reason is not None:
                return None
            reason = event.reason
        elif isinstance(event, Began):
            began = event
        else:
            return None
    return None if reason is None else PlainAnswer(began.id, began.model, "".join(said), reason, usage)
