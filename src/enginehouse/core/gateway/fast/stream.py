"""A request on the fast path whose answer is a stream: its frames pass on in the moment in which they come."""

from collections.abc import Callable, Iterable
from io import StringIO

from enginehouse.core.cache.answers import joined
from enginehouse.core.gateway.fast.run import COMPLETED, Run, check_taken
from enginehouse.core.gateway.meter import Meter
from enginehouse.dialects.openai.plain import PlainAnswer
from enginehouse.dialects.openai.repeating import Pattern, Words, one_by_one
from enginehouse.dialects.passing import Passage, asking_for_usage
from enginehouse.engines.base import Hear
from enginehouse.errors import EngineError, EnginehouseError, InvalidRequest
from enginehouse.types import Usage
from enginehouse.types.answer import Answer, Began, Counted, Event, Finish, Finished, TextDelta, fold
from enginehouse.types.chunked import ENDING

__all__ = ["Said", "Streamed"]

_UNTOLD = Began(id="", model="")
"""Of a stream that does not say whose it is."""
_ENDS = len(ENDING)


class Streamed(Run):
    """One request that wants a stream; `tell` and `pass_on` are told of its frames."""

    __slots__ = ("_last", "_meter", "_passage", "_pattern", "_said", "_say", "pass_on", "passed", "spoken", "tell")

    tell: Callable[[bytes], None]
    """Who passes frames on."""
    pass_on: Callable[[bytes], None]
    """Who passes a frame on that came as a chunk of its own, and has to be one; after `tell` has been told some."""
    passed: int
    """How many of them."""
    spoken: bool
    """Whether the caller has heard anything: then nobody else can answer any more."""

    def _message(self) -> bytes:
        body = super()._message()
        return body if self.asked.wants_usage else asking_for_usage(body)

    def _hearing(self) -> Hear:
        self._passage = Passage(self.track.dialect, self.track.codec, wants_usage=self.asked.wants_usage)
        self._meter = Meter()
        self._said = Said() if self.look.is_open else None
        self._say: Callable[[str], object] = _unsaid
        self._pattern: Pattern | None = None
        self._last, self.spoken, self.passed = b"", False, 0
        return self._hear

    def _hear(self, data: bytes, begin: int) -> None:
        """A piece as the socket gave it; frames that tell words in the way of those before pass on as they came."""
        pattern = self._pattern
        if begin:
            end = len(data) - _ENDS
            if pattern is not None and (word := pattern.word(data, begin, end)):
                self.passed += 1
                self._say(word)
                self.pass_on(data)
                return
            data = data[begin:end]
        if pattern is None or (texts := pattern.texts(data)) is None:
            self._follow(data)
            return
        self._meter.written += len(texts)
        for text in texts:
            self._say(text)
        self.tell(data)

    def _follow(self, chunk: bytes) -> None:
        """A chunk that may say anything."""
        passage = self._passage
        piece, told = passage.feed_in_runs(chunk)
        pattern = self._pattern = passage.pattern
        for event in told:
            if isinstance(event, Words):
                self._meter.written += len(event.texts)
            else:
                self._meter.note(event)
        if self._said is not None:
            self._said.note(told)
            if pattern is not None:
                self._say = self._said.more_of(pattern.choice)
        if passage.ended:
            self._last = piece
            if self.carried is not None:
                self.carried.done()
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
                if self._said is not None:
                    self._said.note(events)
        except EnginehouseError as error:
            if self.spoken:
                raise
            raise self.given_up(error) from error
        if self.ttft is None:
            self._first()
        self._meter.complete = True
        self.usage = self._took()
        self.answer = None if self._said is None else self._said.answer()
        await self._durable(COMPLETED)
        return self._last

    def _taken(self, error: BaseException) -> Usage | None:
        """A refusal costs nothing."""
        if self._meter.heard or not isinstance(error, EngineError | InvalidRequest):
            return self._took()
        return None

    def _took(self) -> Usage:
        self._meter.written += self.passed
        self.passed = 0
        return self._meter.usage(self._guess)

    @property
    def last_heard(self) -> float:
        """When the engine last said something, as `Carried` has it; 0 before and after."""
        return 0.0 if self.carried is None else self.carried.last_heard


class Said:
    """What a stream says, for who wants to keep it: only its words, as long as they are all there is."""

    __slots__ = ("_began", "_events", "_reason", "_spoke", "_usage", "_words", "_write")

    def __init__(self) -> None:
        self._began: Began | None = None
        self._words = StringIO()
        """In one piece: streams are open for long, and a word of its own takes many times its bytes."""
        self._write = self._words.write
        self._spoke = False
        """Whether there were any, be they empty."""
        self._reason: Finish | None = None
        self._usage: Usage | None = None
        self._events: list[Event] | None = None

    def note(self, told: Iterable[Event | Words]) -> None:
        """What it says next."""
        for event in told:
            if isinstance(event, Words):
                self._more(event)
            elif self._events is not None:
                self._events.append(event)
            elif not self._is_plain(event):
                self._events = [*self._told(), event]

    def _more(self, words: Words) -> None:
        if words.choice or self._reason is not None or self._events is not None:
            self.note(one_by_one([words]))
        elif words.texts:
            self._spoke = True
            self._write("".join(words.texts))

    def more_of(self, choice: int) -> Callable[[str], object]:
        """Who notes words that it says next, as `note` of their events would, until that is called again."""
        if self._spoke and not choice and self._reason is None and self._events is None:
            return self._write
        return lambda text: self.note((TextDelta(text=text, choice=choice),))

    def answer(self) -> Answer | PlainAnswer:
        """All of it."""
        words = self._words.getvalue()
        if self._events is not None or self._reason is None or (self._spoke and not words):
            return fold(joined(self._told() if self._events is None else self._events))
        began = self._began or _UNTOLD
        return PlainAnswer(began.id, began.model, words, self._reason, self._usage)

    def _is_plain(self, event: Event) -> bool:
        """Whether it is one of those that a plain answer has; then it is noted."""
        if type(event) is TextDelta:
            if event.choice or event.scores or self._reason is not None:
                return False
            self._spoke = True
            self._write(event.text)
        elif isinstance(event, Counted):
            self._usage = event.usage
        elif isinstance(event, Finished):
            if event.choice or event.stop_sequence is not None or self._reason is not None:
                return False
            self._reason = event.reason
        elif isinstance(event, Began) and not self._spoke:
            self._began = event
        else:
            return False
        return True

    def _told(self) -> list[Event]:
        """The events of what was noted as words."""
        told: list[Event] = [self._began or _UNTOLD]
        if self._spoke:
            told.append(TextDelta(text=self._words.getvalue()))
        if self._reason is not None:
            told.append(Finished(reason=self._reason))
        if self._usage is not None:
            told.append(Counted(usage=self._usage))
        return told


def _unsaid(text: str) -> None:
    """Nobody wants to keep it."""
    del text
