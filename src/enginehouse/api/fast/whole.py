"""Answers that are told in one piece.

They have no task: the caller's connection begins one, the engine's tells when it is in, and the ledger when its
record is durable, if it was not at once.
"""

import asyncio
from collections.abc import Sequence

import structlog

from enginehouse.api.fast.answering import Answering, broke
from enginehouse.api.fast.turns import HEAR, RECORD, TELL
from enginehouse.core.gateway.fast import COMPLETED, GoGenerally, Run
from enginehouse.errors import ShuttingDown

__all__ = ["Whole"]

log = structlog.get_logger()


class Whole(Answering):
    """One that is told in one piece."""

    __slots__ = ("body", "over")

    body: bytes
    """What the engine answered, or what is kept."""
    over: bool
    """Whether the caller has heard all there is for it to hear."""

    def begin(self) -> None:
        """Answer what is kept; else wait for the engine."""
        self.over = False
        run = self.run
        if run.kept is not None:
            self.body = run.kept
            self._turn.at(RECORD, self)
        elif run.carried is not None:
            self._listen()
        else:
            self._connect()

    def _listen(self) -> None:
        self._call.hear(self._stop)
        if not self.over:
            self.run.listen(self._come)

    def _connect(self) -> None:
        connecting = asyncio.get_running_loop().create_task(self.run.connect())
        connecting.add_done_callback(self._connected)
        self._call.adopt(connecting)
        self._call.hear(connecting.cancel)

    def _connected(self, connecting: "asyncio.Task[None]") -> None:
        """The request has gone out on a new connection, or there is none to be had."""
        if connecting.cancelled():
            self._stop()
        elif (error := connecting.exception()) is None:
            self._listen()
        else:
            self.went_wrong(error)

    def _come(self) -> None:
        """The engine's answer is in, or none will be."""
        self._turn.at(HEAR, self)

    # Its steps, with others.

    @staticmethod
    def hear(answers: "Sequence[Whole]") -> "Sequence[Whole]":
        """Take what engines have answered."""
        on: list[Whole] = []
        for answer in answers:
            if answer.over:  # the caller has left in this very turn
                continue
            try:
                answer.body = answer.run.heard()
            except Exception as error:  # noqa: BLE001 - the caller hears of it, and so does the log
                answer.went_wrong(error)
            else:
                on.append(answer)
        return on

    @staticmethod
    def record(answers: "Sequence[Whole]") -> "Sequence[Whole]":
        """Write down what they took."""
        on: list[Whole] = []
        for answer in answers:
            try:
                answer.run.write_down(COMPLETED)
            except Exception as error:  # noqa: BLE001 - the caller hears of it, and so does the log
                answer.went_wrong(error)
            else:
                on.append(answer)
        return on

    @staticmethod
    def hand_in(answers: "Sequence[Whole]") -> "Sequence[Whole]":
        """Hand in the records of all at once; those are to be told now of which they are durable now."""
        try:
            keeping = Run.hand_in([answer.run for answer in answers])
        except Exception as error:  # noqa: BLE001 - the caller hears of it, and so does the log
            if len(answers) == 1:
                answers[0].went_wrong(error)
                return ()
            # What is wrong with one record is wrong with no other's.
            return [one for answer in answers for one in Whole.hand_in([answer])]
        durable: list[Whole] = []
        for answer, kept in zip(answers, keeping, strict=True):
            if kept is None:
                durable.append(answer)
            else:
                answer.wait_for(kept)
        return durable

    @staticmethod
    def tell(answers: "Sequence[Whole]") -> "Sequence[Run]":
        """Give callers their answers; what was taken is given back, whatever comes of that."""
        on: list[Run] = []
        for answer in answers:
            if answer.over:  # as in `hear`, where the record took its time
                continue
            try:
                told = answer.told()
            except Exception as error:  # noqa: BLE001 - the caller hears of it, and so does the log
                answer.went_wrong(error)
                continue
            answer.over = True
            on.append(answer.run)
            answer.give(told)
        return on

    def told(self) -> bytes:
        """As it goes over the wire."""
        body = self.body
        return self._head(b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)) + body

    def give(self, told: bytes) -> None:
        """Send it; whether that goes well is the connection's business, and its end is the call's."""
        try:
            self._call.write(told)
            self._call.end()
        except Exception as error:  # noqa: BLE001 - nobody else's business
            broke(self._call, error)

    def wait_for(self, keeping: "asyncio.Future[None]") -> None:
        """Have it told as soon as its record is durable."""
        self._call.hear(self._stop)
        keeping.add_done_callback(self._kept)

    def _kept(self, kept: "asyncio.Future[None]") -> None:
        if self.over:
            return
        error = kept.exception()
        if error is None:
            self.run.durable()
            self._turn.at(TELL, self)
        else:
            self.went_wrong(error)

    # Where it goes another way.

    def went_wrong(self, error: BaseException) -> None:
        """There is no answer, or none that may be told."""
        self.over = True
        try:
            self._call.hear(None)
            if isinstance(error, GoGenerally):
                self._call.hand_over(tried=error.tried)
            elif isinstance(error, Exception):
                self._refuse(error)
        except Exception:
            log.exception("request_broke", request_id=self.request_id)
        if not isinstance(error, Exception):
            raise error

    def _refuse(self, error: Exception) -> None:
        refusal, keeping = self._failed(error)

        def refuse(_: object = None) -> None:
            self._call.write(refusal)
            self._call.end()

        if keeping is None:
            refuse()
        else:  # what becomes of that is in the log; the caller shall hear what came first
            keeping.add_done_callback(refuse)

    def _stop(self) -> None:
        """The caller has left, or the service waits no longer."""
        if self.over:
            return
        self.over = True
        self._call.hear(None)
        if self._call.gone:
            self._left()
            self._call.end()
        else:
            self._refuse(ShuttingDown("The service is shutting down.", retry_after=5))
